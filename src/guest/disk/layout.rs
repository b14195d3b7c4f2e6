//! All disks of a guest with what is on them, and how a guest's own names for it are resolved.

use std::io;
use std::path::{Path, PathBuf};

use super::device::Device;
use super::probe::{self, Content};
use super::table::{self, Partition, Table, TableKind};
use crate::guest::report::{DiskFacts, JobDisk, PartitionFacts};

/// Where a volume is: a partition, or a whole disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The disk's position in the job.
    pub disk: usize,
    /// The partition's number; `None` for the whole disk.
    pub partition: Option<u32>,
}

/// A partition or whole disk with something on it.
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

/// A guest's disks.
#[derive(Debug)]
pub struct Layout {
    /// In the order of the job.
    pub disks: Vec<Disk>,
    /// Everything on them.
    pub volumes: Vec<Volume>,
}

impl Layout {
    /// Looks at these devices, which are the job's disks in order.
    ///
    /// # Errors
    /// When a device cannot be opened.
    pub fn read(disks: &[JobDisk], devices: &[PathBuf]) -> io::Result<Self> {
        let mut layout = Self { disks: Vec::new(), volumes: Vec::new() };
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

    /// The device of a volume.
    ///
    /// # Errors
    /// When the kernel does not take the partition.
    pub fn device(&self, volume: &Volume) -> io::Result<PathBuf> {
        let disk = self.disks.get(volume.place.disk).ok_or(io::ErrorKind::NotFound)?;
        match &volume.partition {
            Some(partition) => disk.device.partition(partition),
            None => Ok(disk.device.path()),
        }
    }

    /// What people call a place: `disk root partition 1`.
    #[must_use]
    pub fn name(&self, place: Place) -> String {
        let disk = self.disks.get(place.disk).map_or("", |disk| disk.job.name.as_str());
        match place.partition {
            Some(number) => format!("disk {disk} partition {number}"),
            None => format!("disk {disk}"),
        }
    }

    /// The volume that a source in the guest's fstab names: by UUID, label, partition id or name,
    /// or by a device name of the guest's own, whose letters count the disks.
    #[must_use]
    pub fn resolve(&self, source: &str) -> Option<&Volume> {
        let source = source.trim_matches('"');
        let tagged = |tag: &str, link: &str| {
            let value = source.strip_prefix(tag).or_else(|| source.strip_prefix(link))?;
            Some(value.trim_matches('"').to_owned())
        };
        let same = |found: &Option<String>, wanted: &str| {
            found.as_ref().is_some_and(|found| found.eq_ignore_ascii_case(wanted))
        };
        let find = |matches: &dyn Fn(&Volume) -> bool| self.volumes.iter().find(|volume| matches(volume));
        if let Some(uuid) = tagged("UUID=", "/dev/disk/by-uuid/") {
            return find(&|volume| same(&volume.content.uuid, &uuid));
        }
        if let Some(label) = tagged("LABEL=", "/dev/disk/by-label/") {
            return find(&|volume| volume.content.label.as_deref() == Some(&label));
        }
        if let Some(id) = tagged("PARTUUID=", "/dev/disk/by-partuuid/") {
            return find(&|volume| volume.partition.as_ref().is_some_and(|found| same(&found.id, &id)));
        }
        if let Some(name) = tagged("PARTLABEL=", "/dev/disk/by-partlabel/") {
            let named = |found: &Partition| found.name.as_deref() == Some(&name);
            return find(&|volume| volume.partition.as_ref().is_some_and(named));
        }
        let place = device_place(source)?;
        find(&|volume| volume.place == place)
    }

    /// The disks as the report tells them.
    #[must_use]
    pub fn facts(&self) -> Vec<DiskFacts> {
        let of = |index: usize, disk: &Disk| DiskFacts {
            name: disk.job.name.clone(),
            table: disk.table.kind.as_str().to_owned(),
            partitions: self.volumes.iter().filter(|volume| volume.place.disk == index).map(facts).collect(),
        };
        self.disks.iter().enumerate().map(|(index, disk)| of(index, disk)).collect()
    }
}

fn facts(volume: &Volume) -> PartitionFacts {
    PartitionFacts {
        number: volume.place.partition.unwrap_or(0),
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
        let place = Place { disk: index, partition: None };
        let volume = Volume { place, partition: None, size: job.image_size, content, mount_point: None };
        return Some(volume).filter(|volume| volume.content.kind != "unknown").into_iter().collect();
    }
    let of = |partition: &Partition| Volume {
        place: Place { disk: index, partition: Some(partition.number) },
        partition: Some(partition.clone()),
        size: partition.size,
        content: probe::probe(&device.file, partition.offset, partition.size),
        mount_point: None,
    };
    table.partitions.iter().map(of).collect()
}

/// The place that a device name of the guest's means: `/dev/sda1`, `/dev/xvdb`, `/dev/nvme0n1p2`.
fn device_place(source: &str) -> Option<Place> {
    let name = Path::new(source.strip_prefix("/dev/")?).to_str()?;
    let number = |text: &str| -> Option<Option<u32>> {
        if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) }
    };
    if let Some(rest) = name.strip_prefix("nvme") {
        let (disk, rest) = rest.split_once("n1")?;
        let partition = number(rest.strip_prefix('p').unwrap_or(rest))?;
        return Some(Place { disk: disk.parse().ok()?, partition });
    }
    let rest = ["sd", "vd", "hd", "xvd"].iter().find_map(|prefix| name.strip_prefix(prefix))?;
    let letter = rest.bytes().next().filter(u8::is_ascii_lowercase)?;
    Some(Place { disk: usize::from(letter - b'a'), partition: number(&rest[1..])? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names_are_understood() {
        let place = |disk, partition| Some(Place { disk, partition });
        for (name, expected) in [
            ("/dev/sda1", place(0, Some(1))),
            ("/dev/xvdb", place(1, None)),
            ("/dev/nvme1n1p2", place(1, Some(2))),
            ("/dev/hdc12", place(2, Some(12))),
            ("/dev/mapper/vg-root", None),
            ("/dev/sdé1", None),
            ("/dev/sd", None),
            ("tmpfs", None),
        ] {
            assert_eq!(device_place(name), expected, "{name}");
        }
    }
}
