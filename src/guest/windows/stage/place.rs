//! Where things go in a volume whose names have no case: what is there already, what is missing, and
//! names that Windows cannot have.

use rustix::io::Errno;

use super::StageError;
use crate::guest::tree::{Kind, Metadata, TreeError};
use crate::guest::windows::files::Files;

/// Most UTF-16 units of a name (NTFS), and of a path with its drive that programs open
/// (`MAX_PATH` of Windows, which counts the zero at the end).
const MOST_NAME: usize = 255;
const MOST_PATH: usize = 259;
/// Characters that no name has (Microsoft, "Naming Files, Paths, and Namespaces").
const FORBIDDEN: &str = "<>:\"|?*\\";
/// Names of devices, with or without an extension (the same page).
const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];
const PORTS: [&str; 2] = ["com", "lpt"];

/// A name as it is compared: NTFS knows no case.
#[must_use]
pub fn folded(path: &str) -> String {
    path.to_lowercase()
}

/// Why a name cannot be one of Windows'; `None` when it can.
#[must_use]
pub fn name_mistake(name: &str) -> Option<&'static str> {
    let lower = name.to_lowercase();
    let stem = lower.split('.').next().unwrap_or_default().trim_end();
    let is_number = |text: &str| {
        matches!(text, "¹" | "²" | "³") || (text.len() == 1 && text.chars().all(|c| c.is_ascii_digit()))
    };
    let is_port = PORTS.iter().any(|port| stem.strip_prefix(*port).is_some_and(is_number));
    if name.is_empty() || name == "." || name == ".." {
        Some("a part of it is empty, `.` or `..`")
    } else if name.chars().any(|c| c.is_control() || FORBIDDEN.contains(c)) {
        Some("names in Windows have none of < > : \" | ? * \\ and no control characters")
    } else if name.ends_with(['.', ' ']) {
        Some("names in Windows do not end in a dot or a blank")
    } else if DEVICES.contains(&stem) || is_port {
        Some("that is the name of a device in Windows")
    } else if name.encode_utf16().count() > MOST_NAME {
        Some("names in Windows have at most 255 characters")
    } else {
        None
    }
}

/// Whether a whole path can be one of Windows'.
///
/// # Errors
/// [`StageError::Name`].
pub fn check(path: &str) -> Result<(), StageError> {
    let wrong = |why| Err(StageError::Name { path: path.to_owned(), why });
    let Some(rest) = path.strip_prefix('/') else { return wrong("it does not begin at the volume's root") };
    if let Some(why) = rest.split('/').find_map(name_mistake) {
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
    fn names_that_windows_cannot_have() {
        for name in [
            "", ".", "..", "a:b", "a*", "what?", "a\"b", "a<b", "a>b", "a|b", "a\\b", "tab\t", "dot.",
            "blank ", "CON", "nul.txt", "Com1", "LPT9.log", "com¹", "aux .x", "CONIN$", "com0",
        ] {
            assert!(name_mistake(name).is_some(), "{name:?}");
        }
        for name in [
            "con1",
            "common",
            "com10",
            "nulls",
            ".x",
            "a b.c",
            "AWSNVMe.sys",
            "ä€😀",
            "com",
            "lpt.txt",
            "x.nul",
        ] {
            assert_eq!(name_mistake(name), None, "{name:?}");
        }
        assert!(name_mistake(&"x".repeat(255)).is_none());
        assert!(name_mistake(&"x".repeat(256)).is_some());
    }

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
