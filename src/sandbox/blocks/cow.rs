//! A guest's disk as the sandbox sees it: an image, zeros up to the volume's size, and the
//! changed blocks in memory. Remembers which chunks of the image were read.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crate::image::overlay::{OVERLAY_BLOCK, Overlay, READ_CHUNK, ReadSet};
use crate::image::{BlockSource, SourceError};
use crate::model::Digest;

/// Chunks of the image that are kept decoded (16 MiB): the guest reads one chunk in several requests.
const CACHED_CHUNKS: usize = 256;

const BLOCK: usize = OVERLAY_BLOCK as usize;
const CHUNK: usize = READ_CHUNK as usize;

/// Why a disk cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CowError {
    /// The image cannot be read.
    #[error("cannot read the image")]
    Source(#[from] SourceError),
    /// More was changed than the job allows.
    #[error("the guest changed more than the {limit} bytes that the job allows")]
    TooMuchChanged {
        /// The job's limit in bytes, over all disks.
        limit: u64,
    },
}

/// An image with changed blocks on top. The image is never written.
pub struct CowDisk {
    base: Box<dyn BlockSource>,
    size: u64,
    limit: u64,
    changed: BTreeMap<u64, Vec<u8>>,
    read: BTreeMap<u64, Digest>,
    cache: HashMap<u64, Arc<[u8]>>,
    cache_order: VecDeque<u64>,
    failure: Option<String>,
}

impl CowDisk {
    /// A disk of `size` bytes (at least the image's) of which at most `limit` bytes may change.
    pub fn new(base: Box<dyn BlockSource>, size: u64, limit: u64) -> Self {
        Self {
            size: size.max(base.size()),
            base,
            limit,
            changed: BTreeMap::new(),
            read: BTreeMap::new(),
            cache: HashMap::new(),
            cache_order: VecDeque::new(),
            failure: None,
        }
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The first thing that went wrong, for a message: the guest only saw an I/O error.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Fills `buffer` from `offset`; beyond the disk's end are zeros.
    ///
    /// # Errors
    /// When the image cannot be read.
    pub fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), CowError> {
        let mut done = 0;
        while done < buffer.len() {
            let place = offset + done as u64;
            let (block, within) = (place / OVERLAY_BLOCK, (place % OVERLAY_BLOCK) as usize);
            let part = &mut buffer[done..];
            if let Some(data) = self.changed.get(&block) {
                let length = part.len().min(BLOCK - within);
                part[..length].copy_from_slice(&data[within..within + length]);
                done += length;
            } else {
                let next_changed = self.changed.range(block..).next().map(|(index, _)| index * OVERLAY_BLOCK);
                let room = next_changed.map_or(part.len() as u64, |next| next - place);
                let length = part.len().min(usize::try_from(room).unwrap_or(part.len()));
                self.read_base(place, &mut part[..length])?;
                done += length;
            }
        }
        Ok(())
    }

    /// Changes the disk from `offset`.
    ///
    /// # Errors
    /// When too much would be changed, or a block that is changed in part cannot be read.
    pub fn write_at(&mut self, offset: u64, data: &[u8]) -> Result<(), CowError> {
        let mut done = 0;
        while done < data.len() {
            let place = offset + done as u64;
            let (block, within) = (place / OVERLAY_BLOCK, (place % OVERLAY_BLOCK) as usize);
            let length = (data.len() - done).min(BLOCK - within);
            if !self.changed.contains_key(&block) {
                if (self.changed.len() as u64 + 1).saturating_mul(OVERLAY_BLOCK) > self.limit {
                    let error = CowError::TooMuchChanged { limit: self.limit };
                    self.failure.get_or_insert_with(|| error.to_string());
                    return Err(error);
                }
                let mut whole = vec![0; BLOCK];
                if length < BLOCK {
                    self.read_base(block * OVERLAY_BLOCK, &mut whole)?;
                }
                self.changed.insert(block, whole);
            }
            if let Some(whole) = self.changed.get_mut(&block) {
                whole[within..within + length].copy_from_slice(&data[done..done + length]);
            }
            done += length;
        }
        Ok(())
    }

    /// The blocks that differ from the image, and what was read of it. Comparing reads the image
    /// too: a block that is left out because it is equal is only equal to this image.
    ///
    /// # Errors
    /// When the image cannot be read.
    pub fn into_overlay(mut self) -> Result<Overlay, CowError> {
        let changed = std::mem::take(&mut self.changed);
        let mut blocks = BTreeMap::new();
        let mut before = vec![0; BLOCK];
        for (index, mut data) in changed {
            let start = index * OVERLAY_BLOCK;
            let length = usize::try_from((self.size - start).min(OVERLAY_BLOCK)).unwrap_or(BLOCK);
            self.read_base(start, &mut before)?;
            if data[..length] != before[..length] {
                data.truncate(length);
                blocks.insert(index, data);
            }
        }
        Ok(Overlay { size: self.size, blocks, read_set: ReadSet { chunks: self.read } })
    }

    fn read_base(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), CowError> {
        let mut done = 0;
        while done < buffer.len() {
            let place = offset + done as u64;
            let (index, within) = (place / READ_CHUNK, (place % READ_CHUNK) as usize);
            let length = (buffer.len() - done).min(CHUNK - within);
            let part = &mut buffer[done..done + length];
            let chunk = self.chunk(index)?;
            let held = chunk.len().saturating_sub(within).min(length);
            part[..held].copy_from_slice(&chunk[chunk.len().min(within)..][..held]);
            part[held..].fill(0);
            done += length;
        }
        Ok(())
    }

    /// The bytes of a chunk that the image has; none beyond its end.
    fn chunk(&mut self, index: u64) -> Result<Arc<[u8]>, CowError> {
        if let Some(chunk) = self.cache.get(&index) {
            return Ok(Arc::clone(chunk));
        }
        let start = index * READ_CHUNK;
        let length = self.base.size().saturating_sub(start).min(READ_CHUNK);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(CHUNK)];
        if !bytes.is_empty() {
            if let Err(error) = self.base.read_at(start, &mut bytes) {
                self.failure.get_or_insert_with(|| error.to_string());
                return Err(error.into());
            }
            self.read.entry(index).or_insert_with(|| Digest::of(&bytes));
        }
        let chunk: Arc<[u8]> = bytes.into();
        if self.cache_order.len() >= CACHED_CHUNKS
            && let Some(oldest) = self.cache_order.pop_front()
        {
            self.cache.remove(&oldest);
        }
        self.cache.insert(index, Arc::clone(&chunk));
        self.cache_order.push_back(index);
        Ok(chunk)
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;
    use crate::image::source::Run;

    struct Bytes(Vec<u8>);

    impl BlockSource for Bytes {
        fn size(&self) -> u64 {
            self.0.len() as u64
        }
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), SourceError> {
            let start = usize::try_from(offset).unwrap();
            buffer.copy_from_slice(&self.0[start..start + buffer.len()]);
            Ok(())
        }
        fn runs(&self, range: Range<u64>) -> Result<Vec<Run>, SourceError> {
            Ok(vec![Run { range, zero: false }])
        }
    }

    fn disk(length: usize, size: u64) -> CowDisk {
        let bytes = (0..length).map(|index| (index % 251) as u8).collect();
        CowDisk::new(Box::new(Bytes(bytes)), size, 1 << 20)
    }

    #[test]
    fn only_blocks_that_differ_are_handed_over() {
        let mut disk = disk(200_000, 300_032);
        let mut same = vec![0; 5000];
        disk.read_at(4000, &mut same).unwrap();
        disk.write_at(4000, &same).unwrap();
        disk.write_at(8192 + 512, &[0xff; 512]).unwrap();
        disk.write_at(299_520, &[7; 512]).unwrap();
        let overlay = disk.into_overlay().unwrap();
        assert_eq!(overlay.blocks.keys().copied().collect::<Vec<_>>(), [2, 73]);
        assert_eq!(overlay.blocks[&2][512..1024], [0xff; 512]);
        assert_eq!(overlay.blocks[&2][0], (8192 % 251) as u8);
        assert_eq!(overlay.blocks[&73].len(), 300_032 - 73 * 4096);
        assert_eq!(overlay.read_set.chunks.keys().copied().collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn the_last_chunk_is_digested_as_long_as_it_is() {
        let mut disk = disk(70_000, 1 << 20);
        let mut beyond = [1; 100];
        disk.read_at(69_950, &mut beyond).unwrap();
        assert_eq!(beyond[49], (69_999 % 251) as u8);
        assert!(beyond[50..].iter().all(|byte| *byte == 0));
        disk.read_at(500_000, &mut beyond).unwrap();
        let tail: Vec<u8> = (65_536..70_000).map(|index| (index % 251) as u8).collect();
        let overlay = disk.into_overlay().unwrap();
        assert_eq!(overlay.read_set.chunks, BTreeMap::from([(1, Digest::of(&tail))]));
    }

    #[test]
    fn too_many_changes_are_refused_and_remembered() {
        let mut disk = CowDisk::new(Box::new(Bytes(vec![0; 65_536])), 65_536, 8192);
        disk.write_at(0, &[1; 8192]).unwrap();
        assert!(disk.write_at(8192, &[1; 512]).is_err());
        assert!(disk.failure().is_some());
    }
}
