//! Formats that are known and not read: which program makes of them what is.
//!
//! Signatures from the programs' documents and from libmagic's database.

use std::path::Path;

/// What to do with a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Advice {
    /// `qemu-img convert` knows it under this name.
    Qemu(&'static str),
    /// Words, and a command for the file's name to be put into `{}`, with another one for the
    /// result in `{raw}`.
    Command(&'static str, &'static str),
    /// Words alone.
    Words(&'static str),
}

use Advice::{Command, Qemu, Words};

/// Where a signature is, what it is, what a file with it is (the rest of a sentence).
pub(super) type Signature = (usize, &'static [u8], &'static str);

const QED: &str = "is a QED image";
const QCOW: &str = "is a qcow image of version 1";
const PARALLELS: &str = "is a Parallels image";
const VDI: &str = "is a VirtualBox VDI image";
const BOCHS: &str = "is a Bochs image";
const CLOOP: &str = "is a compressed loop image";
const DMG: &str = "is an Apple disk image (DMG)";
const OPTICAL: &str = "is a CD or DVD image";
const EWF: &str = "is an EnCase evidence file (EWF)";
const EWF2: &str = "is an EnCase evidence file (EWF2)";
const AFF: &str = "is an AFF evidence file";
const SNAPSHOT_STATE: &str = "is the state of a VMware machine's snapshot, not a disk";
const VMA: &str = "is a Proxmox VMA archive";
const WIM: &str = "is a Windows image file (WIM), files and not a disk";
const ACRONIS: &str = "is an Acronis backup";
const SPARSE_ANDROID: &str = "is an Android sparse image";
const PARTCLONE: &str = "is a Partclone image of one filesystem";
const GHOST: &str = "is a Ghost image";

/// Signatures of files that are no disk that can be read, whatever they are named.
pub(super) const SIGNATURES: [Signature; 23] = [
    (0, b"QED\0", QED),
    (0, b"QFI\xfb\0\0\0\x01", QCOW),
    (0, b"WithoutFreeSpace", PARALLELS),
    (0, b"WithouFreSpacExt", PARALLELS),
    (0x40, b"\x7f\x10\xda\xbe", VDI),
    (0, b"Bochs Virtual HD Image", BOCHS),
    (0, b"#!/bin/sh\n#V2.0 Format\n", CLOOP),
    (0x8001, b"CD001", OPTICAL),
    (0x8001, b"BEA01", OPTICAL),
    (0, b"EVF\x09\x0d\x0a\xff\0", EWF),
    (0, b"LVF\x09\x0d\x0a\xff\0", EWF),
    (0, b"EVF2\x0d\x0a\x81\0", EWF2),
    (0, b"AFF10\r\n\0", AFF),
    (0, b"\xd0\xbe\xd2\xbe", SNAPSHOT_STATE),
    (0, b"\xd1\xba\xd1\xba", SNAPSHOT_STATE),
    (0, b"\xd2\xbe\xd2\xbe", SNAPSHOT_STATE),
    (0, b"\xd3\xbe\xd3\xbe", SNAPSHOT_STATE),
    (0, b"VMA\0", VMA),
    (0, b"MSWIM\0\0\0", WIM),
    (0, b"\xb4\x6e\x68\x44", ACRONIS),
    (0, b"\x3a\xff\x26\xed", SPARSE_ANDROID),
    (0, b"partclone-image", PARTCLONE),
    (0, b"\xfe\xef\x01", GHOST),
];

/// The signature of an Apple disk image, 512 bytes before its end.
pub(super) const DMG_TRAILER: (&[u8], &str) = (b"koly", DMG);

/// Signatures of a raw disk's content: of no use to say that a file is raw (a guest writes them),
/// but worth naming when nothing says what it is.
pub(super) const CONTENTS: [Signature; 8] = [
    (0, b"LUKS\xba\xbe", LUKS),
    (24, b"LVM2 001", PHYSICAL_VOLUME),
    (512 + 24, b"LVM2 001", PHYSICAL_VOLUME),
    (512, b"EFI PART", "begins with a GPT, as a whole disk does"),
    (4096, b"EFI PART", "begins with a GPT of sectors of 4,096 bytes, as a whole disk does"),
    (3, b"NTFS    ", "is an NTFS filesystem without a disk around it"),
    (0, b"XFSB", "is an XFS filesystem without a disk around it"),
    (510, b"\x55\xaa", "begins as a disk with a boot sector does"),
];

const LUKS: &str = "is a LUKS container as a whole";
const PHYSICAL_VOLUME: &str = "is a physical volume of LVM as a whole";

/// Backups and parts of machines by their names' extensions: what their content begins with is
/// their makers' secret, or nothing.
const NAMES: [(&[&str], &str, Advice); 8] = [
    (
        &["vbk", "vib", "vrb"],
        "is a Veeam backup",
        Words(
            "Get the disks out of it with Veeam's own program (Export Disk, or the Extract utility), as VMDK or VHDX, and name those.",
        ),
    ),
    (&["tib", "tibx"], ACRONIS, ACRONIS_ADVICE),
    (&["vmem", "vmss", "vmsn"], SNAPSHOT_STATE, VMWARE_ADVICE),
    (&["vmx", "vmxf", "vmsd", "nvram"], "is a part of a VMware machine, not a disk", VMWARE_ADVICE),
    (
        &["vmcx", "vmrs", "vsv"],
        "is a part of a Hyper-V machine, not a disk",
        Words("Name the machine's disk: the .vhdx or .avhdx file."),
    ),
    (
        &["spf", "spi"],
        "is a StorageCraft ShadowProtect backup",
        Words("Convert it with the program that made it (Image Conversion Tool), to VHDX or VMDK."),
    ),
    (
        &["mrimg", "mrbak"],
        "is a Macrium Reflect backup",
        Words("Convert it with Macrium Reflect (img_to_vhd), to VHD."),
    ),
    (
        &["v2i", "iv2i"],
        "is a Backup Exec System Recovery image",
        Words("Convert it with the program that made it, to VHD or VMDK."),
    ),
];

/// For what may be anything.
const RAW: Advice = Words(
    "If it is a raw disk, say so: `format = \"raw\"` in a disk block, `image_format` beside an instance's image, `--format raw` on the command line.",
);
const VMWARE_ADVICE: Advice = Words("Name the machine's disk: the .vmdk file that the machine's .vmx names.");
const ACRONIS_ADVICE: Advice = Words(
    "Convert it with Acronis' own program (Convert to a virtual machine), to VMDK or VHDX, and name that.",
);

/// What a name says, when it is one of a format that is not read.
pub(super) fn by_name(name: &Path) -> Option<&'static str> {
    let extension = name.extension()?.to_ascii_lowercase();
    NAMES
        .iter()
        .find(|(extensions, ..)| extensions.iter().any(|known| extension == *known))
        .map(|(_, what, _)| *what)
}

/// A file of no bytes.
pub(super) const EMPTY: &str = "is empty";

/// What to do with a file that is `what`.
pub(super) fn help(what: &str, file: &Path) -> String {
    let advice = match what {
        QED => Qemu("qed"),
        QCOW => Qemu("qcow"),
        PARALLELS => Qemu("parallels"),
        VDI => Qemu("vdi"),
        BOCHS => Qemu("bochs"),
        CLOOP => Qemu("cloop"),
        DMG => Qemu("dmg"),
        EMPTY => Words(
            "It has no bytes at all: the backup or the copy of it did not come to an end. Copy it again.",
        ),
        OPTICAL => Words("There is no machine on it to restore: name the machine's disk."),
        EWF | EWF2 => Command("Export the disk in it first:", "ewfexport -u -t {raw} -f raw {}"),
        AFF => Command("Convert it first:", "affconvert -r {}"),
        SNAPSHOT_STATE => VMWARE_ADVICE,
        VMA => Command("Extract the disks in it first, and name those:", "vma extract {} {}.extracted"),
        WIM => Words("A machine can only be restored from an image of its disk."),
        ACRONIS => ACRONIS_ADVICE,
        SPARSE_ANDROID => Command("Unpack it first:", "simg2img {} {raw}"),
        PARTCLONE => Words(
            "It holds one partition: restore all of the machine's partitions to a disk with the program that made it, and name that.",
        ),
        GHOST => Words("Convert it with the program that made it, to VMDK."),
        LUKS => Command(
            "If it is a machine's disk as its guest encrypted it, say `format = \"raw\"`. If whoever keeps the backups encrypted it, open it first, and name the device under /dev/mapper:",
            "cryptsetup open --readonly {} backup",
        ),
        PHYSICAL_VOLUME => Words(
            "If it is a machine's data disk, say `format = \"raw\"`. Of a machine that boots, the whole disk is needed, not one partition of it.",
        ),
        other => NAMES.iter().find(|(_, what, _)| *what == other).map_or(RAW, |(.., advice)| *advice),
    };
    let quoted = quoted(&file.display().to_string());
    let raw = self::quoted(&file.with_extension("raw").display().to_string());
    match advice {
        Qemu(name) => format!("Convert it first:\nqemu-img convert -p -f {name} -O raw {quoted} {raw}"),
        Command(words, command) => {
            format!("{words}\n{}", command.replace("{raw}", &raw).replace("{}", &quoted))
        }
        Words(words) => words.to_owned(),
    }
}

/// A name as a shell takes it for one word.
fn quoted(name: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-+=:,@%".contains(character);
    if !name.is_empty() && name.chars().all(plain) && !name.starts_with('-') {
        name.to_owned()
    } else {
        format!("'{}'", name.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_says_what_to_do() {
        let file = Path::new("/backup/my disk.x");
        let all = SIGNATURES.iter().chain(&CONTENTS).map(|(.., what)| *what);
        for what in all.chain(NAMES.iter().map(|(_, what, _)| *what)).chain([DMG_TRAILER.1]) {
            assert!(what.starts_with("is ") || what.starts_with("begins "), "{what}");
            let help = help(what, file);
            assert!(!help.contains('{') && !help.contains("x x"), "{help}");
            if let Some((_, command)) = help.split_once('\n') {
                assert!(command.contains("'/backup/my disk.x'"), "{command}");
            }
        }
        assert_eq!(
            help(VDI, Path::new("a.vdi")),
            "Convert it first:\nqemu-img convert -p -f vdi -O raw a.vdi a.raw"
        );
    }

    #[test]
    fn names_are_words_for_a_shell() {
        for (name, expected) in [("a.b-c", "a.b-c"), ("it's", r"'it'\''s'"), ("-x", "'-x'"), ("$a", "'$a'")] {
            assert_eq!(quoted(name), expected);
        }
    }

    #[test]
    fn names_without_a_signature() {
        assert_eq!(by_name(Path::new("web.VBK")), Some("is a Veeam backup"));
        assert_eq!(by_name(Path::new("web.vmdk")), None);
        assert_eq!(by_name(Path::new("web")), None);
    }
}
