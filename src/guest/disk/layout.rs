//! All disks of a guest with what is on them.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use super::boot_code::{self, BootCode};
use super::device::Device;
use super::probe::{self, Content};
use super::stack::{Stack, Stacked};
use super::table::{self, Partition, Table, TableKind};
use crate::guest::report::{DiskFacts, JobDisk, PartitionFacts, StackedFacts};

/// Where a volume is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A partition, or a whole disk.
    Disk {
        /// The disk's position in the job.
        disk: usize,
        /// The partition's number; `None` for the whole disk.
        partition: Option<u32>,
    },
    /// An array or logical volume: its position among the stacked devices.
    Stacked(usize),
}

impl Place {
    /// The disk, when it is directly on one.
    #[must_use]
    pub fn disk(self) -> Option<usize> {
        match self {
            Self::Disk { disk, .. } => Some(disk),
            Self::Stacked(_) => None,
        }
    }

    /// The partition's number, when it is one.
    #[must_use]
    pub fn partition(self) -> Option<u32> {
        match self {
            Self::Disk { partition, .. } => partition,
            Self::Stacked(_) => None,
        }
    }
}

/// A partition, whole disk, array or logical volume with something on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Where it is.
    pub place: Place,
    /// Its partition, when it is one.
    pub partition: Option<Partition>,
    /// Bytes.
    pub size: u64,
    /// What it holds.
    pub content: Content,
    /// Where the guest mounts it, as far as that was found out.
    pub mount_point: Option<String>,
}

/// What a volume is mounted from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its device.
    pub device: PathBuf,
    /// The other devices of a btrfs that has several.
    pub members: Vec<PathBuf>,
}

/// One disk.
#[derive(Debug)]
pub struct Disk {
    /// What the job says of it.
    pub job: JobDisk,
    /// Its device.
    pub device: Device,
    /// Its partition table.
    pub table: Table,
}

impl Disk {
    /// Whether firmware could begin here: boot code in the first sector, or an EFI system partition.
    #[must_use]
    pub fn boots(&self) -> bool {
        boot_code::of_disk(&self.device.file) > BootCode::Absent
            || self.table.partitions.iter().any(|partition| partition.kind.is_efi_system())
    }
}

/// A guest's disks.
#[derive(Debug)]
pub struct Layout {
    /// In the order of the job.
    pub disks: Vec<Disk>,
    /// Everything on them.
    pub volumes: Vec<Volume>,
    /// What is made of their parts.
    pub stack: Stack,
}

impl Layout {
    /// Looks at these devices, which are the job's disks in order.
    ///
    /// # Errors
    /// When a device cannot be opened.
    pub fn read(disks: &[JobDisk], devices: &[PathBuf]) -> io::Result<Self> {
        let mut layout = Self { disks: Vec::new(), volumes: Vec::new(), stack: Stack::default() };
        for (index, (job, path)) in disks.iter().zip(devices).enumerate() {
            let device = Device::open(path)?;
            let table = table::read(&device.file, job.image_size);
            layout.volumes.extend(volumes(index, job, &device, &table));
            layout.disks.push(Disk { job: job.clone(), device, table });
        }
        Ok(layout)
    }

    /// The volume at a place.
    #[must_use]
    pub fn volume(&self, place: Place) -> Option<&Volume> {
        self.volumes.iter().find(|volume| volume.place == place)
    }

    /// The disk that the machine boots from: the first, if firmware could begin there.
    #[must_use]
    pub fn boot_disk(&self) -> usize {
        self.disks.iter().position(Disk::boots).unwrap_or(0)
    }

    /// The disks that a place is on.
    #[must_use]
    pub fn disks_of(&self, place: Place) -> BTreeSet<usize> {
        let (mut disks, mut seen, mut queue) = (BTreeSet::new(), BTreeSet::new(), vec![place]);
        while let Some(place) = queue.pop() {
            match place {
                Place::Disk { disk, .. } => _ = disks.insert(disk),
                Place::Stacked(index) if seen.insert(index) => {
                    queue.extend(self.stack.devices.get(index).iter().flat_map(|device| &device.on));
                }
                Place::Stacked(_) => {}
            }
        }
        disks
    }

    /// The device of a volume.
    ///
    /// # Errors
    /// When the kernel does not take the partition.
    pub fn device(&self, volume: &Volume) -> io::Result<PathBuf> {
        let disk = match volume.place {
            Place::Disk { disk, .. } => self.disks.get(disk).ok_or(io::ErrorKind::NotFound)?,
            Place::Stacked(index) => {
                let device = self.stack.devices.get(index).ok_or(io::ErrorKind::NotFound)?;
                return Ok(device.path.clone());
            }
        };
        match &volume.partition {
            Some(partition) => disk.device.partition(partition),
            None => Ok(disk.device.path()),
        }
    }

    /// The device of a volume to mount it from, with the others that it needs. What the sandbox's
    /// kernel must not mount is refused, as [`io::ErrorKind::Unsupported`].
    ///
    /// # Errors
    /// When it is refused or the kernel does not take a partition.
    pub fn source(&self, volume: &Volume) -> io::Result<Source> {
        let unsupported = |why: String| Err(io::Error::new(io::ErrorKind::Unsupported, why));
        let content = &volume.content;
        if content.parity {
            // Its routines are not there (they are not timed, to start sooner): the kernel would end.
            return unsupported("its data has the profile RAID 5 or 6".to_owned());
        }
        let device = self.device(volume)?;
        let mut members = Vec::new();
        if content.kind == "btrfs" && content.devices > 1 {
            let same = |other: &&Volume| other.content.kind == "btrfs" && other.content.uuid == content.uuid;
            for other in self.volumes.iter().filter(same).filter(|other| other.place != volume.place) {
                members.push(self.device(other)?);
            }
            let there = members.len() as u64 + 1;
            if there < content.devices {
                return unsupported(format!("{there} of its {} devices are there", content.devices));
            }
        }
        Ok(Source { device, members })
    }

    /// What people call a place: `disk root partition 1`, `logical volume vg/root`.
    #[must_use]
    pub fn name(&self, place: Place) -> String {
        match place {
            Place::Disk { disk, partition } => {
                let disk = self.disks.get(disk).map_or("", |disk| disk.job.name.as_str());
                match partition {
                    Some(number) => format!("disk {disk} partition {number}"),
                    None => format!("disk {disk}"),
                }
            }
            Place::Stacked(index) => self.stack.devices.get(index).map(Stacked::title).unwrap_or_default(),
        }
    }

    /// The disks as the report tells them.
    #[must_use]
    pub fn facts(&self) -> Vec<DiskFacts> {
        let of = |index: usize, disk: &Disk| DiskFacts {
            name: disk.job.name.clone(),
            table: disk.table.kind.as_str().to_owned(),
            partitions: self
                .volumes
                .iter()
                .filter(|volume| volume.place.disk() == Some(index))
                .map(facts)
                .collect(),
        };
        self.disks.iter().enumerate().map(|(index, disk)| of(index, disk)).collect()
    }

    /// The arrays and logical volumes as the report tells them.
    #[must_use]
    pub fn stacked_facts(&self) -> Vec<StackedFacts> {
        let of = |(index, device): (usize, &Stacked)| {
            let volume = self.volume(Place::Stacked(index))?;
            Some(StackedFacts {
                name: device.title(),
                size: volume.size,
                content: volume.content.kind.to_owned(),
                uuid: volume.content.uuid.clone(),
                label: volume.content.label.clone(),
                mount_point: volume.mount_point.clone(),
                on: device.on.iter().map(|place| self.name(*place)).collect(),
            })
        };
        self.stack.devices.iter().enumerate().filter_map(of).collect()
    }
}

fn facts(volume: &Volume) -> PartitionFacts {
    PartitionFacts {
        number: volume.place.partition().unwrap_or(0),
        offset: volume.partition.as_ref().map_or(0, |partition| partition.offset),
        size: volume.size,
        content: content_name(volume).to_owned(),
        uuid: volume.content.uuid.clone(),
        label: volume.content.label.clone(),
        mount_point: volume.mount_point.clone(),
    }
}

fn content_name(volume: &Volume) -> &str {
    let boots_bios = volume.partition.as_ref().is_some_and(|partition| partition.kind.is_bios_boot());
    if volume.content.kind == "unknown" && boots_bios { "bios-grub" } else { volume.content.kind }
}

fn volumes(index: usize, job: &JobDisk, device: &Device, table: &Table) -> Vec<Volume> {
    if table.kind == TableKind::None {
        let content = probe::probe(&device.file, 0, job.image_size);
        let place = Place::Disk { disk: index, partition: None };
        let volume = Volume { place, partition: None, size: job.image_size, content, mount_point: None };
        return Some(volume).filter(|volume| volume.content.kind != "unknown").into_iter().collect();
    }
    let of = |partition: &Partition| Volume {
        place: Place::Disk { disk: index, partition: Some(partition.number) },
        partition: Some(partition.clone()),
        size: partition.size,
        content: if partition.kind.is_dynamic_disk() {
            Content::of_dynamic_disk()
        } else {
            probe::probe(&device.file, partition.offset, partition.size)
        },
        mount_point: None,
    };
    table.partitions.iter().map(of).collect()
}
