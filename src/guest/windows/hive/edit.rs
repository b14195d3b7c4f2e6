//! Edits of a hive: said as data, made by libhivex, and read back by our own parser before they
//! count: what differs must be what was to differ, and nothing else.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use super::HiveError;
use super::compare::{Change, Difference, compare};
use super::hivex::Hivex;
use super::key::{Hive, Key};
use super::name;
use super::value::{Data, Value};

/// The longest value that libhivex writes as Windows reads it.
const MOST_VALUE: usize = 16_344;

/// One edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HiveEdit {
    /// Sets a value; keys on the way are made.
    Set {
        /// The key's path from the root, `\` between names.
        key: String,
        /// The value's name; empty for the default value.
        name: String,
        /// What it becomes.
        data: Data,
    },
    /// Takes a value away, when it is there.
    DeleteValue {
        /// The key's path.
        key: String,
        /// The value's name.
        name: String,
    },
    /// Takes a key away with all below it, when it is there.
    DeleteKey {
        /// The key's path.
        key: String,
    },
}

/// Why a hive was not edited. Nothing is changed then.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The library that writes hives is not there.
    #[error("the library libhivex cannot be used")]
    Library {
        /// Why.
        source: libloading::Error,
    },
    /// A call of the library failed.
    #[error("{call} failed")]
    Call {
        /// The call.
        call: &'static str,
        /// What it said.
        source: io::Error,
    },
    /// A name that no hive can hold.
    #[error("{name:?} is no name for a key or value")]
    Name {
        /// The name.
        name: String,
    },
    /// A value, to be written or beside the one that is, is longer than can be written.
    #[error("{key} holds a value of more than 16,344 bytes, and cannot be edited")]
    LongValue {
        /// The key's path.
        key: String,
    },
    /// Two edits exclude each other.
    #[error("{key} is to be deleted and to be set")]
    Contradiction {
        /// The key's path.
        key: String,
    },
    /// The hive is damaged.
    #[error("the hive cannot be read")]
    Hive(#[from] HiveError),
    /// A file beside the guest cannot be read or written.
    #[error("{path} cannot be read or written")]
    File {
        /// The path.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// What came out is not what was to come out.
    #[error("{key} does not read back as it was to become")]
    ReadBack {
        /// The key's path.
        key: String,
    },
}

/// A key that edits touch.
#[derive(Debug)]
struct Touched {
    /// Its path in the hive's own spelling, as far as it is there.
    path: String,
    /// Where it is in the hive's file; `None` for a new one.
    place: Option<usize>,
    /// Where the key above it is, when that is there.
    above: Option<usize>,
    is_deleted: bool,
    /// Its values as they will be, in the hive's order, new ones last.
    values: Vec<Value>,
    /// Upper-case names of those that differ → what they were.
    before: BTreeMap<String, Option<Value>>,
}

/// What edits will do to a hive; keys by their upper-case paths.
#[derive(Debug)]
pub struct HivePlan {
    keys: BTreeMap<Vec<String>, Touched>,
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('\\').filter(|part| !part.is_empty())
}

impl HivePlan {
    /// Works out what edits will do.
    ///
    /// # Errors
    /// When the hive is damaged, two edits exclude each other, or a value is too long.
    pub fn new(hive: &Hive<'_>, edits: &[HiveEdit]) -> Result<Self, EditError> {
        let mut plan = Self { keys: BTreeMap::new() };
        for edit in edits {
            match edit {
                HiveEdit::Set { key, name, data } => plan.set(hive, key, name, Some(data))?,
                HiveEdit::DeleteValue { key, name } => {
                    if hive.key(key)?.is_some() || plan.keys.contains_key(&folded(key)) {
                        plan.set(hive, key, name, None)?;
                    }
                }
                HiveEdit::DeleteKey { key } => plan.delete(hive, key)?,
            }
        }
        plan.keys.retain(|_, key| key.place.is_none() || key.is_deleted || !key.before.is_empty());
        Ok(plan)
    }

    /// Whether nothing is to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    fn touch(&mut self, hive: &Hive<'_>, path: &str) -> Result<&mut Touched, EditError> {
        let (mut known, mut folded, mut key) = (String::new(), Vec::new(), Some(hive.root()?));
        let mut above = None;
        for part in parts(path) {
            folded.push(part.to_uppercase());
            let found = match key {
                Some(key) => key.subkey(part)?,
                None => None,
            };
            if !known.is_empty() {
                known.push('\\');
            }
            match found {
                Some(found) => known.push_str(&found.name()),
                None => known.push_str(part),
            }
            above = key.map(|key| key.place());
            key = found;
            let is_deleted = self.keys.get(&folded).is_some_and(|touched| touched.is_deleted);
            if is_deleted {
                return Err(EditError::Contradiction { key: known });
            }
            if key.is_none() && !self.keys.contains_key(&folded) {
                self.keys.insert(folded.clone(), Touched::new(known.clone(), None, above)?);
            }
        }
        let touched = match self.keys.entry(folded) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(Touched::new(known, key, above)?)
            }
        };
        Ok(touched)
    }

    fn set(&mut self, hive: &Hive<'_>, path: &str, name: &str, data: Option<&Data>) -> Result<(), EditError> {
        let touched = self.touch(hive, path)?;
        let place = touched.values.iter().position(|value| name::same(&value.name, name));
        let before = place.map(|place| touched.values[place].clone());
        let stored = before.as_ref().map_or(name, |value| value.name.as_str()).to_owned();
        let after = data.map(|data| Value { name: stored, kind: data.kind(), bytes: data.bytes() });
        if before == after {
            return Ok(());
        }
        let too_long = |value: &Value| value.bytes.len() > MOST_VALUE;
        if touched.values.iter().chain(&after).any(too_long) {
            return Err(EditError::LongValue { key: touched.path.clone() });
        }
        touched.before.entry(name.to_uppercase()).or_insert(before);
        match (place, after) {
            (Some(place), Some(after)) => touched.values[place] = after,
            (Some(place), None) => {
                touched.values.remove(place);
            }
            (None, Some(after)) => touched.values.push(after),
            (None, None) => {}
        }
        Ok(())
    }

    fn delete(&mut self, hive: &Hive<'_>, path: &str) -> Result<(), EditError> {
        let folded = folded(path);
        if let Some(other) = self.keys.keys().find(|other| other.starts_with(&folded)) {
            let is_same = self.keys.get(other).is_some_and(|touched| touched.is_deleted);
            return if is_same { Ok(()) } else { Err(EditError::Contradiction { key: path.to_owned() }) };
        }
        if hive.key(path)?.is_some() {
            self.touch(hive, path)?.is_deleted = true;
        }
        Ok(())
    }

    /// What will differ.
    #[must_use]
    pub fn differences(&self) -> Vec<Difference> {
        let mut differences = Vec::new();
        for touched in self.keys.values() {
            let mut push = |change| differences.push(Difference { key: touched.path.clone(), change });
            if touched.is_deleted {
                push(Change::Removed { values: touched.values.clone() });
                continue;
            }
            if touched.place.is_none() {
                push(Change::Added);
            }
            for (name, before) in &touched.before {
                let after = touched.values.iter().find(|value| name::same(&value.name, name)).cloned();
                if *before != after {
                    push(Change::Value { before: before.clone(), after });
                }
            }
        }
        differences
    }

    fn make(&self, hivex: &Hivex) -> Result<(), EditError> {
        // A key's place is what the library calls its node, and keys stay where they are.
        let mut made: BTreeMap<&[String], usize> = BTreeMap::new();
        for (parts, touched) in &self.keys {
            let node = match (touched.place, touched.above, parts.split_last()) {
                (Some(place), ..) => place,
                (None, above, Some((_, parents))) => {
                    let parent = above.or_else(|| made.get(parents).copied());
                    let parent = parent.ok_or_else(|| EditError::ReadBack { key: touched.path.clone() })?;
                    let name = touched.path.rsplit('\\').next().unwrap_or_default();
                    hivex.add_child(parent, name)?
                }
                (None, _, None) => hivex.root()?,
            };
            made.insert(parts, node);
            if touched.is_deleted {
                hivex.delete(node)?;
            } else if !touched.before.is_empty() {
                hivex.set_values(node, &touched.values)?;
            }
        }
        Ok(())
    }
}

impl Touched {
    fn new(path: String, key: Option<Key<'_>>, above: Option<usize>) -> Result<Self, EditError> {
        let values = match key {
            Some(key) => key.values()?.collect::<Result<Vec<Value>, HiveError>>()?,
            None => Vec::new(),
        };
        let place = key.map(|key| key.place());
        Ok(Self { path, place, above, is_deleted: false, values, before: BTreeMap::new() })
    }
}

fn folded(path: &str) -> Vec<String> {
    parts(path).map(str::to_uppercase).collect()
}

/// Makes a hive's edits, by way of files in `directory`, and gives back the new file: read back,
/// sound, and different from `before` in just what the plan says. `again` reads `before` once more
/// for that, so that there are never more than two copies of a hive at a time.
///
/// # Errors
/// [`EditError`]; then there is no new hive.
pub fn edit(
    before: Vec<u8>,
    again: impl FnOnce() -> Result<Vec<u8>, EditError>,
    plan: &HivePlan,
    directory: &Path,
) -> Result<Vec<u8>, EditError> {
    let (from, to) = (directory.join("hive"), directory.join("hive.new"));
    let file = |path: &Path| {
        let path = path.display().to_string();
        move |source| EditError::File { path, source }
    };
    // What the library takes at the hive's word, and ends this process when it is not so.
    let touched: BTreeMap<usize, bool> =
        plan.keys.values().filter_map(|key| Some((key.place?, key.is_deleted))).collect();
    Hive::read(&before)?.has_sole_owners(&touched)?;
    fs::write(&from, &before).map_err(file(&from))?;
    drop(before);
    let hivex = Hivex::open(&from)?;
    fs::remove_file(&from).map_err(file(&from))?;
    plan.make(&hivex)?;
    hivex.commit(&to)?;
    drop(hivex);
    let after = fs::read(&to).map_err(file(&to))?;
    fs::remove_file(&to).map_err(file(&to))?;
    check(&again()?, &after, plan)?;
    Ok(after)
}

fn check(before: &[u8], after: &[u8], plan: &HivePlan) -> Result<(), EditError> {
    let mut wanted = plan.differences();
    let (before, after) = (Hive::read(before)?, Hive::read(after)?);
    after.verify()?;
    let mut found = compare(&before, &after, wanted.len())?;
    let place = |difference: &Difference| {
        let name = match &difference.change {
            Change::Value { before, after } => {
                after.as_ref().or(before.as_ref()).map(|value| value.name.to_uppercase())
            }
            _ => None,
        };
        (difference.key.to_uppercase(), name)
    };
    wanted.sort_by_key(place);
    found.sort_by_key(place);
    match wanted.iter().zip(&found).find(|(wanted, found)| wanted != found) {
        Some((wanted, _)) => Err(EditError::ReadBack { key: wanted.key.clone() }),
        None if wanted.len() != found.len() => {
            Err(EditError::ReadBack { key: wanted.last().map(|last| last.key.clone()).unwrap_or_default() })
        }
        None => Ok(()),
    }
}
