//! Edits before they are made: a recipe's steps with their content, read through by later steps.
//!
//! Nothing touches the guest until [`Draft::carry_out`]; so looking without preparing gives the
//! same recipe and diffs, and each file is written once however many reasons there are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::mask;
use super::report::{Edit, EditKind, FileChange, FileDiff, Recipe};
use super::tree::{Kind, Metadata, Tree, TreeError};
use crate::model::Digest;

/// Longest text shown in a diff, in bytes (the report's own promise).
const MOST_TEXT: usize = 1 << 20;
/// Most bytes of a file that is edited as a whole (the largest are EFI loaders, about 4 MB).
pub const MOST_FILE: u64 = 16 << 20;
/// Most bytes that may move when something is inserted.
const MOST_MOVED: u64 = 512 << 20;

/// A program of every Linux, labelled as programs are (`bin_t`).
const PROGRAM: &str = "/usr/bin/env";

/// Why a recipe could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum DraftError {
    /// A file cannot be edited.
    #[error("the guest cannot be edited")]
    Edit(#[from] TreeError),
    /// A file does not hold what was written.
    #[error("{path} does not read back as it was written")]
    ReadBack {
        /// The path from the guest's root.
        path: String,
    },
}

/// Whose a file is, and its permission bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Permission bits.
    pub mode: u32,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mode {:04o}, owner {}, group {}", self.mode, self.uid, self.gid)
    }
}

#[derive(Debug)]
enum Step {
    Write { path: String, before: Option<Vec<u8>>, after: Vec<u8>, mode: u32, purposes: Vec<String> },
    Label { path: String, like: &'static str },
    Access { path: String, before: Option<(Access, u64)>, after: Access },
    Copy { path: String, of: String, content: Vec<u8>, mode: u32 },
    Extend { path: String, length: u64, offset: u64, bytes: Vec<u8>, purpose: String, lines: Vec<String> },
    Overwrite { path: String, offset: u64, before: Vec<u8>, after: Vec<u8>, purpose: String },
    SetAside { path: String, to: String, purpose: String },
    Remove { path: String, before: Vec<u8>, purpose: String, shown: bool },
}

/// A recipe in the making.
#[derive(Debug)]
pub struct Draft<'t> {
    tree: &'t Tree,
    steps: Vec<Step>,
    /// Path → its content once the steps are carried out; `None`: gone.
    pending: BTreeMap<String, Option<Vec<u8>>>,
    /// Paths that the user's files have: what they hold is not for others to change.
    claimed: BTreeSet<String>,
    /// What others would have changed there: path and purpose.
    refused: Vec<(String, String)>,
    /// Device and inode → the first path by which a file was edited: a file that is reached by
    /// several paths (a link, a bind mount) is one file.
    names: BTreeMap<(u64, u64), String>,
}

/// Where a file is set aside: hidden in the same directory, so that no tool's glob (`*`,
/// `ifcfg-*`, `*.yaml`, `*.network`) finds it, and renaming never crosses a filesystem.
#[must_use]
pub fn aside(path: &str) -> String {
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    format!("{directory}/.{}.replant-old", name.trim_start_matches('.'))
}

impl<'t> Draft<'t> {
    /// No steps yet.
    #[must_use]
    pub fn new(tree: &'t Tree) -> Self {
        Self {
            tree,
            steps: Vec::new(),
            pending: BTreeMap::new(),
            claimed: BTreeSet::new(),
            refused: Vec::new(),
            names: BTreeMap::new(),
        }
    }

    /// The guest as it is.
    #[must_use]
    pub fn tree(&self) -> &'t Tree {
        self.tree
    }

    /// Whether nothing is to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// A file's content as it will be; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read or is longer than 16 MiB.
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>, TreeError> {
        match self.pending.get(&self.known_as(path)) {
            Some(content) => Ok(content.clone()),
            None => self.tree.read_if_there(path, MOST_FILE),
        }
    }

    /// As [`Draft::read`], as text. A file that is no UTF-8, too long or no file at all is none:
    /// what cannot be read faithfully is not edited.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<String> {
        String::from_utf8(self.read(path).ok()??).ok()
    }

    /// Whether a path will be there.
    #[must_use]
    pub fn exists(&self, path: &str) -> bool {
        match self.pending.get(&self.known_as(path)) {
            Some(content) => content.is_some(),
            None => self.tree.exists(path),
        }
    }

    /// Says that a path will hold a file of the user's: whoever reads it finds that, and whoever
    /// would change it does not. [`Draft::place`] puts it there.
    ///
    /// # Errors
    /// When the path cannot be looked up.
    pub fn claim(&mut self, path: &str, content: &[u8]) -> Result<(), TreeError> {
        // A link there gives way; what it leads to is another file.
        let path = match self.tree.symlink_metadata(path)? {
            Some(found) if found.kind == Kind::File => self.name(path)?,
            _ => path.to_owned(),
        };
        self.pending.insert(path.clone(), Some(content.to_vec()));
        self.claimed.insert(path);
        Ok(())
    }

    /// Puts a claimed file there, with this access where it is not so already.
    ///
    /// # Errors
    /// When what is there cannot be read.
    pub fn place(
        &mut self,
        path: &str,
        content: &[u8],
        access: Access,
        purpose: &str,
    ) -> Result<(), TreeError> {
        let found = self.tree.symlink_metadata(path)?;
        let is_file = matches!(found, Some(found) if found.kind == Kind::File);
        if found.is_some() && !is_file {
            let to = aside(path);
            self.steps.push(Step::SetAside { path: path.to_owned(), to, purpose: "it gives way".to_owned() });
        }
        let before = if is_file { Some(self.tree.read(path, MOST_FILE)?) } else { None };
        if before.as_deref() != Some(content) {
            self.steps.push(Step::Write {
                path: path.to_owned(),
                before,
                after: content.to_vec(),
                mode: access.mode,
                purposes: vec![purpose.to_owned()],
            });
        }
        let now = found.filter(|_| is_file);
        self.access(path, now, access);
        Ok(())
    }

    /// Whether a path is the user's.
    #[must_use]
    pub fn is_claimed(&self, path: &str) -> bool {
        !self.claimed.is_empty() && self.claimed.contains(&self.known_as(path))
    }

    /// What was not changed because it is the user's: path and purpose.
    #[must_use]
    pub fn refused(&self) -> &[(String, String)] {
        &self.refused
    }

    fn refuses(&mut self, path: &str, purpose: &str) -> bool {
        let refuses = self.is_claimed(path);
        if refuses {
            self.refused.push((path.to_owned(), purpose.to_owned()));
        }
        refuses
    }

    fn access(&mut self, path: &str, now: Option<Metadata>, after: Access) {
        let before = now.map(|now| (Access { mode: now.mode, uid: now.uid, gid: now.gid }, now.length));
        // What is made belongs to root and has the mode that it is made with.
        let made = Access { mode: after.mode, uid: 0, gid: 0 };
        if before.map_or(made, |(before, _)| before) != after {
            self.steps.push(Step::Access { path: path.to_owned(), before, after });
        }
    }

    /// As [`Draft::write`], for a program: anybody may run it, and under SELinux it is labelled as
    /// programs are.
    ///
    /// # Errors
    /// When the old content cannot be read.
    pub fn write_program(&mut self, path: &str, content: Vec<u8>, purpose: &str) -> Result<(), TreeError> {
        let steps = self.steps.len();
        self.write(path, content, 0o755, purpose)?;
        if self.steps.len() > steps && self.tree.selinux_label(PROGRAM).is_some() {
            self.steps.push(Step::Label { path: path.to_owned(), like: PROGRAM });
        }
        let now = self.tree.metadata(path)?;
        self.access(path, now, Access { mode: 0o755, uid: 0, gid: 0 });
        Ok(())
    }

    /// Replaces a file's content, or makes it with this mode; nothing when it already is so.
    ///
    /// # Errors
    /// When the old content cannot be read.
    pub fn write(&mut self, path: &str, content: Vec<u8>, mode: u32, purpose: &str) -> Result<(), TreeError> {
        let old = self.read(path)?;
        if old.as_ref() == Some(&content) || self.refuses(path, purpose) {
            return Ok(());
        }
        let path = self.name(path)?;
        self.pending.insert(path.clone(), Some(content.clone()));
        for step in &mut self.steps {
            match step {
                Step::Write { path: other, after, purposes, .. } if *other == path => {
                    *after = content;
                    if !purposes.iter().any(|known| known == purpose) {
                        purposes.push(purpose.to_owned());
                    }
                    return Ok(());
                }
                _ => {}
            }
        }
        let purposes = vec![purpose.to_owned()];
        self.steps.push(Step::Write { path, before: old, after: content, mode, purposes });
        Ok(())
    }

    /// Puts a copy of a file beside it, under [`aside`]'s name, before it is rewritten; nothing
    /// when that copy exists from an earlier preparation.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn keep_copy(&mut self, path: &str) -> Result<(), TreeError> {
        let to = aside(path);
        if self.is_claimed(path) {
            return Ok(());
        }
        let (Some(content), false) = (self.read(path)?, self.exists(&to)) else { return Ok(()) };
        let mode = self.tree.metadata(path)?.map_or(0o644, |found| found.mode);
        self.pending.insert(to.clone(), Some(content.clone()));
        self.steps.push(Step::Copy { path: to, of: path.to_owned(), content, mode });
        Ok(())
    }

    /// Puts bytes into a file at an offset (at its end: appends). `lines` describe them.
    pub fn extend(
        &mut self,
        path: &str,
        length: u64,
        offset: u64,
        bytes: Vec<u8>,
        purpose: String,
        lines: Vec<String>,
    ) {
        self.steps.push(Step::Extend { path: path.to_owned(), length, offset, bytes, purpose, lines });
    }

    /// Replaces the bytes `before` of a file at an offset by as many others.
    pub fn overwrite(&mut self, path: &str, offset: u64, before: Vec<u8>, after: Vec<u8>, purpose: &str) {
        let purpose = purpose.to_owned();
        self.steps.push(Step::Overwrite { path: path.to_owned(), offset, before, after, purpose });
    }

    /// Renames a file to [`aside`]'s name.
    pub fn set_aside(&mut self, path: &str, purpose: &str) {
        if self.refuses(path, purpose) {
            return;
        }
        let to = aside(path);
        self.pending.insert(path.to_owned(), None);
        self.steps.push(Step::SetAside { path: path.to_owned(), to, purpose: purpose.to_owned() });
    }

    /// Removes a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn remove(&mut self, path: &str, purpose: &str) -> Result<(), TreeError> {
        let Some(before) = self.read(path)? else { return Ok(()) };
        if self.refuses(path, purpose) {
            return Ok(());
        }
        self.pending.insert(path.to_owned(), None);
        let purpose = purpose.to_owned();
        self.steps.push(Step::Remove { path: path.to_owned(), before, purpose, shown: true });
        Ok(())
    }

    /// As [`Draft::remove`], for what nobody wants to read on its way out: keys, seeds, leases.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn discard(&mut self, path: &str, purpose: &str) -> Result<(), TreeError> {
        let steps = self.steps.len();
        self.remove(path, purpose)?;
        if let Some(Step::Remove { shown, .. }) = self.steps.get_mut(steps) {
            *shown = false;
        }
        Ok(())
    }

    /// The recipe: what is done, by content.
    #[must_use]
    pub fn recipe(&self) -> Recipe {
        let edits = self.steps.iter().filter_map(edit);
        Recipe { edits: edits.collect() }
    }

    /// The recipe's effect on each file, sorted by path, secrets masked.
    #[must_use]
    pub fn diffs(&self) -> Vec<FileDiff> {
        let mut diffs: Vec<FileDiff> = self.steps.iter().filter_map(diff).collect();
        diffs.sort_by(|a, b| a.path.cmp(&b.path));
        diffs
    }

    /// Makes the edits, and reads each one back.
    ///
    /// # Errors
    /// [`DraftError`].
    pub fn carry_out(&self) -> Result<(), DraftError> {
        for step in &self.steps {
            match step {
                Step::Write { path, after: content, mode, .. } | Step::Copy { path, content, mode, .. } => {
                    self.tree.write(path, content, *mode)?;
                }
                Step::Label { path, like } => self.tree.copy_label(path, like)?,
                Step::Access { path, after, .. } => {
                    self.tree.set_access(path, after.mode, after.uid, after.gid)?;
                }
                Step::Extend { path, length, offset, bytes, .. } if offset == length => {
                    self.tree.append(path, bytes)?;
                }
                Step::Extend { path, offset, bytes, .. } => {
                    self.tree.insert(path, *offset, bytes, MOST_MOVED)?;
                }
                Step::Overwrite { path, offset, after, .. } => self.tree.overwrite(path, *offset, after)?,
                Step::SetAside { path, to, .. } => self.tree.rename(path, to)?,
                Step::Remove { path, .. } => self.tree.remove(path)?,
            }
        }
        for step in &self.steps {
            let (path, good) = match step {
                Step::Write { path, after: content, .. } | Step::Copy { path, content, .. } => {
                    (path, self.tree.read(path, MOST_FILE)? == *content)
                }
                Step::Label { path, like } => {
                    (path, self.tree.selinux_label(path) == self.tree.selinux_label(like))
                }
                Step::Access { path, after, .. } => {
                    let found = self.tree.metadata(path)?;
                    let found = found.map(|now| Access { mode: now.mode, uid: now.uid, gid: now.gid });
                    (path, found == Some(*after))
                }
                Step::Extend { path, length, offset, bytes, .. } => {
                    let added = bytes.len() as u64;
                    let found = self.tree.metadata(path)?.map(|found| found.length);
                    let good = found == Some(length.saturating_add(added))
                        && self.tree.read_at(path, *offset, added)? == *bytes;
                    (path, good)
                }
                Step::Overwrite { path, offset, after, .. } => {
                    (path, self.tree.read_at(path, *offset, after.len() as u64)? == *after)
                }
                Step::SetAside { path, to, .. } => {
                    let there = self.tree.symlink_metadata(to)?.is_some();
                    let rewritten = matches!(self.pending.get(path), Some(Some(_)));
                    (path, there && (rewritten || self.tree.symlink_metadata(path)?.is_none()))
                }
                Step::Remove { path, .. } => (path, self.tree.symlink_metadata(path)?.is_none()),
            };
            if !good {
                return Err(DraftError::ReadBack { path: path.clone() });
            }
        }
        Ok(())
    }

    /// The name by which a file is already known to the draft, else the path itself.
    fn known_as(&self, path: &str) -> String {
        if self.pending.contains_key(path) {
            return path.to_owned();
        }
        match self.tree.metadata(path) {
            Ok(Some(found)) => self.names.get(&(found.device, found.inode)).cloned(),
            _ => None,
        }
        .unwrap_or_else(|| path.to_owned())
    }

    fn name(&mut self, path: &str) -> Result<String, TreeError> {
        let name = self.known_as(path);
        if let Some(found) = self.tree.metadata(&name)? {
            self.names.entry((found.device, found.inode)).or_insert_with(|| name.clone());
        }
        Ok(name)
    }
}

/// A step as the recipe has it; a label has none: it is part of its file.
fn edit(step: &Step) -> Option<Edit> {
    let edit = match step {
        Step::Write { path, before, after, purposes, .. } => Edit {
            path: path.clone(),
            purpose: purposes.join("; "),
            kind: EditKind::WriteFile { before: before.as_deref().map(Digest::of), after: Digest::of(after) },
        },
        Step::Copy { path, of, content, .. } => Edit {
            path: path.clone(),
            purpose: format!("keep the old {of}"),
            kind: EditKind::WriteFile { before: None, after: Digest::of(content) },
        },
        Step::Extend { path, length, offset, bytes, purpose, .. } => {
            let added = bytes.len() as u64;
            let kind = if offset == length {
                let new_length = length.saturating_add(added);
                EditKind::AppendFile { old_length: *length, new_length, appended: Digest::of(bytes) }
            } else {
                EditKind::InsertFile { offset: *offset, length: added, inserted: Digest::of(bytes) }
            };
            Edit { path: path.clone(), purpose: purpose.clone(), kind }
        }
        Step::Overwrite { path, offset, before, after, purpose } => Edit {
            path: path.clone(),
            purpose: purpose.clone(),
            kind: EditKind::Overwrite {
                offset: *offset,
                before: Digest::of(before),
                after: Digest::of(after),
            },
        },
        Step::SetAside { path, to, purpose } => {
            Edit { path: path.clone(), purpose: purpose.clone(), kind: EditKind::SetAside { to: to.clone() } }
        }
        Step::Remove { path, before, purpose, .. } => Edit {
            path: path.clone(),
            purpose: purpose.clone(),
            kind: EditKind::RemoveFile { before: Digest::of(before) },
        },
        Step::Label { .. } => return None,
        Step::Access { path, after, .. } => Edit {
            path: path.clone(),
            purpose: after.to_string(),
            kind: EditKind::SetAccess { mode: after.mode, owner: after.uid, group: after.gid },
        },
    };
    Some(edit)
}

fn diff(step: &Step) -> Option<FileDiff> {
    let (path, change) = match step {
        Step::Write { path, before, after, .. } => (path, change(path, before.as_deref(), Some(after))),
        Step::Copy { path, of, content, .. } => {
            let lines = vec![format!("a copy of the old {of}")];
            let new_length = Some(content.len() as u64);
            (path, FileChange::Binary { old_length: None, new_length, lines })
        }
        Step::Extend { path, length, bytes, lines, .. } => {
            let new_length = Some(length.saturating_add(bytes.len() as u64));
            (path, FileChange::Binary { old_length: Some(*length), new_length, lines: lines.clone() })
        }
        Step::Overwrite { path, offset, after, purpose, .. } => {
            let lines = vec![format!("{} bytes at {offset}: {purpose}", after.len())];
            (path, FileChange::Binary { old_length: None, new_length: None, lines })
        }
        Step::SetAside { path, to, .. } => (path, FileChange::Renamed { to: to.clone() }),
        Step::Remove { path, before, shown: true, .. } => (path, change(path, Some(before), None)),
        Step::Remove { path, before, .. } => {
            let old_length = Some(before.len() as u64);
            (path, FileChange::Binary { old_length, new_length: None, lines: Vec::new() })
        }
        Step::Label { .. } => return None,
        // Of a new file, its edit says it.
        Step::Access { before: None, .. } => return None,
        Step::Access { path, before: Some((before, length)), after } => {
            let lines = vec![format!("was {before}"), format!("is {after}")];
            let length = Some(*length);
            (path, FileChange::Binary { old_length: length, new_length: length, lines })
        }
    };
    Some(FileDiff { path: path.clone(), change })
}

fn change(path: &str, old: Option<&[u8]>, new: Option<&[u8]>) -> FileChange {
    let text = |bytes: &[u8]| {
        let text =
            std::str::from_utf8(bytes).ok().filter(|text| text.len() <= MOST_TEXT && !text.contains('\0'));
        text.map(|text| mask::text(path, text))
    };
    let (shown_old, shown_new) = (old.map(text), new.map(text));
    if shown_old == Some(None) || shown_new == Some(None) {
        let length = |bytes: Option<&[u8]>| bytes.map(|bytes| bytes.len() as u64);
        return FileChange::Binary { old_length: length(old), new_length: length(new), lines: Vec::new() };
    }
    FileChange::Text { old: shown_old.flatten(), new: shown_new.flatten() }
}
