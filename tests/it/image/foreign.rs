//! Files that are no image that can be read: what they are, and a command that works.

use std::fs;
use std::path::Path;
use std::process::Command;

use replant::diagnostic::Diagnostic;
use replant::image::{ImageError, OpenOptions, open};

use super::fixture::{opened, raw_disk, run, text};

fn refused(path: &Path) -> (ImageError, Diagnostic) {
    let error = open(path, &OpenOptions::default()).unwrap_err();
    let diagnostic = error.diagnostic();
    (error, diagnostic)
}

fn command(diagnostic: &Diagnostic) -> String {
    let lines = diagnostic.help.iter().flat_map(|help| help.lines().skip(1));
    lines.last().unwrap_or_default().to_owned()
}

/// The command that is given is run as it stands, and what it makes is the disk.
#[test]
fn the_commands_for_formats_of_qemu_work() {
    let directory = tempfile::tempdir().unwrap();
    let raw = raw_disk(directory.path(), 3 << 20, 1);
    for format in ["vdi", "qed", "parallels", "qcow"] {
        let path = directory.path().join(format!("it's a.{format}"));
        run("qemu-img", &["convert", "-O", format, text(&raw), text(&path)]);
        let (error, diagnostic) = refused(&path);
        assert!(matches!(error, ImageError::Unsupported { .. }), "{error:?}");
        let command = command(&diagnostic);
        let output = Command::new("sh").args(["-c", &command]).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        let converted = path.with_extension("raw");
        run("qemu-img", &["compare", "-f", "raw", "-F", "raw", text(&raw), text(&converted)]);
        opened(&converted);
    }
}

#[test]
fn what_is_not_a_disk_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let at = |offset: usize, magic: &[u8]| {
        let mut bytes = vec![0; 40_000];
        bytes[offset..offset + magic.len()].copy_from_slice(magic);
        bytes
    };
    for (name, bytes, what, help) in [
        ("a.dmg", at(40_000 - 512, b"koly"), "Apple disk image", "qemu-img convert -p -f dmg"),
        ("a.iso", at(0x8001, b"CD001"), "CD or DVD", "name the machine's disk"),
        ("a.E01", at(0, b"EVF\x09\x0d\x0a\xff\0"), "EnCase", "ewfexport"),
        ("a.aff", at(0, b"AFF10\r\n\0"), "AFF", "affconvert"),
        ("a.vmsn", at(0, b"\xd2\xbe\xd2\xbe"), "snapshot", ".vmdk"),
        ("a.vmem", at(0, b""), "snapshot", ".vmdk"),
        ("a.vmx", b".encoding = \"UTF-8\"\n".to_vec(), "VMware machine", ".vmdk"),
        ("a.tibx", at(0, b""), "Acronis", "VMDK"),
        ("a.tib", at(0, b"\xb4\x6e\x68\x44"), "Acronis", "VMDK"),
        ("a.vbk", at(0, b""), "Veeam", "VMDK"),
        ("a.vma", at(0, b"VMA\0"), "Proxmox", "vma extract"),
        ("a.wim", at(0, b"MSWIM\0\0\0"), "WIM", "image of its disk"),
    ] {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        let (error, diagnostic) = refused(&path);
        assert!(matches!(error, ImageError::Unsupported { .. }), "{name}: {error:?}");
        assert!(error.to_string().contains(what), "{name}: {error}");
        assert!(diagnostic.help.iter().any(|line| line.contains(help)), "{name}: {diagnostic:?}");
    }
}

/// A tar file without a description is no appliance; XenServer's has another one.
#[test]
fn a_xenserver_export_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("web.xva");
    fs::write(directory.path().join("ova.xml"), "<value/>").unwrap();
    run("tar", &["--format=ustar", "-C", text(directory.path()), "-cf", text(&path), "ova.xml"]);
    let (error, _) = refused(&path);
    assert!(error.to_string().contains("XenServer export"), "{error}");
}

/// A disk's content says what it may be, and never that it is raw.
#[test]
fn a_raw_disk_without_a_name_says_what_it_looks_like() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk");
    let looks = |what: &str, help: &str| {
        let (error, diagnostic) = refused(&path);
        assert_eq!(error.code(), "image::unknown_format");
        assert!(error.to_string().contains(what), "{error}");
        assert!(diagnostic.help.iter().any(|line| line.contains(help)), "{diagnostic:?}");
        // Its name or a word is enough.
        let named = directory.path().join("disk.raw");
        fs::copy(&path, &named).unwrap();
        opened(&named);
    };
    fs::File::create(&path).unwrap().set_len(64 << 20).unwrap();
    looks("no format that Replant knows", "--format raw");
    run("sgdisk", &["-n", "1:0:0", text(&path)]);
    looks("begins with a GPT,", "--format raw");
    fs::File::create(&path).unwrap().set_len(64 << 20).unwrap();
    run("mkfs.ntfs", &["-q", "-F", "-Q", text(&path)]);
    looks("is an NTFS filesystem", "--format raw");
    let mut bytes = vec![0; 1 << 20];
    bytes[..6].copy_from_slice(b"LUKS\xba\xbe");
    fs::write(&path, &bytes).unwrap();
    looks("is a LUKS container", "cryptsetup open --readonly");
    bytes[..6].fill(0);
    bytes[512..544].copy_from_slice(b"LABELONE\x01\0\0\0\0\0\0\0\0\0\0\0\x20\0\0\0LVM2 001");
    fs::write(&path, &bytes).unwrap();
    looks("is a physical volume of LVM", "the whole disk is needed");
}
