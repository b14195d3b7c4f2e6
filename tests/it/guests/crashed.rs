//! Crash-consistent images: the filesystem was mounted and written to when it was copied.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::check::{self, Disks};
use crate::sandbox::machine::in_machine;
use crate::support::guests::{Guest, boot_from_nvme, guest};

/// A copy of the guest's disk as a snapshot sees it whose power fails: a file is there for those
/// only who replay the journal, and others were being written.
fn crashed(guest: &Guest, root: &str, directory: &Path) -> PathBuf {
    let image = directory.join("crashed.raw");
    let copied = Command::new("cp").arg("--sparse=always").arg(guest.raw()).arg(&image).status().unwrap();
    assert!(copied.success());
    std::fs::set_permissions(&image, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    // The machine is switched off in the midst of it, without a word to its kernel.
    in_machine(
        &[&image],
        &format!(
            "mount {root} $m; sync
             for i in $(seq 300); do echo $i >$m/root/before-$i; done
             rm $m/root/before-1*; echo 'written last' >$m/root/journalled; sync $m/root/journalled
             (while :; do echo more >>$m/root/being-written; done) &
             sleep 0.3; touch $(dirname $0)/done
             perl -e 'syscall(169, 0xfee1dead, 672274793, 0x4321fedc, 0)'"
        ),
    );
    image
}

/// Prepared, it is clean, the file is there, and it boots when that is wanted.
fn is_prepared(variant: &str, root: &str, dirty: &str, boots: bool) {
    let guest = guest(variant);
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let image = crashed(&guest, root, directory.path());
    in_machine(&[&image], dirty);
    let disks = Disks::prepared(&[image]);
    if boots {
        check::comes_up(&guest, || boot_from_nvme(disks.paths()[0], &guest.fact("FIRMWARE")));
    }
    disks.need_nothing_more();
    disks.are_clean(&guest);
    let read = format!("mount -o ro {root} $m; cat $m/root/journalled; ls $m/root; umount $m");
    let there = in_machine(&disks.paths(), &read);
    assert!(there.contains("written last") && there.contains("before-300"), "{there}");
    assert!(!there.contains("before-100"), "{there}");
}

/// The journal has to be replayed, and without it the file is not there.
const EXT4: &str = "dumpe2fs -h /dev/ubda1 2>/dev/null | grep needs_recovery
    if debugfs -R 'cat /root/journalled' /dev/ubda1 2>/dev/null | grep written; then exit 1; fi";
/// `xfs_repair -n` will not look at it without its log (2 says so in `xfs_repair(8)`).
const XFS: &str = "status=0; xfs_repair -n /dev/ubda2 || status=$?; [ $status = 2 ] ||
    { mount -o ro,norecovery /dev/ubda2 $m; [ ! -e $m/root/journalled ]; umount $m; }";

#[test]
fn a_crashed_ext4_is_replayed() {
    is_prepared("bios-ext4", "/dev/ubda1", EXT4, false);
}

#[test]
fn a_crashed_xfs_is_replayed() {
    is_prepared("uefi-xfs", "/dev/ubda2", XFS, false);
}

#[test]
#[ignore = "make test-matrix"]
fn a_crashed_ext4_guest_boots_from_nvme() {
    is_prepared("bios-ext4", "/dev/ubda1", EXT4, true);
}

#[test]
#[ignore = "make test-matrix"]
fn a_crashed_xfs_guest_boots_from_nvme() {
    is_prepared("uefi-xfs", "/dev/ubda2", XFS, true);
}
