//! Every root filesystem and layout: found, mounted, edited, clean afterwards by its own fsck.

use std::path::{Path, PathBuf};

use super::guests::{MIB, bootable, check, cut, disk, tool};
use super::lvm::{blocks, codes, prepared};
use super::machine::in_machine;
use super::{request, run};
use replant::model::Firmware;
use replant::sandbox::Outcome;

/// A disk with one partition of `mib` MiB that a script makes and fills; `$t` is the guest's tree,
/// `$d` the partition.
fn single(directory: &Path, mib: u64, fstab: &str, script: &str) -> PathBuf {
    let image = directory.join("image");
    let tree = bootable(directory, fstab);
    disk(&image, mib + 2, &format!("label: gpt\nstart=2048, size={}\n", mib * 2048), &[]);
    in_machine(&[&image], &format!("d=/dev/ubda1 t={}\n{script}", tree.display()));
    image
}

const FSTAB: &str = "/dev/sda1 / auto defaults 0 1\n";
const FILL: &str = "mount $d $m; cp -a $t/. $m/; sync; umount $m";

/// Prepares it and lets the filesystem's own tool judge it.
#[track_caller]
fn is_prepared(image: &Path, mib: u64, kind: &str) -> Outcome {
    let outcome = run(&request(&[image]));
    assert_eq!(
        outcome.report.facts.as_ref().map(|facts| facts.root_filesystem.as_str()),
        Some(kind),
        "{:#?}",
        outcome.report
    );
    let volumes = prepared(&outcome, &[image]);
    let part = image.with_extension("part");
    cut(&volumes[0], MIB, mib * MIB, &part);
    match kind {
        "jfs" => drop(tool("fsck.jfs", &["-n", "-f", part.to_str().unwrap()])),
        "ext2" => check("ext4", &part),
        kind => check(kind, &part),
    }
    outcome
}

#[test]
fn roots_on_jfs_ext2_and_old_xfs() {
    for (kind, mib, make) in [
        ("jfs", 40, "mkfs.jfs -q $d >/dev/null"),
        ("ext2", 40, "mkfs.ext2 -q $d"),
        ("xfs", 310, "mkfs.xfs -q -m crc=0 $d"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let image = single(directory.path(), mib, FSTAB, &format!("{make}; {FILL}"));
        is_prepared(&image, mib, kind);
    }
}

/// The power went, or the hypervisor took its snapshot, with the filesystem mounted.
#[test]
fn a_journal_that_is_not_replayed_is_replayed() {
    for (kind, mib, make) in
        [("ext4", 60, "mkfs.ext4 -q $d"), ("xfs", 310, "mkfs.xfs -q $d"), ("btrfs", 120, "mkfs.btrfs -q $d")]
    {
        let directory = tempfile::tempdir().unwrap();
        let crash = "mount $d $m; cp -a $t/. $m/; sync; echo later >$m/etc/later; sync $m/etc/later";
        let image = single(directory.path(), mib, FSTAB, &format!("{make}; {crash}"));
        if kind == "ext4" {
            cut(&image, MIB, mib * MIB, &directory.path().join("before"));
            let text = tool("dumpe2fs", &["-h", directory.path().join("before").to_str().unwrap()]);
            assert!(text.contains("needs_recovery"), "{text}");
        }
        is_prepared(&image, mib, kind);
    }
}

/// JFS's journal is replayed by nothing but its own fsck.
#[test]
fn a_jfs_that_was_mounted_is_replayed() {
    let directory = tempfile::tempdir().unwrap();
    let script = "mkfs.jfs -q $d >/dev/null; mount $d $m; cp -a $t/. $m/; echo late >$m/etc/late; sync";
    let image = single(directory.path(), 40, FSTAB, script);
    // As it is, the kernel refuses it.
    let refused =
        in_machine(&[&image], "if mount -t jfs /dev/ubda1 $m; then echo taken; else echo refused; fi");
    assert!(refused.contains("refused"), "{refused}");
    let outcome = is_prepared(&image, 40, "jfs");
    assert!(!blocks(&outcome), "{:#?}", outcome.report.findings);
    let volumes = prepared(&outcome, &[image.as_path()]);
    let read = in_machine(&[&volumes[0]], "mount -t jfs -o ro /dev/ubda1 $m; cat $m/etc/late; umount $m");
    assert!(read.contains("late"), "{read}");
}

/// What fsck cannot replay blocks, and nothing is written.
#[test]
fn a_jfs_with_a_destroyed_journal_is_a_finding() {
    let directory = tempfile::tempdir().unwrap();
    // Its superblock says where the journal is; both copies lose that.
    let script = "mkfs.jfs -q $d >/dev/null; mount $d $m; cp -a $t/. $m/; sync; umount $m
        for at in 32768 61440; do dd if=/dev/urandom of=$d bs=1 seek=$((at + 8)) count=128 conv=notrunc 2>/dev/null; done";
    let image = single(directory.path(), 40, FSTAB, script);
    let outcome = run(&request(&[&image]));
    assert!(blocks(&outcome), "{:#?}", outcome.report.findings);
    let finding = outcome.report.findings.iter().find(|finding| finding.code == "disk::cannot_mount");
    assert!(finding.unwrap().summary.contains("JFS"), "{finding:#?}");
    assert!(outcome.overlays[0].blocks.is_empty());
}

/// SUSE's layout: the root is a snapshot, which is the default subvolume; /var and GRUB's folder
/// are subvolumes of their own.
#[test]
fn btrfs_as_suse_lays_it_out() {
    let directory = tempfile::tempdir().unwrap();
    let fstab = "/dev/sda1 / btrfs defaults 0 0\n/dev/sda1 /var btrfs subvol=/@/var 0 0\n\
                 /dev/sda1 /boot/grub btrfs subvol=/@/boot/grub 0 0\n/dev/sda1 /.snapshots btrfs subvol=/@/.snapshots 0 0\n";
    let script = "mkfs.btrfs -q $d; mount $d $m; subvolumes $m/@ $m/@/var $m/@/.snapshots; mkdir $m/@/boot $m/@/.snapshots/1
        subvolumes $m/@/boot/grub $m/@/.snapshots/1/snapshot; s=$m/@/.snapshots/1/snapshot
        cp -a $t/. $s/; mv $s/boot/grub/* $m/@/boot/grub/; btrfs -q subvolume set-default $s; umount $m";
    let image = single(directory.path(), 130, fstab, script);
    let outcome = is_prepared(&image, 130, "btrfs");
    assert!(!outcome.report.facts.unwrap().kernels.is_empty(), "the menu is in a subvolume");
}

/// Fedora's layout: `root` and `home` at the top, /boot on a partition of its own.
#[test]
fn btrfs_as_fedora_lays_it_out_and_with_any_name() {
    for name in ["root", "fedora-40"] {
        let directory = tempfile::tempdir().unwrap();
        let fstab = format!("/dev/sda1 / btrfs subvol={name} 0 0\n/dev/sda1 /home btrfs subvol=home 0 0\n");
        let script = format!(
            "mkfs.btrfs -q $d; mount $d $m; mkdir $m/files; subvolumes $m/{name} $m/home; cp -a $t/. $m/{name}/; umount $m"
        );
        let image = single(directory.path(), 120, &fstab, &script);
        is_prepared(&image, 120, "btrfs");
    }
}

#[test]
fn btrfs_over_two_disks_is_prepared_and_with_parity_refused() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let tree = bootable(directory.path(), "/dev/sda / btrfs defaults 0 0\n");
    for (profile, disks) in [("raid1", 2), ("raid5", 3)] {
        let files: Vec<PathBuf> = (0..disks).map(|index| at(&format!("{profile}{index}"))).collect();
        files.iter().for_each(|file| disk(file, 200, "", &[]));
        let images: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
        in_machine(
            &images,
            &format!(
                "mkfs.btrfs -q -d {profile} -m raid1 /dev/ubd?; btrfs device scan >/dev/null; mount /dev/ubda $m; cp -a {}/. $m/; umount $m",
                tree.display()
            ),
        );
        let outcome = run(&request(&images));
        if profile == "raid5" {
            assert_eq!(codes(&outcome), ["disk::not_mounted"], "{:#?}", outcome.report.findings);
            assert!(outcome.report.facts.is_none());
            continue;
        }
        let volumes = prepared(&outcome, &images);
        let volumes: Vec<&Path> = volumes.iter().map(PathBuf::as_path).collect();
        in_machine(&volumes, "btrfs device scan >/dev/null; btrfs check /dev/ubda");
        // One of two devices: said, not mounted.
        assert!(codes(&run(&request(&images[..1]))).contains(&"disk::not_mounted"));
    }
}

/// No line of fstab names the EFI system partition: systemd mounts it by its type, or the line is
/// wrong. Where the guest starts, it is looked at and made to start.
#[test]
fn an_efi_system_partition_is_found_by_its_type() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let efi = at("EFI/debian");
    std::fs::create_dir_all(&efi).unwrap();
    std::fs::write(efi.join("grubx64.efi"), "a loader").unwrap();
    std::fs::File::create(at("esp")).unwrap().set_len(40 * MIB).unwrap();
    let esp = at("esp");
    tool("mkfs.vfat", &["-i", "5C4EB001", esp.to_str().unwrap()]);
    tool("mcopy", &["-s", "-i", esp.to_str().unwrap(), at("EFI").to_str().unwrap(), "::"]);
    let script = |label: &str, kind: &str| {
        format!("label: {label}\nstart=2048, size=81920, type={kind}\nstart=83968, size=81920\n")
    };
    for (label, kind, line) in
        [("gpt", "U", "UUID=0BAD-0BAD /boot/efi vfat umask=0077 0 1\n"), ("dos", "ef", "")]
    {
        let tree = bootable(directory.path(), &format!("/dev/sda2 / ext4 defaults 0 1\n{line}"));
        super::guests::filesystem("ext4", &at("ext4"), 40, &tree);
        disk(&at("disk"), 82, &script(label, kind), &[(MIB, &esp), (41 * MIB, &at("ext4"))]);
        let outcome = run(&request(&[&at("disk")]));
        let found = outcome.report.facts.as_ref().unwrap();
        assert_eq!((found.firmware, found.boots_either_firmware), (Firmware::Uefi, false), "{label}");
        assert!(codes(&outcome).contains(&"disk::efi_unlisted"), "{:#?}", outcome.report.findings);
        assert!(!codes(&outcome).contains(&"guest::boot_code_unknown"));
        let volumes = prepared(&outcome, &[&at("disk")]);
        cut(&volumes[0], MIB, 40 * MIB, &at("after"));
        let after = at("after");
        let loader = tool("mtype", &["-i", after.to_str().unwrap(), "::EFI/BOOT/BOOTX64.EFI"]);
        assert_eq!(loader, "a loader");
        tool("fsck.vfat", &["-n", after.to_str().unwrap()]);
        std::fs::remove_dir_all(tree).unwrap();
    }
}

/// What is not prepared is said, with what to do.
#[test]
fn other_systems_and_encryption_are_findings() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::fs::File::create(at("ntfs")).unwrap().set_len(20 * MIB).unwrap();
    tool("mkntfs", &["-F", "-Q", "-q", at("ntfs").to_str().unwrap()]);
    let tree = bootable(directory.path(), "/dev/sda2 / ext4 defaults 0 1\n");
    super::guests::filesystem("ext4", &at("ext4"), 40, &tree);
    let script = "label: dos\nstart=2048, size=40960, type=7\nstart=43008, size=81920\n";
    disk(&at("dual"), 64, script, &[(MIB, &at("ntfs")), (21 * MIB, &at("ext4"))]);
    let outcome = run(&request(&[&at("dual")]));
    assert!(codes(&outcome).contains(&"disk::dual_boot") && !blocks(&outcome), "{:#?}", outcome.report);
    assert!(!outcome.report.recipe.edits.is_empty());
    let both = outcome.report.findings.iter().find(|found| found.code == "disk::dual_boot").unwrap();
    assert!(both.advice.as_ref().unwrap().contains("Make Linux the default"));
    // It is the loader's menu that decides: Windows first, and nobody is there to choose.
    let menu = tree.join("boot/grub/grub.cfg");
    let linux = std::fs::read_to_string(&menu).unwrap();
    let windows = "menuentry 'Windows' {\n\tinsmod ntfs\n\tset root='hd0,msdos1'\n\tchainloader +1\n}\n";
    std::fs::write(&menu, format!("{windows}{linux}")).unwrap();
    super::guests::filesystem("ext4", &at("ext4"), 40, &tree);
    disk(&at("dual"), 64, script, &[(MIB, &at("ntfs")), (21 * MIB, &at("ext4"))]);
    let outcome = run(&request(&[&at("dual")]));
    assert!(codes(&outcome).contains(&"guest::other_system_default") && blocks(&outcome));
    std::fs::write(&menu, linux).unwrap();

    disk(&at("dynamic"), 64, "label: dos\nstart=2048, size=81920, type=42\n", &[(MIB, &at("ntfs"))]);
    let outcome = run(&request(&[&at("dynamic")]));
    assert_eq!(codes(&outcome), ["disk::dynamic_disk"]);
    assert!(blocks(&outcome) && outcome.report.findings[0].advice.is_some());
    // On GPT: the database, and all the volumes in one partition.
    let script = "label: gpt\nstart=2048, size=2048, type=5808C8AA-7E8F-42E0-85D2-E1E90434CFB3\nstart=4096, size=40960, type=AF9B60A0-1431-4F62-BC68-3311714A69AD\n";
    disk(&at("gpt"), 64, script, &[(2 * MIB, &at("ntfs"))]);
    let outcome = run(&request(&[&at("gpt")]));
    assert!(codes(&outcome).iter().all(|code| *code == "disk::dynamic_disk") && blocks(&outcome));
    // BitLocker leaves the boot sector's shape, with a name of its own in it.
    let mut sealed = std::fs::read(at("ntfs")).unwrap();
    sealed[3..11].copy_from_slice(b"-FVE-FS-");
    std::fs::write(at("sealed"), sealed).unwrap();
    disk(&at("bitlocker"), 64, "label: dos\nstart=2048, size=40960, type=7\n", &[(MIB, &at("sealed"))]);
    let outcome = run(&request(&[&at("bitlocker")]));
    assert_eq!(codes(&outcome), ["disk::encrypted"]);
    assert!(outcome.report.findings[0].advice.as_ref().unwrap().contains("manage-bde -off"));
}

/// What cryptsetup makes: the root beside a plain /boot, and data beside a plain root.
#[test]
fn a_luks_root_blocks_and_luks_data_warns() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let tree = bootable(directory.path(), "/dev/sda1 / ext4 defaults 0 1\n");
    // A mapped root that is nowhere to be seen would be inside of what is encrypted.
    let menu = tree.join("boot/grub/grub.cfg");
    let plain = std::fs::read_to_string(&menu).unwrap().replace("root=/dev/mapper/x", "root=/dev/sda1");
    std::fs::write(&menu, plain).unwrap();
    super::guests::filesystem("ext4", &at("ext4"), 40, &tree);
    super::guests::filesystem("ext4", &at("boot"), 40, &tree.join("boot"));
    std::fs::write(at("key"), "secret").unwrap();
    for version in ["luks1", "luks2"] {
        std::fs::File::create(at(version)).unwrap().set_len(20 * MIB).unwrap();
        let file = at(version);
        let options =
            ["--batch-mode", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--type", version];
        let key = at("key");
        let names = [file.to_str().unwrap(), key.to_str().unwrap()];
        tool("cryptsetup", &[&["luksFormat"][..], &options, &names].concat());
        let script = "label: dos\nstart=2048, size=81920, bootable\nstart=83968, size=40960\n";
        disk(&at("root"), 64, script, &[(MIB, &at("boot")), (41 * MIB, &file)]);
        let outcome = run(&request(&[&at("root")]));
        let encrypted = outcome.report.findings.iter().find(|found| found.code == "disk::encrypted");
        let encrypted = encrypted.unwrap_or_else(|| panic!("{:#?}", outcome.report.findings));
        assert!(blocks(&outcome) && encrypted.evidence[0].contains("partition 2"), "{encrypted:?}");
        let advice = encrypted.advice.as_ref().unwrap();
        assert!(advice.contains("serial console") && advice.contains("drivers = \"none\""), "{advice}");

        disk(&at("data"), 64, script, &[(MIB, &at("ext4")), (41 * MIB, &file)]);
        let outcome = run(&request(&[&at("data")]));
        assert!(codes(&outcome).contains(&"guest::luks") && !blocks(&outcome), "{:#?}", outcome.report);
        assert!(!outcome.report.recipe.edits.is_empty());
    }
}
