//! What a manifest's file holds of each block, wherever in it that is.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::block::Content;
use super::super::retry;
use super::ManifestError;
use super::v2::{SLOT, TABLE};

/// How many slots are read at a time: 1 MiB of them.
pub(super) const SLOTS_AT_A_TIME: u64 = 32 << 10;

/// The slots of a manifest, in its table and in its log; they stay in the file. A clone goes on
/// giving those of its moment while an update adds others: neither are ever written over.
#[derive(Debug, Clone)]
pub(crate) struct Slots {
    path: PathBuf,
    file: Arc<OpenFile>,
    /// Blocks of the table.
    table: u64,
    /// Slots that are in the log: of the blocks from a key up to the first number, from the byte
    /// that is the second number on.
    log: BTreeMap<u64, (u64, u64)>,
}

/// Gives its lock back when it is closed. Closing alone is not enough: a child process that was
/// forked a moment ago has the file open too, and the lock with it, until it runs its program.
#[derive(Debug)]
struct OpenFile(File);

impl Drop for OpenFile {
    fn drop(&mut self) {
        // What cannot be unlocked is unlocked by the last close.
        drop(self.0.unlock());
    }
}

impl Slots {
    pub(super) fn new(path: PathBuf, file: File, table: u64) -> Self {
        Self { path, file: Arc::new(OpenFile(file)), table, log: BTreeMap::new() }
    }

    pub(super) fn file(&self) -> &File {
        &self.file.0
    }

    pub(super) fn table(&self) -> u64 {
        self.table
    }

    /// Says that the slots of these blocks are in the log from `offset` on; the newest count.
    pub(super) fn place(&mut self, first: u64, end: u64, offset: u64) {
        if let Some((begin, (until, at))) = self.log.range(..first).next_back().map(|(b, place)| (*b, *place))
            && until > first
        {
            self.log.insert(begin, (first, at));
            if until > end {
                self.log.insert(end, (until, at + (end - begin) * SLOT));
            }
        }
        while let Some((begin, (until, at))) =
            self.log.range(first..end).next().map(|(b, place)| (*b, *place))
        {
            self.log.remove(&begin);
            if until > end {
                self.log.insert(end, (until, at + (end - begin) * SLOT));
            }
        }
        self.log.insert(first, (end, offset));
    }

    /// Where the slot of a block is, and up to which block the next ones follow there; `None` for
    /// one that the file has no place for.
    fn find(&self, index: u64) -> (Option<u64>, u64) {
        if let Some((begin, (until, at))) = self.log.range(..=index).next_back()
            && index < *until
        {
            return (Some(at + (index - begin) * SLOT), *until);
        }
        let next = self.log.range(index..).next().map_or(u64::MAX, |(begin, _)| *begin);
        match index < self.table {
            true => (Some(TABLE + index * SLOT), next.min(self.table)),
            false => (None, next),
        }
    }

    /// What was last recorded of a block; zero where nothing was.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn content(&self, index: u64) -> Result<Content, ManifestError> {
        let mut slot = [0; SLOT as usize];
        if let (Some(offset), _) = self.find(index) {
            self.read(&mut slot, offset)?;
        }
        Ok(Content::from_slot(slot))
    }

    /// Calls `each` with the slots of a range of blocks, some at a time, and the first's index.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) fn each(
        &self,
        mut first: u64,
        end: u64,
        each: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<(), ManifestError> {
        let mut slots = Vec::new();
        while first < end {
            let (place, until) = self.find(first);
            let count = (until.min(end) - first).min(SLOTS_AT_A_TIME);
            slots.clear();
            slots.resize((count * SLOT) as usize, 0);
            if let Some(offset) = place {
                self.read(&mut slots, offset)?;
            }
            each(first, &slots);
            first += count;
        }
        Ok(())
    }

    /// Reads some bytes of the file.
    pub(super) fn read(&self, bytes: &mut [u8], offset: u64) -> Result<(), ManifestError> {
        retry::target(|| self.file.0.read_exact_at(bytes, offset)).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => {
                ManifestError::Damaged { path: self.path.clone(), what: "it is cut off".to_owned() }
            }
            _ => ManifestError::Read { path: self.path.clone(), source },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_file_is_free_though_a_child_of_the_moment_has_it_open() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let slots = Slots::new(PathBuf::new(), file.reopen().unwrap(), 20);
        slots.file().try_lock().unwrap();
        // What a fork does: one more descriptor of the same open file.
        let _child = slots.file().try_clone().unwrap();
        assert!(file.as_file().try_lock().is_err());
        drop(slots);
        file.as_file().try_lock().unwrap();
    }

    #[test]
    fn the_newest_place_of_a_slot_counts() {
        let file = tempfile::tempfile().unwrap();
        // Each slot of the file says where it is.
        for place in 0..400_u64 {
            let mut slot = [0; SLOT as usize];
            slot[..8].copy_from_slice(&place.to_le_bytes());
            file.write_all_at(&slot, TABLE + place * SLOT).unwrap();
        }
        let mut slots = Slots::new(PathBuf::new(), file, 20);
        let mut model: BTreeMap<u64, u64> = (0..20).map(|index| (index, index)).collect();
        for (first, end, place) in
            [(5, 9, 100), (2, 4, 150), (7, 12, 200), (0, 30, 250), (3, 5, 300), (29, 40, 320), (9, 10, 390)]
        {
            slots.place(first, end, TABLE + place * SLOT);
            model.extend((first..end).map(|index| (index, place + index - first)));
            let mut all = Vec::new();
            slots
                .each(0, 45, &mut |begin, bytes| {
                    assert_eq!(begin, all.len() as u64);
                    all.extend(
                        bytes
                            .chunks(SLOT as usize)
                            .map(|slot| u64::from_le_bytes(slot[..8].try_into().unwrap())),
                    );
                })
                .unwrap();
            for index in 0..45 {
                let expected = model.get(&index).copied().unwrap_or(0);
                assert_eq!(all[index as usize], expected, "{index}");
                let Content::Data(digest) = slots.content(index).unwrap() else {
                    assert_eq!(expected, 0);
                    continue;
                };
                assert_eq!(digest.0[..8], expected.to_le_bytes());
            }
        }
    }
}
