//! The table, and folders without drivers. Whole packages are in `tests/it/guest/windows/drivers`.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;

use flate2::Compression;
use flate2::write::DeflateEncoder;

use super::{ComponentError, FoundFile, Inventory, Kind, Limit, Need, list};
use crate::guest::report::{Parcel, ParcelFile};
use crate::guest::windows::inf::{Product, Target};
use crate::model::Hypervisor;

fn server(major: u32, minor: u32, build: u32) -> Target {
    Target::amd64(major, minor, build, Product::Server)
}

#[test]
fn limits_are_those_of_the_user_guide() {
    let limits = |target: Target| [Kind::Nvme, Kind::Ena, Kind::Pv].map(|kind| kind.limit(&target));
    let seven = [[1, 3, 2], [2, 2, 3], [8, 3, 5]].map(Limit::UpTo);
    let eight = [[1, 5, 1], [2, 6, 0], [8, 4, 3]].map(Limit::UpTo);
    assert_eq!(limits(server(6, 1, 7601)), seven);
    assert_eq!(limits(server(6, 2, 9200)), eight);
    assert_eq!(limits(server(6, 3, 9600)), eight);
    assert_eq!(limits(server(10, 0, 20348)), [Limit::Latest; 3]);
    assert_eq!(limits(server(10, 0, 26100)), [Limit::Latest, Limit::Latest, Limit::Unsupported]);
}

#[test]
fn addresses_name_the_version_that_runs() {
    let of = |kind: Kind, target| kind.addresses(&target);
    assert_eq!(
        of(Kind::Nvme, server(6, 1, 7601)),
        ["https://s3.amazonaws.com/ec2-windows-drivers-downloads/NVMe/1.3.2/AWSNVMe.zip"]
    );
    assert_eq!(
        of(Kind::Ena, server(6, 3, 9600)),
        ["https://s3.amazonaws.com/ec2-windows-drivers-downloads/ENA/x64/2.6.0/AwsEnaNetworkDriver.zip"]
    );
    assert_eq!(
        of(Kind::Ena, server(10, 0, 26100)),
        ["https://s3.amazonaws.com/ec2-windows-drivers-downloads/ENA/Latest/AwsEnaNetworkDriver.zip"]
    );
    assert_eq!(of(Kind::Ec2Launch, server(10, 0, 14393)).len(), 2);
}

#[test]
fn devices_are_known_by_their_ids() {
    assert_eq!(Kind::of_device("PCI\\VEN_1D0F&DEV_8061&SUBSYS_00001D0F&REV_00"), Some(Kind::Nvme));
    assert_eq!(Kind::of_device("PCI\\VEN_1D0F&DEV_EC20"), Some(Kind::Ena));
    assert_eq!(Kind::of_device("PCI\\CC_010802"), Some(Kind::Nvme));
    assert_eq!(Kind::of_device("PCI\\VEN_1D0F&DEV_EFA0"), None);
    assert_eq!(Kind::of_device("PCI\\VEN_1D0F&DEV_é"), None);
    assert_eq!(Kind::of_device("PCI\\VEN_8086&DEV_8061"), None);
}

/// Missing kinds with their need.
fn missing(inventory: &Inventory, target: Target, hypervisor: Hypervisor) -> Vec<(Kind, Need)> {
    let selected = inventory.select(&target, hypervisor).unwrap();
    selected.missing.iter().map(|missing| (missing.kind, missing.need)).collect()
}

#[test]
fn without_a_folder_everything_is_missing() {
    let none = Inventory::default();
    let on_nitro = |target| missing(&none, target, Hypervisor::Nitro);
    assert_eq!(
        on_nitro(server(6, 1, 7601)),
        [
            (Kind::Nvme, Need::Boot),
            (Kind::Ena, Need::Network),
            (Kind::Ec2Config, Need::Recommended),
            (Kind::SsmAgent, Need::Recommended)
        ]
    );
    assert_eq!(on_nitro(server(6, 2, 9200))[0], (Kind::Nvme, Need::Boot));
    assert_eq!(
        on_nitro(server(6, 3, 9600))[..2],
        [(Kind::Ena, Need::Network), (Kind::Nvme, Need::Recommended)]
    );
    assert!(on_nitro(server(10, 0, 26100)).contains(&(Kind::Ec2LaunchV2, Need::Recommended)));
    assert_eq!(missing(&none, server(10, 0, 17763), Hypervisor::Xen)[0], (Kind::Pv, Need::Network));
    let unsupported = none.select(&server(10, 0, 26100), Hypervisor::Xen).unwrap();
    assert_eq!(unsupported.notes.len(), 1, "no PV drivers for 2025: {:?}", unsupported.notes);
    let text = &none.select(&server(6, 1, 7601), Hypervisor::Nitro).unwrap().missing[0].place;
    assert!(text.contains("components ="), "{text}");
}

#[test]
fn installers_are_known_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::create_dir(path.join("agents")).unwrap();
    fs::write(path.join("agents/amazonEC2launch.MSI"), msi(&["ProductVersion\t2.0.1"])).unwrap();
    fs::write(path.join("agents/EC2-Windows-Launch.zip"), "not looked into").unwrap();
    fs::write(path.join("AmazonSSMAgentSetup.exe"), "no program").unwrap();
    fs::write(path.join("autorun.inf"), "[autorun]\nopen=x\n").unwrap();
    fs::write(path.join("broken.inf"), "words\n").unwrap();
    let mut inventory = Inventory::read(path).unwrap();
    let kinds: Vec<Kind> = inventory.installers.iter().map(|installer| installer.kind).collect();
    assert_eq!(kinds, [Kind::Ec2Launch, Kind::Ec2LaunchV2]);
    let refused: Vec<&str> = inventory.refused.iter().map(|refused| refused.path.as_str()).collect();
    assert_eq!(refused, ["AmazonSSMAgentSetup.exe", "broken.inf"]);
    // 2019 takes either and prefers the second; 2022 only that one.
    let agent = |inventory: &Inventory, build| {
        let selected = inventory.select(&server(10, 0, build), Hypervisor::Nitro).unwrap();
        (selected.installers.first().map(|installer| installer.kind), selected.notes)
    };
    assert_eq!(agent(&inventory, 17763).0, Some(Kind::Ec2LaunchV2));
    inventory.installers.pop();
    let (kind, notes) = agent(&inventory, 17763);
    assert_eq!((kind, notes.len()), (None, 1), "without its script: {notes:?}");
    fs::write(path.join("agents/Install.ps1"), "x").unwrap();
    let inventory = Inventory::read(path).unwrap();
    fs::remove_file(path.join("agents/amazonEC2launch.MSI")).unwrap();
    assert!(inventory.installers[0].script.is_some());
    assert_eq!(agent(&Inventory::read(path).unwrap(), 17763).0, Some(Kind::Ec2Launch));
    assert_eq!(agent(&Inventory::read(path).unwrap(), 20348).0, None);
}

/// A package of Windows Installer that msitools make, with these properties.
fn msi(properties: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("Property\tValue\ns72\tl0\nProperty\tProperty\n{}\n", properties.join("\n"));
    fs::write(folder.path().join("Property.idt"), text).unwrap();
    let status = Command::new("msibuild")
        .current_dir(folder.path())
        .args(["x.msi", "-i", "Property.idt"])
        .status()
        .unwrap();
    assert!(status.success());
    fs::read(folder.path().join("x.msi")).unwrap()
}

#[test]
fn pv_drivers_are_chosen_by_their_packages_versions() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let put = |directory: &str, content: &[u8]| {
        fs::create_dir_all(path.join(directory)).unwrap();
        fs::write(path.join(directory).join("AWSPVDriverSetup.msi"), content).unwrap();
    };
    let of = |version: &str| msi(&["Manufacturer\tAmazon", &format!("ProductVersion\t{version}"), "X\ty"]);
    let chosen = |major, minor, build| {
        let inventory = Inventory::read(path).unwrap();
        let selected = inventory.select(&server(major, minor, build), Hypervisor::Xen).unwrap();
        let installer = selected.installer(Kind::Pv).map(|installer| installer.file.path.clone());
        let whys: Vec<String> = selected.notes.iter().map(|note| note.why.to_string()).collect();
        assert_eq!(installer.is_none(), selected.missing.iter().any(|missing| missing.kind == Kind::Pv));
        (installer.unwrap_or_default(), whys.join("; "))
    };
    put("AWSPV/Latest", &of("8.5.0"));
    // Only one that does not run on 2008 R2.
    let (none, whys) = chosen(6, 1, 7601);
    assert_eq!(none, "");
    assert!(whys.contains("it is version 8.5.0.0, and 8.3.5 is the last"), "{whys}");
    put("AWSPV/8.3.5", &of("8.3.5.12"));
    put("AWSPV/8.4.3", &of("8.4.3"));
    for (windows, wanted) in [
        ((6, 1, 7601), "AWSPV/8.3.5/AWSPVDriverSetup.msi"),
        ((6, 3, 9600), "AWSPV/8.4.3/AWSPVDriverSetup.msi"),
        ((10, 0, 20348), "AWSPV/Latest/AWSPVDriverSetup.msi"),
    ] {
        let (found, whys) = chosen(windows.0, windows.1, windows.2);
        assert_eq!((found.as_str(), whys.as_str()), (wanted, "it carries no signature"));
    }
    // One that says no version has that of its directory; else it is taken where all versions run.
    fs::remove_dir_all(path.join("AWSPV")).unwrap();
    put("AWSPV/8.3.5", &msi(&["X\ty"]));
    assert_eq!(chosen(6, 1, 7601).0, "AWSPV/8.3.5/AWSPVDriverSetup.msi");
    fs::rename(path.join("AWSPV/8.3.5"), path.join("AWSPV/Latest")).unwrap();
    let (none, whys) = chosen(6, 1, 7601);
    assert!(none.is_empty() && whys.contains("its version is not known"), "{none}: {whys}");
    assert_eq!(chosen(10, 0, 20348).0, "AWSPV/Latest/AWSPVDriverSetup.msi");
    // What is no package is none, and neither is a compound file without a database.
    for content in [b"10 bytes..".to_vec(), of("8.4.3")[..2000].to_vec()] {
        put("AWSPV/Latest", &content);
        let inventory = Inventory::read(path).unwrap();
        assert!(inventory.installers.is_empty());
        assert!(
            inventory.refused[0].reason.contains("no Windows Installer package"),
            "{:?}",
            inventory.refused
        );
    }
}

/// An archive of members, deflated, as a packer would write it that does not look at names.
fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in members {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(content).unwrap();
        let packed = encoder.finish().unwrap();
        let short = |number: usize| u16::try_from(number).unwrap().to_le_bytes().to_vec();
        let long = |number: usize| u32::try_from(number).unwrap().to_le_bytes().to_vec();
        let common = [
            vec![20, 0, 0, 0, 8, 0, 0, 0, 0, 0],
            crc32fast::hash(content).to_le_bytes().to_vec(),
            long(packed.len()),
            long(content.len()),
            short(name.len()),
            short(0),
        ]
        .concat();
        directory
            .extend([b"PK\x01\x02\x14\0".to_vec(), common.clone(), vec![0; 10], long(file.len())].concat());
        directory.extend(name.bytes());
        file.extend([b"PK\x03\x04".to_vec(), common, name.as_bytes().to_vec(), packed].concat());
    }
    let short = |number: usize| u16::try_from(number).unwrap().to_le_bytes();
    let long = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
    let count = short(members.len());
    let (size, offset) = (long(directory.len()), long(file.len()));
    file.extend(directory);
    file.extend([b"PK\x05\x06".as_slice(), &[0; 4], &count, &count, &size, &offset, &[0; 2]].concat());
    file
}

#[test]
fn hostile_archives_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let inf = b"[Manufacturer]\n".as_slice();
    let bomb = vec![b' '; 64 << 20];
    let names = [
        "../out.inf",
        "/root.inf",
        "C:\\x.inf",
        "a/../b.inf",
        "x./y.inf",
        "Twice.inf",
        "twice.INF",
        "ok\\in.inf",
    ];
    let mut members: Vec<(&str, &[u8])> = names.iter().map(|name| (*name, inf)).collect();
    // A setup information file of 64 MB in some kilobytes.
    members.push(("bomb.inf", &bomb));
    let sound = archive(&members);
    assert!(sound.len() < 1 << 20);
    fs::write(path.join("a.ZIP"), &sound).unwrap();
    fs::write(path.join("b.zip"), "no archive").unwrap();
    // One that says it has a directory beyond any, and one whose directory lies beyond its end.
    fs::write(path.join("c.zip"), [b"PK\x05\x06\0\0\0\0".as_slice(), &[0xff; 12], &[0; 2]].concat()).unwrap();
    let mut cut = sound.clone();
    cut.drain(..100);
    fs::write(path.join("d.zip"), cut).unwrap();
    // A member whose bytes were changed.
    let mut changed = archive(&[("x.inf", inf)]);
    changed[40] ^= 0x55;
    fs::write(path.join("e.zip"), changed).unwrap();
    let inventory = Inventory::read(path).unwrap();
    let taken: Vec<&str> = inventory.packages.iter().map(|package| package.file.path.as_str()).collect();
    assert_eq!(taken, ["a.ZIP/Twice.inf", "a.ZIP/ok/in.inf"]);
    let refused: Vec<&str> = inventory.refused.iter().map(|refused| refused.path.as_str()).collect();
    assert_eq!(refused.len(), 11, "{refused:?}");
    let reason = |path: &str| &inventory.refused.iter().find(|refused| refused.path == path).unwrap().reason;
    assert!(reason("a.ZIP/bomb.inf").contains("4194304 bytes"), "{}", reason("a.ZIP/bomb.inf"));
    assert!(reason("b.zip").contains("no zip archive"), "{}", reason("b.zip"));
    assert!(reason("c.zip").contains("zip64"), "{}", reason("c.zip"));
    assert!(reason("d.zip").contains("too large"), "{}", reason("d.zip"));
}

/// A folder's files as they lie on a parcel's device.
fn parcel(folder: &Path) -> (tempfile::NamedTempFile, Parcel) {
    let mut device = tempfile::NamedTempFile::new().unwrap();
    let mut files = Vec::new();
    let mut offset = 0;
    for listed in list(folder).unwrap() {
        let mut content = fs::read(&listed.file).unwrap();
        files.push(ParcelFile { path: listed.path, offset, size: listed.size });
        content.resize(content.len().next_multiple_of(4096), 0x55);
        device.write_all(&content).unwrap();
        offset += content.len() as u64;
    }
    (device, Parcel { folder: folder.display().to_string(), files })
}

#[test]
fn a_parcel_holds_what_the_folder_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::create_dir(path.join("agents")).unwrap();
    fs::write(path.join("agents/AmazonEC2Launch.msi"), msi(&["ProductVersion\t2.0.1"])).unwrap();
    fs::write(path.join("broken.inf"), "words\n").unwrap();
    let inf = b"[Manufacturer]\n".as_slice();
    let program: Vec<u8> = (0..100_000_u32).map(|at| (at / 5) as u8).collect();
    fs::write(path.join("a.zip"), archive(&[("x\\y.inf", inf), ("x/y.sys", &program)])).unwrap();
    fs::write(path.join("b.zip"), "no archive").unwrap();
    let (device, parcel) = parcel(path);
    let (here, there) =
        (Inventory::read(path).unwrap(), Inventory::of_parcel(device.path(), &parcel).unwrap());
    assert_eq!(here.folder, there.folder);
    assert_eq!(here.refused, there.refused);
    assert_eq!(here.refused.len(), 2, "{:?}", here.refused);
    let files = |inventory: &Inventory| {
        let packages =
            inventory.packages.iter().flat_map(|package| [&package.file, package.beside("y.sys").unwrap()]);
        let installers = inventory.installers.iter().map(|installer| &installer.file);
        let read = |file: &FoundFile| {
            let mut content = Vec::new();
            let count = file.open().unwrap().read_to_end(&mut content).unwrap();
            assert_eq!(content, file.read(1 << 20).unwrap());
            (file.path.clone(), file.size, count, content)
        };
        packages.chain(installers).map(read).collect::<Vec<_>>()
    };
    assert_eq!(files(&here), files(&there));
    assert_eq!(files(&here)[1].3, program);
}

#[test]
fn a_parcels_files_stay_on_their_device() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.inf"), "[Manufacturer]\n").unwrap();
    let (device, sound) = parcel(folder.path());
    for (offset, size) in [(0, 4097), (4096, 1), (u64::MAX, 2), (1, u64::MAX), (8192, 0)] {
        let mut parcel = sound.clone();
        parcel.files[0] = ParcelFile { path: "a.inf".to_owned(), offset, size };
        let error = Inventory::of_parcel(device.path(), &parcel).unwrap_err();
        assert!(matches!(error, ComponentError::Beyond { .. }), "{offset} {size}: {error}");
    }
}

#[test]
fn a_stream_that_is_not_what_the_archive_says_fails() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.zip");
    let program = vec![3; 50_000];
    let sound = archive(&[("y.sys", &program), ("x.inf", b"[Manufacturer]\n")]);
    let directory = sound.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
    // The directory's checksum, and its size: one byte fewer, one more.
    for (place, byte) in
        [(16, sound[directory + 16] ^ 1), (24, sound[directory + 24] - 1), (24, sound[directory + 24] + 1)]
    {
        let mut changed = sound.clone();
        changed[directory + place] = byte;
        fs::write(&path, &changed).unwrap();
        let inventory = Inventory::read(folder.path()).unwrap();
        let file = inventory.packages[0].beside("y.sys").unwrap();
        let error = std::io::copy(&mut file.open().unwrap(), &mut std::io::sink()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{error}");
    }
    // A file that became shorter since it was found.
    let package = msi(&["ProductVersion\t2.0.1"]);
    fs::write(folder.path().join("AmazonEC2Launch.msi"), &package).unwrap();
    fs::write(&path, &sound).unwrap();
    let inventory = Inventory::read(folder.path()).unwrap();
    fs::write(folder.path().join("AmazonEC2Launch.msi"), &package[..package.len() - 1000]).unwrap();
    let file = &inventory.installers[0].file;
    assert!(std::io::copy(&mut file.open().unwrap(), &mut std::io::sink()).is_err());
}
