//! A disk's bytes as they are.

use std::sync::Arc;

use super::input::{Bytes, fill};
use super::{PIECE, Piece, StreamError, Watch};

/// A raw disk, of a known size or as long as its stream.
pub(super) struct Raw {
    reader: Bytes,
    watch: Arc<Watch>,
    size: Option<u64>,
    at: u64,
    ended: bool,
}

impl Raw {
    pub(super) fn new(reader: Bytes, watch: Arc<Watch>, size: Option<u64>) -> Self {
        Self { reader, watch, size, at: 0, ended: false }
    }

    /// The disk's size: known from the beginning, or at its end.
    pub(super) fn size(&self) -> Option<u64> {
        self.size.or(self.ended.then_some(self.at))
    }

    pub(super) fn next(&mut self, buffer: &mut [u8]) -> Result<Option<Piece>, StreamError> {
        if self.ended {
            return Ok(None);
        }
        let room = buffer.len().min(PIECE as usize);
        let left = self.size.map_or(u64::MAX, |size| size - self.at);
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(room);
        let failed = |error| self.watch.error(error);
        if wanted == 0 {
            self.ended = true;
            if fill(&mut self.reader, &mut [0]).map_err(failed)? > 0 {
                return Err(StreamError::TooLong { name: self.watch.name().to_owned(), said: self.at });
            }
            return Ok(None);
        }
        let length = fill(&mut self.reader, &mut buffer[..wanted]).map_err(failed)?;
        self.at += length as u64;
        if length < wanted {
            self.ended = true;
            if let Some(size) = self.size {
                return Err(StreamError::CutShort {
                    name: self.watch.name().to_owned(),
                    offset: self.watch.bytes_read(),
                    what: format!("its disk has {} bytes of the {size} that it should have", self.at),
                });
            }
        }
        Ok((length > 0).then_some(Piece::Plain { length }))
    }

    /// The reader, once the disk has come to its end.
    pub(super) fn reader(&mut self) -> &mut Bytes {
        &mut self.reader
    }
}
