//! Partition tables and filesystems: found, mounted, grown, and clean afterwards.

use std::fs::File;
use std::path::Path;

use super::guests::{MIB, check, cut, disk, filesystem, restore, tool, tree};
use super::{request, run};
use replant::guest::report::{EditKind, FindingSeverity};

fn codes(outcome: &replant::sandbox::Outcome) -> Vec<&str> {
    outcome.report.findings.iter().map(|finding| finding.code.as_str()).collect()
}

#[test]
fn an_empty_disk_is_no_guest() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("empty.raw");
    File::create(&image).unwrap().set_len(64 * MIB).unwrap();
    let outcome = run(&request(&[&image]));
    assert!(outcome.report.facts.is_none());
    assert_eq!(codes(&outcome), ["disk::no_guest"]);
    assert_eq!(outcome.report.findings[0].severity, FindingSeverity::Blocks);
    assert!(outcome.overlays[0].blocks.is_empty());
}

/// A disk of sectors of 4,096 bytes, divided by fdisk.
#[test]
fn a_disk_of_large_sectors_does_not_boot_on_ec2() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("large.raw");
    File::create(&image).unwrap().set_len(64 * MIB).unwrap();
    let script = format!("printf 'g\\nn\\n\\n\\n\\nw\\n' | fdisk -b 4096 {}", image.display());
    tool("sh", &["-c", &script]);
    let outcome = run(&request(&[&image]));
    assert!(codes(&outcome).contains(&"disk::sectors_4096"), "{:#?}", outcome.report);
    assert!(!codes(&outcome).contains(&"disk::table_damaged"));
}

/// Grows a guest of one filesystem on one partition from its image to `larger` MiB, and lets the
/// filesystem's own tool judge the result.
fn grows(kind: &str, label: &str, mib: u64, larger: u64) {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let root = tree(directory.path(), "/dev/sda1 / auto defaults 0 1\n");
    filesystem(kind, &at("fs"), mib, &root);
    let script = format!("label: {label}\nstart=2048, size={}\n", mib * 2048);
    disk(&at("image"), mib + 2, &script, &[(MIB, &at("fs"))]);
    let before = std::fs::metadata(at("image")).unwrap().modified().unwrap();

    let mut request = request(&[&at("image")]);
    request.disks[0].size = larger * MIB;
    request.disks[0].grow = true;
    let outcome = run(&request);

    assert!(outcome.report.facts.is_some(), "{:#?}", outcome.report);
    assert_eq!(outcome.report.disks[0].table, if label == "gpt" { "gpt" } else { "mbr" });
    let partition = &outcome.report.disks[0].partitions[0];
    assert_eq!((partition.number, partition.content.as_str()), (1, kind));
    assert_eq!(partition.mount_point.as_deref(), Some("/"));
    let grown = |edit: &&replant::guest::report::Edit| matches!(edit.kind, EditKind::Grow { .. });
    assert_eq!(outcome.report.recipe.edits.iter().filter(grown).count(), 2, "{:#?}", outcome.report);
    assert_eq!(std::fs::metadata(at("image")).unwrap().modified().unwrap(), before);

    restore(&at("image"), &outcome.overlays[0], &at("volume"));
    let size = partition.size;
    assert!(size > (larger - 3) * MIB, "{size}");
    let volume = at("volume");
    let text = volume.to_str().unwrap();
    let verdict = tool("sfdisk", &["--verify", text]);
    assert!(verdict.contains("No errors detected"), "{verdict}");
    if label == "gpt" {
        let verdict = tool("sgdisk", &["--verify", text]);
        assert!(verdict.contains("No problems found"), "{verdict}");
    }
    cut(&volume, MIB, size, &at("part"));
    check(kind, &at("part"));
    assert!(filesystem_size(kind, &at("part")) > (larger - 4) * MIB);
}

fn filesystem_size(kind: &str, file: &Path) -> u64 {
    let file = file.to_str().unwrap();
    let number = |text: &str, after: &str| -> u64 {
        let rest = &text[text.find(after).unwrap_or_else(|| panic!("{text}")) + after.len()..];
        let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap()
    };
    match kind {
        "xfs" => {
            let text = tool("xfs_db", &["-r", "-c", "sb 0", "-c", "p dblocks blocksize", file]);
            number(&text, "dblocks =") * number(&text, "blocksize =")
        }
        "btrfs" => number(&tool("btrfs", &["inspect-internal", "dump-super", file]), "\ntotal_bytes"),
        _ => {
            let text = tool("dumpe2fs", &["-h", file]);
            number(&text, "Block count:") * number(&text, "Block size:")
        }
    }
}

#[test]
fn ext4_on_gpt_grows() {
    grows("ext4", "gpt", 100, 300);
}

#[test]
fn ext3_on_mbr_grows() {
    grows("ext3", "dos", 60, 200);
}

#[test]
fn xfs_on_gpt_grows() {
    grows("xfs", "gpt", 300, 700);
}

#[test]
fn btrfs_on_mbr_grows() {
    grows("btrfs", "dos", 200, 500);
}

/// Swap behind the root goes to the end of the disk, whatever kind of partition it is in.
fn grows_past_swap(script: &str, swap_at: u64, number: u32) {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let root = tree(directory.path(), "/dev/sda1 / auto defaults 0 1\n");
    filesystem("ext4", &at("fs"), 60, &root);
    File::create(at("swap")).unwrap().set_len(8 * MIB).unwrap();
    tool("mkswap", &["-q", "-L", "swap1", at("swap").to_str().unwrap()]);
    disk(&at("image"), 72, script, &[(MIB, &at("fs")), (swap_at * 512, &at("swap"))]);
    let mut request = request(&[&at("image")]);
    request.disks[0].size = 200 * MIB;
    request.disks[0].grow = true;
    let outcome = run(&request);
    assert!(!codes(&outcome).contains(&"disk::cannot_grow"), "{:#?}", outcome.report.findings);
    let kinds: Vec<_> = outcome.report.recipe.edits.iter().map(|edit| &edit.kind).collect();
    assert!(matches!(kinds[0], EditKind::Move { .. }), "{kinds:?}");
    let parts = &outcome.report.disks[0].partitions;
    let root = parts.iter().find(|part| part.number == 1).unwrap();
    let swap = parts.iter().find(|part| part.number == number).unwrap();
    assert!(root.size > 185 * MIB && swap.offset + swap.size > 198 * MIB, "{parts:#?}");

    restore(&at("image"), &outcome.overlays[0], &at("volume"));
    let volume = at("volume");
    let verdict = tool("sfdisk", &["--verify", volume.to_str().unwrap()]);
    assert!(verdict.contains("No errors detected"), "{verdict}");
    let dump = tool("sfdisk", &["--dump", volume.to_str().unwrap()]);
    assert!(
        dump.contains(&format!("start={:>12}, size={:>12}", swap.offset / 512, swap.size / 512)),
        "{dump}"
    );
    cut(&volume, MIB, root.size, &at("part"));
    check("ext4", &at("part"));
    assert!(filesystem_size("ext4", &at("part")) > 185 * MIB);
    cut(&volume, swap.offset, swap.size, &at("moved"));
    let id = |file: &Path| tool("blkid", &["-p", "-o", "value", "-s", "UUID", file.to_str().unwrap()]);
    assert_eq!(id(&at("moved")), id(&at("swap")));
    let label = tool("swaplabel", &[at("moved").to_str().unwrap()]);
    assert!(label.contains("swap1"), "{label}");
}

#[test]
fn a_root_before_swap_grows() {
    grows_past_swap("label: dos\nstart=2048, size=122880\nstart=124928, size=16384, type=82\n", 124928, 2);
    grows_past_swap("label: gpt\nstart=2048, size=122880\nstart=124928, size=16384, type=swap\n", 124928, 2);
}

/// As Debian's installer leaves it: swap alone in an extended partition.
#[test]
fn a_root_before_logical_swap_grows() {
    let script = "label: dos\nstart=2048, size=122880\nstart=126974, size=16386, type=5\nstart=126976, size=16384, type=82\n";
    grows_past_swap(script, 126976, 5);
}
