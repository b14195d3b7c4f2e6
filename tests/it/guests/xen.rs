//! A guest on Xen, where disks are `xvda` and nothing else: what EC2's older instance types have.

use std::path::Path;

use super::check::{self, Untouched};
use crate::sandbox::machine::in_machine;
use crate::support::guests::{Boot, boot_from_xvda, guest};
use crate::support::replant;

/// Boots what GRUB would on this disk: Xen is handed the kernel, its initramfs and the arguments.
fn boot(disk: &Path, kernel: &str) -> Boot {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let to = directory.path().display();
    // A copy: a kernel that mounts it may write to it.
    let said = in_machine(
        &[disk],
        &format!(
            "mount -o ro,noload /dev/ubda1 $m; cp $m/boot/vmlinuz-{kernel} {to}/kernel
             cp $m/boot/initrd.img-{kernel} {to}/initramfs; grep -m 1 '^[[:space:]]*linux' $m/boot/grub/grub.cfg; umount $m"
        ),
    );
    // linux /boot/vmlinuz-… root=… ro …; a paravirtualized guest has no serial port.
    let line = said.lines().find(|line| line.trim_start().starts_with("linux")).unwrap();
    let arguments: Vec<&str> = line.split_whitespace().skip(2).collect();
    let arguments = format!("{} console=hvc0", arguments.join(" "));
    let at = |name: &str| directory.path().join(name);
    boot_from_xvda(disk, &at("kernel"), &at("initramfs"), &arguments)
}

#[test]
#[ignore = "make test-matrix"]
fn a_guest_boots_from_xvda_when_prepared_and_not_before() {
    let since = std::time::Instant::now();
    let guest = guest("bios-ext4");
    let kernel = guest.fact("KERNEL");
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let disk = directory.path().join("disk.raw");
    let copied = std::process::Command::new("cp").arg("--sparse=always").arg(guest.raw()).arg(&disk).status();
    assert!(copied.unwrap().success());
    std::fs::set_permissions(&disk, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    check::untouched(|| boot(&disk, &kernel), &Untouched::Fails("ALERT!"));

    let image = guest.vmdk();
    let mut arguments = vec!["prepare".as_ref(), image.as_os_str(), "--write".as_ref(), disk.as_os_str()];
    arguments.extend(["--force", "--hypervisor", "xen"].map(std::ffi::OsStr::new));
    replant(directory.path(), arguments).success();
    let booted = check::comes_up(&guest, || boot(&disk, &kernel));
    assert!(booted.said("swap").unwrap().starts_with("/dev/xvda"), "{}", booted.console);
    eprintln!("bios-ext4 on Xen: untouched and prepared {:.0} s", since.elapsed().as_secs_f64());
}
