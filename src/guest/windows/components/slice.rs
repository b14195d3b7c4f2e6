//! A part of a file or device, read as if it were a file of its own.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

/// A part of a file. Nothing outside it can be read, and it never ends early without an error.
#[derive(Debug)]
pub(super) struct Slice {
    file: File,
    start: u64,
    size: u64,
    at: u64,
}

impl Slice {
    /// So many bytes from `start`.
    pub(super) fn new(file: File, start: u64, size: u64) -> Self {
        Self { file, start, size, at: 0 }
    }
}

impl Read for Slice {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.size.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let most = buffer.len().min(left);
        if most == 0 {
            return Ok(0);
        }
        let place = self.start.checked_add(self.at).ok_or(io::ErrorKind::UnexpectedEof)?;
        match self.file.read_at(&mut buffer[..most], place)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.at += count as u64;
                Ok(count)
            }
        }
    }
}

impl Seek for Slice {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::End(offset) => self.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.at.checked_add_signed(offset),
        };
        self.at = place.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
