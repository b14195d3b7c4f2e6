//! Logical volumes as devices: each one's table for the device mapper, after those it is made of.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use super::group::{Group, Logical, Segment, SegmentKind};
use crate::guest::disk::dm::{Mapper, Target};
use crate::guest::kernel::{self, KernelError};

/// Volumes in volumes: a snapshot of a volume in a pool over copies goes six deep.
const MAX_DEPTH: u32 = 12;

/// Why a logical volume is not there.
#[derive(Debug, thiserror::Error)]
pub enum ActivateError {
    /// A disk that it is on is not among the machine's.
    #[error("it is partly on physical volume {physical}, which is on no disk of the machine")]
    NoDisk {
        /// The physical volume.
        physical: String,
    },
    /// It is of a kind that is not made here.
    #[error("it is of the kind {kind}, which is not supported")]
    Kind {
        /// LVM's name for it.
        kind: String,
    },
    /// The group's text contradicts itself.
    #[error("LVM's description of it makes no sense ({what})")]
    Senseless {
        /// Where.
        what: String,
    },
    /// A module is missing.
    #[error(transparent)]
    Module(#[from] KernelError),
    /// The kernel refuses.
    #[error("the kernel does not take it")]
    Kernel(#[from] io::Error),
}

/// A physical volume's device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhysicalDevice {
    /// Where it is.
    pub path: PathBuf,
    /// Its size in sectors of 512 bytes.
    pub sectors: u64,
}

/// A group whose logical volumes become devices.
#[derive(Debug)]
pub struct Activation<'a> {
    group: &'a Group,
    mapper: &'a Mapper,
    /// By the physical volumes' names in the text.
    physical: &'a BTreeMap<String, PhysicalDevice>,
    done: BTreeMap<String, PathBuf>,
    /// The names of the devices that were made, in order.
    pub made: Vec<String>,
}

impl<'a> Activation<'a> {
    /// Of a group on these devices.
    #[must_use]
    pub fn new(group: &'a Group, mapper: &'a Mapper, physical: &'a BTreeMap<String, PhysicalDevice>) -> Self {
        Self { group, mapper, physical, done: BTreeMap::new(), made: Vec::new() }
    }

    /// The volumes that are there for use, snapshots left out.
    #[must_use]
    pub fn volumes(&self) -> Vec<&'a Logical> {
        let group: &'a Group = self.group;
        let ties = |logical: &Logical| {
            matches!(logical.segments.first(), Some(Segment { kind: SegmentKind::Snapshot { .. }, .. }))
        };
        let pool = |logical: &Logical| {
            matches!(logical.segments.first(), Some(Segment { kind: SegmentKind::ThinPool { .. }, .. }))
        };
        let used = |logical: &&Logical| {
            logical.visible
                && !logical.skipped
                && !ties(logical)
                && !pool(logical)
                && !snapshots(group).any(|(_, store, _)| store == logical.name)
        };
        group.logical.iter().filter(used).collect()
    }

    /// The device of a logical volume; made with all that it needs.
    ///
    /// # Errors
    /// [`ActivateError`].
    pub fn device(&mut self, name: &str) -> Result<PathBuf, ActivateError> {
        self.volume(name, 0)
    }

    fn volume(&mut self, name: &str, depth: u32) -> Result<PathBuf, ActivateError> {
        if let Some(path) = self.done.get(name) {
            return Ok(path.clone());
        }
        let stores: Vec<(String, u64)> = snapshots(self.group)
            .filter(|(origin, ..)| *origin == name)
            .map(|(_, store, chunk)| (store.to_owned(), chunk))
            .collect();
        let path = if stores.is_empty() {
            let table = self.table(name, depth)?;
            self.make(&self.group.mapped_name(name), &table)?
        } else {
            self.origin(name, &stores, depth)?
        };
        self.done.insert(name.to_owned(), path.clone());
        Ok(path)
    }

    /// A volume with snapshots: they keep what is overwritten, as they would in the guest.
    fn origin(&mut self, name: &str, stores: &[(String, u64)], depth: u32) -> Result<PathBuf, ActivateError> {
        kernel::want("dm-snapshot")?;
        let table = self.table(name, depth)?;
        let length = table.iter().map(|target| target.length).sum();
        let mapped = self.group.mapped_name(name);
        let real = self.make(&format!("{mapped}-real"), &table)?;
        let whole = |kind, parameters| [Target { start: 0, length, kind, parameters }];
        for (store, chunk) in stores {
            let table = self.table(store, depth + 1)?;
            let mapped = self.group.mapped_name(store);
            let kept = self.make(&format!("{mapped}-cow"), &table)?;
            let parameters = format!("{} {} P {chunk}", real.display(), kept.display());
            self.make(&mapped, &whole("snapshot", parameters))?;
        }
        self.make(&mapped, &whole("snapshot-origin", real.display().to_string()))
    }

    fn make(&mut self, name: &str, table: &[Target]) -> Result<PathBuf, ActivateError> {
        let path = self.mapper.create(name, table)?;
        self.made.push(name.to_owned());
        if table.iter().any(|target| target.kind == "raid") {
            // Nothing is rebuilt or compared here: it would change whole disks.
            self.mapper.message(name, "frozen")?;
        }
        Ok(path)
    }

    /// The table of a logical volume without its snapshots.
    ///
    /// # Errors
    /// [`ActivateError`].
    pub fn table(&mut self, name: &str, depth: u32) -> Result<Vec<Target>, ActivateError> {
        if depth > MAX_DEPTH {
            return Err(senseless(name));
        }
        let logical = self.group.logical(name).ok_or_else(|| senseless(name))?;
        let mut table = Vec::new();
        let mut next = 0;
        for segment in &logical.segments {
            if segment.start != next {
                return Err(senseless(name));
            }
            next = segment.start.checked_add(segment.count).ok_or_else(|| senseless(name))?;
            let start = self.sectors(segment.start).ok_or_else(|| senseless(name))?;
            let length = self.sectors(segment.count).ok_or_else(|| senseless(name))?;
            let (kind, parameters) = self.parameters(name, segment, length, depth)?;
            table.push(Target { start, length, kind, parameters });
        }
        if table.is_empty() { Err(senseless(name)) } else { Ok(table) }
    }

    fn sectors(&self, extents: u64) -> Option<u64> {
        extents.checked_mul(self.group.extent).filter(|sectors| *sectors < 1 << 54)
    }

    fn parameters(
        &mut self,
        name: &str,
        segment: &Segment,
        length: u64,
        depth: u32,
    ) -> Result<(&'static str, String), ActivateError> {
        let of = |activation: &mut Self, part: &str| {
            activation.volume(part, depth + 1).map(|path| path.display().to_string())
        };
        Ok(match &segment.kind {
            SegmentKind::Striped { stripe, areas } => {
                let parts = areas.len() as u64;
                let each = length.checked_div(parts).filter(|each| each.checked_mul(parts) == Some(length));
                let each = each.ok_or_else(|| senseless(name))?;
                let mut places = Vec::new();
                for (device, extent) in areas {
                    places.push(self.area(device, *extent, each, depth)?);
                }
                match places.as_slice() {
                    [place] => ("linear", place.clone()),
                    _ => ("striped", format!("{parts} {stripe} {}", places.join(" "))),
                }
            }
            SegmentKind::Raid { level, region, stripe, parts } => {
                ("raid", self.raid(level, *region, *stripe, parts, depth)?)
            }
            SegmentKind::Mirror { region, copies } => {
                kernel::want("dm-mirror")?;
                let mut places = Vec::new();
                for copy in copies {
                    places.push(format!("{} 0", of(self, copy)?));
                }
                // The log of what differs stays as it is; both copies get every write.
                ("mirror", format!("core 2 {region} nosync {} {}", places.len(), places.join(" ")))
            }
            SegmentKind::ThinPool { metadata, data, chunk, zeroes } => {
                kernel::want("dm-thin-pool")?;
                let (metadata, data) = (of(self, metadata)?, of(self, data)?);
                let options = if *zeroes { "" } else { " 1 skip_block_zeroing" };
                ("thin-pool", format!("{metadata} {data} {chunk} 0{options}"))
            }
            SegmentKind::Thin { pool, number } => ("thin", format!("{} {number}", of(self, pool)?)),
            SegmentKind::Snapshot { .. } => return Err(senseless(name)),
            SegmentKind::Other(kind) => return Err(ActivateError::Kind { kind: kind.clone() }),
        })
    }

    /// A device and the sector on it at which an area of `length` sectors begins.
    fn area(&mut self, device: &str, extent: u64, length: u64, depth: u32) -> Result<String, ActivateError> {
        let offset = self.sectors(extent).ok_or_else(|| senseless(device))?;
        let Some(physical) = self.group.physical.iter().find(|physical| physical.name == device) else {
            return Ok(format!("{} {offset}", self.volume(device, depth + 1)?.display()));
        };
        let found = self.physical.get(device);
        let found = found.ok_or_else(|| ActivateError::NoDisk { physical: device.to_owned() })?;
        let start = physical.start.checked_add(offset).ok_or_else(|| senseless(device))?;
        if start.checked_add(length).is_none_or(|end| end > found.sectors) {
            return Err(senseless(device));
        }
        Ok(format!("{} {start}", found.path.display()))
    }

    fn raid(
        &mut self,
        level: &str,
        region: u64,
        stripe: u64,
        parts: &[String],
        depth: u32,
    ) -> Result<String, ActivateError> {
        let unsupported = || ActivateError::Kind { kind: level.to_owned() };
        // The sandbox's kernel has no routines for RAID 6 (they are not timed, to start sooner).
        let (target, module) = match level {
            "raid1" => (level, "raid1"),
            "raid10" | "raid10_near" => ("raid10", "raid10"),
            "raid5" => ("raid5_ls", "raid456"),
            "raid4" | "raid5_ls" | "raid5_la" | "raid5_rs" | "raid5_ra" | "raid5_n" => (level, "raid456"),
            _ => return Err(unsupported()),
        };
        kernel::want("dm-raid")?;
        kernel::want(module)?;
        let mut text = match region {
            0 => format!("{target} 1 {stripe}"),
            _ => format!("{target} 3 {stripe} region_size {region}"),
        };
        text.push_str(&format!(" {}", parts.len() / 2));
        for pair in parts.chunks(2) {
            let [notes, data] = pair else { return Err(senseless(level)) };
            let both = self.volume(notes, depth + 1).and_then(|notes| {
                Ok(format!(" {} {}", notes.display(), self.volume(data, depth + 1)?.display()))
            });
            match both {
                Ok(both) => text.push_str(&both),
                Err(ActivateError::NoDisk { .. }) => text.push_str(" - -"),
                Err(error) => return Err(error),
            }
        }
        Ok(text)
    }
}

/// The group's snapshots: origin, store, sectors that are kept together.
fn snapshots(group: &Group) -> impl Iterator<Item = (&str, &str, u64)> {
    let segments = group.logical.iter().flat_map(|logical| &logical.segments);
    segments.filter_map(|segment| match &segment.kind {
        SegmentKind::Snapshot { origin, store, chunk } => Some((origin.as_str(), store.as_str(), *chunk)),
        _ => None,
    })
}

fn senseless(what: &str) -> ActivateError {
    ActivateError::Senseless { what: what.to_owned() }
}
