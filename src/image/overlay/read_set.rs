//! The record of what was read.

use std::collections::BTreeMap;

use super::super::source::{BlockSource, SourceError};
use crate::model::Digest;

/// Bytes of one chunk of a [`ReadSet`]; divides the copy's block of 1 MiB.
pub const READ_CHUNK: u64 = 65536;

/// Which chunks of a disk were read, and what they held: the proof that an overlay still fits.
///
/// The last chunk of a disk may be short; its digest is of the bytes that exist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadSet {
    /// Chunk index (offset / [`READ_CHUNK`]) to the digest of the chunk.
    pub chunks: BTreeMap<u64, Digest>,
}

/// Why an overlay does not fit an image (any more).
#[derive(Debug, thiserror::Error)]
pub enum StaleError {
    /// A chunk holds something else than when it was read.
    #[error("the {READ_CHUNK} bytes at {offset} are not those that preparation read")]
    Changed {
        /// Where the chunk begins.
        offset: u64,
    },
    /// A chunk lies behind the disk's end.
    #[error("preparation read at {offset}, but the disk ends at {size}")]
    Shorter {
        /// Where the chunk begins.
        offset: u64,
        /// The disk's size.
        size: u64,
    },
    /// The disk cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
}

impl StaleError {
    /// Whether checking again can help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Source(source) if source.is_retryable())
    }
}

impl ReadSet {
    /// Checks that every chunk still holds what it held. Reads each of them.
    ///
    /// # Errors
    /// At the first chunk that differs, is gone or cannot be read.
    pub fn check(&self, base: &(impl BlockSource + ?Sized)) -> Result<(), StaleError> {
        let mut buffer = vec![0; READ_CHUNK as usize];
        for (index, digest) in &self.chunks {
            let size = base.size();
            let offset = index.saturating_mul(READ_CHUNK);
            let Some(length) = chunk_length(size, *index) else {
                return Err(StaleError::Shorter { offset, size });
            };
            let chunk = &mut buffer[..length];
            base.read_at(offset, chunk)?;
            if Digest::of(chunk) != *digest {
                return Err(StaleError::Changed { offset });
            }
        }
        Ok(())
    }
}

/// How many bytes a chunk of a disk has; `None` when the disk has no such chunk.
pub(super) fn chunk_length(size: u64, index: u64) -> Option<usize> {
    let offset = index.checked_mul(READ_CHUNK)?;
    let left = size.checked_sub(offset).filter(|left| *left > 0)?;
    usize::try_from(left.min(READ_CHUNK)).ok()
}
