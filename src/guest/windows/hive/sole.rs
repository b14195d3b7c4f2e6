//! Whether each cell belongs to one owner alone: what a library may free once it takes a key or its
//! values away. Readers do not mind, and so [`Hive::verify`] does not; libhivex ends its process, or
//! writes where a damaged list of security descriptors leads.

use std::collections::BTreeMap;

use super::HiveError;
use super::cell::{NONE, damaged};
use super::key::{Hive, Key};
use crate::guest::windows::bytes::{u16_at, u32_at};

/// Cells that have an owner, one bit for every eight bytes.
struct Owned(Vec<u64>);

impl Owned {
    fn take(&mut self, offset: u32) -> Result<(), HiveError> {
        let (word, bit) = (offset as usize / 512, 1_u64 << (offset / 8 % 64));
        match self.0.get_mut(word) {
            Some(bits) if *bits & bit == 0 => *bits |= bit,
            _ => return Err(damaged(offset, "a cell belongs to two owners")),
        }
        Ok(())
    }
}

impl Hive<'_> {
    /// Whether every cell that can be reached has one owner, but for security descriptors, which count
    /// theirs. `touched`: the places of keys that are edited, and whether they are deleted; their
    /// values' cells are there.
    ///
    /// # Errors
    /// The first contradiction.
    pub(super) fn has_sole_owners(&self, touched: &BTreeMap<usize, bool>) -> Result<(), HiveError> {
        let mut owned = Owned(vec![0; self.cells().len().div_ceil(8 * 64)]);
        let mut security: BTreeMap<u32, u32> = BTreeMap::new();
        let mut rest = vec![(self.root()?, false)];
        while let Some((key, is_below)) = rest.pop() {
            let fate = touched.get(&key.place());
            let is_deleted = is_below || fate == Some(&true);
            owned.take(key.offset())?;
            self.values_owned(key, is_deleted || fate.is_some(), &mut owned)?;
            if key.word(48) != NONE {
                self.cells().cell(key.word(48))?;
                owned.take(key.word(48))?;
            }
            *security.entry(key.word(44)).or_default() += 1;
            if key.word(20) > 0 {
                let list = key.word(28);
                owned.take(list)?;
                let cell = self.cells().cell(list)?;
                if cell.starts_with(b"ri") {
                    for leaf in cell.get(4..).unwrap_or_default().as_chunks::<4>().0.iter().take(count(cell))
                    {
                        owned.take(u32::from_le_bytes(*leaf))?;
                    }
                }
            }
            rest.extend(key.subkeys()?.into_iter().map(|key| (key, is_deleted)));
        }
        for (offset, keys) in security {
            owned.take(offset)?;
            let cell = self.cells().part(offset, 20)?;
            let word = |at| u32_at(cell, at).unwrap_or_default();
            if word(12) < keys {
                return Err(damaged(offset, "a security descriptor counts fewer keys than have it"));
            }
            for other in [word(4), word(8)] {
                if !self.cells().part(other, 20)?.starts_with(b"sk") {
                    return Err(damaged(offset, "the list of security descriptors is broken"));
                }
            }
        }
        Ok(())
    }

    fn values_owned(&self, key: Key<'_>, is_touched: bool, owned: &mut Owned) -> Result<(), HiveError> {
        if key.word(36) == 0 {
            return Ok(());
        }
        let list = key.word(40);
        owned.take(list)?;
        let bytes = (key.word(36) as usize).checked_mul(4).ok_or_else(|| damaged(list, "too many values"))?;
        for value in self.cells().part(list, bytes)?.as_chunks::<4>().0 {
            let value = u32::from_le_bytes(*value);
            owned.take(value)?;
            let cell = self.cells().part(value, 20)?;
            let (size, data) = (u32_at(cell, 4).unwrap_or_default(), u32_at(cell, 8).unwrap_or_default());
            // Windows keeps an empty value's data where its offset would be.
            match size {
                0 if is_touched => return Err(damaged(value, "an empty value has no data")),
                1..0x8000_0000 => owned.take(data)?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// How many elements a list says that it has.
fn count(cell: &[u8]) -> usize {
    usize::from(u16_at(cell, 2).unwrap_or_default())
}
