//! A swap partition behind the one that is to grow: it moves to the disk's end. All that swap
//! space keeps is its first page, with its size, UUID and label.

use std::io;
use std::os::unix::fs::FileExt;

use crate::guest::disk::ioctl::{self, PartitionCall};
use crate::guest::disk::layout::{Disk, Volume};
use crate::guest::disk::mbr;
use crate::guest::disk::table::{PartitionType, TableKind};

/// Bytes of the page that describes the space.
const PAGE: usize = 4096;
/// Partitions begin at whole mebibytes, as every tool makes them.
const ALIGNMENT: u64 = 1 << 20;

/// A swap partition's new place.
#[derive(Debug, Clone)]
pub struct Moved {
    /// The partition as it is.
    pub volume: Volume,
    /// Its new first byte.
    pub offset: u64,
    /// Where what lies before it may end: the partition's place, or its extended partition's.
    pub free_until: u64,
    /// The number of the extended partition around it, which moves along.
    extended: Option<u32>,
}

impl Moved {
    /// Its first byte as it is.
    #[must_use]
    pub fn old_offset(&self) -> u64 {
        self.volume.partition.as_ref().map_or(0, |partition| partition.offset)
    }
}

/// Where a swap partition goes so that it ends at `end` (bytes); the text says why it cannot.
///
/// # Errors
/// When it cannot be moved.
pub fn plan(disk: &Disk, swap: &Volume, end: u64) -> Result<Moved, String> {
    let partition = swap.partition.as_ref().ok_or("it is swap space as a whole")?;
    let offset = end.saturating_sub(swap.size) / ALIGNMENT * ALIGNMENT;
    let logical = disk.table.kind == TableKind::Mbr && partition.number > 4;
    let mut moved = Moved { volume: swap.clone(), offset, free_until: offset, extended: None };
    if logical {
        let alone = mbr::only_logical(&disk.device.file, disk.job.image_size, partition)
            .ok_or("its swap space shares an extended partition with others")?;
        moved.free_until = offset.saturating_sub(partition.offset - alone.start);
        moved.extended = Some(alone.number);
    }
    if offset <= partition.offset {
        return Err("there is no room behind its swap partition".to_owned());
    }
    Ok(moved)
}

/// Moves it: its first page, and its place in an MBR (a GPT is written as a whole later).
///
/// # Errors
/// When the disk cannot be read or written.
pub fn relocate(disk: &Disk, moved: &Moved) -> io::Result<()> {
    let Some(partition) = &moved.volume.partition else { return Ok(()) };
    let file = &disk.device.file;
    let mut page = [0; PAGE];
    file.read_exact_at(&mut page, partition.offset)?;
    file.write_all_at(&page, moved.offset)?;
    if matches!(partition.kind, PartitionType::Byte(_)) {
        mbr::relocate(file, disk.job.image_size, partition, moved.offset)?;
    }
    // The kernel would not let what grows overlap with where it knows these to be.
    for number in [Some(partition.number), moved.extended].into_iter().flatten() {
        match ioctl::partition(file, PartitionCall::Remove, number, 0, 0) {
            Err(error) if error.raw_os_error() != Some(libc::ENXIO) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
