//! What putting things into a volume changes: looked up first, then shown, then carried out.

use std::collections::BTreeMap;

use super::content::{self, Summary};
use super::descriptor::{self, Descriptor};
use super::place::{self, folded};
use super::room::Room;
use super::write::{self, How, SECURITY, Step};
use super::{Access, StageError, Staged, StagedContent};
use crate::guest::mask;
use crate::guest::report::{Edit, EditKind, FileChange, FileDiff};
use crate::guest::tree::{Kind, Metadata};
use crate::guest::windows::files::Files;
use crate::model::Digest;

/// Longest text shown in a diff, in bytes (the report's own promise).
const MOST_TEXT: u64 = 1 << 20;
/// How many neighbours are asked for their access.
const MOST_NEIGHBOURS: usize = 64;

/// What is changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// One edit for each file and directory that changes, in order.
    pub edits: Vec<Edit>,
    /// Their content and access before and after.
    pub diffs: Vec<FileDiff>,
}

/// Puts things into a volume; only works out what that changes unless `write`. What is there already,
/// in the same bytes and with the same access, is no edit.
///
/// # Errors
/// [`StageError`]. When nothing fits, or something is in the way, nothing is written; when writing
/// itself fails, the volume is half changed, and must be given up.
pub fn stage(files: &Files, staged: &[Staged], write: bool) -> Result<Outcome, StageError> {
    let mut plan = Plan::new(files)?;
    for wanted in staged {
        plan.add(wanted)?;
    }
    plan.room.check()?;
    if write {
        write::carry_out(files, &plan.steps)?;
    }
    Ok(plan.outcome)
}

/// A directory on the way to what is staged.
#[derive(Debug, Clone)]
struct Directory {
    path: String,
    /// As it will be; `None`: not looked up yet.
    descriptor: Option<Vec<u8>>,
    is_new: bool,
}

#[derive(Debug)]
struct Plan<'s> {
    files: &'s Files,
    steps: Vec<Step<'s>>,
    /// By their folded paths.
    directories: BTreeMap<String, Directory>,
    taken: BTreeMap<String, &'s Staged>,
    room: Room,
    outcome: Outcome,
}

/// A descriptor, and how a person is told of it.
struct Given {
    bytes: Vec<u8>,
    phrase: String,
}

fn phrase(bytes: &[u8]) -> String {
    match Descriptor::read(bytes) {
        Some(read) if read.is_private() => "only SYSTEM and administrators have access".to_owned(),
        Some(read) => format!("access {}", read.sddl()),
        None => format!("access by a descriptor of {} bytes", bytes.len()),
    }
}

fn sddl(bytes: &[u8]) -> String {
    Descriptor::read(bytes).map_or_else(|| format!("{} bytes", bytes.len()), |read| read.sddl())
}

impl<'s> Plan<'s> {
    fn new(files: &'s Files) -> Result<Self, StageError> {
        Ok(Self {
            files,
            steps: Vec::new(),
            directories: BTreeMap::from([(
                String::new(),
                Directory { path: String::new(), descriptor: None, is_new: false },
            )]),
            taken: BTreeMap::new(),
            room: Room::new(files.tree())?,
            outcome: Outcome::default(),
        })
    }

    fn add(&mut self, wanted: &'s Staged) -> Result<(), StageError> {
        match wanted {
            Staged::Directory { path, access, purpose } => {
                place::check(path)?;
                self.wanted_directory(path, access, purpose)
            }
            Staged::File { path, content, access, purpose } => {
                place::check(path)?;
                match self.taken.get(&folded(path)) {
                    Some(Staged::File { content: other, access: other_access, .. })
                        if other == content && other_access == access =>
                    {
                        Ok(())
                    }
                    Some(_) => Err(StageError::Twice { path: self.files.shown(path) }),
                    None => {
                        self.taken.insert(folded(path), wanted);
                        self.file(path, content, access, purpose)
                    }
                }
            }
        }
    }

    /// The descriptor of what is there.
    fn security(&self, path: &str) -> Result<Option<Vec<u8>>, StageError> {
        let path = if path.is_empty() { "/" } else { path };
        Ok(self.files.tree().attribute(path, SECURITY, descriptor::MOST)?)
    }

    /// What a directory, known by its folded path, hands down.
    fn handed_down(&mut self, key: &str, to_directory: bool) -> Result<Vec<u8>, StageError> {
        let Some(directory) = self.directories.get(key) else {
            return Err(StageError::Descriptor { path: self.files.shown(key) });
        };
        let known = match directory.descriptor.clone() {
            Some(known) => Some(known),
            None => self.security(&directory.path)?,
        };
        let read = known.as_deref().and_then(Descriptor::read);
        let Some((read, known)) = read.zip(known) else {
            return Err(StageError::Descriptor { path: self.files.shown(&directory.path) });
        };
        if let Some(directory) = self.directories.get_mut(key) {
            directory.descriptor = Some(known);
        }
        Ok(read.handed_down(to_directory))
    }

    /// What a name in a directory that is known leads to.
    fn find(&self, key: &str, name: &str) -> Result<Option<(String, Metadata)>, StageError> {
        match self.directories.get(key) {
            Some(directory) if !directory.is_new => place::find(self.files, &directory.path, name),
            _ => Ok(None),
        }
    }

    /// The directories to a path, made where they are missing: the folded path of the last.
    fn directories_to(&mut self, path: &str) -> Result<String, StageError> {
        let mut key = String::new();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            key = self.enter(&key, name, "make this directory")?;
        }
        Ok(key)
    }

    /// Goes into a directory, which is made with what is handed down to it when it is missing.
    fn enter(&mut self, above: &str, name: &str, purpose: &str) -> Result<String, StageError> {
        let key = format!("{above}/{}", folded(name));
        if self.directories.contains_key(&key) {
            return Ok(key);
        }
        if self.taken.contains_key(&key) {
            return Err(place::obstacle(self.files, &key, Kind::File));
        }
        if let Some((path, found)) = self.find(above, name)? {
            if found.kind != Kind::Directory {
                return Err(place::obstacle(self.files, &path, found.kind));
            }
            self.directories.insert(key.clone(), Directory { path, descriptor: None, is_new: false });
            return Ok(key);
        }
        let bytes = self.handed_down(above, true)?;
        let phrase = "with the access that is handed down to it".to_owned();
        self.make(above, name, key.clone(), Given { bytes, phrase }, purpose);
        Ok(key)
    }

    fn make(&mut self, above: &str, name: &str, key: String, given: Given, purpose: &str) {
        let above = self.directories.get(above).map(|above| above.path.as_str()).unwrap_or_default();
        let path = format!("{above}/{name}");
        let shown = self.files.shown(&path);
        self.room.add(0, 0);
        self.outcome.edits.push(Edit {
            path: shown.clone(),
            purpose: format!("{purpose} ({})", given.phrase),
            kind: EditKind::MakeDirectory { access: Digest::of(&given.bytes) },
        });
        let lines = vec!["a directory".to_owned(), format!("access {}", sddl(&given.bytes))];
        self.differ(shown, FileChange::Binary { old_length: None, new_length: None, lines });
        self.steps.push(Step::Make { path: path.clone(), descriptor: given.bytes.clone() });
        let directory = Directory { path, descriptor: Some(given.bytes), is_new: true };
        self.directories.insert(key, directory);
    }

    fn differ(&mut self, path: String, change: FileChange) {
        self.outcome.diffs.push(FileDiff { path, change });
    }

    fn wanted_directory(&mut self, path: &str, access: &Access, purpose: &str) -> Result<(), StageError> {
        let (above, name) = path.rsplit_once('/').unwrap_or_default();
        let above = self.directories_to(above)?;
        let key = format!("{above}/{}", folded(name));
        let Access::Descriptor(bytes) = access else {
            return self.enter(&above, name, purpose).map(|_| ());
        };
        let is_known = self.directories.contains_key(&key) || self.taken.contains_key(&key);
        if !is_known && self.find(&above, name)?.is_none() {
            self.make(&above, name, key, Given { bytes: bytes.clone(), phrase: phrase(bytes) }, purpose);
            return Ok(());
        }
        self.enter(&above, name, purpose)?;
        let Some(directory) = self.directories.get(&key).cloned() else { return Ok(()) };
        let before = match directory.descriptor {
            Some(known) => Some(known),
            None => self.security(&directory.path)?,
        };
        self.secure(&directory.path, before, bytes, purpose);
        if let Some(directory) = self.directories.get_mut(&key) {
            directory.descriptor = Some(bytes.clone());
        }
        Ok(())
    }

    /// Gives what is there another access, when it is another.
    fn secure(&mut self, path: &str, before: Option<Vec<u8>>, after: &[u8], purpose: &str) {
        if before.as_deref() == Some(after) {
            return;
        }
        let shown = self.files.shown(path);
        self.room.add(0, 0);
        self.outcome.edits.push(Edit {
            path: shown.clone(),
            purpose: format!("{purpose} ({})", phrase(after)),
            kind: EditKind::SetSecurity {
                before: before.as_deref().map(Digest::of),
                after: Digest::of(after),
            },
        });
        let was = before.as_deref().map_or("unknown".to_owned(), sddl);
        let lines = vec![format!("access was {was}"), format!("access is {}", sddl(after))];
        self.differ(shown, FileChange::Binary { old_length: None, new_length: None, lines });
        self.steps.push(Step::Secure { path: path.to_owned(), descriptor: after.to_vec() });
    }

    fn file(
        &mut self,
        path: &str,
        content: &'s StagedContent,
        access: &Access,
        purpose: &str,
    ) -> Result<(), StageError> {
        let (above, name) = path.rsplit_once('/').unwrap_or_default();
        let key = self.directories_to(above)?;
        if self.directories.contains_key(&folded(path)) {
            return Err(place::obstacle(self.files, path, Kind::Directory));
        }
        let after = content::summary(content)?;
        match self.find(&key, name)? {
            Some((path, found)) if found.kind == Kind::File => {
                self.replace(&path, found, content, after, access, purpose)
            }
            Some((path, found)) => Err(place::obstacle(self.files, &path, found.kind)),
            None => self.create(&key, name, content, after, access, purpose),
        }
    }

    fn create(
        &mut self,
        key: &str,
        name: &str,
        content: &'s StagedContent,
        after: Summary,
        access: &Access,
        purpose: &str,
    ) -> Result<(), StageError> {
        let given = match access {
            Access::Descriptor(bytes) => Given { bytes: bytes.clone(), phrase: phrase(bytes) },
            Access::LikeSibling => match self.neighbour(key, name)? {
                Some(given) => given,
                None => {
                    let bytes = self.handed_down(key, false)?;
                    Given { bytes, phrase: "with the access that its directory hands down".to_owned() }
                }
            },
        };
        let above = self.directories.get(key).map(|above| above.path.as_str()).unwrap_or_default();
        let path = format!("{above}/{name}");
        let shown = self.files.shown(&path);
        self.room.add(after.length, 0);
        self.outcome.edits.push(Edit {
            path: shown.clone(),
            purpose: format!("{purpose} ({})", given.phrase),
            kind: EditKind::WriteFile { before: None, after: after.digest },
        });
        let change = match self.text(content, after.length)? {
            Some(new) => FileChange::Text { old: None, new: Some(mask::text(&path, &new)) },
            None => {
                let lines = vec![format!("is {}", after.digest), format!("access {}", sddl(&given.bytes))];
                FileChange::Binary { old_length: None, new_length: Some(after.length), lines }
            }
        };
        self.differ(shown, change);
        self.steps.push(Step::Write { path, content, after, how: How::New, descriptor: Some(given.bytes) });
        Ok(())
    }

    fn replace(
        &mut self,
        path: &str,
        found: Metadata,
        content: &'s StagedContent,
        after: Summary,
        access: &Access,
        purpose: &str,
    ) -> Result<(), StageError> {
        let tree = self.files.tree();
        let before = content::of_file(tree, path)?;
        let now = self.security(path)?;
        let wanted = match access {
            Access::Descriptor(bytes) => Some(bytes.clone()),
            Access::LikeSibling => None,
        };
        if before == after {
            if let Some(wanted) = wanted {
                self.secure(path, now, &wanted, purpose);
            }
            return Ok(());
        }
        let shown = self.files.shown(path);
        // Another name of it may be the component store's, whose copy stays what it is.
        let how = if found.names > 1 { How::Anew } else { How::InPlace };
        self.room.add(after.length, if how == How::Anew { 0 } else { before.length });
        self.outcome.edits.push(Edit {
            path: shown.clone(),
            purpose: purpose.to_owned(),
            kind: EditKind::WriteFile { before: Some(before.digest), after: after.digest },
        });
        let old = if before.length <= MOST_TEXT { text(&tree.read(path, MOST_TEXT)?) } else { None };
        let change = match (old, self.text(content, after.length)?) {
            (Some(old), Some(new)) => {
                FileChange::Text { old: Some(mask::text(path, &old)), new: Some(mask::text(path, &new)) }
            }
            _ => {
                let lines = vec![format!("was {}", before.digest), format!("is {}", after.digest)];
                FileChange::Binary { old_length: Some(before.length), new_length: Some(after.length), lines }
            }
        };
        self.differ(shown, change);
        // Made anew it would have lost the access that it has.
        let descriptor = match how {
            How::Anew => {
                let lost = || StageError::Descriptor { path: self.files.shown(path) };
                Some(wanted.clone().or_else(|| now.clone()).ok_or_else(lost)?)
            }
            How::New | How::InPlace => None,
        };
        self.steps.push(Step::Write { path: path.to_owned(), content, after, how, descriptor });
        if let Some(wanted) = wanted {
            self.secure(path, now, &wanted, purpose);
        }
        Ok(())
    }

    /// The access that most files of the same kind beside a new one have.
    fn neighbour(&self, key: &str, name: &str) -> Result<Option<Given>, StageError> {
        let Some(directory) = self.directories.get(key).filter(|directory| !directory.is_new) else {
            return Ok(None);
        };
        let Some(kind) = extension(name) else { return Ok(None) };
        let tree = self.files.tree();
        let listing = tree.list(if directory.path.is_empty() { "/" } else { &directory.path })?;
        let alike = listing.entries.iter().filter(|entry| extension(&entry.name).as_ref() == Some(&kind));
        // Descriptor → how many have it, and the first of them.
        let mut found: BTreeMap<Vec<u8>, (usize, &str)> = BTreeMap::new();
        for entry in alike.take(MOST_NEIGHBOURS) {
            let path = format!("{}/{}", directory.path, entry.name);
            if tree.symlink_metadata(&path)?.is_none_or(|about| about.kind != Kind::File) {
                continue;
            }
            let Some(bytes) = self.security(&path)?.filter(|bytes| Descriptor::read(bytes).is_some()) else {
                continue;
            };
            found.entry(bytes).or_insert((0, &entry.name)).0 += 1;
        }
        let most =
            found.into_iter().max_by(|(_, one), (_, other)| one.0.cmp(&other.0).then(other.1.cmp(one.1)));
        Ok(most.map(|(bytes, (_, name))| Given { bytes, phrase: format!("with the access of {name}") }))
    }

    /// What a staged file holds, when it is text that can be shown.
    fn text(&self, content: &StagedContent, length: u64) -> Result<Option<String>, StageError> {
        if length > MOST_TEXT {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        content::copy_to(content, &mut bytes)?;
        Ok(text(&bytes))
    }
}

fn extension(name: &str) -> Option<String> {
    name.rsplit_once('.').map(|(_, extension)| folded(extension))
}

fn text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
    text.map(str::to_owned)
}
