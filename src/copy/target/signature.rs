//! What lies on a device: the signatures of partition tables, filesystems and volume managers.
//!
//! A new volume need not read as zeros (an encrypted one may give pseudorandom bytes), so
//! "blank" means: no signature that anything in use would know it by.

/// How much of the device's start has to be looked at, in bytes.
pub(super) const START: usize = 128 << 10;
/// How much of its end, in bytes.
pub(super) const END: usize = 64 << 10;

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
    (4086, b"SWAPSPACE2", "swap space"),
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
    for sector in [512, 4096] {
        if end.len() >= sector && at(end, end.len() - sector, b"EFI PART") {
            return Some("a GPT partition table");
        }
    }
    None
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
    fn a_table_left_at_the_end_counts() {
        let mut end = vec![0; END];
        end[END - 512..END - 504].copy_from_slice(b"EFI PART");
        assert_eq!(find(&[0; START], &end), Some("a GPT partition table"));
    }
}
