//! The same trees on real filesystems of a partitioned disk, through the commands and the whole
//! sandbox: what is done is what was read in the snapshots, a second time there is nothing to do,
//! and each filesystem is clean by its own fsck.

use std::path::{Path, PathBuf};

use replant::guest::report::{DiskFacts, FileDiff, Report};
use replant::model::{Firmware, Hypervisor};

use super::kit::{build, disk, run, shown};
use super::{red_hat, suse, ubuntu};
use crate::sandbox::guests::{MIB, check, cut, disk as divided, tool};
use crate::sandbox::machine::in_machine;
use crate::support::replant;

/// One partition of the disk: its size in MiB, and how it is made and filled. `$d` is its device,
/// `$t` the tree, `$u` its UUID.
struct Part {
    mib: u64,
    kind: &'static str,
    make: &'static str,
}

/// A disk of partitions one after the other; those of `vfat` are made by mtools, since they are
/// small and simple.
fn image(directory: &Path, tree: &Path, facts: &[DiskFacts], parts: &[Part]) -> PathBuf {
    let image = directory.join("image");
    let mut script = "label: gpt\n".to_owned();
    let (mut start, mut placed, mut machine) = (1, Vec::new(), format!("t={}\n", tree.display()));
    for (index, (part, facts)) in parts.iter().zip(&facts[0].partitions).enumerate() {
        let kind = match part.kind {
            "bios-grub" => "21686148-6449-6E6F-744E-656564454649",
            "vfat" => "U",
            "swap" => "S",
            _ => "L",
        };
        script.push_str(&format!("start={}, size={}, type={kind}\n", start * 2048, part.mib * 2048));
        let uuid = facts.uuid.clone().unwrap_or_default();
        if part.kind == "vfat" {
            let file = directory.join("esp");
            std::fs::File::create(&file).unwrap().set_len(part.mib * MIB).unwrap();
            tool("mkfs.vfat", &["-i", &uuid.replace('-', ""), file.to_str().unwrap()]);
            let content = tree.join("boot/efi/EFI");
            tool("mcopy", &["-s", "-i", file.to_str().unwrap(), content.to_str().unwrap(), "::"]);
            std::fs::remove_dir_all(content).unwrap();
            placed.push((start * MIB, file));
        }
        machine.push_str(&format!("d=/dev/ubda{} u={uuid}\n{}\n", index + 1, part.make));
        start += part.mib;
    }
    let placed: Vec<(u64, &Path)> = placed.iter().map(|(place, file)| (*place, file.as_path())).collect();
    divided(&image, start + 1, &script, &placed);
    in_machine(&[&image], &machine);
    image
}

/// `replant prepare --json`: the report.
fn report(directory: &Path, arguments: &[&str]) -> Report {
    let said = replant(directory, arguments).success().stdout;
    let value: serde_json::Value = serde_json::from_str(&said).unwrap();
    let report = value.get("report").cloned().unwrap_or(value);
    serde_json::from_value(report).unwrap()
}

fn texts(diffs: &[FileDiff]) -> Vec<String> {
    diffs.iter().map(shown).collect()
}

/// Prepares a tree on a plain directory and on a real disk, and compares.
fn same_as_in_a_directory(script: &str, facts: &[DiskFacts], parts: &[Part]) -> Report {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let tree = directory.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    build(&tree, script, facts);
    let expected = run(&tree, facts, Hypervisor::Nitro, false);
    let image = image(directory.path(), &tree, facts, parts);
    let image = image.to_str().unwrap();
    let disk = directory.path().join("disk.raw");
    let inspected = report(directory.path(), &["inspect", image, "--format", "raw", "--json"]);
    let prepared = report(directory.path(), &["prepare", image, "--format", "raw", "--json"]);
    assert_eq!(inspected.facts, prepared.facts);
    assert_eq!(texts(&prepared.diffs), texts(&expected.diffs), "{:#?}", prepared.findings);
    replant(directory.path(), ["prepare", image, "--format", "raw", "--write", disk.to_str().unwrap()])
        .success();
    let again = report(directory.path(), &["prepare", disk.to_str().unwrap(), "--format", "raw", "--json"]);
    assert_eq!(again.recipe.edits, []);
    let mut start = 1;
    for part in parts {
        if ["ext4", "xfs", "btrfs"].contains(&part.kind) {
            let file = directory.path().join("part");
            cut(&disk, start * MIB, part.mib * MIB, &file);
            check(part.kind, &file);
        }
        start += part.mib;
    }
    prepared
}

/// ext4, and the EFI system partition.
#[test]
fn ubuntu_22_04_on_ext4() {
    let parts = [
        Part { mib: 40, kind: "vfat", make: "" },
        Part { mib: 80, kind: "ext4", make: "mkfs.ext4 -q -U $u $d; mount $d $m; cp -a $t/. $m/; umount $m" },
    ];
    let facts = disk(&[(1, "vfat", "/boot/efi"), (2, "ext4", "/")]);
    same_as_in_a_directory(&ubuntu::ubuntu_22(), &facts, &parts);
}

/// XFS, /boot on ext4 of its own, boot loader specification entries on it.
#[test]
fn rocky_9_on_xfs() {
    let parts = [
        Part { mib: 1, kind: "bios-grub", make: "" },
        Part {
            mib: 40,
            kind: "ext4",
            make: "mkfs.ext4 -q -U $u $d; mount $d $m; cp -a $t/boot/. $m/; umount $m",
        },
        Part {
            mib: 320,
            kind: "xfs",
            make: "mkfs.xfs -q -m uuid=$u $d; mount $d $m; cp -a $t/. $m/; rm -rf $m/boot/*; setfattr -n security.selinux -v system_u:object_r:etc_t:s0 $m/etc; umount $m",
        },
    ];
    // The tree is seen through a filesystem that has no labels.
    let facts = disk(&[(1, "bios-grub", ""), (2, "ext4", "/boot"), (3, "xfs", "/")]);
    same_as_in_a_directory(&format!("{}{}", red_hat::COMMON, red_hat::ROCKY_9), &facts, &parts);
}

/// SUSE's subvolumes: the root is a snapshot, the default subvolume.
#[test]
fn sles_15_on_btrfs() {
    let parts = [
        Part { mib: 40, kind: "vfat", make: "" },
        Part {
            mib: 130,
            kind: "btrfs",
            make: "mkfs.btrfs -q -U $u $d; mount $d $m; subvolumes $m/@ $m/@/var $m/@/.snapshots; mkdir -p $m/@/.snapshots/1 $m/@/boot/grub2
                subvolumes $m/@/boot/grub2/i386-pc $m/@/boot/grub2/x86_64-efi
                s=$m/@/.snapshots/1/snapshot; subvolumes $s; cp -a $t/. $s/; mv $s/boot/grub2/x86_64-efi/* $m/@/boot/grub2/x86_64-efi/; btrfs -q subvolume set-default $s; umount $m",
        },
        Part { mib: 8, kind: "swap", make: "mkswap -q -U $u $d" },
    ];
    let facts = disk(&[(1, "vfat", "/boot/efi"), (2, "btrfs", "/"), (3, "swap", "")]);
    let found = same_as_in_a_directory(&suse::sles_15(), &facts, &parts);
    let found = found.facts.unwrap();
    assert_eq!((found.firmware, found.boots_either_firmware), (Firmware::Uefi, false));
}
