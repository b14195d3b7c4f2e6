//! What lies on a device: the signatures of partition tables, filesystems and volume managers.
//!
//! A new volume need not read as zeros (an encrypted one may give pseudorandom bytes), so
//! "blank" means: no signature that anything in use would know it by.

/// How much of the device's start has to be looked at, in bytes: a label of ZFS.
pub(super) const START: usize = 256 << 10;
/// How much of its end, in bytes: two labels of ZFS, that begin at a multiple of their size.
pub(super) const END: usize = 768 << 10;

/// Offset, signature, what it means. Offsets are those of each format's own specification.
const AT_START: &[(usize, &[u8], &str)] = &[
    (512, b"EFI PART", "a GPT partition table"),
    (4096, b"EFI PART", "a GPT partition table"),
    (3, b"NTFS    ", "an NTFS filesystem"),
    (3, b"EXFAT   ", "an exFAT filesystem"),
    (3, b"-FVE-FS-", "a BitLocker volume"),
    (3, b"ReFS\0\0\0\0", "a ReFS filesystem"),
    (54, b"FAT1", "a FAT filesystem"),
    (82, b"FAT32", "a FAT filesystem"),
    (0, b"XFSB", "an XFS filesystem"),
    (0x1_0040, b"_BHRfS_M", "a btrfs filesystem"),
    (0, b"LABELONE", "an LVM physical volume"),
    (512, b"LABELONE", "an LVM physical volume"),
    (1024, b"LABELONE", "an LVM physical volume"),
    (1536, b"LABELONE", "an LVM physical volume"),
    (0, b"LUKS\xba\xbe", "a LUKS volume"),
    (0x4000, b"SKUL\xba\xbe", "a LUKS volume"),
    (4086, b"SWAPSPACE2", "swap space"),
    // With pages of 16 and 64 KiB, as arm64 may have.
    (16_374, b"SWAPSPACE2", "swap space"),
    (65_526, b"SWAPSPACE2", "swap space"),
    (4120, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81", "a bcache device"),
    (0, b"bluestore block device", "a Ceph OSD"),
    (1024, b"\x10\x20\xf5\xf2", "an F2FS filesystem"),
    (32_768, b"JFS1", "a JFS filesystem"),
    (65_588, b"ReIsEr", "a ReiserFS filesystem"),
    (32, b"NXSB", "an APFS container"),
    (1024, b"H+\0\x04", "an HFS+ filesystem"),
    (65_536, b"\x01\x16\x19\x70", "a GFS2 filesystem"),
    (0, b"\xfc\x4e\x2b\xa9", "a RAID member"),
    (4096, b"\xfc\x4e\x2b\xa9", "a RAID member"),
    (32_769, b"CD001", "an ISO 9660 filesystem"),
];

/// What the first [`START`] and the last [`END`] bytes of a device are known by.
pub(super) fn find(start: &[u8], end: &[u8]) -> Option<&'static str> {
    let at = |bytes: &[u8], offset: usize, signature: &[u8]| {
        bytes.get(offset..offset + signature.len()) == Some(signature)
    };
    if let Some((_, _, what)) = AT_START.iter().find(|(offset, text, _)| at(start, *offset, text)) {
        return Some(what);
    }
    if is_ext(start) {
        return Some("an ext2, ext3 or ext4 filesystem");
    }
    if is_mbr(start) {
        return Some("an MBR partition table");
    }
    if has_uberblock(start) || has_uberblock(end) {
        return Some("a ZFS pool's member");
    }
    if is_md_at_end(end) {
        return Some("a RAID member");
    }
    for sector in [512, 4096] {
        if end.len() >= sector && at(end, end.len() - sector, b"EFI PART") {
            return Some("a GPT partition table");
        }
    }
    None
}

/// An uberblock of ZFS, little or big endian ("ZFS On-Disk Specification", 1.2 and 1.3: 128 KiB into
/// each of four labels of 256 KiB there is a ring of them, 1 KiB or more each).
fn has_uberblock(bytes: &[u8]) -> bool {
    const MAGIC: u64 = 0x00ba_b10c;
    bytes
        .chunks_exact(512)
        .any(|block| block[..8] == MAGIC.to_le_bytes() || block[..8] == MAGIC.to_be_bytes())
}

/// A superblock of md that lies at the end: version 0.90 in the last whole 64 KiB but one, 1.0 at
/// least 8 KiB before the end and a multiple of 4 KiB ("RAID superblock formats", Linux Raid Wiki).
fn is_md_at_end(end: &[u8]) -> bool {
    const MAGIC: [u8; 4] = 0xa92b_4efc_u32.to_le_bytes();
    let at = |back: usize| {
        let from = end.len().checked_sub(back);
        from.and_then(|from| end.get(from..from + 4)).is_some_and(|bytes| bytes == MAGIC)
    };
    // The device may end anywhere after the last such multiple.
    (16..24).any(|sectors| at(sectors * 512)) || (128..256).any(|sectors| at(sectors * 512))
}

/// The superblock at 1024: magic 0xEF53 at 56, and a block size and inode count that can be.
fn is_ext(start: &[u8]) -> bool {
    let Some(block) = start.get(1024..2048) else { return false };
    block[56..58] == [0x53, 0xef] && block[24] <= 6 && block[25..28] == [0; 3] && block[..4] != [0; 4]
}

/// The signature at 510, four entries whose first byte is 0 or 0x80, and one with a type.
fn is_mbr(start: &[u8]) -> bool {
    let Some(sector) = start.get(..512) else { return false };
    let mut entries = sector[446..510].chunks(16);
    sector[510..] == [0x55, 0xaa]
        && entries.clone().all(|entry| matches!(entry[0], 0 | 0x80))
        && entries.any(|entry| entry[4] != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_and_zeros_are_blank() {
        assert_eq!(find(&[0; START], &[0; END]), None);
        assert_eq!(find(&[0xa5; START], &[0x5a; END]), None);
        assert_eq!(find(&[], &[]), None);
    }

    #[test]
    fn what_lies_at_the_end_only_counts() {
        let with = |back: usize, bytes: &[u8]| {
            let mut end = vec![0; END];
            end[END - back..END - back + bytes.len()].copy_from_slice(bytes);
            find(&[0; START], &end)
        };
        let md = 0xa92b_4efc_u32.to_le_bytes();
        for back in [8 << 10, 64 << 10, 100 << 10] {
            assert_eq!(with(back, &md), Some("a RAID member"), "{back}");
        }
        let uberblock = 0x00ba_b10c_u64;
        assert_eq!(with((128 << 10) - 4096, &uberblock.to_le_bytes()), Some("a ZFS pool's member"));
        assert_eq!(with(384 << 10, &uberblock.to_be_bytes()), Some("a ZFS pool's member"));
        // Not where such a thing begins.
        assert_eq!(with((128 << 10) - 17, &uberblock.to_le_bytes()), None);
    }

    #[test]
    fn a_table_left_at_the_end_counts() {
        let mut end = vec![0; END];
        end[END - 512..END - 504].copy_from_slice(b"EFI PART");
        assert_eq!(find(&[0; START], &end), Some("a GPT partition table"));
    }
}
