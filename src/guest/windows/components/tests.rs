//! The table, and folders without drivers. Whole packages are in `tests/it/guest/windows/drivers`.

use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::DeflateEncoder;

use super::{Inventory, Kind, Limit, Need};
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
    fs::write(path.join("agents/amazonEC2launch.MSI"), "x").unwrap();
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
