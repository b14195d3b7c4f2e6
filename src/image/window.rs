//! One file of an image, or a part of one (a member of an OVA), read by position.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::backing::{Backing, Fault};
use super::source::SourceError;

/// A range of an open file. Offsets count from the range's first byte.
#[derive(Debug, Clone)]
pub(super) struct Window {
    backing: Arc<dyn Backing>,
    path: PathBuf,
    name: PathBuf,
    number: u32,
    start: u64,
    length: u64,
}

impl Window {
    /// All of a file, the `number`th of its image, which messages call `path`; `name` is its own.
    pub(super) fn whole(backing: Arc<dyn Backing>, path: PathBuf, name: PathBuf, number: u32) -> Self {
        let length = backing.len();
        Self { backing, path, name, number, start: 0, length }
    }

    /// A part of this window, or `None` when it is not within it.
    pub(super) fn part(&self, offset: u64, length: u64) -> Option<Self> {
        let end = offset.checked_add(length)?;
        (end <= self.length).then(|| Self { start: self.start + offset, length, ..self.clone() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file's name: unlike its path, never with a query or a version behind it.
    pub(super) fn name(&self) -> &Path {
        &self.name
    }

    pub(super) fn len(&self) -> u64 {
        self.length
    }

    /// A place in it as no other file of the image has it.
    pub(super) fn key(&self, offset: u64) -> (u32, u64) {
        (self.number, self.start.saturating_add(offset))
    }

    /// An error that names this file and a place in it.
    pub(super) fn damaged(&self, offset: u64, what: impl Into<String>) -> SourceError {
        SourceError::Damaged {
            file: self.path.clone(),
            offset: self.start.saturating_add(offset),
            what: what.into(),
        }
    }

    /// The error of a place that lies behind the end, up to which byte of it that is.
    pub(super) fn cut_short(&self, offset: u64, least: u64) -> SourceError {
        let (has, least) = (self.end(), self.start.saturating_add(least));
        self.damaged(offset, format!("the file is cut short: it has {has} bytes of at least {least}"))
    }

    /// Fills the whole buffer.
    pub(super) fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), SourceError> {
        let end = offset.saturating_add(buffer.len() as u64);
        if end > self.length {
            return Err(self.cut_short(offset, end));
        }
        let place = self.start + offset;
        let mut done = 0;
        while done < buffer.len() {
            match self.backing.read_at(place + done as u64, &mut buffer[done..]) {
                Ok(0) => {
                    let (file, what) = (self.path.clone(), "it became shorter".to_owned());
                    return Err(SourceError::Changed { file, offset: place + done as u64, what });
                }
                Ok(count) => done += count,
                Err(Fault::Io(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(fault) => return Err(fault.at(&self.path, place + done as u64)),
            }
        }
        Ok(())
    }

    /// Reads `length` bytes. The length must have been checked against a limit.
    pub(super) fn read_vec(&self, offset: u64, length: usize) -> Result<Vec<u8>, SourceError> {
        let end = offset.saturating_add(length as u64);
        if end > self.length {
            return Err(self.cut_short(offset, end));
        }
        let mut bytes = vec![0; length];
        self.read_exact_at(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads up to `length` bytes, fewer only at the end.
    pub(super) fn read_up_to(&self, offset: u64, length: usize) -> Result<Vec<u8>, SourceError> {
        let left = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        if left == 0 { Ok(Vec::new()) } else { self.read_vec(offset, length.min(left)) }
    }

    /// The next byte at or after `offset` that lies in a hole (`true`) or is data (`false`), at
    /// most `limit`. `None`: there are no holes to know of.
    pub(super) fn next(&self, hole: bool, offset: u64, limit: u64) -> Option<u64> {
        let (place, most) = (self.start.checked_add(offset)?, self.start.checked_add(limit)?);
        let found = self.backing.next(hole, place, most)?.min(most).max(place);
        Some(found - self.start)
    }

    fn end(&self) -> u64 {
        self.start.saturating_add(self.length)
    }
}
