//! `replant inspect` and `replant prepare`, by any user, on guests good and bad.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use super::guests::{MIB, bootable, check, cut, disk, filesystem, tool, tree};
use super::{programs, request, run};
use crate::support::replant;
use replant::guest::report::{EditKind, FindingSeverity};
use replant::sandbox::{self, Cache};
use replant::ui::inspection::{Inspection, Verdict};

/// A guest of one ext4 on one partition, 62 MiB.
pub fn guest(directory: &Path) {
    let at = |name: &str| directory.join(name);
    let root = tree(directory, "/dev/sda1 / ext4 defaults 0 1\n");
    filesystem("ext4", &at("fs"), 60, &root);
    disk(&at("guest.raw"), 62, "label: dos\nstart=2048, size=122880\n", &[(MIB, &at("fs"))]);
}

#[test]
fn a_guest_is_shown_prepared_and_written() {
    let directory = tempfile::tempdir().unwrap();
    guest(directory.path());
    let shown = replant(directory.path(), ["prepare", "guest.raw", "--diff"]);
    assert!(shown.stdout.contains("+UUID="), "{}", shown.both());
    assert!(shown.stdout.contains("-/dev/sda1"), "{}", shown.both());
    let inspected = replant(directory.path(), ["inspect", "guest.raw", "--json"]);
    let inspection: Inspection = serde_json::from_str(&inspected.stdout).unwrap();
    assert_eq!((inspection.version, inspection.images.as_slice()), (1, &["guest.raw".to_owned()][..]));
    let report = inspection.report;
    assert_eq!(report.facts.unwrap().distribution, "debian");
    let blocked = report.findings.iter().any(|finding| finding.severity == FindingSeverity::Blocks);
    assert_eq!((inspected.code, inspection.verdict), (3, Verdict::Blocked));
    // A guest without a kernel cannot boot, so nothing is written; what would be is in the image.
    assert!(blocked, "{:?}", report.findings);
    let refused = replant(directory.path(), ["prepare", "guest.raw", "--write", "out.raw"]).code(1);
    assert!(!directory.path().join("out.raw").exists(), "{}", refused.both());
}

/// Without ENA nobody would reach the machine: it blocks, and the plan says how to go on knowing that.
#[test]
fn a_finding_that_blocks_can_be_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let root = bootable(directory.path(), "/dev/sda1 / ext4 defaults 0 1\n");
    let index = root.join("lib/modules/6.1.0-1-amd64/modules.dep");
    fs::write(&index, fs::read_to_string(&index).unwrap().replace("kernel/ena.ko:\n", "")).unwrap();
    filesystem("ext4", &at("fs"), 60, &root);
    disk(&at("guest.raw"), 62, "label: dos\nstart=2048, size=122880\n", &[(MIB, &at("fs"))]);
    let configuration = |guest: &str| {
        let text = format!(
            "instance \"web\" {{\n  image = \"guest.raw\"\n  instance_type = \"m6i.large\"\n  guest {{\n    {guest}\n  }}\n}}\n"
        );
        fs::write(at("main.replant.hcl"), text).unwrap();
    };
    configuration("network = \"dhcp\"");
    let refused = replant(directory.path(), ["plan"]).code(1);
    assert!(refused.stderr.contains("error[guest::ena_missing]"), "{}", refused.both());
    assert!(refused.stderr.contains("accept = [\"ena_missing\"]"), "{}", refused.both());
    assert!(!refused.stderr.contains("nvme_missing"), "{}", refused.both());
    configuration("accept = [\"guest::ena_missing\"]");
    let warned = replant(directory.path(), ["plan"]).code(0);
    assert!(warned.both().contains("warning[guest::ena_missing]"), "{}", warned.both());
    assert!(warned.stdout.contains("instance.web.drivers"), "{}", warned.both());
}

#[test]
fn an_unprivileged_user_inspects_as_well() {
    let directory = tempfile::tempdir().unwrap();
    guest(directory.path());
    let programs = programs().unwrap();
    for (from, name) in [(&programs.replant, "replant"), (&programs.guest, "replant-guest")] {
        fs::copy(from, directory.path().join(name)).unwrap();
    }
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let inspect = |arguments: &[&str]| {
        let mut command = Command::new(arguments[0]);
        command.args(&arguments[1..]).current_dir(directory.path()).env("NO_COLOR", "1");
        let output = command.output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    let replant = directory.path().join("replant");
    let own = [replant.to_str().unwrap(), "inspect", "guest.raw"];
    let nobody = [&["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"][..], &own[..]].concat();
    let (as_root, as_nobody) = (inspect(&own), inspect(&nobody));
    assert!(as_nobody.contains("Disk      root (mbr): "), "{as_nobody}");
    assert_eq!(as_root, as_nobody);
}

#[test]
fn a_remembered_outcome_is_the_same_and_a_damaged_one_is_not_used() {
    let directory = tempfile::tempdir().unwrap();
    guest(directory.path());
    let cache = Cache::new(directory.path().join("cache"));
    let mut request = request(&[&directory.path().join("guest.raw")]);
    request.disks[0].size = 100 * MIB;
    request.disks[0].grow = true;
    let fresh = sandbox::run_with(&programs, &request, Some(&cache)).unwrap();
    assert!(!fresh.cached);
    let again = sandbox::run_with(&programs, &request, Some(&cache)).unwrap();
    assert!(again.cached);
    assert_eq!((&fresh.report, &fresh.overlays), (&again.report, &again.overlays));

    let file = fs::read_dir(directory.path().join("cache")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let length = fs::metadata(&file).unwrap().len();
    let writable = File::options().write(true).open(&file).unwrap();
    writable.write_all_at(b"?", length / 2).unwrap();
    assert!(!sandbox::run_with(&programs, &request, Some(&cache)).unwrap().cached);

    // Another size is another outcome.
    request.disks[0].size = 120 * MIB;
    assert!(!sandbox::run_with(&programs, &request, Some(&cache)).unwrap().cached);
}

#[test]
fn several_sandboxes_run_at_once() {
    let directory = tempfile::tempdir().unwrap();
    guest(directory.path());
    let image = directory.path().join("guest.raw");
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..3).map(|_| scope.spawn(|| run(&request(&[&image])))).collect();
        let reports: Vec<_> = runs.into_iter().map(|run| run.join().unwrap().report).collect();
        assert!(reports.windows(2).all(|pair| pair[0] == pair[1]));
    });
}

#[test]
fn what_cannot_be_looked_into_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let empty = |name: &str| {
        let file = File::create(at(name)).unwrap();
        file.set_len(16 * MIB).unwrap();
        file
    };
    // LVM and LUKS by their headers alone (their tools need devices); NTFS by its own tool.
    empty("luks").write_all_at(b"LUKS\xba\xbe\x00\x02", 0).unwrap();
    let lvm = empty("lvm");
    lvm.write_all_at(b"LABELONE", 512).unwrap();
    lvm.write_all_at(b"LVM2 001", 512 + 24).unwrap();
    drop(empty("ntfs"));
    tool("mkntfs", &["-q", "-F", "-f", at("ntfs").to_str().unwrap()]);
    for (name, code) in [("luks", "disk::encrypted"), ("lvm", "disk::lvm"), ("ntfs", "disk::windows")] {
        disk(&at("image"), 20, "label: gpt\nstart=2048, size=32768\n", &[(MIB, &at(name))]);
        let outcome = run(&request(&[&at("image")]));
        let found: Vec<&str> = outcome.report.findings.iter().map(|found| found.code.as_str()).collect();
        assert_eq!(found, [code]);
        assert_eq!(outcome.report.findings[0].severity, FindingSeverity::Blocks);
        assert_eq!(outcome.report.disks[0].partitions[0].content, if name == "lvm" { "lvm2" } else { name });
    }
}

#[test]
fn a_damaged_filesystem_is_a_finding() {
    let directory = tempfile::tempdir().unwrap();
    guest(directory.path());
    let image = directory.path().join("guest.raw");
    let file = File::options().write(true).open(&image).unwrap();
    // The group descriptors and what follows, but not the superblock.
    file.write_all_at(&vec![0xa5; 256 << 10], MIB + 4096).unwrap();
    let outcome = run(&request(&[&image]));
    let found: Vec<&str> = outcome.report.findings.iter().map(|found| found.code.as_str()).collect();
    assert!(found.contains(&"disk::cannot_edit") || found.contains(&"disk::cannot_mount"), "{found:?}");
    assert!(outcome.report.recipe.edits.is_empty());
    assert!(outcome.overlays[0].blocks.is_empty());
}

/// A crash-consistent backup: its journal was never replayed.
#[test]
fn an_interrupted_journal_is_replayed_with_the_edits() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    guest(directory.path());
    // A transaction that only the journal holds: debugfs writes it as a crashed kernel leaves it.
    let fs = at("fs");
    fs::write(at("block"), vec![0; 4096]).unwrap();
    let script = format!("journal_open\njournal_write -b 9000 {}\njournal_close\n", at("block").display());
    fs::write(at("script"), script).unwrap();
    tool("debugfs", &["-w", "-f", at("script").to_str().unwrap(), fs.to_str().unwrap()]);
    assert!(tool("dumpe2fs", &["-h", fs.to_str().unwrap()]).contains("needs_recovery"));
    disk(&at("guest.raw"), 62, "label: dos\nstart=2048, size=122880\n", &[(MIB, &fs)]);

    let outcome = run(&request(&[&at("guest.raw")]));
    let edits = &outcome.report.recipe.edits;
    assert!(edits.iter().any(|edit| matches!(edit.kind, EditKind::WriteFile { .. })), "{edits:?}");
    super::guests::restore(&at("guest.raw"), &outcome.overlays[0], &at("volume"));
    cut(&at("volume"), MIB, 60 * MIB, &at("part"));
    assert!(!tool("dumpe2fs", &["-h", at("part").to_str().unwrap()]).contains("needs_recovery"));
    check("ext4", &at("part"));
}

/// The process ids below a process, by /proc.
fn descendants(of: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
    let mut found: Vec<u32> = children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    for child in found.clone() {
        found.extend(descendants(child));
    }
    found
}

#[test]
fn a_killed_replant_leaves_no_process_behind() {
    let directory = tempfile::tempdir().unwrap();
    guest(directory.path());
    let mut child = crate::support::command::command(directory.path(), ["inspect", "guest.raw"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // The block server, the jail's helper, its first process, user-mode Linux.
    let mut below = Vec::new();
    for _ in 0..500 {
        below = descendants(child.id());
        if below.len() >= 4 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(below.len() >= 4, "{below:?}");
    child.kill().unwrap();
    child.wait().unwrap();
    let alive = |pid: &&u32| {
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !state.is_empty() && !state.contains(") Z ")
    };
    for _ in 0..1000 {
        if !below.iter().any(|pid| alive(&pid)) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("still there: {:?}", below.iter().filter(alive).collect::<Vec<_>>());
}
