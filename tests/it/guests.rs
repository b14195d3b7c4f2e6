//! Real guests boot from NVMe after preparation, and not before.

use std::path::Path;

use crate::support::guests::{boot_disks_from_nvme, boot_from_nvme, guest};
use crate::support::replant;

/// Prepares a guest's VMDK onto a new disk and boots that.
#[track_caller]
fn boots_when_prepared(variant: &str) {
    let guest = guest(variant);
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let disk = directory.path().join("disk.raw");
    let image = guest.vmdk();
    replant(directory.path(), ["prepare".as_ref(), image.as_os_str(), "--write".as_ref(), disk.as_os_str()])
        .success();
    let boot = boot_from_nvme(&disk, &guest.fact("FIRMWARE"));
    assert_eq!(boot.verdict, "login", "{}", boot.console);
    let prompt = format!("{} login:", guest.fact("HOSTNAME"));
    assert!(boot.console.contains(&prompt), "{}", boot.console);
}

#[test]
fn an_untouched_guest_does_not_boot_from_nvme() {
    let guest = guest("bios-ext4");
    let boot = boot_from_nvme(&guest.vmdk(), "bios");
    assert_eq!(boot.verdict, "failed", "{}", boot.console);
    let missing = format!("ALERT!  UUID={} does not exist.", guest.fact("ROOT_UUID"));
    assert!(boot.console.contains(&missing), "{}", boot.console);
}

/// Its boot entry was in the NVRAM of the machine it comes from.
#[test]
fn an_untouched_uefi_guest_starts_nothing() {
    let boot = boot_from_nvme(&guest("uefi-xfs").vmdk(), "uefi");
    assert_eq!(boot.verdict, "failed", "{}", boot.console);
}

#[test]
fn a_prepared_bios_ext4_guest_boots_from_nvme() {
    boots_when_prepared("bios-ext4");
}

#[test]
fn a_prepared_uefi_xfs_guest_boots_from_nvme() {
    boots_when_prepared("uefi-xfs");
}

#[test]
fn a_prepared_bios_btrfs_guest_boots_from_nvme() {
    boots_when_prepared("bios-btrfs");
}

/// Debian on LVM, in a logical partition. Its root grows on the way, past nothing but air.
#[test]
fn a_prepared_lvm_guest_boots_from_nvme_larger() {
    let guest = guest("bios-lvm");
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let disk = directory.path().join("disk.raw");
    let image = guest.vmdk();
    let size = ["--size", "3", "--grow"].map(std::ffi::OsStr::new);
    let arguments = ["prepare".as_ref(), image.as_os_str(), "--write".as_ref(), disk.as_os_str()];
    let said = replant(directory.path(), arguments.into_iter().chain(size)).success().stdout;
    assert!(said.contains("logical volume web01-vg/root"), "{said}");
    let boot = boot_from_nvme(&disk, "bios");
    assert_eq!(boot.verdict, "login", "{}", boot.console);
}

#[test]
#[ignore = "make test-matrix"]
fn an_untouched_lvm_guest_does_not_boot_from_nvme() {
    let boot = boot_from_nvme(&guest("bios-lvm").vmdk(), "bios");
    assert_eq!(boot.verdict, "failed", "{}", boot.console);
}

/// Prepares both disks of a guest that does not boot untouched, and boots them.
fn boots_with_two_disks(variant: &str) -> String {
    let guest = guest(variant);
    let images = [guest.vmdk(), guest.second_vmdk()];
    let untouched = boot_disks_from_nvme(&[&images[0], &images[1]], "bios");
    assert_eq!(untouched.verdict, "failed", "{}", untouched.console);
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let disks = ["disk.raw", "disk2.raw"].map(|name| directory.path().join(name));
    let mut arguments = vec!["prepare".as_ref(), images[0].as_os_str(), images[1].as_os_str()];
    disks.iter().for_each(|disk| arguments.extend(["--write".as_ref(), disk.as_os_str()]));
    replant(directory.path(), arguments).success();
    let boot = boot_disks_from_nvme(&[&disks[0], &disks[1]], "bios");
    assert_eq!(boot.verdict, "login", "{}", boot.console);
    boot.console
}

/// Both members of the array are prepared alike: the guest finds it whole.
#[test]
#[ignore = "make test-matrix"]
fn a_prepared_raid_1_guest_boots_from_nvme() {
    let console = boots_with_two_disks("bios-raid1");
    assert!(console.contains("active with 2 out of 2 mirrors"), "{console}");
}

#[test]
#[ignore = "make test-matrix"]
fn a_prepared_jfs_guest_with_a_second_disk_boots_from_nvme() {
    boots_with_two_disks("bios-jfs");
}

/// Everything that a test needs is made by the builder; two at once make one guest.
#[test]
fn builders_side_by_side_make_one_guest() {
    let mine = std::thread::spawn(|| guest("bios-ext4").raw());
    assert_eq!(guest("bios-ext4").raw(), mine.join().unwrap());
    assert!(Path::new(&guest("bios-ext4").ova()).exists());
}
