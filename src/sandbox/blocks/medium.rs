//! What a device of the block server reads from and writes to.

use super::cow::{CowDisk, CowError};

/// Bytes of one sector, virtio's unit.
pub const SECTOR: u64 = 512;

/// What stands behind a device.
pub enum Medium {
    /// A guest's disk: an image with changed blocks on top.
    Disk(Box<CowDisk>),
    /// The job and report disk: plain memory.
    Memory(Vec<u8>),
}

/// Why a request cannot be served. The guest sees an I/O error; the host may ask why.
#[derive(Debug, thiserror::Error)]
pub enum MediumError {
    /// Outside the disk.
    #[error("a request of {length} bytes at {offset} goes beyond the device")]
    OutOfRange {
        /// Where it begins.
        offset: u64,
        /// Its bytes.
        length: u64,
    },
    /// The disk below failed.
    #[error(transparent)]
    Cow(#[from] CowError),
}

impl Medium {
    /// Its size in bytes, whole sectors.
    pub fn size(&self) -> u64 {
        match self {
            Self::Disk(disk) => disk.size().next_multiple_of(SECTOR),
            Self::Memory(bytes) => bytes.len() as u64,
        }
    }

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// When the range is not within the device or the image cannot be read.
    pub fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumError> {
        let range = self.check(offset, buffer.len())?;
        match self {
            Self::Disk(disk) => disk.read_at(offset, buffer)?,
            Self::Memory(bytes) => {
                buffer.copy_from_slice(bytes.get(range).ok_or(out_of_range(offset, buffer.len()))?)
            }
        }
        Ok(())
    }

    /// Writes `data` at `offset`.
    ///
    /// # Errors
    /// When the range is not within the device, or too much of the disk would be changed.
    pub fn write_at(&mut self, offset: u64, data: &[u8]) -> Result<(), MediumError> {
        let range = self.check(offset, data.len())?;
        match self {
            Self::Disk(disk) => disk.write_at(offset, data)?,
            Self::Memory(bytes) => {
                bytes.get_mut(range).ok_or(out_of_range(offset, data.len()))?.copy_from_slice(data);
            }
        }
        Ok(())
    }

    fn check(&self, offset: u64, length: usize) -> Result<std::ops::Range<usize>, MediumError> {
        let end = offset.checked_add(length as u64).filter(|end| *end <= self.size());
        match (usize::try_from(offset), end.and_then(|end| usize::try_from(end).ok())) {
            (Ok(start), Some(end)) => Ok(start..end),
            _ => Err(out_of_range(offset, length)),
        }
    }
}

fn out_of_range(offset: u64, length: usize) -> MediumError {
    MediumError::OutOfRange { offset, length: length as u64 }
}
