//! The cloud's files: read, written atomically, and never at two places at once.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::failure::Failure;
use super::id;
use super::record::{NameRecord, Record};

/// A record is a few KiB (50 tags of at most 384 characters); more is not ours.
const MAX_RECORD: u64 = 1 << 20;
/// How temporary files begin. Whoever holds the lock may delete every one of them.
pub(super) const TEMPORARY: &str = ".new-";

/// Directory of [`NameRecord`]s by client token.
pub(super) const TOKENS: &str = "tokens";
/// Directory of [`NameRecord`]s by private address.
pub(super) const ADDRESSES: &str = "addresses";
/// Directory of what belongs to QEMU processes.
pub(super) const MACHINES: &str = "machines";

/// The cloud's directory. Everything but [`Store::open`] is called while [`Store::lock`] is held.
#[derive(Debug)]
pub(super) struct Store {
    root: PathBuf,
}

impl Store {
    /// The directory, made when it is not there.
    pub(super) fn open(root: &Path) -> Result<Self, Failure> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        for name in ["", "volumes", "instances", "snapshots", "images", TOKENS, ADDRESSES, MACHINES] {
            // Joined to nothing, a path would end in a slash.
            let path = if name.is_empty() { root.to_owned() } else { root.join(name) };
            builder.create(&path).map_err(|error| Failure::file("make", &path, error))?;
        }
        let root = root.canonicalize().map_err(|error| Failure::file("resolve", root, error))?;
        Ok(Self { root })
    }

    /// Waits for the cloud's lock. It is free again when the file is dropped, or its process dies.
    pub(super) fn lock(&self) -> Result<File, Failure> {
        let path = self.root.join("lock");
        let fail = |error| Failure::file("lock", &path, error);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(fail)?;
        file.lock().map_err(fail)?;
        Ok(file)
    }

    /// A path in the directory.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The content of a volume or snapshot.
    pub(super) fn content<R: Record>(&self, id: &str) -> PathBuf {
        self.root.join(R::DIRECTORY).join(format!("{id}.raw"))
    }

    fn record<R: Record>(&self, id: &str) -> PathBuf {
        self.root.join(R::DIRECTORY).join(format!("{id}.json"))
    }

    /// A resource's record; `None` when there is none, or `id` is none.
    pub(super) fn read<R: Record>(&self, id: &str) -> Result<Option<R>, Failure> {
        if !id::is_id(R::PREFIX, id) {
            return Ok(None);
        }
        let path = self.record::<R>(id);
        let record: Option<R> = read_json(&path)?;
        match record {
            Some(record) if record.id() != id => Err(Failure::damaged(
                &path,
                serde::de::Error::custom(format_args!("it is the record of {}", record.id())),
            )),
            Some(record) if !record.is_sound() => {
                Err(Failure::damaged(&path, serde::de::Error::custom("it names what is no id")))
            }
            other => Ok(other),
        }
    }

    /// Writes a resource's record.
    pub(super) fn write<R: Record>(&self, record: &R) -> Result<(), Failure> {
        write_json(&self.record::<R>(record.id()), record)
    }

    /// Removes a resource's record.
    pub(super) fn remove<R: Record>(&self, id: &str) -> Result<(), Failure> {
        remove_file(&self.record::<R>(id))
    }

    /// The ids of all resources of a kind, sorted.
    pub(super) fn ids<R: Record>(&self) -> Result<Vec<String>, Failure> {
        let mut ids: Vec<String> = names(&self.root.join(R::DIRECTORY))?
            .into_iter()
            .filter_map(|name| name.strip_suffix(".json").map(str::to_owned))
            .filter(|name| id::is_id(R::PREFIX, name))
            .collect();
        ids.sort();
        Ok(ids)
    }

    /// The names in one of the cloud's directories.
    pub(super) fn names(&self, directory: &str) -> Result<Vec<String>, Failure> {
        names(&self.root.join(directory))
    }

    /// What a name was given to.
    pub(super) fn name(&self, directory: &str, key: &str) -> Result<Option<NameRecord>, Failure> {
        read_json(&self.root.join(directory).join(format!("{key}.json")))
    }

    /// Gives a name.
    pub(super) fn set_name(&self, directory: &str, key: &str, record: &NameRecord) -> Result<(), Failure> {
        write_json(&self.root.join(directory).join(format!("{key}.json")), record)
    }

    /// Takes a name back.
    pub(super) fn remove_name(&self, directory: &str, key: &str) -> Result<(), Failure> {
        remove_file(&self.root.join(directory).join(format!("{key}.json")))
    }

    /// Reads any JSON file of the directory.
    pub(super) fn read_file<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Failure> {
        read_json(&self.root.join(name))
    }

    /// Writes any JSON file of the directory.
    pub(super) fn write_file<T: Serialize>(&self, name: &str, value: &T) -> Result<(), Failure> {
        write_json(&self.root.join(name), value)
    }

    /// Deletes what a killed process left half written.
    pub(super) fn remove_temporary(&self) -> Result<(), Failure> {
        for directory in ["", "volumes", "instances", "snapshots", "images", TOKENS, ADDRESSES] {
            let directory = self.root.join(directory);
            for name in names(&directory)? {
                if name.starts_with(TEMPORARY) {
                    remove_file(&directory.join(name))?;
                }
            }
        }
        Ok(())
    }
}

fn names(directory: &Path) -> Result<Vec<String>, Failure> {
    let fail = |error| Failure::file("list", directory, error);
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(fail)? {
        if let Ok(name) = entry.map_err(fail)?.file_name().into_string() {
            found.push(name);
        }
    }
    Ok(found)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Failure> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::file("open", path, error)),
    };
    let mut text = Vec::new();
    file.take(MAX_RECORD).read_to_end(&mut text).map_err(|error| Failure::file("read", path, error))?;
    serde_json::from_slice(&text).map(Some).map_err(|error| Failure::damaged(path, error))
}

/// Writes beside the file, fsyncs, renames over it and fsyncs the directory: a reader (or a crash)
/// sees the old text or the new one.
fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Failure> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|error| Failure::damaged(path, error))?;
    text.push(b'\n');
    let temporary = temporary(path);
    let fail = |error| Failure::file("write", path, error);
    let mut file = create(&temporary).map_err(fail)?;
    file.write_all(&text).map_err(fail)?;
    file.sync_all().map_err(fail)?;
    publish(&temporary, path)
}

/// A file that only its owner reads, empty.
pub(super) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)
}

/// The temporary name of a file.
pub(super) fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{TEMPORARY}{name}"))
}

/// Renames a finished temporary file to its name and makes that last.
pub(super) fn publish(temporary: &Path, path: &Path) -> Result<(), Failure> {
    let fail = |error| Failure::file("write", path, error);
    fs::rename(temporary, path).map_err(fail)?;
    sync_parent(path).map_err(fail)
}

/// Removes a file for good; one that is not there is fine.
pub(super) fn remove_file(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Ok(()) => sync_parent(path).map_err(|error| Failure::file("remove", path, error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::file("remove", path, error)),
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}
