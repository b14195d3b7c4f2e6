//! Real guests boot from NVMe after preparation, and not before.

use std::path::Path;

use crate::support::guests::{boot_from_nvme, guest};
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

/// Everything that a test needs is made by the builder; two at once make one guest.
#[test]
fn builders_side_by_side_make_one_guest() {
    let mine = std::thread::spawn(|| guest("bios-ext4").raw());
    assert_eq!(guest("bios-ext4").raw(), mine.join().unwrap());
    assert!(Path::new(&guest("bios-ext4").ova()).exists());
}
