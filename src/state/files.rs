//! Opening, reading and replacing the state's files: never through a symbolic link, never
//! anything but a regular file, never more than a limit, private to the user.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::error::StateError;

/// Only the user may read what we write.
const MODE: u32 = 0o600;

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    // NONBLOCK: opening a named pipe must not hang; it changes nothing for a regular file.
    options.mode(MODE).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    options
}

/// Opens with our flags and makes sure that it is a regular file. `None` when there is none.
fn open(path: &Path, options: &OpenOptions) -> Result<Option<File>, StateError> {
    let file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            return Err(StateError::SymbolicLink { path: path.to_owned() });
        }
        Err(error) if matches!(error.raw_os_error(), Some(libc::EISDIR | libc::ENXIO)) => {
            return Err(StateError::NotAFile { path: path.to_owned() });
        }
        Err(source) => return Err(StateError::Open { path: path.to_owned(), source }),
    };
    let kind =
        file.metadata().map_err(|source| StateError::Open { path: path.to_owned(), source })?.file_type();
    if !kind.is_file() {
        return Err(StateError::NotAFile { path: path.to_owned() });
    }
    Ok(Some(file))
}

/// The whole of a file of at most `limit` bytes, or `None` when there is no such file.
pub(super) fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, StateError> {
    let Some(file) = open(path, options().read(true))? else { return Ok(None) };
    let reading = |source| StateError::Read { path: path.to_owned(), source };
    let size = file.metadata().map_err(reading)?.len();
    if size > limit {
        return Err(StateError::TooLarge { path: path.to_owned(), size, limit });
    }
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(reading)?;
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if size > limit {
        return Err(StateError::TooLarge { path: path.to_owned(), size, limit });
    }
    Ok(Some(bytes))
}

/// Opens a file for reading and writing, making it when it is missing.
pub(super) fn open_or_create(path: &Path) -> Result<File, StateError> {
    open(path, options().read(true).write(true).create(true))?.ok_or_else(|| StateError::Open {
        path: path.to_owned(),
        source: io::Error::from(io::ErrorKind::NotFound),
    })
}

/// Opens an existing file for appending after its first `length` bytes; what follows is cut off
/// durably.
pub(super) fn open_to_append(path: &Path, length: u64) -> Result<File, StateError> {
    let writing = |source| StateError::Write { path: path.to_owned(), source };
    let file = open(path, options().read(true).append(true))?
        .ok_or_else(|| writing(io::Error::from(io::ErrorKind::NotFound)))?;
    if file.metadata().map_err(writing)?.len() != length {
        file.set_len(length).map_err(writing)?;
        file.sync_all().map_err(writing)?;
    }
    Ok(file)
}

/// Makes the directory's entries durable.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
}

/// Replaces a file by these bytes: at any moment, also after a power cut, it is the old or the
/// new one, whole.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    let writing = |source| StateError::Write { path: path.to_owned(), source };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // A random name, made with O_EXCL and mode 0600: nobody can have put a link there.
    let mut temporary = tempfile::Builder::new()
        .prefix(".replant.")
        .suffix(".new")
        .tempfile_in(directory)
        .map_err(writing)?;
    temporary.write_all(bytes).map_err(writing)?;
    temporary.as_file().sync_all().map_err(writing)?;
    temporary.persist(path).map_err(|error| writing(error.error))?;
    sync_directory(path).map_err(writing)
}

/// Keeps what `path` holds now as `backup`, in place of an older backup. The file itself stays
/// where it is throughout.
pub(super) fn keep_backup(path: &Path, backup: &Path, bytes: &[u8]) -> Result<(), StateError> {
    let link = backup.with_extension("backup.new");
    let linked = match fs::remove_file(&link) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
    .and_then(|()| fs::hard_link(path, &link))
    .and_then(|()| fs::rename(&link, backup));
    match linked {
        Ok(()) => Ok(()),
        // Not every filesystem has hard links.
        Err(_) => replace(backup, bytes),
    }
}

/// Removes a file durably; a missing one is fine.
pub(super) fn remove(path: &Path) -> Result<(), StateError> {
    let writing = |source| StateError::Write { path: path.to_owned(), source };
    match fs::remove_file(path) {
        Ok(()) => sync_directory(path).map_err(writing),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(writing(error)),
    }
}
