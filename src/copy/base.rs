//! What a target held before a write, block by block, and how far that can be believed.

use super::block::{Content, is_zero};
use super::manifest::{Ranges, Slots, v2};
use super::{Manifest, ManifestError};

/// What is known of a block on the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Was {
    /// Nothing.
    Unknown,
    /// It held this, and may have been written since: to be read back before it is believed.
    Perhaps(Content),
    /// It holds this.
    Certainly(Content),
}

/// What was recorded of a target when a run began.
#[derive(Debug)]
pub(super) struct Base {
    slots: Slots,
    known: Ranges,
    certain: Ranges,
}

impl Base {
    /// What `manifest` says, with `certain` the blocks that nothing can have written to since it
    /// recorded them.
    pub(super) fn new(manifest: &Manifest, certain: &Ranges) -> Self {
        let known = manifest.known();
        Self { slots: manifest.slots(), known: known.clone(), certain: certain.common(known) }
    }

    /// What is known of a block.
    pub(super) fn of(&self, index: u64) -> Result<Was, ManifestError> {
        match self.known.contains(index) {
            true => Ok(self.held(index, self.slots.content(index)?)),
            false => Ok(Was::Unknown),
        }
    }

    /// What is known of whether the blocks from `first` to `end` are zero, in order.
    pub(super) fn zeros(&self, first: u64, end: u64) -> Result<Vec<Was>, ManifestError> {
        let mut zeros = vec![Was::Unknown; (end - first) as usize];
        if !self.known.touches(first, end) {
            return Ok(zeros);
        }
        self.slots.each(first, end, &mut |at, slots| {
            for (index, slot) in (at..).zip(slots.chunks(v2::SLOT as usize)) {
                if self.known.contains(index) && is_zero(slot) {
                    zeros[(index - first) as usize] = self.held(index, Content::Zero);
                }
            }
        })?;
        Ok(zeros)
    }

    /// The block after the last one of which something is known.
    pub(super) fn end(&self) -> u64 {
        self.known.iter().last().map_or(0, |(_, end)| end)
    }

    fn held(&self, index: u64, content: Content) -> Was {
        match self.certain.contains(index) {
            true => Was::Certainly(content),
            false => Was::Perhaps(content),
        }
    }
}
