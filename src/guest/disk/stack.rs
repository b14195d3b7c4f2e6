//! What is made of parts of disks: RAID arrays, then the logical volumes on them and on
//! partitions. Each becomes a device of the sandbox and a volume of the layout.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::dm::Mapper;
use super::layout::{Layout, Place, Volume};
use super::lvm::activate::{ActivateError, Activation, PhysicalDevice};
use super::lvm::group::{Group, GroupError, SegmentKind};
use super::lvm::label::{self, Label, LabelError};
use super::md::array::Array;
use super::md::superblock::{self, Superblock};
use super::probe;
use super::table::SECTOR;
use crate::guest::kernel;

/// Most arrays, and most logical volumes of one group, that become devices.
const MOST: usize = 256;
/// Numbers of arrays go down from here, as those of arrays that no configuration names.
const FIRST_ARRAY: usize = 127;

/// A device that is made of parts of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stacked {
    /// What it is.
    pub kind: StackedKind,
    /// The guest's name for it: `vg/root`, `md0`.
    pub name: String,
    /// Its device in the sandbox.
    pub path: PathBuf,
    /// What it is on.
    pub on: Vec<Place>,
    /// The guest's device names for it.
    aliases: Vec<String>,
}

/// What a device is that is made of parts of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StackedKind {
    /// A RAID array of this level; −1 is linear.
    Array(i32),
    /// A logical volume.
    Logical,
}

impl Stacked {
    /// What people call it.
    #[must_use]
    pub fn title(&self) -> String {
        match self.kind {
            StackedKind::Array(level) => array_title(level, &self.name),
            StackedKind::Logical => format!("logical volume {}", self.name),
        }
    }
}

fn array_title(level: i32, name: &str) -> String {
    match level {
        -1 => format!("linear array {name}"),
        _ => format!("RAID {level} array {name}"),
    }
}

/// A volume group whose disks were looked for.
#[derive(Debug)]
pub struct FoundGroup {
    /// What its text says.
    pub group: Group,
    /// Its physical volumes that are there, by their names in the text.
    pub devices: BTreeMap<String, PhysicalDevice>,
    /// Where those are.
    pub places: BTreeMap<String, Place>,
    /// Their labels.
    pub labels: BTreeMap<String, Label>,
}

/// Something that could not be made, or only in part.
#[derive(Debug)]
pub enum Trouble {
    /// An array cannot be assembled.
    Array {
        /// What people call it.
        name: String,
        /// Why.
        why: String,
    },
    /// An array runs without some of its members.
    Degraded {
        /// What people call it.
        name: String,
        /// How many are missing or behind.
        missing: u32,
    },
    /// A physical volume cannot be used.
    Physical {
        /// Where.
        place: Place,
        /// Why.
        why: String,
    },
    /// Another disk holds a copy of a physical volume that is known already.
    Copy {
        /// Where the copy is.
        place: Place,
        /// The id that both have.
        id: String,
    },
    /// A group's text is none.
    Group {
        /// Where it was read.
        place: Place,
        /// Why it is none.
        why: GroupError,
    },
    /// A logical volume is not there.
    Logical {
        /// `vg/lv`.
        name: String,
        /// Why.
        why: ActivateError,
    },
}

/// All that is made of parts.
#[derive(Debug, Default)]
pub struct Stack {
    /// In the order in which they were made.
    pub devices: Vec<Stacked>,
    /// The volume groups.
    pub groups: Vec<FoundGroup>,
    /// What could not be made.
    pub troubles: Vec<Trouble>,
    mapper: Option<Mapper>,
    mapped: Vec<String>,
    arrays: Vec<Array>,
}

impl Stack {
    /// The device that a name of the guest's means. When there is one array, every array's name
    /// means it: `mdadm.conf` and the host's name have a say in them.
    #[must_use]
    pub fn find(&self, source: &str) -> Option<usize> {
        let named = self.devices.iter().position(|device| device.aliases.iter().any(|name| name == source));
        let array = |device: &Stacked| matches!(device.kind, StackedKind::Array(_));
        let only = || {
            let mut arrays = self.devices.iter().enumerate().filter(|(_, device)| array(device));
            arrays.next().filter(|_| arrays.next().is_none()).map(|(index, _)| index)
        };
        named.or_else(|| source.strip_prefix("/dev/md").and_then(|_| only()))
    }

    /// The group that a logical volume is in, with the volume's name.
    #[must_use]
    pub fn group_of(&self, place: Place) -> Option<(&FoundGroup, &str)> {
        let Place::Stacked(index) = place else { return None };
        let device = self.devices.get(index).filter(|device| device.kind == StackedKind::Logical)?;
        let (group, logical) = device.name.split_once('/')?;
        Some((self.groups.iter().find(|found| found.group.name == group)?, logical))
    }

    /// The device mapper, when it is in use.
    #[must_use]
    pub fn mapper(&self) -> Option<&Mapper> {
        self.mapper.as_ref()
    }

    /// Ends all devices, the last first; everything is then on the disks.
    ///
    /// # Errors
    /// When one is in use; the others are still ended.
    pub fn close(&mut self) -> io::Result<()> {
        let mut outcome = Ok(());
        if let Some(mapper) = &self.mapper {
            while let Some(name) = self.mapped.pop() {
                outcome = outcome.and(mapper.remove(&name));
            }
        }
        while let Some(array) = self.arrays.pop() {
            outcome = outcome.and(array.stop());
        }
        outcome
    }
}

/// The size of a block device of the sandbox in bytes.
fn size_of(path: &Path) -> io::Result<u64> {
    let name = path.file_name().unwrap_or_default();
    let text = fs::read_to_string(Path::new("/sys/class/block").join(name).join("size"))?;
    let sectors: u64 = text.trim().parse().map_err(io::Error::other)?;
    sectors.checked_mul(SECTOR).ok_or_else(|| io::Error::other("a device without end"))
}

impl Layout {
    /// Makes all arrays and logical volumes.
    pub fn build_stack(&mut self) {
        self.assemble_arrays();
        self.find_groups();
        self.activate_groups();
    }

    fn of_kind(&self, kind: &str) -> Vec<Volume> {
        self.volumes.iter().filter(|volume| volume.content.kind == kind).cloned().collect()
    }

    fn add(&mut self, device: Stacked) -> io::Result<()> {
        let size = size_of(&device.path)?;
        let content = probe::probe(&File::open(&device.path)?, 0, size);
        let place = Place::Stacked(self.stack.devices.len());
        self.stack.devices.push(device);
        self.volumes.push(Volume { place, partition: None, size, content, mount_point: None });
        Ok(())
    }

    fn assemble_arrays(&mut self) {
        let mut arrays: BTreeMap<[u8; 16], Vec<(Volume, Superblock)>> = BTreeMap::new();
        for volume in self.of_kind("md") {
            let Some(disk) = volume.place.disk().and_then(|disk| self.disks.get(disk)) else { continue };
            let start = volume.partition.as_ref().map_or(0, |partition| partition.offset);
            if let Some(found) = superblock::read(&disk.device.file, start, volume.size) {
                arrays.entry(found.id).or_default().push((volume, found));
            }
        }
        for (index, members) in arrays.values().take(MOST.min(FIRST_ARRAY)).enumerate() {
            // The member that knows most tells what the array is.
            let Some((_, first)) = members.iter().max_by_key(|(_, found)| found.events) else { continue };
            let name = array_name(first);
            if let Err(why) = self.assemble(FIRST_ARRAY - index, &name, first, members) {
                self.stack.troubles.push(Trouble::Array { name: array_title(first.level, &name), why });
            }
        }
    }

    fn assemble(
        &mut self,
        number: usize,
        name: &str,
        first: &Superblock,
        members: &[(Volume, Superblock)],
    ) -> Result<(), String> {
        let module = match first.level {
            -1 => "linear",
            0 => "raid0",
            1 => "raid1",
            4 | 5 => "raid456",
            10 => "raid10",
            // RAID 6 needs routines that the sandbox's kernel does not have.
            level => return Err(format!("RAID level {level} is not supported")),
        };
        kernel::want(module).map_err(|error| error.to_string())?;
        let mut paths = Vec::new();
        let mut on = Vec::new();
        let mut taken = BTreeSet::new();
        let mut ordered: Vec<_> =
            members.iter().filter(|(_, found)| found.version == first.version).collect();
        ordered.sort_by_key(|(_, found)| std::cmp::Reverse(found.events));
        for (volume, found) in ordered {
            // A copy of a member would be taken for it: the one that knows more is.
            if found.role.is_some_and(|role| !taken.insert(role)) {
                continue;
            }
            paths.push(self.device(volume).map_err(|error| error.to_string())?);
            on.push(volume.place);
        }
        let array = Array::assemble(number, first.version, &paths).map_err(|error| {
            let there = taken.len();
            format!("{there} of its {} members are there: {error}", first.members)
        })?;
        let title = array_title(first.level, name);
        let missing = array.missing();
        let device = Stacked {
            kind: StackedKind::Array(first.level),
            name: name.to_owned(),
            path: array.path(),
            on,
            aliases: array_aliases(first),
        };
        self.stack.arrays.push(array);
        self.add(device).map_err(|error| error.to_string())?;
        if missing > 0 {
            self.stack.troubles.push(Trouble::Degraded { name: title, missing });
        }
        Ok(())
    }

    fn find_groups(&mut self) {
        let mut physical: BTreeMap<String, (Place, PhysicalDevice, Label)> = BTreeMap::new();
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        let mut troubles = Vec::new();
        for volume in self.of_kind("lvm2") {
            let place = volume.place;
            match self.physical(&volume, &mut groups, &mut troubles) {
                Ok((device, label)) => {
                    if physical.contains_key(&label.id) {
                        troubles.push(Trouble::Copy { place, id: label.id });
                    } else {
                        physical.insert(label.id.clone(), (place, device, label));
                    }
                }
                Err(error) => troubles.push(Trouble::Physical { place, why: error.to_string() }),
            }
        }
        self.stack.troubles.append(&mut troubles);
        for group in groups.into_values() {
            let mut found = FoundGroup {
                devices: BTreeMap::new(),
                places: BTreeMap::new(),
                labels: BTreeMap::new(),
                group,
            };
            for part in &found.group.physical {
                if let Some((place, device, label)) = physical.get(&part.id) {
                    found.devices.insert(part.name.clone(), device.clone());
                    found.places.insert(part.name.clone(), *place);
                    found.labels.insert(part.name.clone(), label.clone());
                }
            }
            self.stack.groups.push(found);
        }
    }

    /// A physical volume's device and label; its group is noted when it is newer than what is
    /// known of it.
    fn physical(
        &self,
        volume: &Volume,
        groups: &mut BTreeMap<String, Group>,
        troubles: &mut Vec<Trouble>,
    ) -> Result<(PhysicalDevice, Label), LabelError> {
        let path = self.device(volume)?;
        let file = File::open(&path)?;
        let label = label::read(&file, volume.size)?;
        for area in &label.areas {
            let Some(text) = label::read_text(&file, *area)? else { continue };
            match Group::parse(text) {
                Ok(group) => {
                    let known = groups.get(&group.id).map(|known| known.sequence);
                    if known.is_none_or(|known| known < group.sequence) {
                        groups.insert(group.id.clone(), group);
                    }
                }
                Err(why) => troubles.push(Trouble::Group { place: volume.place, why }),
            }
        }
        Ok((PhysicalDevice { path, sectors: volume.size / SECTOR }, label))
    }

    fn activate_groups(&mut self) {
        let groups = std::mem::take(&mut self.stack.groups);
        for found in &groups {
            if let Err(why) = self.activate(found) {
                let name = found.group.name.clone();
                self.stack.troubles.push(Trouble::Logical { name, why });
            }
        }
        self.stack.groups = groups;
    }

    fn activate(&mut self, found: &FoundGroup) -> Result<(), ActivateError> {
        kernel::want("dm-mod")?;
        let mapper = match self.stack.mapper.take() {
            Some(mapper) => mapper,
            None => Mapper::open()?,
        };
        let mut activation = Activation::new(&found.group, &mapper, &found.devices);
        let mut made = Vec::new();
        for logical in activation.volumes().into_iter().take(MOST) {
            made.push((logical.name.clone(), activation.device(&logical.name)));
        }
        self.stack.mapped.append(&mut activation.made);
        self.stack.mapper = Some(mapper);
        for (logical, outcome) in made {
            let name = format!("{}/{logical}", found.group.name);
            let mapped = found.group.mapped_name(&logical);
            let added = outcome.and_then(|path| {
                let aliases = vec![
                    format!("/dev/{name}"),
                    format!("/dev/mapper/{mapped}"),
                    format!("/dev/disk/by-id/dm-name-{mapped}"),
                ];
                let on = on(found, &logical);
                let kind = StackedKind::Logical;
                Ok(self.add(Stacked { kind, name: name.clone(), path, on, aliases })?)
            });
            if let Err(why) = added {
                self.stack.troubles.push(Trouble::Logical { name, why });
            }
        }
        Ok(())
    }
}

fn array_name(found: &Superblock) -> String {
    let digits = !found.name.is_empty() && found.name.bytes().all(|byte| byte.is_ascii_digit());
    match (digits, found.name.is_empty()) {
        (true, _) => format!("md{}", found.name),
        (false, true) => found.id_text(),
        (false, false) => found.name.clone(),
    }
}

fn array_aliases(found: &Superblock) -> Vec<String> {
    vec![
        format!("/dev/md{}", found.name),
        format!("/dev/md/{}", found.name),
        format!("/dev/disk/by-id/md-uuid-{}", found.id_text()),
    ]
}

/// The places of the physical volumes that a logical volume is on.
fn on(found: &FoundGroup, logical: &str) -> Vec<Place> {
    let mut places = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut queue = vec![logical.to_owned()];
    while let Some(name) = queue.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        if let Some(place) = found.places.get(&name) {
            places.insert(*place);
        }
        let segments = found.group.logical(&name).map(|logical| logical.segments.as_slice());
        for segment in segments.unwrap_or_default() {
            match &segment.kind {
                SegmentKind::Striped { areas, .. } => {
                    queue.extend(areas.iter().map(|(name, _)| name.clone()))
                }
                SegmentKind::Raid { parts, .. } => queue.extend(parts.iter().cloned()),
                SegmentKind::Mirror { copies, .. } => queue.extend(copies.iter().cloned()),
                SegmentKind::ThinPool { metadata, data, .. } => {
                    queue.extend([metadata.clone(), data.clone()]);
                }
                SegmentKind::Thin { pool, .. } => queue.push(pool.clone()),
                SegmentKind::Snapshot { .. } | SegmentKind::Other(_) => {}
            }
        }
    }
    places.into_iter().collect()
}
