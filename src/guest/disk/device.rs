//! The kernel's view of a disk: the device of each partition that our parser found.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::ioctl::{self, PartitionCall};
use super::table::{Partition, SECTOR};

/// A disk's device.
#[derive(Debug)]
pub struct Device {
    /// Its name below `/dev`.
    name: String,
    /// The open device.
    pub file: File,
}

impl Device {
    /// Opens a device of the sandbox for reading and writing (what is below is an overlay).
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name, file: File::options().read(true).write(true).open(path)? })
    }

    /// The device of the whole disk.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }

    /// The device of a partition. The kernel is told of it when it does not know it, or knows it
    /// otherwise.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn partition(&self, partition: &Partition) -> io::Result<PathBuf> {
        let name = format!("{}{}", self.name, partition.number);
        let about = Path::new("/sys/block").join(&self.name).join(&name);
        let known = |field: &str| {
            fs::read_to_string(about.join(field)).ok()?.trim().parse::<u64>().ok()?.checked_mul(SECTOR)
        };
        let tell =
            |call| ioctl::partition(&self.file, call, partition.number, partition.offset, partition.size);
        match (known("start"), known("size")) {
            (None, _) => tell(PartitionCall::Add)?,
            (Some(start), _) if start != partition.offset => {
                return Err(io::Error::other("the kernel sees the partition elsewhere"));
            }
            (Some(_), size) if size != Some(partition.size) => tell(PartitionCall::Resize)?,
            (Some(_), _) => {}
        }
        Ok(Path::new("/dev").join(name))
    }
}
