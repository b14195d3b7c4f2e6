//! The code in the first sector of the guest's disks, which is all that a BIOS starts.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::layout::Layout;

/// Bytes of an MBR that are code; Windows's disk signature and the partition table follow.
const LENGTH: usize = 440;
/// What GRUB's first stage calls itself, GRUB 2's and GRUB legacy's alike.
const NAME: &[u8] = b"GRUB";

/// The code that the disks have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BootCode {
    /// Nobody looked, or a disk cannot be read.
    Unknown,
    /// None on any disk: a BIOS starts none of them.
    Absent,
    /// Of a partitioning tool, of Windows, or one that starts the active partition.
    Other,
    /// GRUB's.
    Grub,
}

/// The code of one disk.
#[must_use]
pub fn of_disk(disk: &File) -> BootCode {
    let mut code = [0; LENGTH];
    if disk.read_exact_at(&mut code, 0).is_err() {
        BootCode::Unknown
    } else if code.iter().all(|byte| *byte == 0) {
        BootCode::Absent
    } else if code.windows(NAME.len()).any(|window| window == NAME) {
        BootCode::Grub
    } else {
        BootCode::Other
    }
}

/// What says most of all the disks' code.
#[must_use]
pub fn of_disks(layout: &Layout) -> BootCode {
    let codes: Vec<BootCode> = layout.disks.iter().map(|disk| of_disk(&disk.device.file)).collect();
    match codes.iter().max() {
        Some(BootCode::Absent) if codes.contains(&BootCode::Unknown) => BootCode::Unknown,
        Some(code) => *code,
        None => BootCode::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grub_is_told_from_others() {
        let disk = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(of_disk(disk.as_file()), BootCode::Unknown);
        disk.as_file().set_len(4096).unwrap();
        assert_eq!(of_disk(disk.as_file()), BootCode::Absent);
        // The table's own bytes are no code.
        disk.as_file().write_all_at(&[0x55, 0xaa], 510).unwrap();
        disk.as_file().write_all_at(&[0xde; 4], 440).unwrap();
        assert_eq!(of_disk(disk.as_file()), BootCode::Absent);
        disk.as_file().write_all_at(&[0xfa, 0x33, 0xc0], 0).unwrap();
        assert_eq!(of_disk(disk.as_file()), BootCode::Other);
        // As grub-install copies it.
        let image = std::fs::read("/usr/lib/grub/i386-pc/boot.img").unwrap();
        disk.as_file().write_all_at(&image[..LENGTH], 0).unwrap();
        assert_eq!(of_disk(disk.as_file()), BootCode::Grub);
    }
}
