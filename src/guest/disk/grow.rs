//! A disk that is larger than its image: the backup partition table moves to the new end; the
//! last partition and its filesystem grow when that is wanted.

use std::fs::File;
use std::io;
use std::path::Path;

use super::findings;
use super::ioctl;
use super::layout::{Disk, Layout, Place, Volume};
use super::mount::{Filesystem, Mounts};
use super::table::{SECTOR, TableKind};
use super::{mbr, table};
use crate::guest::report::{Edit, EditKind, Finding};

/// Where a filesystem that is not mounted otherwise is mounted to grow.
const PLACE: &str = "/run/grow";
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

/// Brings the partition tables of larger disks in order, and lets partitions grow.
///
/// # Errors
/// When a disk cannot be written.
pub fn tables(
    layout: &mut Layout,
    edits: &mut Vec<Edit>,
    notes: &mut Vec<Finding>,
) -> io::Result<Vec<Grown>> {
    let mut grown = Vec::new();
    for index in 0..layout.disks.len() {
        let job = layout.disks[index].job.clone();
        if job.size <= job.image_size {
            continue;
        }
        let last = last_partition(layout, index);
        let target = if job.grow {
            target(layout, index, last.as_ref(), notes)
        } else {
            notes.push(findings::unused_space(&job.name, job.size - job.image_size));
            None
        };
        let disk = &mut layout.disks[index];
        if let Some(gpt) = &mut disk.table.gpt {
            if let (Some((_, end)), Some(number)) =
                (target, last.as_ref().and_then(|last| last.place.partition))
            {
                gpt.extend(number, end);
            }
            gpt.write(&disk.device.file, job.size)?;
            edits.push(Edit {
                path: format!("disk {}", job.name),
                purpose: "move the backup partition table to the new end".to_owned(),
                kind: EditKind::MoveBackupTable { disk_size: job.size },
            });
        }
        let (Some(last), Some((place, end))) = (last, target) else { continue };
        grown.push(Grown { place, old_size: last.size });
        let Some(partition) = &last.partition else {
            set_size(layout, place, end);
            continue;
        };
        if layout.disks[index].table.kind == TableKind::Mbr {
            mbr::extend(&layout.disks[index].device.file, job.image_size, partition, end)?;
        }
        edits.push(Edit {
            path: layout.name(place),
            purpose: "let the partition end where the disk ends".to_owned(),
            kind: EditKind::Grow { old_size: last.size, new_size: end - partition.offset },
        });
        set_size(layout, place, end);
        layout.disks[index].device.file.sync_all()?;
    }
    Ok(grown)
}

/// The volume that ends last on a disk.
fn last_partition(layout: &Layout, disk: usize) -> Option<Volume> {
    let volumes = layout.volumes.iter().filter(|volume| volume.place.disk == disk);
    volumes.max_by_key(|volume| volume.partition.as_ref().map_or(volume.size, |found| found.end())).cloned()
}

/// What of a disk grows and to where it then reaches.
fn target(
    layout: &Layout,
    index: usize,
    last: Option<&Volume>,
    notes: &mut Vec<Finding>,
) -> Option<(Place, u64)> {
    let disk = &layout.disks[index];
    let job = &disk.job;
    let mut refuse = |why: &str| {
        notes.push(findings::cannot_grow(&job.name, why));
        None
    };
    let Some(last) = last else { return refuse("it has no partition and no filesystem") };
    match last.content.kind {
        "ext2" => return refuse("its last partition holds ext2, which does not grow while mounted"),
        "ext3" | "ext4" | "xfs" | "btrfs" => {}
        other => return refuse(&format!("its last partition holds {other}, not a filesystem that grows")),
    }
    let end = usable_end(disk) / ALIGNMENT * ALIGNMENT;
    let start = last.partition.as_ref().map_or(0, |partition| partition.offset);
    // The end is aligned on the disk, sizes count from the partition's start.
    if end <= start + last.size {
        return refuse("there is no room behind its last partition");
    }
    Some((last.place, end))
}

fn usable_end(disk: &Disk) -> u64 {
    match (&disk.table.gpt, disk.table.kind) {
        (Some(gpt), _) => gpt.usable_end(disk.job.size),
        (None, TableKind::Mbr) => disk.job.size.min(u64::from(u32::MAX) * SECTOR),
        (None, _) => disk.job.size,
    }
}

fn set_size(layout: &mut Layout, place: Place, end: u64) {
    for volume in layout.volumes.iter_mut().filter(|volume| volume.place == place) {
        match &mut volume.partition {
            Some(partition) => {
                partition.size = end - partition.offset;
                volume.size = partition.size;
            }
            None => volume.size = end,
        }
    }
    let partitions: Vec<table::Partition> = layout
        .volumes
        .iter()
        .filter(|volume| volume.place.disk == place.disk)
        .filter_map(|volume| volume.partition.clone())
        .collect();
    if let Some(disk) = layout.disks.get_mut(place.disk) {
        disk.table.partitions = partitions;
    }
}

/// Lets the filesystems grow into their partitions. `mounted` gives where one is mounted already.
pub fn filesystems(
    layout: &Layout,
    grown: &[Grown],
    mounted: &dyn Fn(Place) -> Option<String>,
    edits: &mut Vec<Edit>,
    notes: &mut Vec<Finding>,
) {
    for Grown { place, old_size } in grown {
        let Some(volume) = layout.volume(*place) else { continue };
        match grow(layout, volume, mounted(*place).as_deref()) {
            Ok(()) => edits.push(Edit {
                path: layout.name(*place),
                purpose: format!("grow its {} into it", volume.content.kind),
                kind: EditKind::Grow { old_size: *old_size, new_size: volume.size },
            }),
            Err(error) => {
                let disk = layout.disks.get(place.disk).map_or("", |disk| disk.job.name.as_str());
                notes.push(findings::cannot_grow(disk, &format!("its {}: {error}", volume.content.kind)));
            }
        }
    }
}

fn grow(layout: &Layout, volume: &Volume, mounted: Option<&str>) -> io::Result<()> {
    if let Some(path) = mounted {
        return call(volume, &File::open(path)?);
    }
    let device = layout.device(volume)?;
    let mut mounts = Mounts::default();
    let kind = volume.content.kind;
    mounts.mount(Filesystem { device: &device, kind, subvolume: None, writable: true }, Path::new(PLACE))?;
    let outcome = File::open(PLACE).and_then(|file| call(volume, &file));
    outcome.and(mounts.unmount())
}

fn call(volume: &Volume, on: &File) -> io::Result<()> {
    let content = &volume.content;
    let blocks =
        || volume.size.checked_div(content.block_size).ok_or_else(|| io::Error::other("its block size is 0"));
    match content.kind {
        "btrfs" => ioctl::grow_btrfs(on),
        "xfs" => ioctl::grow_xfs(on, blocks()?, content.inode_percent),
        _ => ioctl::grow_ext4(on, blocks()?),
    }
}
