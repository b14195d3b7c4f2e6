//! How much work a preparation is, counted in bytes that are read: time would depend on the machine.

use std::path::Path;

use replant::guest::report::{EditKind, Report};
use replant::model::Hypervisor;

use super::distributions::kit::{build, disk, run};

/// A guest of Rocky's with three kernels, each with an initramfs of some MB: what does not compress
/// outweighs all else that is read, and what compresses makes unpacking the larger part of the work.
const SCRIPT: &str = r##"
os_release rocky 9.4 "Rocky Linux 9.4 (Blue Onyx)" "rhel centos fedora"
merged; systemd; shadow; on NetworkManager.service sshd.service
mkdir .initramfs; head -c 6000000 /dev/urandom > .initramfs/firmware; head -c 20000000 /dev/zero > .initramfs/zeros
put etc/fstab <<<"UUID=$U1 / ext4 defaults 0 1"
grub_header 0 | put boot/grub2/grub.cfg
for N in 1 2 3; do
  R=5.14.0-$N.el9.x86_64
  modules $R .ko "cat"; vmlinuz boot/vmlinuz-$R $R
  dracut $R .ko boot/initramfs-$R.img "gzip -n -1"
  entry "Rocky $R" $R linux /boot/vmlinuz-$R "root=UUID=$U1 ro" initrd /boot/initramfs-$R.img $U1 >> boot/grub2/grub.cfg
done
rm -r .initramfs
"##;

/// Bytes that this thread has read so far by system calls (proc(5), `/proc/PID/io`).
fn read_so_far() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    text.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

fn reading(work: impl FnOnce() -> Report) -> (Report, f64) {
    let before = read_so_far();
    let report = work();
    (report, (read_so_far() - before) as f64)
}

fn length(root: &Path) -> u64 {
    let archives = std::fs::read_dir(root.join("boot")).unwrap().map(Result::unwrap);
    let archives = archives.filter(|entry| entry.file_name().to_string_lossy().starts_with("initramfs"));
    archives.map(|entry| entry.metadata().unwrap().len()).sum()
}

/// Each archive is unpacked once, when the guest is looked at, and once more only read, for its
/// digest, when the addition is behind it: a pass more would be seen here.
#[test]
fn three_kernels_are_unpacked_once_and_read_twice() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let disks = disk(&[(1, "ext4", "/")]);
    build(root, SCRIPT, &disks);
    let archives = length(root) as f64;
    assert!(archives > 18e6);

    let (looked, read) = reading(|| run(root, &disks, Hypervisor::Nitro, false));
    assert_eq!(looked.facts.unwrap().kernels.len(), 3);
    let passes = read / archives;
    assert!((1.0..1.2).contains(&passes), "{passes} passes over the archives to look at them");

    let (prepared, read) = reading(|| run(root, &disks, Hypervisor::Nitro, true));
    let extended =
        prepared.recipe.edits.iter().filter(|edit| {
            edit.path.contains("initramfs-") && matches!(edit.kind, EditKind::AppendFile { .. })
        });
    assert_eq!(extended.count(), 3, "{:#?}", prepared.recipe.edits);
    let passes = read / archives;
    assert!((2.0..2.2).contains(&passes), "{passes} passes over the archives to prepare them");
}
