//! A physical volume whose partition grew, and the logical volume that takes the space.

use std::fs::File;
use std::io;

use super::tables::Grown;
use crate::guest::disk::findings::{self, NoGrowth};
use crate::guest::disk::layout::{Layout, Place, Volume};
use crate::guest::disk::lvm::activate::{ActivateError, Activation, PhysicalDevice};
use crate::guest::disk::lvm::extend::{self, ExtendError, Extended};
use crate::guest::disk::lvm::group::{Group, GroupError};
use crate::guest::disk::lvm::label::{self, LabelError};
use crate::guest::disk::stack::{FoundGroup, StackedKind};
use crate::guest::disk::table::SECTOR;
use crate::guest::report::{Edit, EditKind, Finding};

/// Why a logical volume did not grow.
#[derive(Debug, thiserror::Error)]
pub enum LogicalError {
    /// It cannot be told which, or it cannot at all.
    #[error("{0}")]
    Refused(String),
    /// The text cannot be edited.
    #[error(transparent)]
    Extend(#[from] ExtendError),
    /// The new text is none.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// The physical volumes cannot be written.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// The kernel does not take the new size.
    #[error(transparent)]
    Activate(#[from] ActivateError),
    /// A device fails.
    #[error("its device fails: {0}")]
    Io(#[from] io::Error),
}

impl LogicalError {
    fn no_growth(&self) -> NoGrowth {
        let why = self.to_string();
        match self {
            Self::Extend(ExtendError::Kind { .. }) => NoGrowth { why, how: NoGrowth::BY_LVM },
            _ => why.into(),
        }
    }
}

/// What a larger physical volume means.
struct Plan<'a> {
    found: &'a FoundGroup,
    physical: String,
    logical: String,
    place: Place,
    extended: Extended,
}

/// Looks whether a physical volume of `size` bytes could let a logical volume grow.
///
/// # Errors
/// Why it could not.
pub fn plan(layout: &Layout, volume: &Volume, size: u64, root: Option<Place>) -> Result<(), NoGrowth> {
    find(layout, volume, size, root).map(|_| ()).map_err(|error| error.no_growth())
}

fn find<'a>(
    layout: &'a Layout,
    volume: &Volume,
    size: u64,
    root: Option<Place>,
) -> Result<Plan<'a>, LogicalError> {
    let refused = |why: &str| LogicalError::Refused(why.to_owned());
    let owner = layout.stack.groups.iter().find_map(|found| {
        let (name, _) = found.places.iter().find(|(_, place)| **place == volume.place)?;
        Some((found, name.clone()))
    });
    let (found, physical) = owner.ok_or_else(|| refused("its physical volume is in no volume group"))?;
    if found.devices.len() < found.group.physical.len() {
        return Err(refused("a disk of its volume group is not among the machine's"));
    }
    let place = match root.and_then(|root| layout.stack.group_of(root).map(|(group, _)| (root, group))) {
        Some((root, group)) if group.group.id == found.group.id => root,
        _ => only_volume(layout, found).ok_or_else(|| {
            refused("its volume group holds several logical volumes, and the guest's root is none of them")
        })?,
    };
    let content = layout.volume(place).map_or("unknown", |volume| volume.content.kind);
    if !matches!(content, "ext3" | "ext4" | "xfs" | "btrfs") {
        return Err(LogicalError::Refused(format!(
            "its logical volume holds {content}, which does not grow"
        )));
    }
    let (_, logical) =
        layout.stack.group_of(place).ok_or_else(|| refused("its logical volume is in no group"))?;
    let extended = extend::extend(&found.group, &physical, size / SECTOR, logical)?;
    Ok(Plan { found, physical, logical: logical.to_owned(), place, extended })
}

fn only_volume(layout: &Layout, found: &FoundGroup) -> Option<Place> {
    let mut volumes = layout.stack.devices.iter().enumerate().filter(|(_, device)| {
        let group = device.name.split_once('/').map(|(group, _)| group);
        device.kind == StackedKind::Logical && group == Some(&found.group.name)
    });
    let (first, _) = volumes.next()?;
    volumes.next().is_none().then_some(Place::Stacked(first))
}

/// Lets the logical volumes grow whose physical volumes did; what else grew is given back as it is.
pub fn extend(
    layout: &mut Layout,
    grown: Vec<Grown>,
    root: Option<Place>,
    edits: &mut Vec<Edit>,
    notes: &mut Vec<Finding>,
) -> Vec<Grown> {
    let mut all = Vec::new();
    for part in grown {
        let volume = layout.volume(part.place).filter(|volume| volume.content.kind == "lvm2").cloned();
        let Some(volume) = volume else {
            all.push(part);
            continue;
        };
        match extend_one(layout, &volume, root) {
            Ok((place, old_size, new_size)) => {
                edits.push(Edit {
                    path: layout.name(place),
                    purpose: "give it what its physical volume gained".to_owned(),
                    kind: EditKind::Grow { old_size, new_size },
                });
                all.push(Grown { place, old_size });
            }
            Err(error) => {
                let disk = part.place.disk().and_then(|disk| layout.disks.get(disk));
                let disk = disk.map_or("", |disk| disk.job.name.as_str());
                notes.push(findings::cannot_grow(disk, &error.no_growth()));
            }
        }
    }
    all
}

fn extend_one(
    layout: &mut Layout,
    volume: &Volume,
    root: Option<Place>,
) -> Result<(Place, u64, u64), LogicalError> {
    let gone = || io::Error::from(io::ErrorKind::NotFound);
    let path = layout.device(volume)?;
    let Plan { found, physical, logical, place, extended } = find(layout, volume, volume.size, root)?;
    let group = Group::parse(extended.text.clone())?;
    for (name, label) in &found.labels {
        let device = found.devices.get(name).ok_or_else(gone)?;
        let file = File::options().read(true).write(true).open(&device.path)?;
        if *name == physical {
            label::write_size(&file, label, volume.size)?;
        }
        for area in &label.areas {
            label::write_text(&file, *area, &extended.text)?;
        }
        file.sync_all()?;
    }
    let mut devices = found.devices.clone();
    devices.insert(physical, PhysicalDevice { path, sectors: volume.size / SECTOR });
    let mapper = layout.stack.mapper().ok_or_else(gone)?;
    let table = Activation::new(&group, mapper, &devices).table(&logical, 0)?;
    mapper.load(&group.mapped_name(&logical), &table)?;
    let bytes = |extents: u64| extents.saturating_mul(group.extent).saturating_mul(SECTOR);
    let (old_size, new_size) = (bytes(extended.extents.0), bytes(extended.extents.1));
    for volume in layout.volumes.iter_mut().filter(|volume| volume.place == place) {
        volume.size = new_size;
    }
    Ok((place, old_size, new_size))
}
