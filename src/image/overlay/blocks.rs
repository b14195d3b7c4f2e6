//! The changed blocks of a disk.

use std::collections::BTreeMap;

use super::read_set::ReadSet;
use crate::model::Digest;

/// Bytes of one overlay block.
pub const OVERLAY_BLOCK: u64 = 4096;

/// Changed blocks of one disk: what preparation makes of an image.
///
/// The disk may have grown: `size` is what the volume must at least have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overlay {
    /// The size of the disk with the overlay on, in bytes.
    pub size: u64,
    /// Block index (offset / [`OVERLAY_BLOCK`]) to the new content, always whole blocks; the
    /// last block of a disk may be short.
    pub blocks: BTreeMap<u64, Vec<u8>>,
    /// What was read from the image below to compute it.
    pub read_set: ReadSet,
}

/// An overlay that contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OverlayError {
    /// A block lies behind the disk's end.
    #[error("block {index} begins behind the disk's end at {size}")]
    Outside {
        /// Which block.
        index: u64,
        /// The disk's size.
        size: u64,
    },
    /// A block has another length than it must have.
    #[error("block {index} has {length} bytes instead of {expected}")]
    Length {
        /// Which block.
        index: u64,
        /// How many bytes it has.
        length: usize,
        /// How many it must have.
        expected: usize,
    },
}

impl Overlay {
    /// An overlay that changes nothing of a disk of that size.
    #[must_use]
    pub fn empty(size: u64) -> Self {
        Self { size, ..Self::default() }
    }

    /// How many bytes its blocks hold.
    #[must_use]
    pub fn changed_bytes(&self) -> u64 {
        self.blocks.values().map(|block| block.len() as u64).sum()
    }

    /// The digest of all of it: size, blocks and read set.
    #[must_use]
    pub fn digest(&self) -> Digest {
        // Every field has a fixed width or a length before it, so that no two overlays feed the
        // same bytes.
        let mut hasher = blake3::Hasher::new_derive_key("replant overlay 1");
        hasher.update(&self.size.to_le_bytes());
        hasher.update(&(self.blocks.len() as u64).to_le_bytes());
        for (index, block) in &self.blocks {
            hasher.update(&index.to_le_bytes());
            hasher.update(&(block.len() as u64).to_le_bytes());
            hasher.update(block);
        }
        hasher.update(&(self.read_set.chunks.len() as u64).to_le_bytes());
        for (index, digest) in &self.read_set.chunks {
            hasher.update(&index.to_le_bytes());
            hasher.update(&digest.0);
        }
        Digest(*hasher.finalize().as_bytes())
    }

    /// Checks that every block is within the disk and whole.
    ///
    /// # Errors
    /// The first block that is not.
    pub fn check(&self) -> Result<(), OverlayError> {
        for (index, block) in &self.blocks {
            let Some(expected) = block_length(self.size, *index) else {
                return Err(OverlayError::Outside { index: *index, size: self.size });
            };
            if block.len() != expected {
                return Err(OverlayError::Length { index: *index, length: block.len(), expected });
            }
        }
        Ok(())
    }
}

/// How many bytes a block of a disk has; `None` when the disk has no such block.
pub(super) fn block_length(size: u64, index: u64) -> Option<usize> {
    let offset = index.checked_mul(OVERLAY_BLOCK)?;
    let left = size.checked_sub(offset).filter(|left| *left > 0)?;
    usize::try_from(left.min(OVERLAY_BLOCK)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_sees_every_field() {
        let block = |byte: u8| vec![byte; 4096];
        let base = Overlay {
            size: 10_000,
            blocks: BTreeMap::from([(0, block(1)), (1, block(2))]),
            read_set: ReadSet { chunks: BTreeMap::from([(0, Digest::of(b"a"))]) },
        };
        let mut others = vec![base.clone(); 4];
        others[0].size += 1;
        others[1].blocks.insert(1, block(3));
        others[2].blocks.remove(&1);
        others[3].read_set.chunks.insert(0, Digest::of(b"b"));
        for other in others {
            assert_ne!(other.digest(), base.digest());
        }
        assert_eq!(base.clone().digest(), base.digest());
    }

    #[test]
    fn blocks_must_be_whole_and_within() {
        let with = |index, length| Overlay {
            size: 10_000,
            blocks: BTreeMap::from([(index, vec![0; length])]),
            read_set: ReadSet::default(),
        };
        assert_eq!(with(0, 4096).check(), Ok(()));
        assert_eq!(with(2, 1808).check(), Ok(()));
        assert!(matches!(with(2, 4096).check(), Err(OverlayError::Length { .. })));
        assert!(matches!(with(0, 4095).check(), Err(OverlayError::Length { .. })));
        assert!(matches!(with(3, 4096).check(), Err(OverlayError::Outside { .. })));
        assert!(matches!(with(u64::MAX, 4096).check(), Err(OverlayError::Outside { .. })));
    }
}
