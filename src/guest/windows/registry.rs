//! A guest's hives: read with what their logs hold, edited in memory, put back page by page.

use std::path::Path;

use super::files::Files;
use super::hive::{self, Applied, EditError, Hive, HiveEdit, HiveError, HivePlan};
use super::reg;
use crate::guest::report::{Edit, EditKind, FileChange, FileDiff};
use crate::guest::tree::TreeError;
use crate::model::{Bytes, Digest};

/// Most bytes of hives and logs that are held at a time: the sandbox has 512 MiB, of which its kernel, its
/// programs and their files take a part.
const MOST_HELD: u64 = 416 << 20;
/// The largest hive that is looked into, in bytes: an edit holds two copies of it.
const MOST_HIVE: u64 = MOST_HELD / 2;
/// How much of a hive is compared and written at a time, in bytes.
const PIECE: usize = 64 << 10;
/// Files that hives pass through on their way.
const SCRATCH: &str = "/run";

/// Why a hive cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// It cannot be read or written.
    #[error(transparent)]
    File(#[from] TreeError),
    /// It is damaged, or was caught while it was written.
    #[error("{path} cannot be used")]
    Hive {
        /// Its path as people write it.
        path: String,
        /// What is wrong with it.
        source: HiveError,
    },
    /// It cannot be edited.
    #[error("{path} cannot be edited")]
    Edit {
        /// Its path as people write it.
        path: String,
        /// Why.
        source: EditError,
    },
    /// It has more bytes than the sandbox's memory holds.
    #[error("{path} is larger than can be looked into: {limit} are left for it")]
    TooLarge {
        /// Its path as people write it.
        path: String,
        /// The most that it may have.
        limit: Bytes,
    },
    /// It does not hold what was written to it.
    #[error("{path} does not read back as it was written")]
    ReadBack {
        /// Its path as people write it.
        path: String,
    },
}

/// An edit and what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The edit.
    pub edit: HiveEdit,
    /// What it is for, in a few words.
    pub purpose: &'static str,
}

/// A hive of the guest, up to date.
#[derive(Debug)]
pub struct HiveFile {
    root: &'static str,
    path: String,
    shown: String,
    /// Its file with its logs applied.
    pub bytes: Vec<u8>,
    /// What of its logs was applied.
    pub applied: Vec<Applied>,
}

/// What was done, or would be, with a hive.
#[derive(Debug, Default)]
pub struct Outcome {
    /// One edit for each purpose.
    pub edits: Vec<Edit>,
    /// The hive's values before and after.
    pub diff: Option<FileDiff>,
}

/// Reads a file; one with more bytes is said to be too large.
fn read(files: &Files, path: &str, limit: u64) -> Result<Vec<u8>, RegistryError> {
    files.tree().read(path, limit).map_err(|error| match error {
        TreeError::TooLarge { .. } => {
            RegistryError::TooLarge { path: files.shown(path), limit: Bytes(limit) }
        }
        other => RegistryError::File(other),
    })
}

/// A hive with its logs, beside so many bytes of others.
fn up_to_date(files: &Files, path: &str, beside: u64) -> Result<hive::Replayed, RegistryError> {
    let bytes = read(files, path, MOST_HIVE.min(MOST_HELD.saturating_sub(beside)))?;
    let length = bytes.len() as u64;
    // An edit reads it, and its logs, a second time.
    let mut left = MOST_HELD.saturating_sub(length + beside.max(length));
    let mut logs = Vec::new();
    // A clean hive's logs are of no meaning, and may be as large as it is.
    if !hive::BaseBlock::read(&bytes).is_ok_and(|base| !base.is_dirty()) {
        for suffix in [".LOG1", ".LOG2", ".LOG"] {
            let log = files.find(&format!("{path}{suffix}"))?;
            logs.push(match log {
                Some(log) => {
                    let log = read(files, &log, left)?;
                    left -= log.len() as u64;
                    log
                }
                None => Vec::new(),
            });
        }
    }
    let logs: Vec<&[u8]> = logs.iter().map(Vec::as_slice).collect();
    hive::replay(bytes, &logs).map_err(|source| RegistryError::Hive { path: files.shown(path), source })
}

impl HiveFile {
    /// Reads a hive with its logs; `None` when there is none at this path.
    ///
    /// # Errors
    /// When it cannot be read, or its logs do not complete it.
    pub fn load(files: &Files, root: &'static str, path: &str) -> Result<Option<Self>, RegistryError> {
        Self::load_beside(files, root, path, 0)
    }

    /// The same beside hives that are held, of so many bytes.
    ///
    /// # Errors
    /// As [`HiveFile::load`], and when both are more than the sandbox's memory holds.
    pub fn load_beside(
        files: &Files,
        root: &'static str,
        path: &str,
        held: u64,
    ) -> Result<Option<Self>, RegistryError> {
        let Some(path) = files.find(path)? else { return Ok(None) };
        let replayed = up_to_date(files, &path, held)?;
        let shown = files.shown(&path);
        Ok(Some(Self { root, path, shown, bytes: replayed.bytes, applied: replayed.applied }))
    }

    /// Its path as people write it.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Its keys and values.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn hive(&self) -> Result<Hive<'_>, RegistryError> {
        Hive::read(&self.bytes).map_err(|source| RegistryError::Hive { path: self.shown.clone(), source })
    }

    /// Whether edits change anything.
    ///
    /// # Errors
    /// When the hive is damaged, or the edits exclude each other.
    pub fn differs(&self, planned: &[Planned]) -> Result<bool, RegistryError> {
        let edits: Vec<HiveEdit> = planned.iter().map(|planned| planned.edit.clone()).collect();
        let plan = HivePlan::new(&self.hive()?, &edits)
            .map_err(|source| RegistryError::Edit { path: self.shown.clone(), source })?;
        Ok(!plan.is_empty())
    }

    /// Makes edits, each for a purpose; only works out what they are unless `write`.
    ///
    /// # Errors
    /// When the hive is damaged, cannot be edited, or does not read back.
    pub fn change(self, files: &Files, planned: &[Planned], write: bool) -> Result<Outcome, RegistryError> {
        let failed = |source| RegistryError::Edit { path: self.shown.clone(), source };
        let mut outcome = Outcome::default();
        let plan = {
            let hive = self.hive()?;
            let edits: Vec<HiveEdit> = planned.iter().map(|planned| planned.edit.clone()).collect();
            let plan = HivePlan::new(&hive, &edits).map_err(failed)?;
            if plan.is_empty() {
                return Ok(outcome);
            }
            hive.verify().map_err(|source| RegistryError::Hive { path: self.shown.clone(), source })?;
            for group in planned.chunk_by(|one, other| one.purpose == other.purpose) {
                let edits: Vec<HiveEdit> = group.iter().map(|planned| planned.edit.clone()).collect();
                let part = HivePlan::new(&hive, &edits).map_err(failed)?;
                outcome.edits.extend(self.edits_of(&part, group));
            }
            plan
        };
        let (old, new) = reg::texts(self.root, &plan.differences());
        outcome.diff = Some(FileDiff {
            path: self.shown.clone(),
            change: FileChange::Text { old: Some(old), new: Some(new) },
        });
        if write {
            self.put(files, &plan)?;
        }
        Ok(outcome)
    }

    fn edits_of(&self, part: &HivePlan, group: &[Planned]) -> Option<Edit> {
        let differences = part.differences();
        let first = differences.first()?;
        let (old, new) = reg::texts(self.root, &differences);
        Some(Edit {
            path: format!("{}\\{}", self.root, first.key),
            purpose: group.first()?.purpose.to_owned(),
            kind: EditKind::SetValues {
                before: Digest::of(old.as_bytes()),
                after: Digest::of(new.as_bytes()),
            },
        })
    }

    fn put(self, files: &Files, plan: &HivePlan) -> Result<(), RegistryError> {
        let Self { path, shown, bytes, .. } = self;
        let again = || match up_to_date(files, &path, 0) {
            Ok(replayed) => Ok(replayed.bytes),
            Err(RegistryError::Hive { source, .. }) => Err(EditError::Hive(source)),
            Err(error) => Err(EditError::File { path: shown.clone(), source: std::io::Error::other(error) }),
        };
        let after = hive::edit(bytes, again, plan, Path::new(SCRATCH))
            .map_err(|source| RegistryError::Edit { path: shown.clone(), source })?;
        let tree = files.tree();
        // Only what differs, so that only that is in the overlay.
        for (index, piece) in after.chunks(PIECE).enumerate() {
            let offset = index * PIECE;
            let now = tree.read_at(&path, offset as u64, piece.len() as u64)?;
            let (known, beyond) = piece.split_at(now.len());
            if now != known {
                tree.overwrite(&path, offset as u64, known)?;
            }
            if !beyond.is_empty() {
                tree.append(&path, beyond)?;
            }
        }
        for (index, piece) in after.chunks(PIECE).enumerate() {
            if tree.read_at(&path, (index * PIECE) as u64, piece.len() as u64)? != piece {
                return Err(RegistryError::ReadBack { path: shown });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::guest::tree::Tree;

    #[test]
    fn what_memory_does_not_hold_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, size: u64| {
            File::create(directory.path().join(name)).unwrap().set_len(size).unwrap();
        };
        let load = |held: u64| {
            let files = Files::new(Tree::open(directory.path()).unwrap(), "C:");
            let error = HiveFile::load_beside(&files, "HKEY_LOCAL_MACHINE\\X", "/H", held).unwrap_err();
            match error {
                RegistryError::TooLarge { path, limit } => (path, limit.0 >> 20),
                other => panic!("{other}"),
            }
        };
        file("H", MOST_HIVE + 1);
        assert_eq!(load(0), ("C:\\H".to_owned(), 208));
        // Beside another, and with its logs: zeros are no finished hive, so that its logs are wanted.
        file("H", 10 << 20);
        assert_eq!(load(410 << 20), ("C:\\H".to_owned(), 6));
        file("H.LOG1", 4 << 20);
        file("H.LOG2", 4 << 20);
        assert_eq!(load(400 << 20), ("C:\\H.LOG2".to_owned(), 2));
    }
}
