//! A disk that can be written to, its base untouched: what a sandbox's guest works on.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::super::source::{BlockSource, Run, SourceError};
use super::blocks::{OVERLAY_BLOCK, Overlay, block_length};
use super::read_set::{READ_CHUNK, ReadSet, chunk_length};
use super::source::{base_runs, blocks_of, cover, overlap, read_base, within};
use crate::model::Digest;

/// How much a guest may write and read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CowLimits {
    /// Bytes of changed blocks that are held in memory.
    pub written: u64,
    /// Bytes of the base of which a digest is recorded; `None`: reads are not recorded.
    pub recorded: Option<u64>,
}

/// Why a disk over a base cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CowError {
    /// The base cannot be read, or the place is not on the disk.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The guest changed more than it may.
    #[error("the guest changed more than {limit} bytes")]
    WrittenTooMuch {
        /// What it may change.
        limit: u64,
    },
    /// The guest read more than can be recorded.
    #[error("the guest read more than {limit} bytes")]
    ReadTooMuch {
        /// What can be recorded.
        limit: u64,
    },
}

impl CowError {
    /// Whether trying again can help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Source(source) if source.is_retryable())
    }
}

#[derive(Debug, Clone, Copy)]
enum Exceeded {
    Written,
    Read,
}

#[derive(Debug, Default)]
struct State {
    blocks: BTreeMap<u64, Vec<u8>>,
    bytes: u64,
    reads: BTreeMap<u64, Digest>,
    exceeded: Option<Exceeded>,
}

/// A disk over a base. Writes go to blocks in memory, reads can be recorded. Many threads may use
/// it at once; two writes of the same block come one after the other.
#[derive(Debug)]
pub struct CowDisk<S> {
    base: S,
    size: u64,
    limits: CowLimits,
    zero_chunk: Digest,
    state: Mutex<State>,
}

impl<S: BlockSource> CowDisk<S> {
    /// A disk of `size` bytes (at least what the guest should see; beyond the base's end it is
    /// zero).
    pub fn new(base: S, size: u64, limits: CowLimits) -> Self {
        let zero_chunk = Digest::of(&[0; READ_CHUNK as usize]);
        Self { base, size, limits, zero_chunk, state: Mutex::default() }
    }

    /// What is below.
    pub fn base(&self) -> &S {
        &self.base
    }

    /// Bytes of changed blocks that are held.
    pub fn changed_bytes(&self) -> u64 {
        self.state().bytes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk's size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Fills the whole of `buffer` from `offset`.
    ///
    /// # Errors
    /// When the range is not on the disk, the base cannot be read, or the reads' limit is passed.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), CowError> {
        let range = within(offset, buffer.len() as u64, self.size)?;
        // Changed blocks first, then what lies between them from the base, without the lock.
        let mut gaps = Vec::new();
        let mut from = range.start;
        for (index, block) in self.state().blocks.range(blocks_of(&range)) {
            let start = (index * OVERLAY_BLOCK).max(range.start);
            if from < start {
                gaps.push(from..start);
            }
            overlap(*index, &range, block, |at, bytes| buffer[at..at + bytes.len()].copy_from_slice(bytes));
            from = (index + 1).saturating_mul(OVERLAY_BLOCK);
        }
        if from < range.end {
            gaps.push(from..range.end);
        }
        for gap in gaps {
            let at = |place: u64| usize::try_from(place - range.start).unwrap_or(usize::MAX);
            self.record(&gap)?;
            read_base(&self.base, gap.start, &mut buffer[at(gap.start)..at(gap.end)])?;
        }
        Ok(())
    }

    /// Writes all of `data` at `offset`.
    ///
    /// # Errors
    /// When the range is not on the disk, the base cannot be read (for the rest of a block), or
    /// the limit of changed bytes is passed; then some of the data may be written.
    pub fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), CowError> {
        let range = within(offset, data.len() as u64, self.size)?;
        self.write_blocks(&range, |part, block| {
            let from = usize::try_from(part.start - range.start).unwrap_or(usize::MAX);
            block.copy_from_slice(&data[from..from + block.len()]);
        })
    }

    /// Makes a range zero.
    ///
    /// # Errors
    /// As [`CowDisk::write_at`].
    pub fn write_zeroes(&self, offset: u64, length: u64) -> Result<(), CowError> {
        let range = within(offset, length, self.size)?;
        // Where the base is zero by its metadata, forgetting what was changed is enough: growing
        // or trimming a file system must not fill the memory.
        for run in base_runs(&self.base, range)? {
            if run.zero {
                let whole = whole_blocks(&run.range, self.size);
                if whole.is_empty() {
                    self.write_blocks(&run.range, |_, block| block.fill(0))?;
                    continue;
                }
                let bytes = whole.start * OVERLAY_BLOCK..(whole.end * OVERLAY_BLOCK).min(run.range.end);
                self.write_blocks(&(run.range.start..bytes.start), |_, block| block.fill(0))?;
                self.record(&bytes)?;
                self.forget(whole);
                self.write_blocks(&(bytes.end..run.range.end), |_, block| block.fill(0))?;
            } else {
                self.write_blocks(&run.range, |_, block| block.fill(0))?;
            }
        }
        Ok(())
    }

    /// Gives up what a range holds: whole changed blocks in it hold what the base holds again.
    ///
    /// # Errors
    /// When the range is not on the disk.
    pub fn discard(&self, offset: u64, length: u64) -> Result<(), CowError> {
        let range = within(offset, length, self.size)?;
        self.forget(whole_blocks(&range, self.size));
        Ok(())
    }

    fn forget(&self, blocks: Range<u64>) {
        let mut state = self.state();
        let indices: Vec<u64> = state.blocks.range(blocks).map(|(index, _)| *index).collect();
        for index in indices {
            if let Some(block) = state.blocks.remove(&index) {
                state.bytes -= block.len() as u64;
            }
        }
    }

    /// Changes the blocks of a range; `change` gets each block's part of the range, its bytes in
    /// the block.
    fn write_blocks(
        &self,
        range: &Range<u64>,
        mut change: impl FnMut(Range<u64>, &mut [u8]),
    ) -> Result<(), CowError> {
        let mut from = range.start;
        while from < range.end {
            let index = from / OVERLAY_BLOCK;
            let start = index * OVERLAY_BLOCK;
            let length = block_length(self.size, index).unwrap_or(0);
            let to = range.end.min(start + length as u64);
            let mut state = self.state();
            if !state.blocks.contains_key(&index) {
                if state.bytes + length as u64 > self.limits.written {
                    state.exceeded = Some(Exceeded::Written);
                    return Err(CowError::WrittenTooMuch { limit: self.limits.written });
                }
                let mut block = vec![0; length];
                if to - from < length as u64 {
                    // The rest of the block stays the base's, so that the result depends on it.
                    self.record_into(&mut state, &(start..start + length as u64))?;
                    read_base(&self.base, start, &mut block)?;
                }
                state.blocks.insert(index, block);
                state.bytes += length as u64;
            }
            if let Some(block) = state.blocks.get_mut(&index) {
                let at = |place: u64| usize::try_from(place - start).unwrap_or(usize::MAX);
                change(from..to, &mut block[at(from)..at(to)]);
            }
            from = to;
        }
        Ok(())
    }

    /// Records the chunks of the base that a range touches.
    fn record(&self, range: &Range<u64>) -> Result<(), CowError> {
        if self.limits.recorded.is_none() || range.is_empty() {
            return Ok(());
        }
        let chunks = chunks_of(range, self.base.size());
        let missing: Vec<u64> = {
            let state = self.state();
            chunks.filter(|chunk| !state.reads.contains_key(chunk)).collect()
        };
        // Digests are computed without the lock; two threads may compute the same one.
        let mut buffer = Vec::new();
        for chunk in missing {
            let digest = self.chunk_digest(chunk, &mut buffer)?;
            self.admit(&mut self.state(), chunk, digest)?;
        }
        Ok(())
    }

    fn record_into(&self, state: &mut State, range: &Range<u64>) -> Result<(), CowError> {
        if self.limits.recorded.is_none() {
            return Ok(());
        }
        let mut buffer = Vec::new();
        for chunk in chunks_of(range, self.base.size()) {
            if !state.reads.contains_key(&chunk) {
                let digest = self.chunk_digest(chunk, &mut buffer)?;
                self.admit(state, chunk, digest)?;
            }
        }
        Ok(())
    }

    fn admit(&self, state: &mut State, chunk: u64, digest: Digest) -> Result<(), CowError> {
        let limit = self.limits.recorded.unwrap_or(u64::MAX);
        if (state.reads.len() as u64).saturating_add(1).saturating_mul(READ_CHUNK) > limit {
            state.exceeded = Some(Exceeded::Read);
            return Err(CowError::ReadTooMuch { limit });
        }
        state.reads.insert(chunk, digest);
        Ok(())
    }

    fn chunk_digest(&self, chunk: u64, buffer: &mut Vec<u8>) -> Result<Digest, SourceError> {
        let offset = chunk * READ_CHUNK;
        let length = chunk_length(self.base.size(), chunk).unwrap_or(0);
        let zero = self.base.runs(offset..offset + length as u64)?.iter().all(|run| run.zero);
        if zero && length as u64 == READ_CHUNK {
            return Ok(self.zero_chunk);
        }
        buffer.resize(length, 0);
        self.base.read_at(offset, buffer)?;
        Ok(Digest::of(buffer))
    }

    /// The changed blocks and what was read. Blocks that hold what the base holds are dropped
    /// (and the base's chunks are recorded, since the overlay now depends on them).
    ///
    /// # Errors
    /// When the base cannot be read, or a limit was passed at any time: the guest may have gone
    /// on after the error, but its disk is not what it wrote.
    pub fn into_overlay(self) -> Result<(S, Overlay), CowError> {
        let mut state = std::mem::take(&mut *self.state());
        match (state.exceeded, self.limits) {
            (None, _) => {}
            (Some(Exceeded::Written), CowLimits { written, .. }) => {
                return Err(CowError::WrittenTooMuch { limit: written });
            }
            (Some(Exceeded::Read), CowLimits { recorded, .. }) => {
                return Err(CowError::ReadTooMuch { limit: recorded.unwrap_or(u64::MAX) });
            }
        }
        let mut below = vec![0; OVERLAY_BLOCK as usize];
        let mut blocks = BTreeMap::new();
        for (index, block) in std::mem::take(&mut state.blocks) {
            let start = index * OVERLAY_BLOCK;
            let below = &mut below[..block.len()];
            read_base(&self.base, start, below)?;
            if *below == *block {
                self.record_into(&mut state, &(start..start + block.len() as u64))?;
            } else {
                blocks.insert(index, block);
            }
        }
        let overlay = Overlay { size: self.size, blocks, read_set: ReadSet { chunks: state.reads } };
        Ok((self.base, overlay))
    }
}

/// The runs of the disk as it is now.
impl<S: BlockSource> CowDisk<S> {
    /// As [`BlockSource::runs`].
    ///
    /// # Errors
    /// As [`BlockSource::runs`].
    pub fn runs(&self, range: Range<u64>) -> Result<Vec<Run>, SourceError> {
        within(range.start, range.end.saturating_sub(range.start), self.size)?;
        let mut runs = base_runs(&self.base, range.clone())?;
        cover(&mut runs, &range, self.state().blocks.range(blocks_of(&range)).map(|(index, _)| *index));
        Ok(runs)
    }
}

/// The blocks that lie wholly in a range (the disk's last block may be short).
fn whole_blocks(range: &Range<u64>, size: u64) -> Range<u64> {
    let first = range.start.div_ceil(OVERLAY_BLOCK);
    let end = if range.end == size { range.end.div_ceil(OVERLAY_BLOCK) } else { range.end / OVERLAY_BLOCK };
    first..end.max(first)
}

/// The chunks of a base that a range touches.
fn chunks_of(range: &Range<u64>, base: u64) -> Range<u64> {
    let end = range.end.min(base);
    if range.start >= end { 0..0 } else { range.start / READ_CHUNK..end.div_ceil(READ_CHUNK) }
}
