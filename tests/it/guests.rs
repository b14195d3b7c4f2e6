//! Real guests boot from NVMe after preparation, and not before: a matrix of Debian's releases,
//! filesystems, boot loaders, initramfs generators and network stacks (`tests/guests/variants`).
//! A few that differ much are tested with every change, all of them by `make test-matrix`.

mod check;
mod crashed;
mod xen;

use std::path::Path;
use std::time::Instant;

use replant::model::{FirstBoot, GuestChanges, IdentityPolicy};

use crate::support::guests::{boot_disks_from_nvme, boot_disks_until, guest};
use crate::support::replant;
use check::{Disks, Untouched};

/// What becomes of a guest's disks as they are, then prepared: see [`check`].
#[track_caller]
fn boots_when_prepared(variant: &str, untouched: &Untouched) {
    let guest = guest(variant);
    let images = guest.vmdks();
    let firmware = guest.fact("FIRMWARE");
    let paths: Vec<&Path> = images.iter().map(std::path::PathBuf::as_path).collect();
    let mut times = Vec::new();
    let mut timed = |what: &str, since: Instant| {
        times.push(format!("{what} {:.0} s", since.elapsed().as_secs_f64()));
    };

    let since = Instant::now();
    check::untouched(|| boot_disks_from_nvme(&paths, &firmware), untouched);
    timed("untouched", since);

    let since = Instant::now();
    let disks = Disks::prepared(&images);
    timed("prepared", since);

    let since = Instant::now();
    check::comes_up(&guest, || boot_disks_from_nvme(&disks.paths(), &firmware));
    timed("booted", since);

    let since = Instant::now();
    disks.need_nothing_more();
    disks.are_clean(&guest);
    check::undone(&images);
    timed("checked", since);
    eprintln!("{variant}: {}", times.join(", "));
}

/// The guest of the quickstart.
#[test]
fn a_prepared_bios_ext4_guest_boots_from_nvme() {
    boots_when_prepared("bios-ext4", &Untouched::Fails("ALERT!"));
}

/// Its boot entry was in the NVRAM of the machine it comes from.
#[test]
fn a_prepared_uefi_xfs_guest_boots_from_nvme() {
    boots_when_prepared("uefi-xfs", &Untouched::Fails("UEFI Interactive Shell"));
}

#[test]
fn a_prepared_bios_btrfs_guest_boots_from_nvme() {
    boots_when_prepared("bios-btrfs", &Untouched::Fails("ALERT!"));
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
    check::comes_up(&guest, || boot_disks_from_nvme(&[&disk], "bios"));
}

macro_rules! matrix {
    ($($name:ident: $variant:literal, $untouched:expr;)*) => {$(
        #[test]
        #[ignore = "make test-matrix"]
        fn $name() {
            boots_when_prepared($variant, &$untouched);
        }
    )*};
}

matrix! {
    debian_11_on_lvm: "bios-lvm", Untouched::Fails("ALERT!");
    debian_11_on_old_xfs: "bios-xfs4", Untouched::Fails("Warning: /dev/disk/by-uuid/");
    debian_12_on_raid_1: "bios-raid1", Untouched::Fails("ALERT!");
    debian_12_on_jfs_with_a_second_disk: "bios-jfs", Untouched::Fails("ALERT!");
    debian_12_by_grub_legacy_and_its_init: "legacy-ext2", Untouched::Fails("ALERT!");
    debian_12_for_clouds: "cloud-ext4", Untouched::BootsAlone;
    debian_testing_by_uefi_in_many_partitions: "uefi-usr", Untouched::Fails("UEFI Interactive Shell");
    debian_testing_by_boot_loader_entries: "bls-btrfs", Untouched::Fails(r"devexists-\x2fdev\x2fsda3");
    debian_unstable_on_volumes_over_disks: "lvm-disks", Untouched::Fails(r"devexists-\x2fdev\x2fmapper\x2fsystem-root");
}

/// System V's init runs a `first_boot` script, and its SSH server has keys of its own.
#[test]
#[ignore = "make test-matrix"]
fn debian_12_by_its_init_runs_a_script_once() {
    let guest = guest("legacy-ext2");
    let script = b"#!/bin/sh\n\
        echo \"script has address: $(hostname -I)\"\n\
        echo \"script has keys: $(ls /etc/ssh/ssh_host_*_key | wc -l)\"\n\
        echo \"script has init: $(cat /proc/1/comm), $(grep -c first-boot /etc/inittab) of it\"\n";
    let changes = GuestChanges {
        identity: IdentityPolicy::New,
        first_boot: Some(FirstBoot { script: script.to_vec().into(), timeout: 60 }),
        ..GuestChanges::default()
    };
    let disks = Disks::changed(&guest.vmdks(), &changes);
    let ended = "replant: the first_boot script ended with code";
    let boot = check::comes_up(&guest, || boot_disks_until(&disks.paths(), "bios", ended));
    let shown = &boot.console;
    assert!(shown.contains("first_boot script ended with code 0"), "{shown}");
    assert!(shown.contains("script has address: 10.0.2.15"), "{shown}");
    assert!(shown.contains("script has keys: 3"), "{shown}");
    assert!(shown.contains("script has init: init, 0 of it"), "{shown}");
    disks.need_nothing_more();
    disks.are_clean(&guest);
}

/// Everything that a test needs is made by the builder; two at once make one guest.
#[test]
fn builders_side_by_side_make_one_guest() {
    let mine = std::thread::spawn(|| guest("bios-ext4").raw());
    assert_eq!(guest("bios-ext4").raw(), mine.join().unwrap());
    assert!(Path::new(&guest("bios-ext4").ova()).exists());
}
