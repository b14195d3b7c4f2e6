//! What a partition holds, told from its superblock: magics and fields as the filesystems'
//! documentation and the kernel's headers lay them out.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::hibernation;
use super::table::{guid_text, u32_at, u64_at};

/// Bytes at the start that hold every superblock below but those at the end.
const START: usize = 0x11000;

/// btrfs's mark on a filesystem that has used the profile RAID 5 or 6 (`BTRFS_FEATURE_INCOMPAT_RAID56`).
const BTRFS_PARITY: u64 = 1 << 7;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// `ext4`, `xfs`, `btrfs`, `vfat`, `swap`, `lvm2`, `luks`, `md`, `ntfs`, … or `unknown`.
    pub kind: &'static str,
    /// Its UUID, in the form that `UUID=` names.
    pub uuid: Option<String>,
    /// Its label.
    pub label: Option<String>,
    /// Bytes of a filesystem block, where growing needs them.
    pub block_size: u64,
    /// XFS: the most of the filesystem that inodes may take, in percent.
    pub inode_percent: u8,
    /// btrfs: how many devices the filesystem has.
    pub devices: u64,
    /// btrfs: the number of this device.
    pub device_id: u64,
    /// btrfs: whether data or metadata have the profile RAID 5 or 6.
    pub parity: bool,
    /// Swap space: whether it holds the memory of a hibernated machine.
    pub hibernated: bool,
    /// ext2, ext3, ext4: the errors that the kernel noted and no fsck has mended.
    pub errors: Option<String>,
}

impl Content {
    /// Part of a Windows dynamic disk: what it holds, its own database says.
    #[must_use]
    pub fn of_dynamic_disk() -> Self {
        Self::of("ldm", None, b"")
    }

    fn of(kind: &'static str, uuid: Option<String>, label: &[u8]) -> Self {
        let end = label.iter().position(|byte| *byte == 0).unwrap_or(label.len());
        let text = String::from_utf8_lossy(&label[..end]).trim_end().to_owned();
        let label = Some(text).filter(|text| !text.is_empty());
        Self { kind, uuid, label, ..Self::default() }
    }

    /// Whether it is a filesystem that a Linux root can be on and this sandbox's kernel mounts.
    #[must_use]
    pub fn may_be_root(&self) -> bool {
        matches!(self.kind, "ext2" | "ext3" | "ext4" | "xfs" | "btrfs" | "jfs" | "reiserfs")
    }
}

/// Looks at the `size` bytes from `offset`.
#[must_use]
pub fn probe(disk: &File, offset: u64, size: u64) -> Content {
    let mut start = vec![0; START.min(usize::try_from(size).unwrap_or(START))];
    if disk.read_exact_at(&mut start, offset).is_err() {
        return Content::of("unknown", None, b"");
    }
    // Containers first: what they hold may show through (RAID 1 with its superblock at the end).
    of_container(&start)
        .or_else(|| at_end(disk, offset, size))
        .or_else(|| of_filesystem(&start))
        .or_else(|| is_zfs(disk, offset, size).then(|| Content::of("zfs", None, b"")))
        .or_else(|| of_foreign(&start))
        .unwrap_or_else(|| Content::of("unknown", None, b""))
}

fn has(bytes: &[u8], at: usize, magic: &[u8]) -> bool {
    bytes.get(at..).is_some_and(|rest| rest.starts_with(magic))
}

fn part(bytes: &[u8], at: usize, length: usize) -> &[u8] {
    bytes.get(at..at.saturating_add(length)).unwrap_or_default()
}

/// A UUID's text, of its bytes in order; `None` when it is all zeros.
fn uuid(bytes: &[u8]) -> Option<String> {
    let bytes: [u8; 16] = bytes.try_into().ok()?;
    if bytes == [0; 16] {
        return None;
    }
    let mut swapped = bytes;
    swapped[..4].reverse();
    swapped[4..6].reverse();
    swapped[6..8].reverse();
    Some(guid_text(&swapped))
}

fn of_container(start: &[u8]) -> Option<Content> {
    if has(start, 0, b"LUKS\xba\xbe") {
        let text = part(start, 168, 40);
        let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
        let uuid = std::str::from_utf8(&text[..end]).ok().map(str::to_owned);
        return Some(Content::of("luks", uuid.filter(|uuid| !uuid.is_empty()), part(start, 24, 0)));
    }
    if has(start, 3, b"-FVE-FS-") {
        return Some(Content::of("bitlocker", None, b""));
    }
    for sector in 0..4 {
        let at = sector * 512;
        if has(start, at, b"LABELONE") && has(start, at + 24, b"LVM2 001") {
            return Some(Content::of("lvm2", None, b""));
        }
    }
    [0, 4096].iter().find(|at| u32_at(start, **at) == 0xa92b_4efc).map(|_| Content::of("md", None, b""))
}

/// MD superblocks of versions 0.90 and 1.0 lie at the end.
fn at_end(disk: &File, offset: u64, size: u64) -> Option<Content> {
    let old = (size & !0xffff).checked_sub(0x10000);
    let new = size.checked_sub(8192).map(|place| place & !0xfff);
    for place in [old, new].into_iter().flatten() {
        let mut magic = [0; 4];
        disk.read_exact_at(&mut magic, offset.checked_add(place)?).ok()?;
        if u32::from_le_bytes(magic) == 0xa92b_4efc {
            return Some(Content::of("md", None, b""));
        }
    }
    None
}

fn of_filesystem(start: &[u8]) -> Option<Content> {
    if has(start, 0, b"XFSB") {
        let mut content = Content::of("xfs", uuid(part(start, 32, 16)), part(start, 108, 12));
        content.block_size = u64::from(u32_at(start, 4).swap_bytes());
        content.inode_percent = part(start, 127, 1).first().copied().unwrap_or_default();
        return Some(content);
    }
    if has(start, 1024 + 0x38, &[0x53, 0xef]) {
        return Some(of_ext(start));
    }
    if has(start, 0x10040, b"_BHRfS_M") {
        let mut content = Content::of("btrfs", uuid(part(start, 0x10020, 16)), part(start, 0x1012b, 256));
        content.devices = u64_at(start, 0x10088);
        content.device_id = u64_at(start, 0x100c9);
        content.parity = u64_at(start, 0x100bc) & BTRFS_PARITY != 0;
        return Some(content);
    }
    let signature = part(start, 4086, 10);
    if signature == b"SWAPSPACE2" || hibernation::is_image(signature) {
        let mut content = Content::of("swap", uuid(part(start, 0x40c, 16)), part(start, 0x41c, 16));
        content.hibernated = signature != b"SWAPSPACE2";
        return Some(content);
    }
    if has(start, 3, b"NTFS    ") {
        return Some(Content::of("ntfs", Some(format!("{:016X}", u64_at(start, 0x48))), b""));
    }
    if has(start, 32768, b"JFS1") {
        return Some(Content::of("jfs", uuid(part(start, 32768 + 136, 16)), part(start, 32768 + 152, 16)));
    }
    if has(start, 0x10034, b"ReIsEr2Fs") || has(start, 0x10034, b"ReIsEr3Fs") {
        return Some(Content::of("reiserfs", uuid(part(start, 0x10054, 16)), part(start, 0x10064, 16)));
    }
    for (place, serial, label) in [(0x52, 0x43, 0x47), (0x36, 0x27, 0x2b)] {
        if has(start, place, b"FAT") && has(start, 510, &[0x55, 0xaa]) {
            let number = u32_at(start, serial);
            let uuid = format!("{:04X}-{:04X}", number >> 16, number & 0xffff);
            let label = part(start, label, 11);
            let label = if label == b"NO NAME    " { b"" } else { label };
            return Some(Content::of("vfat", Some(uuid), label));
        }
    }
    has(start, 32769, b"CD001").then(|| Content::of("iso9660", None, b""))
}

fn of_ext(start: &[u8]) -> Content {
    let block = &start[1024..];
    let (compatible, incompatible, read_only) =
        (u32_at(block, 0x5c), u32_at(block, 0x60), u32_at(block, 0x64));
    // Extents, 64 bits, flexible groups and the like; large files and sparse superblocks are ext2's.
    let new = incompatible & !0x16 != 0 || read_only & !0x7 != 0;
    let kind = match (new, compatible & 0x4 != 0) {
        (true, _) => "ext4",
        (false, true) => "ext3",
        (false, false) => "ext2",
    };
    let mut content = Content::of(kind, uuid(part(block, 0x68, 16)), part(block, 0x78, 16));
    content.block_size = 1024u64.checked_shl(u32_at(block, 0x18).min(6)).unwrap_or(1024);
    content.errors = ext_errors(block);
    content
}

/// What an ext superblock says of errors (`EXT2_ERROR_FS` of `s_state`, and from `s_error_count` on,
/// in the kernel's `fs/ext4/ext4.h`).
fn ext_errors(block: &[u8]) -> Option<String> {
    let state = u32_at(block, 0x38) >> 16;
    let count = u32_at(block, 0x194);
    if state & 0x2 == 0 {
        return None;
    }
    let function = part(block, 0x1e0, 32);
    let end = function.iter().position(|byte| *byte == 0).unwrap_or(function.len());
    let name: String = String::from_utf8_lossy(&function[..end])
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect();
    Some(match (count, name.is_empty()) {
        (0, _) => "marked as having errors".to_owned(),
        (_, true) => format!("marked as having errors, {count} recorded"),
        (_, false) => format!("marked as having errors, {count} recorded, the last in {name}"),
    })
}

/// Filesystems and containers that a guest's root may be on and that the sandbox cannot mount:
/// name, place of the magic, magic.
const FOREIGN: [(&str, usize, &[u8]); 12] = [
    (
        "bcache",
        4096 + 24,
        &[0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca, 0x82, 0x65, 0xf5, 0x7f, 0x48, 0xba, 0x6d, 0x81],
    ),
    (
        "bcachefs",
        4096 + 24,
        &[0xc6, 0x85, 0x73, 0xf6, 0x66, 0xce, 0x90, 0xa9, 0xd9, 0x6a, 0x60, 0xcf, 0x80, 0x3d, 0xf7, 0xef],
    ),
    ("f2fs", 1024, &[0x10, 0x20, 0xf5, 0xf2]),
    ("nilfs2", 1024 + 6, &[0x34, 0x34]),
    ("reiser4", 0x10000, b"ReIsEr4"),
    ("vxfs", 1024, &[0xf5, 0xfc, 0x01, 0xa5]),
    ("vxfs", 8192, &[0xf5, 0xfc, 0x01, 0xa5]),
    ("gfs2", 0x10000, &[0x01, 0x16, 0x19, 0x70]),
    ("ufs", 0x10000 + 0x55c, &[0x19, 0x01, 0x54, 0x19]),
    ("squashfs", 0, b"hsqs"),
    ("erofs", 1024, &[0xe2, 0xe1, 0xf5, 0xe0]),
    ("apfs", 32, b"NXSB"),
];
/// A ZFS label: 128 KiB of names and values, then uberblocks of 1 KiB and more.
const ZFS_UBERBLOCKS: u64 = 128 << 10;
const ZFS_MAGIC: u64 = 0x00ba_b10c;

/// Whether ZFS keeps a pool there: the magic of an uberblock in the first label.
fn is_zfs(disk: &File, offset: u64, size: u64) -> bool {
    let mut ring = vec![0; 128 << 10];
    let Some(place) = offset.checked_add(ZFS_UBERBLOCKS).filter(|_| size >= 2 * ZFS_UBERBLOCKS) else {
        return false;
    };
    if disk.read_exact_at(&mut ring, place).is_err() {
        return false;
    }
    ring.chunks_exact(1024).any(|block| {
        let magic = u64_at(block, 0);
        magic == ZFS_MAGIC || magic.swap_bytes() == ZFS_MAGIC
    })
}

fn of_foreign(start: &[u8]) -> Option<Content> {
    let found = FOREIGN.iter().find(|(_, at, magic)| has(start, *at, magic));
    found.map(|(kind, _, _)| Content::of(kind, None, b""))
}
