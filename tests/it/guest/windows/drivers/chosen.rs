//! Folders and archives as a user has them: what is found, what a guest gets, what is missing.

use std::fs;
use std::path::Path;

use replant::guest::windows::components::{Inventory, Kind, Selected, Why};
use replant::guest::windows::inf::Target;
use replant::model::Hypervisor;
use tempfile::TempDir;

use super::super::super::fixtures::shell;
use super::packages::{EIGHT, EIGHT_ONE, NETWORK, SEVEN, STORAGE, T2016, T2022};
use super::programs::PROGRAMS;

/// A package of the storage driver in a directory, with a version and a program.
fn storage(directory: &Path, version: &str, program: &str) {
    fs::create_dir_all(directory.join("X64")).unwrap();
    fs::create_dir_all(directory.join("tools")).unwrap();
    fs::write(directory.join("ReplStor.inf"), STORAGE.replace("1.5.0.33", version)).unwrap();
    fs::write(directory.join("X64/replstor.SYS"), PROGRAMS.content(program)).unwrap();
    fs::write(directory.join("tools/id.exe"), "tool").unwrap();
    fs::write(directory.join("replstor64.cat"), "catalog").unwrap();
    fs::write(directory.join("unrelated.txt"), "text").unwrap();
}

/// Packs a directory with Python's zipfile, and takes it away.
fn packed(directory: &Path, archive: &Path) {
    shell(&format!(
        "cd {} && python3 -m zipfile -c {} * && rm -r {}",
        directory.display(),
        archive.display(),
        directory.display()
    ));
}

/// Storage drivers 1.3.2, 1.5.1 and 1.8.2 in archives, a network driver in a folder, an agent.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for (version, program) in [("1.3.2.53", "both.sys"), ("1.5.1.0", "sha256.sys"), ("1.8.2.1", "sha256.sys")]
    {
        storage(&path.join("AWSNVMe"), version, program);
        packed(&path.join("AWSNVMe"), &path.join(format!("AWSNVMe-{version}.zip")));
    }
    let network = path.join("ena/x64");
    fs::create_dir_all(&network).unwrap();
    fs::write(network.join("replnet.inf"), NETWORK).unwrap();
    fs::write(network.join("replnet.sys"), PROGRAMS.content("sha256.sys")).unwrap();
    fs::write(path.join("AmazonEC2Launch.msi"), super::super::kit::msi("2.0.1")).unwrap();
    fs::write(path.join("AmazonSSMAgentSetup.exe"), PROGRAMS.content("sha256.sys")).unwrap();
    folder
}

fn selected(folder: &Path, target: &Target, hypervisor: Hypervisor) -> Selected {
    let inventory = Inventory::read(folder).unwrap();
    assert_eq!(inventory.refused, []);
    inventory.select(target, hypervisor).unwrap()
}

fn missing(selected: &Selected) -> Vec<Kind> {
    selected.missing.iter().map(|missing| missing.kind).collect()
}

#[test]
fn a_guest_gets_the_newest_that_runs() {
    let folder = folder();
    let of = |target: &Target| selected(folder.path(), target, Hypervisor::Nitro);
    let version = |selected: &Selected, kind| selected.driver(kind).map(|driver| driver.version.version);

    let seven = of(&SEVEN);
    assert_eq!(version(&seven, Kind::Nvme), Some([1, 3, 2, 53]));
    assert_eq!(missing(&seven), [Kind::Ena, Kind::Ec2Config], "no model for 6.1, and no EC2Launch v2 there");
    let driver = seven.driver(Kind::Nvme).unwrap();
    assert_eq!(driver.place, "AWSNVMe-1.3.2.53.zip/ReplStor.inf");
    assert_eq!(driver.program.path, "AWSNVMe-1.3.2.53.zip/X64/replstor.SYS");
    assert_eq!(driver.program.read(1 << 20).unwrap(), PROGRAMS.content("both.sys"));
    let files: Vec<&str> = driver.files.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(files, ["ReplStor.inf", "x64/replstor.sys", "tools/id.exe", "replstor64.cat"]);
    assert_eq!(driver.files[1].1.read(1 << 20).unwrap(), PROGRAMS.content("both.sys"));
    assert_eq!(driver.files[2].1.read(4).unwrap(), b"tool");
    assert!(driver.files[2].1.read(3).is_err());

    let eight = of(&EIGHT);
    assert_eq!(
        (version(&eight, Kind::Nvme), version(&eight, Kind::Ena)),
        (Some([1, 5, 1, 0]), Some([2, 6, 0, 0]))
    );
    assert_eq!(missing(&eight), []);
    assert!(eight.installer(Kind::Ec2LaunchV2).is_some());
    assert_eq!(eight.installer(Kind::SsmAgent).unwrap().version, Some([1, 5, 1, 33]));
    assert_eq!(
        eight.notes.iter().filter(|note| note.kind == Kind::Ena).map(|note| &note.why).collect::<Vec<_>>(),
        [&Why::NoCatalog]
    );

    let excluded = of(&EIGHT_ONE);
    assert_eq!(missing(&excluded), [Kind::Nvme]);
    assert!(excluded.missing[0].boots_without(), "Windows has its own");
    assert!(excluded.notes.iter().any(|note| note.kind == Kind::Nvme && note.why == Why::NotForThisWindows));

    assert_eq!(version(&of(&T2016), Kind::Nvme), Some([1, 8, 2, 1]));
    assert_eq!(version(&of(&T2022), Kind::Nvme), Some([1, 8, 2, 1]));
    let xen = selected(folder.path(), &T2016, Hypervisor::Xen);
    assert_eq!((missing(&xen), xen.driver(Kind::Nvme).is_some()), (vec![Kind::Pv], false));
}

#[test]
fn what_does_not_run_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let notes = |target: &Target| selected(path, target, Hypervisor::Nitro).notes;
    storage(path, "1.8.2.1", "sha256.sys");
    let found = notes(&SEVEN);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].why, Why::TooNew { version: [1, 8, 2, 1], limit: [1, 3, 2] });
    assert!(found[0].why.to_string().contains("1.3.2 is the last that runs"), "{}", found[0].why);
    let selected = selected(path, &SEVEN, Hypervisor::Nitro);
    assert!(!selected.missing[0].boots_without());
    assert!(selected.missing[0].addresses[0].ends_with("/NVMe/1.3.2/AWSNVMe.zip"));
    assert_eq!(selected.missing[0].place, path.display().to_string());
    // Old ones lose data; a 2008 R2 needs its update.
    storage(path, "1.2.0", "sha256.sys");
    let whys: Vec<Why> = notes(&SEVEN).into_iter().map(|note| note.why).collect();
    assert_eq!(whys, [Why::TooOld { version: [1, 2, 0, 0], sound: [1, 3, 2] }, Why::Sha2]);
}

#[test]
fn installers_are_looked_at_before_they_run_as_local_system() {
    let folder = tempfile::tempdir().unwrap();
    let put = |directory: &str, content: &[u8]| {
        fs::create_dir_all(folder.path().join(directory)).unwrap();
        fs::write(folder.path().join(directory).join("AmazonSSMAgentSetup.exe"), content).unwrap();
    };
    let found = || {
        let selected = selected(folder.path(), &T2022, Hypervisor::Nitro);
        let path = selected.installer(Kind::SsmAgent).map(|installer| installer.file.path.clone());
        let notes: Vec<String> =
            selected.notes.iter().map(|note| format!("{}: {}", note.place, note.why)).collect();
        (path.unwrap_or_default(), notes.join("; "))
    };
    let mut altered = PROGRAMS.content("sha256.sys");
    altered[0x401] ^= 1;
    put("a", &altered);
    let (path, notes) = found();
    assert!(path.is_empty() && notes.contains("changed after it was signed"), "{path}: {notes}");
    put("b", &PROGRAMS.content("sha256.sys"));
    let (path, notes) = found();
    assert_eq!(path, "b/AmazonSSMAgentSetup.exe");
    assert!(notes.contains("a/AmazonSSMAgentSetup.exe: its program was changed"), "{notes}");
    assert!(
        notes.contains("b/AmazonSSMAgentSetup.exe: it is signed by Replant test signer, not by"),
        "{notes}"
    );
    put("a", &PROGRAMS.content("unsigned.sys"));
    assert_eq!(
        found(),
        ("a/AmazonSSMAgentSetup.exe".into(), "a/AmazonSSMAgentSetup.exe: it carries no signature".into())
    );
}

#[test]
fn programs_that_windows_would_not_start_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let why = || {
        let selected = selected(path, &T2022, Hypervisor::Nitro);
        assert!(selected.driver(Kind::Nvme).is_none());
        selected.notes.into_iter().next().unwrap().why
    };
    storage(path, "1.5.1", "unsigned.sys");
    assert_eq!(why(), Why::Unsigned);
    let mut altered = PROGRAMS.content("sha256.sys");
    altered[0x401] ^= 1;
    fs::write(path.join("X64/replstor.SYS"), &altered).unwrap();
    assert_eq!(why(), Why::Altered);
    fs::write(path.join("X64/replstor.SYS"), "text").unwrap();
    assert!(matches!(why(), Why::Damaged { .. }));
    let mut machine = PROGRAMS.content("sha256.sys");
    let header = u32::from_le_bytes(machine[0x3c..0x40].try_into().unwrap()) as usize;
    machine[header + 4..header + 6].copy_from_slice(&0xaa64u16.to_le_bytes());
    fs::write(path.join("X64/replstor.SYS"), &machine).unwrap();
    assert_eq!(why(), Why::Machine);
    fs::remove_file(path.join("X64/replstor.SYS")).unwrap();
    assert_eq!(why(), Why::NoFile { name: "x64\\replstor.sys".to_owned() });
    let text = STORAGE.replace("AddService = replstor", ";").replace("1.5.0.33", "1.5.1");
    fs::write(path.join("ReplStor.inf"), text).unwrap();
    assert_eq!(why(), Why::NoService);
}
