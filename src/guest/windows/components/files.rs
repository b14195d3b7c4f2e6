//! Files in the folder that the user names, and in its zip archives.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use walkdir::WalkDir;

use super::catalog::Kind;
use super::inventory::reasons;
use super::slice::Slice;
use super::zip::{self, Content, Unpacked};
use crate::guest::report::Parcel;

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
    /// A file is not within the device that it should be on.
    #[error("{path} is not on the parcel's device")]
    Beyond {
        /// The file.
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

/// Bytes of the host's file or, in a sandbox, of the parcel's device.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Span {
    path: Arc<Path>,
    offset: u64,
    size: u64,
}

impl Span {
    fn open(&self) -> io::Result<Slice> {
        Ok(Slice::new(File::open(&self.path)?, self.offset, self.size))
    }
}

/// Where a file's content is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    File(Span),
    Member { archive: Span, content: Content },
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
        if self.size > most {
            return Err(ComponentError::TooLarge { path: self.path.clone(), most });
        }
        let mut content = Vec::new();
        match self.open()?.read_to_end(&mut content) {
            Ok(_) => Ok(content),
            Err(source) => Err(ComponentError::Read { path: self.path.clone(), source }),
        }
    }

    /// Its content as a stream of exactly [`Self::size`] bytes. Reading fails where it has less or
    /// more, or another checksum than the archive says; nothing of it is held in memory.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(&self) -> Result<Opened, ComponentError> {
        let opened = match &self.place {
            Place::File(span) => span.open().map(Inner::File),
            Place::Member { archive, content } => {
                archive.open().and_then(|archive| content.open(archive)).map(Inner::Member)
            }
        };
        opened.map(Opened).map_err(|source| ComponentError::Read { path: self.path.clone(), source })
    }
}

/// A file's content, from [`FoundFile::open`].
pub struct Opened(Inner);

enum Inner {
    File(Slice),
    Member(Unpacked<Slice>),
}

impl Read for Opened {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::File(file) => file.read(buffer),
            Inner::Member(member) => member.read(buffer),
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

/// A regular file of a folder; archives are not looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The path below the folder, with slashes.
    pub path: String,
    /// The file itself.
    pub file: PathBuf,
    /// Its bytes.
    pub size: u64,
}

/// The regular files of a folder, or the one that is named, in the order of their paths.
///
/// # Errors
/// The folder cannot be read, or holds more files than any.
pub fn list(root: &Path) -> Result<Vec<Listed>, ComponentError> {
    let mut files = Vec::new();
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
            return Err(ComponentError::TooMany { path: root.display().to_string() });
        }
        files.push(Listed { path, file: entry.into_path(), size: metadata.len() });
    }
    Ok(files)
}

/// What a folder or a parcel holds, and what of it is not taken.
type Found = (Vec<FoundFile>, Vec<Refused>);

/// All files of a folder and of its archives, in the order of their paths.
pub(super) fn walk(root: &Path) -> Result<Found, ComponentError> {
    let span =
        |listed: Listed| (listed.path, Span { path: Arc::from(listed.file), offset: 0, size: listed.size });
    unpack(list(root)?.into_iter().map(span), &root.display().to_string())
}

/// All files of a parcel on a device, and of its archives.
pub(super) fn unparcel(device: &Path, parcel: &Parcel) -> Result<Found, ComponentError> {
    let end = File::open(device).and_then(|mut device| device.seek(SeekFrom::End(0)));
    let end = end.map_err(|source| ComponentError::Read { path: parcel.folder.clone(), source })?;
    let path: Arc<Path> = Arc::from(device);
    let mut spans = Vec::new();
    for file in &parcel.files {
        if file.offset.checked_add(file.size).is_none_or(|past| past > end) {
            return Err(ComponentError::Beyond { path: file.path.clone() });
        }
        let span = Span { path: Arc::clone(&path), offset: file.offset, size: file.size };
        spans.push((file.path.clone(), span));
    }
    unpack(spans.into_iter(), &parcel.folder)
}

/// The files as they are, but for archives, which are replaced by what is in them.
fn unpack(spans: impl Iterator<Item = (String, Span)>, folder: &str) -> Result<Found, ComponentError> {
    let (mut files, mut refused) = (Vec::new(), Vec::new());
    for (path, span) in spans {
        let zip = path.len() > 4 && path.as_bytes()[path.len() - 4..].eq_ignore_ascii_case(b".zip");
        let size = span.size;
        let file = FoundFile { path, size, place: Place::File(span.clone()) };
        let whole = Kind::of_installer(file.name()).is_some();
        if zip && !whole {
            match members(&span, &file.path, &mut refused) {
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
            return Err(ComponentError::TooMany { path: folder.to_owned() });
        }
    }
    Ok((files, refused))
}

/// An archive's files. Names that lead out of it are refused, as are those that Windows would take
/// for the same file.
fn members(span: &Span, shown: &str, refused: &mut Vec<Refused>) -> Result<Vec<FoundFile>, ComponentError> {
    let failed = |source| ComponentError::Read { path: shown.to_owned(), source };
    let found = span.open().and_then(|mut archive| zip::members(&mut archive)).map_err(failed)?;
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
            let place = Place::Member { archive: span.clone(), content: member.content() };
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
