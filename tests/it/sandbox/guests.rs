//! Small guests on real filesystems, made and judged by other people's tools.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use replant::image::Overlay;
use replant::image::overlay::OVERLAY_BLOCK;

pub const MIB: u64 = 1 << 20;

/// Runs a tool and gives what it printed; fails the test when the tool fails.
#[track_caller]
pub fn tool(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect(program);
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    text
}

/// A root directory with as little as a system needs to be found.
pub fn tree(directory: &Path, fstab: &str) -> PathBuf {
    let root = directory.join("tree");
    for path in ["etc", "lib/modules", "boot/efi", "usr/lib", "var"] {
        fs::create_dir_all(root.join(path)).unwrap();
    }
    fs::write(root.join("etc/os-release"), "ID=debian\nVERSION_ID=12\nPRETTY_NAME=\"Debian 12\"\n").unwrap();
    fs::write(root.join("etc/fstab"), fstab).unwrap();
    root
}

/// A root directory with a boot loader, a kernel whose initramfs lacks the driver of NVMe disks, and
/// the driver as a module.
pub fn bootable(directory: &Path, fstab: &str) -> PathBuf {
    const RELEASE: &str = "6.1.0-1-amd64";
    let root = tree(directory, fstab);
    let modules = root.join("lib/modules").join(RELEASE);
    let write = |path: PathBuf, content: &[u8]| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    write(
        modules.join("modules.dep"),
        b"kernel/nvme.ko: kernel/nvme-core.ko\nkernel/nvme-core.ko:\nkernel/ena.ko:\n",
    );
    for name in ["nvme", "nvme-core", "ena"] {
        write(modules.join(format!("kernel/{name}.ko")), &[7; 5000]);
    }
    let grub = format!(
        "menuentry 'x' {{\nlinux /vmlinuz-{RELEASE} root=/dev/mapper/x ro\ninitrd /initrd.img-{RELEASE}\n}}\n"
    );
    write(root.join("boot/grub/grub.cfg"), grub.as_bytes());
    write(root.join(format!("boot/vmlinuz-{RELEASE}")), b"kernel");
    let mut archive = replant::guest::linux::initramfs::newc::Writer::new();
    archive.directory("conf");
    archive.directory("conf/conf.d");
    archive.file("conf/initramfs.conf", 0o644, b"MODULES=dep\n");
    write(root.join(format!("boot/initrd.img-{RELEASE}")), &archive.finish());
    root
}

/// Makes a filesystem of `mib` MiB with a tree in it.
pub fn filesystem(kind: &str, file: &Path, mib: u64, tree: &Path) {
    File::create(file).unwrap().set_len(mib * MIB).unwrap();
    let (file, tree) = (file.to_str().unwrap(), tree.to_str().unwrap());
    match kind {
        "ext4" | "ext3" => {
            tool(&format!("mkfs.{kind}"), &["-q", "-d", tree, file]);
        }
        "btrfs" => {
            tool("mkfs.btrfs", &["-q", "--rootdir", tree, file]);
        }
        "xfs" => {
            let prototype = format!("{file}.proto");
            let mut text = "/\n0 0\nd--755 0 0\n".to_owned();
            describe(Path::new(tree), &mut text);
            text.push_str("$\n");
            fs::write(&prototype, text).unwrap();
            tool("mkfs.xfs", &["-q", "-p", &prototype, file]);
        }
        other => panic!("no {other} here"),
    }
}

/// The prototype file that mkfs.xfs fills a filesystem from (mkfs.xfs(8)).
fn describe(directory: &Path, text: &mut String) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            text.push_str(&format!("{name} d--755 0 0\n"));
            describe(&entry.path(), text);
            text.push_str("$\n");
        } else {
            text.push_str(&format!("{name} ---644 0 0 {}\n", entry.path().display()));
        }
    }
}

/// A raw disk of `mib` MiB, divided by sfdisk, with files copied to places.
pub fn disk(file: &Path, mib: u64, script: &str, parts: &[(u64, &Path)]) {
    let disk = File::create(file).unwrap();
    disk.set_len(mib * MIB).unwrap();
    if !script.is_empty() {
        use std::io::Write;
        let mut child = Command::new("sfdisk")
            .args(["-q", "--no-reread", "--no-tell-kernel"])
            .arg(file)
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }
    for (place, part) in parts {
        disk.write_all_at(&fs::read(part).unwrap(), *place).unwrap();
    }
}

/// What a volume holds after the image and then its overlay were written to it.
pub fn restore(image: &Path, overlay: &Overlay, to: &Path) {
    fs::copy(image, to).unwrap();
    let volume = File::options().write(true).open(to).unwrap();
    volume.set_len(overlay.size).unwrap();
    for (index, block) in &overlay.blocks {
        volume.write_all_at(block, index * OVERLAY_BLOCK).unwrap();
    }
}

/// Copies a part of a disk to a file of its own.
pub fn cut(disk: &Path, offset: u64, size: u64, to: &Path) {
    let mut bytes = vec![0; usize::try_from(size).unwrap()];
    File::open(disk).unwrap().read_exact_at(&mut bytes, offset).unwrap();
    fs::write(to, bytes).unwrap();
}

/// Lets the filesystem's own tool judge it.
#[track_caller]
pub fn check(kind: &str, file: &Path) {
    let file = file.to_str().unwrap();
    match kind {
        "ext4" | "ext3" => tool("e2fsck", &["-fn", file]),
        "xfs" => tool("xfs_repair", &["-n", file]),
        "btrfs" => tool("btrfs", &["check", file]),
        other => panic!("no {other} here"),
    };
}
