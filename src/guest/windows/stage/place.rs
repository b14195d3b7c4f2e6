//! Where things go in a volume whose names have no case: what is there already, and what is missing.

use rustix::io::Errno;

use super::StageError;
use crate::guest::tree::{Kind, Metadata, TreeError};
use crate::guest::windows::files::Files;
use crate::model::windows_name_mistake;

/// Most UTF-16 units of a path with its drive that programs open (`MAX_PATH` of Windows, which counts
/// the zero at the end).
const MOST_PATH: usize = 259;
/// A name as it is compared: NTFS knows no case.
#[must_use]
pub fn folded(path: &str) -> String {
    path.to_lowercase()
}

/// Whether a whole path can be one of Windows'.
///
/// # Errors
/// [`StageError::Name`].
pub fn check(path: &str) -> Result<(), StageError> {
    let wrong = |why| Err(StageError::Name { path: path.to_owned(), why });
    let Some(rest) = path.strip_prefix('/') else { return wrong("it does not begin at the volume's root") };
    if let Some(why) = rest.split('/').find_map(windows_name_mistake) {
        return wrong(why);
    }
    if path.encode_utf16().count() + "C:".len() > MOST_PATH {
        return wrong("programs of Windows open paths of at most 259 characters");
    }
    Ok(())
}

/// What a name in a directory that is there leads to, in the spelling that is there; `None`: nothing.
///
/// # Errors
/// When the directory cannot be read, or has too many names to say.
pub fn find(files: &Files, directory: &str, name: &str) -> Result<Option<(String, Metadata)>, StageError> {
    let tree = files.tree();
    let about = |path: &str| match tree.symlink_metadata(path) {
        // What ntfs-3g says of a junction whose end it does not find (measured).
        Err(TreeError::Look { source: Errno::IO, .. }) => Err(obstacle(files, path, Kind::Symlink)),
        found => Ok(found?),
    };
    let exact = format!("{directory}/{name}");
    if let Some(found) = about(&exact)? {
        return Ok(Some((exact, found)));
    }
    let directory = if directory.is_empty() { "/" } else { directory };
    let listing = tree.list(directory)?;
    let wanted = folded(name);
    let Some(entry) = listing.entries.iter().find(|entry| folded(&entry.name) == wanted) else {
        if tree.listed_in_part().iter().any(|cut| cut == directory) {
            return Err(StageError::Crowded { path: files.shown(directory) });
        }
        return Ok(None);
    };
    let path = format!("{}/{}", directory.trim_end_matches('/'), entry.name);
    let found = about(&path)?;
    Ok(found.map(|found| (path, found)))
}

/// Whether a file can be at a path: what is above it, as far as it is there, is directories, and where
/// it goes is a file or nothing.
///
/// # Errors
/// [`StageError::Obstacle`], and when a directory cannot be read.
pub fn look(files: &Files, path: &str) -> Result<(), StageError> {
    let mut above = String::new();
    let mut names = path.split('/').filter(|name| !name.is_empty()).peekable();
    while let Some(name) = names.next() {
        let Some((found, about)) = find(files, &above, name)? else { return Ok(()) };
        let wanted = if names.peek().is_some() { Kind::Directory } else { Kind::File };
        if about.kind != wanted {
            return Err(obstacle(files, &found, about.kind));
        }
        above = found;
    }
    Ok(())
}

/// What is there when it is not what was looked for.
#[must_use]
pub fn obstacle(files: &Files, path: &str, kind: Kind) -> StageError {
    let what = match kind {
        Kind::File => "a file",
        Kind::Directory => "a directory",
        Kind::Symlink => "a junction or link, which is not followed,",
        Kind::Other => "something that is neither file nor directory",
    };
    StageError::Obstacle { path: files.shown(path), what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_begin_at_the_root_and_are_not_too_long() {
        assert!(check("/Replant/x").is_ok());
        for path in ["", "/", "Replant", "C:/x", "/a//b", "/a/../b", "/a/nul/b"] {
            assert!(check(path).is_err(), "{path}");
        }
        let long = |length: usize| format!("/{}/{}", "d".repeat(200), "f".repeat(length - 202));
        assert!(check(&long(257)).is_ok());
        assert!(check(&long(258)).is_err());
    }
}
