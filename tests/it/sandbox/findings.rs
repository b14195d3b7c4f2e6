//! Findings about disks, on disks as real tools make them.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use replant::guest::report::{EditKind, Finding, FindingSeverity, Report};
use replant::sandbox::{Parcel, Request};
use tempfile::TempDir;

use super::guests::{MIB, check, cut, disk, filesystem, restore, tool, tree};
use super::{request, run};

const TIB: u64 = 1 << 40;

/// A root on ext4, as a file of 30 MiB.
fn root(directory: &TempDir, fstab: &str) -> PathBuf {
    let tree = tree(directory.path(), fstab);
    let file = directory.path().join("root.fs");
    filesystem("ext4", &file, 30, &tree);
    file
}

#[track_caller]
fn found<'r>(report: &'r Report, code: &str, severity: FindingSeverity) -> &'r Finding {
    let found = report.findings.iter().find(|found| found.code == code);
    let found = found.unwrap_or_else(|| panic!("no {code} among {:#?}", report.findings));
    assert_eq!(found.severity, severity, "{code}");
    assert!(!found.evidence.is_empty(), "{code}");
    assert!(found.remedy.is_some() || found.advice.is_some(), "{code}");
    found
}

fn blkid(file: &Path) -> String {
    tool("blkid", &["-p", "-o", "value", "-s", "TYPE", file.to_str().unwrap()]).trim().to_owned()
}

/// A hibernated machine's memory image is forgotten; what is on the filesystem's books as an error
/// is said with its count, before and after fsck's own judgement.
#[test]
fn hibernation_is_ended_and_errors_are_said() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let root = root(&directory, "UUID=x / ext4 defaults 0 1\n");
    for field in ["state 2", "error_count 3", "last_error_func ext4_lookup"] {
        tool("debugfs", &["-w", "-R", &format!("set_super_value {field}"), root.to_str().unwrap()]);
    }
    File::create(at("swap")).unwrap().set_len(8 * MIB).unwrap();
    tool("mkswap", &["-q", at("swap").to_str().unwrap()]);
    let swap = File::options().write(true).open(at("swap")).unwrap();
    swap.write_all_at(b"S1SUSPEND\0", 4086).unwrap();
    assert_eq!(blkid(&at("swap")), "swsuspend");
    let script = "label: dos\nstart=2048, size=61440\nstart=63488, size=16384, type=82\n";
    disk(&at("image"), 40, script, &[(MIB, &root), (31 * MIB, &at("swap"))]);

    // Components for Windows have no part in this.
    fs::create_dir(at("drivers")).unwrap();
    let components = Some(Arc::new(Parcel::open(&at("drivers")).unwrap()));
    let outcome = run(&Request { components, ..request(&[&at("image")]) });
    found(&outcome.report, "guest::windows_components_unused", FindingSeverity::Informs);
    let errors = found(&outcome.report, "disk::filesystem_errors", FindingSeverity::Warns);
    assert_eq!(
        errors.evidence,
        ["disk disk0 partition 1 (ext4): marked as having errors, 3 recorded, the last in ext4_lookup"]
    );
    let hibernated = found(&outcome.report, "disk::hibernated", FindingSeverity::Warns);
    assert!(hibernated.evidence[0].starts_with("disk disk0 partition 2"), "{:?}", hibernated.evidence);
    let edit = outcome.report.recipe.edits.iter().find(|edit| edit.path == "disk disk0 partition 2").unwrap();
    assert!(matches!(edit.kind, EditKind::Overwrite { offset: 4086, .. }), "{edit:?}");

    restore(&at("image"), &outcome.overlays[0], &at("restored"));
    cut(&at("restored"), 31 * MIB, 8 * MIB, &at("swap"));
    assert_eq!(blkid(&at("swap")), "swap");
    cut(&at("restored"), MIB, 30 * MIB, &at("root"));
    // 1: it mended something, without asking.
    let mended = Command::new("e2fsck").arg("-p").arg(at("root")).status().unwrap();
    assert_eq!(mended.code(), Some(1));
    check("ext4", &at("root"));
    // Afterwards there is nothing more to do.
    let again = run(&request(&[&at("restored")]));
    assert!(again.report.recipe.edits.iter().all(|edit| edit.path != "disk disk0 partition 2"));
}

#[test]
fn a_disk_that_does_not_boot_is_not_the_first() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let root = root(&directory, "/dev/sda1 / ext4 defaults 0 1\nUUID=gone /var ext4 defaults 0 2\n");
    disk(&at("system"), 32, "label: dos\nstart=2048, size=61440\n", &[(MIB, &root)]);
    File::options().write(true).open(at("system")).unwrap().write_all_at(b"\xebcGRUB boots here", 0).unwrap();
    fs::create_dir(at("empty")).unwrap();
    filesystem("ext4", &at("data.fs"), 20, &at("empty"));
    disk(&at("data"), 22, "label: dos\nstart=2048, size=40960\n", &[(MIB, &at("data.fs"))]);

    let wrong = run(&request(&[&at("data"), &at("system")])).report;
    let order = found(&wrong, "disk::disk_order", FindingSeverity::Warns);
    assert!(order.evidence[0].starts_with("disk disk1 has boot code"), "{:?}", order.evidence);
    let missing = found(&wrong, "disk::mount_source_missing", FindingSeverity::Warns);
    assert_eq!(missing.evidence, ["/etc/fstab:2: UUID=gone /var ext4 defaults 0 2"]);
    let right = run(&request(&[&at("system"), &at("data")])).report;
    assert!(right.findings.iter().all(|found| found.code != "disk::disk_order"));

    let alone = run(&request(&[&at("data")])).report;
    let data = found(&alone, "disk::data_only", FindingSeverity::Blocks);
    assert_eq!(data.evidence, ["disk disk0 partition 1: ext4"]);
    File::create(at("blank")).unwrap().set_len(4 * MIB).unwrap();
    let blank = run(&request(&[&at("blank")])).report;
    found(&blank, "disk::no_guest", FindingSeverity::Blocks);
}

#[test]
fn a_disk_beyond_what_its_table_tells_and_a_second_system() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let root = root(&directory, "/dev/sda1 / ext4 defaults 0 1\n");
    let script = "label: dos\nstart=2048, size=61440\nstart=63488, size=61440\n";
    disk(&at("image"), 62, script, &[(MIB, &root), (31 * MIB, &root)]);
    let mut request = request(&[&at("image")]);
    request.disks[0].size = 3 * TIB;
    let report = run(&request).report;
    let limit = found(&report, "disk::mbr_limit", FindingSeverity::Warns);
    assert_eq!(limit.evidence, ["disk disk0: 3 TiB"]);
    let systems = found(&report, "disk::root_twice", FindingSeverity::Blocks);
    assert_eq!(systems.evidence, ["disk disk0 partition 1", "disk disk0 partition 2"]);
    found(&report, "disk::unused_space", FindingSeverity::Informs);
}

/// Roots that no sandbox can mount: told by what their superblocks begin with, each checked
/// against what blkid knows of the same bytes where it needs no more than those.
#[test]
fn filesystems_that_are_not_looked_into_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let bcache =
        [0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca, 0x82, 0x65, 0xf5, 0x7f, 0x48, 0xba, 0x6d, 0x81];
    let bcachefs =
        [0xc6, 0x85, 0x73, 0xf6, 0x66, 0xce, 0x90, 0xa9, 0xd9, 0x6a, 0x60, 0xcf, 0x80, 0x3d, 0xf7, 0xef];
    let zfs = 0x00ba_b10c_u64.to_le_bytes();
    for (kind, place, magic, by_blkid) in [
        ("zfs", 128 << 10, &zfs[..], None),
        ("bcache", 4096 + 24, &bcache, None),
        ("bcachefs", 4096 + 24, &bcachefs, None),
        ("f2fs", 1024, &0xf2f5_2010_u32.to_le_bytes(), None),
        ("reiser4", 65536, b"ReIsEr4", Some("reiser4")),
        ("vxfs", 1024, &0xa501_fcf5_u32.to_le_bytes(), Some("vxfs")),
        ("apfs", 32, b"NXSB", None),
    ] {
        let file = File::create(at("fs")).unwrap();
        file.set_len(16 * MIB).unwrap();
        for copy in 0..if kind == "zfs" { 8 } else { 1 } {
            file.write_all_at(magic, place + copy * 1024).unwrap();
        }
        if let Some(known) = by_blkid {
            assert_eq!(blkid(&at("fs")), known);
        }
        disk(&at("image"), 20, "label: gpt\nstart=2048, size=32768\n", &[(MIB, &at("fs"))]);
        let report = run(&request(&[&at("image")])).report;
        let unknown = found(&report, "disk::filesystem_unknown", FindingSeverity::Blocks);
        assert!(unknown.summary.contains(kind), "{}", unknown.summary);
        assert_eq!(unknown.evidence, ["disk disk0 partition 1"]);
        assert!(unknown.advice.as_ref().unwrap().contains("drivers = \"none\""));
        assert_eq!(report.disks[0].partitions[0].content, kind);
    }
}
