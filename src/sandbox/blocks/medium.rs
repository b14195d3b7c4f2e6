//! What a device of the block server reads from and writes to.

use std::io;
use std::sync::Arc;

use crate::image::BlockSource;
use crate::image::overlay::{CowDisk, CowError, CowLimits, Overlay};
use crate::sandbox::blocks::handover::Failure;
use crate::sandbox::broker::Line;

/// Bytes of one sector, virtio's unit.
pub const SECTOR: u64 = 512;
/// Most bytes of an image of which the digests are recorded: what inspection reads is a small part.
const RECORDED: u64 = 64 << 30;

/// A guest's disk: an image with changed blocks on top.
pub struct GuestDisk {
    cow: CowDisk<Box<dyn BlockSource>>,
    failure: Option<Failure>,
}

impl GuestDisk {
    /// A disk of `size` bytes (at least the image's) of which at most `limit` bytes may change.
    #[must_use]
    pub fn new(base: Box<dyn BlockSource>, size: u64, limit: u64) -> Self {
        let size = size.max(base.size()).next_multiple_of(SECTOR);
        let limits = CowLimits { written: limit, recorded: Some(RECORDED) };
        Self { cow: CowDisk::new(base, size, limits), failure: None }
    }

    /// What changed, and what was read to compute it.
    ///
    /// # Errors
    /// When the image could not be read at any time (the guest only saw an I/O error, and may
    /// have taken it for damage of its own), or a limit was passed.
    pub fn into_overlay(self) -> Result<Overlay, Failure> {
        match self.failure {
            Some(failure) => Err(failure),
            None => {
                self.cow.into_overlay().map(|(_, overlay)| overlay).map_err(|error| Failure::from(&error))
            }
        }
    }

    fn remember<T>(&mut self, outcome: Result<T, CowError>) -> Result<T, MediumError> {
        outcome.map_err(|error| {
            self.failure.get_or_insert_with(|| Failure::from(&error));
            error.into()
        })
    }
}

/// What stands behind a device.
pub enum Medium {
    /// A guest's disk.
    Disk(Box<GuestDisk>),
    /// The job and report disk: plain memory.
    Memory(Vec<u8>),
    /// The user's components, of so many bytes, at the end of the line: only read. Whether they
    /// could be read is known there.
    Parcel(Arc<Line>, u64),
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
    /// It is only read.
    #[error("the device is read-only")]
    ReadOnly,
    /// The user's components cannot be read.
    #[error("the components cannot be read")]
    Parcel(#[from] io::Error),
    /// The disk below failed.
    #[error(transparent)]
    Cow(#[from] CowError),
}

impl Medium {
    /// Its size in bytes, whole sectors.
    pub fn size(&self) -> u64 {
        match self {
            Self::Disk(disk) => disk.cow.size(),
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Parcel(_, size) => *size,
        }
    }

    /// Whether it can be written to.
    pub fn is_writable(&self) -> bool {
        !matches!(self, Self::Parcel(..))
    }

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// When the range is not within the device or the image cannot be read.
    pub fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumError> {
        let range = self.check(offset, buffer.len())?;
        match self {
            Self::Disk(disk) => {
                let outcome = disk.cow.read_at(offset, buffer);
                disk.remember(outcome)?;
            }
            Self::Memory(bytes) => {
                buffer.copy_from_slice(bytes.get(range).ok_or(out_of_range(offset, buffer.len()))?)
            }
            Self::Parcel(line, _) => line.read_parcel(offset, buffer)?,
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
            Self::Disk(disk) => {
                let outcome = disk.cow.write_at(offset, data);
                disk.remember(outcome)?;
            }
            Self::Memory(bytes) => {
                bytes.get_mut(range).ok_or(out_of_range(offset, data.len()))?.copy_from_slice(data);
            }
            Self::Parcel(..) => return Err(MediumError::ReadOnly),
        }
        Ok(())
    }

    /// Gives up what a range of whole sectors holds: it may hold anything afterwards.
    ///
    /// # Errors
    /// When the range is not within the device.
    pub fn discard(&mut self, offset: u64, length: u64) -> Result<(), MediumError> {
        let outside = MediumError::OutOfRange { offset, length };
        match self {
            Self::Disk(disk) => disk.cow.discard(offset, length).map_err(|_| outside),
            Self::Memory(_) => Err(outside),
            Self::Parcel(..) => Err(MediumError::ReadOnly),
        }
    }

    /// Makes a range of whole sectors zero, without taking memory where it is zero already.
    ///
    /// # Errors
    /// When the range is not within the device, or too much of the disk would be changed.
    pub fn write_zeroes(&mut self, offset: u64, length: u64) -> Result<(), MediumError> {
        match self {
            Self::Disk(disk) => {
                let outcome = disk.cow.write_zeroes(offset, length);
                disk.remember(outcome)
            }
            Self::Memory(_) => Err(MediumError::OutOfRange { offset, length }),
            Self::Parcel(..) => Err(MediumError::ReadOnly),
        }
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
