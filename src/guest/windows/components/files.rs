//! Files in the folder that the user names, and in its zip archives.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use walkdir::WalkDir;

use super::catalog::Kind;
use super::inventory::reasons;
use super::zip::{self, Content};

/// Most files of a folder, those in archives included.
const MOST_FILES: usize = 20_000;
/// How deep a folder is looked into.
const DEEPEST: usize = 8;
/// Most bytes of one file, unpacked: the largest agent's installer has a tenth of it.
pub const MOST_BYTES: u64 = 1 << 30;

/// The directory in a folder where files are until they are known to be right; it is not looked into.
pub const FETCHING: &str = ".replant-fetch";

/// Components cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ComponentError {
    /// The folder, or a file of it.
    #[error("{path} cannot be read")]
    Read {
        /// Where.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// More than any folder of drivers.
    #[error("{path} holds more than {MOST_FILES} files")]
    TooMany {
        /// The folder.
        path: String,
    },
    /// A file is larger than it may be.
    #[error("{path} has more than {most} bytes")]
    TooLarge {
        /// Where.
        path: String,
        /// The most that are read.
        most: u64,
    },
}

/// Where a file's content is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    File(PathBuf),
    Member { archive: Arc<Path>, content: Content },
}

/// A file that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundFile {
    /// The path below the folder, with slashes; an archive stands in it like a directory.
    pub path: String,
    /// Its bytes, unpacked; what an archive says is not yet proved.
    pub size: u64,
    place: Place,
}

impl FoundFile {
    /// The last part of its path.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.rsplit_once('/').map_or(self.path.as_str(), |(_, name)| name)
    }

    /// All but the last part, without the slash.
    #[must_use]
    pub fn directory(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(directory, _)| directory)
    }

    /// Its content.
    ///
    /// # Errors
    /// It cannot be read, its checksum is wrong, or it has more bytes than this.
    pub fn read(&self, most: u64) -> Result<Vec<u8>, ComponentError> {
        let failed = |source| ComponentError::Read { path: self.path.clone(), source };
        let content = match &self.place {
            Place::File(path) => limited(File::open(path).map_err(failed)?, most),
            Place::Member { archive, content } => {
                File::open(archive).and_then(|mut file| content.read(&mut file, most))
            }
        };
        match content.map_err(failed)? {
            Some(content) => Ok(content),
            None => Err(ComponentError::TooLarge { path: self.path.clone(), most }),
        }
    }
}

/// What was found, but is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The path below the folder.
    pub path: String,
    /// Why, for people.
    pub reason: String,
}

/// All files of a folder and of its archives, in the order of their paths.
pub fn walk(root: &Path) -> Result<(Vec<FoundFile>, Vec<Refused>), ComponentError> {
    let (mut files, mut refused) = (Vec::new(), Vec::new());
    let too_many = || ComponentError::TooMany { path: root.display().to_string() };
    for entry in WalkDir::new(root)
        .max_depth(DEEPEST)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(|entry| entry.depth() == 0 || entry.file_name() != FETCHING)
    {
        let entry = entry.map_err(|error| ComponentError::Read {
            path: error.path().unwrap_or(root).display().to_string(),
            source: error.into(),
        })?;
        // A link to a file is as good as the file; links to directories could go in circles.
        let metadata = fs::metadata(entry.path()).ok().filter(fs::Metadata::is_file);
        let Some(metadata) = metadata else { continue };
        let below = entry.path().strip_prefix(root).ok().filter(|below| !below.as_os_str().is_empty());
        let path = below.unwrap_or_else(|| Path::new(entry.file_name())).to_string_lossy().into_owned();
        if files.len() >= MOST_FILES {
            return Err(too_many());
        }
        let zip = path.len() > 4 && path.as_bytes()[path.len() - 4..].eq_ignore_ascii_case(b".zip");
        let file = FoundFile { size: metadata.len(), place: Place::File(entry.path().to_owned()), path };
        let whole = Kind::of_installer(file.name()).is_some();
        if zip && !whole {
            match members(entry.path(), &file.path, &mut refused) {
                Ok(members) => files.extend(members),
                Err(error) => {
                    let reason = reasons(&error);
                    refused.push(Refused { path: file.path, reason });
                }
            }
        } else {
            files.push(file);
        }
        if files.len() > MOST_FILES || refused.len() > MOST_FILES {
            return Err(too_many());
        }
    }
    Ok((files, refused))
}

/// An archive's files. Names that lead out of it are refused, as are those that Windows would take
/// for the same file.
fn members(path: &Path, shown: &str, refused: &mut Vec<Refused>) -> Result<Vec<FoundFile>, ComponentError> {
    let failed = |source| ComponentError::Read { path: shown.to_owned(), source };
    let found = File::open(path).and_then(|mut file| zip::members(&mut file)).map_err(failed)?;
    let place: Arc<Path> = Arc::from(path);
    let mut names = HashSet::new();
    let mut files = Vec::new();
    for member in found {
        // Old packers write Windows' separator.
        let name = member.name.replace('\\', "/");
        if name.ends_with('/') {
            continue;
        }
        let mut refuse = |reason: &str| {
            let name: String = name.chars().flat_map(char::escape_default).take(200).collect();
            refused.push(Refused { path: format!("{shown}/{name}"), reason: reason.to_owned() });
        };
        if !is_inside(&name) {
            refuse("its name leads out of the archive");
        } else if member.encrypted {
            refuse("it is encrypted");
        } else if member.link {
            refuse("it is a link");
        } else if member.size > MOST_BYTES {
            refuse("it is too large");
        } else if !names.insert(name.to_lowercase()) {
            refuse("the archive holds it twice");
        } else {
            let place = Place::Member { archive: Arc::clone(&place), content: member.content() };
            files.push(FoundFile { path: format!("{shown}/{name}"), size: member.size, place });
        }
    }
    Ok(files)
}

/// Whether a member's name is a plain relative path that Windows takes too.
fn is_inside(name: &str) -> bool {
    let odd = |character: char| character.is_control() || "<>:\"|?*".contains(character);
    name.len() <= 1024
        && !name.contains(odd)
        && name.split('/').count() <= DEEPEST * 2
        && name.split('/').all(|part| !part.is_empty() && part.trim_end_matches(['.', ' ']) == part)
}

/// All that a reader gives; `None` when it is more than this.
fn limited(reader: impl Read, most: u64) -> io::Result<Option<Vec<u8>>> {
    let mut content = Vec::new();
    reader.take(most.saturating_add(1)).read_to_end(&mut content)?;
    Ok((content.len() as u64 <= most).then_some(content))
}
