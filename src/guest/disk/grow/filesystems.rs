//! Filesystems that grow into what they are on, mounted.

use std::fs::File;
use std::io;
use std::path::Path;

use super::tables::Grown;
use crate::guest::disk::findings;
use crate::guest::disk::ioctl;
use crate::guest::disk::layout::{Layout, Place, Volume};
use crate::guest::disk::mount::{Filesystem, Mounts};
use crate::guest::report::{Edit, EditKind, Finding};

/// Where a filesystem that is not mounted otherwise is mounted to grow.
const PLACE: &str = "/run/grow";

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
                let why = format!("the {} of {}: {error}", volume.content.kind, layout.name(*place));
                let disk = place.disk().and_then(|disk| layout.disks.get(disk));
                notes
                    .push(findings::cannot_grow(disk.map_or("", |disk| disk.job.name.as_str()), &why.into()));
            }
        }
    }
}

fn grow(layout: &Layout, volume: &Volume, mounted: Option<&str>) -> io::Result<()> {
    if let Some(path) = mounted {
        return call(layout, volume, &File::open(path)?);
    }
    let source = layout.source(volume)?;
    let mut mounts = Mounts::default();
    mounts.mount(Filesystem::of(&source, volume, None, true), Path::new(PLACE))?;
    let outcome = File::open(PLACE).and_then(|file| call(layout, volume, &file));
    outcome.and(mounts.unmount())
}

fn call(layout: &Layout, volume: &Volume, on: &File) -> io::Result<()> {
    let content = &volume.content;
    // The kernel learns the partition's new size by this.
    let _device = layout.device(volume)?;
    let blocks =
        || volume.size.checked_div(content.block_size).ok_or_else(|| io::Error::other("its block size is 0"));
    match content.kind {
        "btrfs" => ioctl::grow_btrfs(on, content.device_id),
        "xfs" => ioctl::grow_xfs(on, blocks()?, content.inode_percent),
        _ => ioctl::grow_ext4(on, blocks()?),
    }
}
