//! Whether everything fits, before the first byte is written.

use super::StageError;
use crate::guest::tree::{Space, Tree};

/// What a file or directory takes beside its content: its record in the MFT (1 KiB, 4 KiB on disks of
/// such sectors), names in an index, a security descriptor.
const ENTRY: u64 = 12 << 10;
/// What the MFT and `$Secure` may grow by at once.
const MARGIN: u64 = 1 << 20;

/// Counts what is written.
#[derive(Debug)]
pub struct Room {
    space: Space,
    needed: u64,
}

impl Room {
    /// Nothing yet.
    ///
    /// # Errors
    /// When the free space cannot be learned.
    pub fn new(tree: &Tree) -> Result<Self, StageError> {
        Ok(Self { space: tree.space("/")?, needed: 0 })
    }

    fn clusters(&self, length: u64) -> u64 {
        length.div_ceil(self.space.block).saturating_mul(self.space.block)
    }

    /// A new file or directory of this length, or one that grows from `old`.
    pub fn add(&mut self, length: u64, old: u64) {
        let more = self.clusters(length).saturating_sub(self.clusters(old));
        self.needed = self.needed.saturating_add(more).saturating_add(ENTRY);
    }

    /// Whether it fits.
    ///
    /// # Errors
    /// [`StageError::Full`].
    pub fn check(&self) -> Result<(), StageError> {
        let needed = self.needed.saturating_add(MARGIN);
        if self.needed > 0 && needed > self.space.free {
            return Err(StageError::Full { free: self.space.free, needed });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_clusters_are_counted() {
        let space = |free| Space { free, block: 4096, inodes: None, read_only: false };
        let mut room = Room { space: space(MARGIN + 8192 + 2 * ENTRY), needed: 0 };
        room.add(4097, 0);
        room.add(100, 4096);
        assert!(room.check().is_ok());
        room.space = space(MARGIN + 8191 + 2 * ENTRY);
        assert!(
            matches!(room.check(), Err(StageError::Full { needed, .. }) if needed == MARGIN + 8192 + 2 * ENTRY)
        );
        // Nothing to write fits everywhere.
        assert!(Room { space: space(0), needed: 0 }.check().is_ok());
        room.add(u64::MAX, 0);
        assert!(room.check().is_err());
    }
}
