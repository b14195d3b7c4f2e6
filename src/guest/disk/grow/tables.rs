//! The backup partition table moves to the new end; the last partition grows when that is wanted,
//! also past a swap partition behind it, which moves.

use std::io;

use super::logical;
use super::swap::{self, Moved};
use crate::guest::disk::findings::{self, NoGrowth};
use crate::guest::disk::layout::{Disk, Layout, Place, Volume};
use crate::guest::disk::mbr;
use crate::guest::disk::table::{self, SECTOR, TableKind};
use crate::guest::report::{Edit, EditKind, Finding};

/// Partitions end at whole blocks of every filesystem.
const ALIGNMENT: u64 = 4096;

/// What is larger now: the place, and its size before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grown {
    /// Where.
    pub place: Place,
    /// Bytes before.
    pub old_size: u64,
}

/// What of a disk grows, to where it then reaches, and what goes out of its way.
struct Target {
    volume: Volume,
    end: u64,
    swap: Option<Moved>,
}

/// Brings the partition tables of larger disks in order, and lets partitions grow. `root` is where
/// the guest's root is.
///
/// # Errors
/// When a disk cannot be written.
pub fn tables(
    layout: &mut Layout,
    root: Option<Place>,
    edits: &mut Vec<Edit>,
    notes: &mut Vec<Finding>,
) -> io::Result<Vec<Grown>> {
    let mut grown = Vec::new();
    for index in 0..layout.disks.len() {
        let job = layout.disks[index].job.clone();
        if job.size <= job.image_size {
            continue;
        }
        let target = if job.grow {
            target(layout, index, root)
                .inspect_err(|why| notes.push(findings::cannot_grow(&job.name, why)))
                .ok()
        } else {
            notes.push(findings::unused_space(&job.name, job.size - job.image_size));
            None
        };
        if let Some(moved) = target.as_ref().and_then(|target| target.swap.as_ref()) {
            swap::relocate(&layout.disks[index], moved)?;
            edits.push(Edit {
                path: layout.name(moved.volume.place),
                purpose: "move the swap space to the disk's end, with the same UUID".to_owned(),
                kind: EditKind::Move { old_offset: moved.old_offset(), new_offset: moved.offset },
            });
        }
        write_gpt(layout, index, target.as_ref(), edits)?;
        let Some(Target { volume: last, end, swap }) = target else { continue };
        grown.push(Grown { place: last.place, old_size: last.size });
        if let Some(partition) = &last.partition {
            if layout.disks[index].table.kind == TableKind::Mbr {
                mbr::extend(&layout.disks[index].device.file, job.image_size, partition, end)?;
            }
            edits.push(Edit {
                path: layout.name(last.place),
                purpose: "let the partition end where the disk ends".to_owned(),
                kind: EditKind::Grow { old_size: last.size, new_size: end - partition.offset },
            });
        }
        let start = last.partition.as_ref().map_or(0, |partition| partition.offset);
        set(layout, last.place, start, end);
        if let Some(moved) = swap {
            set(layout, moved.volume.place, moved.offset, moved.offset + moved.volume.size);
        }
        layout.disks[index].device.file.sync_all()?;
    }
    Ok(grown)
}

fn write_gpt(
    layout: &mut Layout,
    index: usize,
    target: Option<&Target>,
    edits: &mut Vec<Edit>,
) -> io::Result<()> {
    let Some(disk) = layout.disks.get_mut(index) else { return Ok(()) };
    let Some(gpt) = &mut disk.table.gpt else { return Ok(()) };
    if let Some(target) = target {
        if let Some(moved) = &target.swap
            && let Some(number) = moved.volume.place.partition()
        {
            gpt.relocate(number, moved.offset, moved.offset + moved.volume.size);
        }
        if let Some(number) = target.volume.place.partition() {
            gpt.extend(number, target.end);
        }
    }
    gpt.write(&disk.device.file, disk.job.size)?;
    edits.push(Edit {
        path: format!("disk {}", disk.job.name),
        purpose: "move the backup partition table to the new end".to_owned(),
        kind: EditKind::MoveBackupTable { disk_size: disk.job.size },
    });
    Ok(())
}

/// The volumes of a disk, the one that ends last first.
fn from_the_end(layout: &Layout, disk: usize) -> Vec<&Volume> {
    let volumes = layout.volumes.iter().filter(|volume| volume.place.disk() == Some(disk));
    let mut volumes: Vec<&Volume> = volumes.collect();
    let end = |volume: &&Volume| volume.partition.as_ref().map_or(volume.size, |found| found.end());
    volumes.sort_by_key(|volume| std::cmp::Reverse(end(volume)));
    volumes
}

/// What of a disk grows, or why nothing does.
fn target(layout: &Layout, index: usize, root: Option<Place>) -> Result<Target, NoGrowth> {
    let disk = layout.disks.get(index).ok_or("it is not there")?;
    let volumes = from_the_end(layout, index);
    let mut end = usable_end(disk) / ALIGNMENT * ALIGNMENT;
    let (last, swap) = match volumes.as_slice() {
        [] => return Err("it has no partition and no filesystem".into()),
        [swap, last, ..] if swap.content.kind == "swap" => {
            let moved = swap::plan(disk, swap, end)?;
            end = moved.free_until / ALIGNMENT * ALIGNMENT;
            (*last, Some(moved))
        }
        [last, ..] => (*last, None),
    };
    match last.content.kind {
        "ext3" | "ext4" | "xfs" | "btrfs" => {}
        "lvm2" => {
            let start = last.partition.as_ref().map_or(0, |partition| partition.offset);
            logical::plan(layout, last, end.saturating_sub(start), root)?;
        }
        other => return Err(no_growth(other)),
    }
    let start = last.partition.as_ref().map_or(0, |partition| partition.offset);
    // The end is aligned on the disk, sizes count from the partition's start.
    if end <= start.saturating_add(last.size) {
        return Err("there is no room behind its last partition".into());
    }
    Ok(Target { volume: last.clone(), end, swap })
}

/// Why a partition with this does not grow.
fn no_growth(content: &str) -> NoGrowth {
    let (why, how) = match content {
        "ext2" => ("holds ext2, which does not grow while mounted".to_owned(), NoGrowth::OF_EXT2),
        "jfs" => ("holds jfs, which does not grow here".to_owned(), NoGrowth::OF_JFS),
        "md" => ("is part of a RAID array".to_owned(), NoGrowth::BY_MDADM),
        other => return format!("its last partition holds {other}, not a filesystem that grows").into(),
    };
    NoGrowth { why: format!("its last partition {why}"), how }
}

fn usable_end(disk: &Disk) -> u64 {
    match (&disk.table.gpt, disk.table.kind) {
        (Some(gpt), _) => gpt.usable_end(disk.job.size),
        (None, TableKind::Mbr) => disk.job.size.min(u64::from(u32::MAX) * SECTOR),
        (None, _) => disk.job.size,
    }
}

fn set(layout: &mut Layout, place: Place, start: u64, end: u64) {
    for volume in layout.volumes.iter_mut().filter(|volume| volume.place == place) {
        volume.size = end - start;
        if let Some(partition) = &mut volume.partition {
            (partition.offset, partition.size) = (start, end - start);
        }
    }
    let partitions: Vec<table::Partition> = layout
        .volumes
        .iter()
        .filter(|volume| volume.place.disk() == place.disk())
        .filter_map(|volume| volume.partition.clone())
        .collect();
    if let Some(disk) = place.disk().and_then(|disk| layout.disks.get_mut(disk)) {
        disk.table.partitions = partitions;
    }
}
