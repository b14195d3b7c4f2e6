//! Small guests that really boot: Debian's cloud kernel (NVMe built in) with a busybox, under GRUB.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Prints what disks the guest sees, shows a login prompt, and powers off when the button is
/// pressed.
const INIT: &str = r#"#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in scsi_common scsi_mod libata ata_piix sd_mod button evdev; do insmod /modules/$module.ko; done
for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do [ -d /sys/block/sda ] || [ -d /sys/block/nvme0n1 ] || sleep 0.2; done
for controller in /sys/bus/pci/devices/*; do echo "controller $(cat $controller/class)"; done
for disk in /sys/block/nvme*n1; do
  [ -d $disk ] && echo "disk $(basename $disk) serial $(cat $disk/device/serial)"
done
for disk in /sys/block/sd*; do
  [ -d $disk ] && echo "disk $(basename $disk) serial $(tail -c 20 $disk/device/vpd_pg80)"
done
[ -d /sys/firmware/efi ] && echo "firmware uefi" || echo "firmware bios"
if grep -q replant.poweroff /proc/cmdline; then poweroff -f; fi
for event in /dev/input/event*; do
  (dd if=$event of=/dev/null bs=24 count=1 2>/dev/null && echo "power button" && poweroff -f) &
done
echo
echo "guest login: "
while true; do sleep 1000; done
"#;

/// How the guest is to end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guest {
    /// It reaches its login prompt.
    Bios,
    /// The same, booted by UEFI.
    Uefi,
    /// Its kernel is given no initramfs and a root disk that is not there.
    NoRoot,
    /// It powers itself off before it is up.
    PowersOff,
}

/// A raw image with that guest, made once for all tests of this process.
pub fn image(guest: Guest) -> &'static Path {
    static IMAGES: [OnceLock<PathBuf>; 4] = [const { OnceLock::new() }; 4];
    IMAGES[guest as usize].get_or_init(|| make(guest))
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The kernel's package, unpacked; fetched from Debian's mirror once for this build directory.
fn kernel() -> &'static Path {
    static KERNEL: OnceLock<PathBuf> = OnceLock::new();
    KERNEL.get_or_init(|| {
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cloud-kernel");
        fs::create_dir_all(&cache).unwrap();
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(cache.join("lock")).unwrap();
        lock.lock().unwrap();
        let unpacked = cache.join("unpacked");
        if !unpacked.exists() {
            let depends =
                Command::new("apt-cache").args(["depends", "linux-image-cloud-amd64"]).output().unwrap();
            let depends = String::from_utf8(depends.stdout).unwrap();
            let package = depends
                .split_whitespace()
                .find(|word| word.starts_with("linux-image-6"))
                .expect("apt knows no linux-image-cloud-amd64: run apt-get update");
            run(Command::new("apt-get").args(["download", package]).current_dir(&cache));
            let archive = fs::read_dir(&cache)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
                .unwrap();
            let partial = cache.join("partial");
            run(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&partial));
            fs::rename(&partial, &unpacked).unwrap();
            fs::remove_file(&archive).unwrap();
        }
        unpacked
    })
}

fn find(directory: &Path, name: &str) -> Option<PathBuf> {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let file_name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !path.is_symlink() {
            if let Some(found) = find(&path, name) {
                return Some(found);
            }
        } else if file_name.starts_with(name) {
            return Some(path);
        }
    }
    None
}

fn initramfs(directory: &Path) -> PathBuf {
    let root = directory.join("root");
    for name in ["bin", "proc", "sys", "dev", "modules"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    fs::write(root.join("init"), INIT).unwrap();
    fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755)).unwrap();
    for module in ["scsi_common", "scsi_mod", "libata", "ata_piix", "sd_mod", "button", "evdev"] {
        let name = format!("{module}.ko");
        let found = find(&kernel().join("lib/modules"), &name).unwrap_or_else(|| panic!("no {name}"));
        fs::copy(found, root.join("modules").join(name)).unwrap();
    }
    let initramfs = directory.join("initramfs");
    run(Command::new("sh")
        .args(["-c", "find . | cpio -o -H newc --quiet | gzip -1 > \"$0\""])
        .arg(&initramfs)
        .current_dir(&root));
    initramfs
}

fn make(guest: Guest) -> PathBuf {
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let directory = scratch.path();
    let files = directory.join("files");
    fs::create_dir(&files).unwrap();
    fs::copy(find(&kernel().join("boot"), "vmlinuz").unwrap(), files.join("vmlinuz")).unwrap();
    fs::copy(initramfs(directory), files.join("initramfs")).unwrap();
    let arguments = match guest {
        Guest::Bios | Guest::Uefi => "",
        Guest::NoRoot => "root=/dev/sda1",
        Guest::PowersOff => "replant.poweroff",
    };
    let initrd = if guest == Guest::NoRoot { "" } else { "initrd /initramfs\n" };
    let configuration = directory.join("grub.cfg");
    fs::write(
        &configuration,
        format!(
            "search --file --set=root /initramfs\n\
             linux /vmlinuz console=ttyS0,115200n8 quiet loglevel=3 {arguments}\n{initrd}boot\n"
        ),
    )
    .unwrap();
    let image = directory.join("image");
    match guest {
        Guest::Uefi => uefi(directory, &configuration, &image),
        _ => bios(directory, &configuration, &image),
    }
    // The scratch directory goes; the image stays for this process.
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("guest-{}.raw", guest as usize));
    let mine = kept.with_extension(std::process::id().to_string());
    fs::rename(image, &mine).unwrap();
    fs::rename(mine, &kept).unwrap();
    kept
}

/// One MBR partition from 1 MiB on; GRUB's core in the gap before it, as grub-install puts it.
fn bios(directory: &Path, configuration: &Path, image: &Path) {
    let filesystem = directory.join("ext2");
    File::create(&filesystem).unwrap().set_len(47 << 20).unwrap();
    run(Command::new("mke2fs")
        .args(["-q", "-t", "ext2", "-d"])
        .arg(directory.join("files"))
        .arg(&filesystem));
    File::create(image).unwrap().set_len(48 << 20).unwrap();
    table(image, "2048,,83,*\n");
    dd(&filesystem, image, 2048, &[]);
    let core = directory.join("core.img");
    run(Command::new("grub-mkimage")
        .args(["-O", "i386-pc", "-p", "/", "-c"])
        .arg(configuration)
        .arg("-o")
        .arg(&core)
        .args(["biosdisk", "part_msdos", "ext2", "linux", "search", "normal"]));
    dd(Path::new("/usr/lib/grub/i386-pc/boot.img"), image, 0, &["bs=440", "count=1"]);
    dd(&core, image, 1, &[]);
}

/// A GPT with an EFI system partition that holds everything.
fn uefi(directory: &Path, configuration: &Path, image: &Path) {
    let filesystem = directory.join("esp");
    File::create(&filesystem).unwrap().set_len(46 << 20).unwrap();
    run(Command::new("mkfs.vfat").arg(&filesystem));
    let loader = directory.join("BOOTX64.EFI");
    run(Command::new("grub-mkimage")
        .args(["-O", "x86_64-efi", "-p", "/", "-c"])
        .arg(configuration)
        .arg("-o")
        .arg(&loader)
        .args(["part_gpt", "fat", "linux", "search", "normal", "efi_gop"]));
    run(Command::new("mmd").arg("-i").arg(&filesystem).args(["::EFI", "::EFI/BOOT"]));
    run(Command::new("mcopy").arg("-i").arg(&filesystem).arg(&loader).arg("::EFI/BOOT/"));
    for name in ["vmlinuz", "initramfs"] {
        run(Command::new("mcopy")
            .arg("-i")
            .arg(&filesystem)
            .arg(directory.join("files").join(name))
            .arg("::"));
    }
    File::create(image).unwrap().set_len(48 << 20).unwrap();
    table(image, "label: gpt\n2048,94208,U\n");
    dd(&filesystem, image, 2048, &[]);
}

fn table(image: &Path, script: &str) {
    let path = image.with_extension("sfdisk");
    fs::write(&path, script).unwrap();
    let output =
        Command::new("sfdisk").arg("-q").arg(image).stdin(File::open(&path).unwrap()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Copies a file to a sector of another; holes stay holes.
pub fn dd(from: &Path, to: &Path, sector: u64, more: &[&str]) {
    run(Command::new("dd")
        .arg(format!("if={}", from.display()))
        .arg(format!("of={}", to.display()))
        .args(["conv=notrunc,sparse", "status=none", "oflag=seek_bytes"])
        .arg(format!("seek={}", sector * 512))
        .args(if more.is_empty() { &["bs=64K"] } else { more }));
}
