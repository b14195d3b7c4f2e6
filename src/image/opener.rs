//! Opening the files of one image, and collecting what identifies it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};

use super::error::ImageError;
use super::identity::FileIdentity;
use super::window::Window;
use crate::model::Digest;

/// Opening for reading only; a pipe does not block, and is refused afterwards.
const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// One file of an image.
#[derive(Debug)]
pub(super) struct Opened {
    pub file: Arc<File>,
    pub path: PathBuf,
    pub identity: FileIdentity,
    is_device: bool,
    window: Window,
}

/// The files of one image as they are opened, the one that was named first.
#[derive(Debug)]
pub(super) struct Opener {
    named: PathBuf,
    directory: Option<OwnedFd>,
    closed: bool,
    depth: usize,
    snapshot: Option<String>,
    files: Vec<Opened>,
    metadata: blake3::Hasher,
    ids: BTreeMap<String, String>,
}

impl Opener {
    /// Opens the file that the user named. Symbolic links are followed: the user's word counts.
    pub(super) fn new(path: &Path) -> Result<(Self, Window), ImageError> {
        let fd = rustix::fs::openat(CWD, path, READ, Mode::empty())
            .map_err(|error| ImageError::Open { file: path.to_owned(), source: error.into() })?;
        let mut opener = Self {
            named: path.to_owned(),
            directory: None,
            closed: false,
            depth: 0,
            snapshot: None,
            files: Vec::new(),
            metadata: blake3::Hasher::new(),
            ids: BTreeMap::new(),
        };
        let name = path.file_name().map_or_else(|| path.to_owned(), PathBuf::from);
        let window = opener.adopt(fd, path.to_owned(), name)?;
        Ok((opener, window))
    }

    /// Opens a file that the image names: only below the image's directory, through no link.
    pub(super) fn beside(&mut self, name: &[u8], by: &Path) -> Result<Window, ImageError> {
        let relative = Path::new(OsStr::from_bytes(name));
        let shown = String::from_utf8_lossy(name).into_owned();
        if self.closed {
            return Err(ImageError::Unsupported {
                file: by.to_owned(),
                what: format!("holds a disk that names another file, `{shown}`"),
                help: "Unpack the appliance, and name the disk in it.".to_owned(),
            });
        }
        let escape = || ImageError::Escape { file: by.to_owned(), name: shown.clone() };
        let plain =
            relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !plain || relative.components().next().is_none() || name.contains(&0) {
            return Err(escape());
        }
        // A name is meant from the directory of the file that it stands in.
        let from = self.files.iter().find(|opened| opened.path == by);
        let from = from.and_then(|opened| opened.identity.name.parent()).unwrap_or(Path::new(""));
        let relative: PathBuf = from
            .components()
            .chain(relative.components())
            .filter(|part| matches!(part, Component::Normal(_)))
            .collect();
        if let Some(opened) = self.files.iter().find(|opened| opened.identity.name == relative) {
            return Ok(opened.window.clone());
        }
        let failed =
            |source: io::Error| ImageError::Part { file: by.to_owned(), name: shown.clone(), source };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let directory = self.directory()?;
        let fd = match rustix::fs::openat2(directory, &relative, READ, Mode::empty(), resolve) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::LOOP | rustix::io::Errno::XDEV) => return Err(escape()),
            Err(error) => return Err(failed(error.into())),
        };
        let path = self.named.parent().unwrap_or(Path::new("")).join(&relative);
        self.adopt(fd, path, relative)
    }

    /// As [`Opener::beside`], of a file that is not one of the image's yet; `None` when it is.
    pub(super) fn beside_new(&mut self, name: &[u8], by: &Path) -> Result<Option<Window>, ImageError> {
        let before = self.files.len();
        let window = self.beside(name, by)?;
        let (known, new) = self.files.split_at(before);
        let is_new = new.first().is_some_and(|new| {
            let same = |file: &Opened| {
                (file.identity.inode, file.identity.device) == (new.identity.inode, new.identity.device)
            };
            !known.iter().any(same)
        });
        Ok(is_new.then_some(window))
    }

    /// Remembers which internal snapshot is asked for.
    pub(super) fn want_snapshot(&mut self, snapshot: Option<String>) {
        self.snapshot = snapshot;
    }

    /// The snapshot that is asked for: of the image that was named, so that the first to be opened
    /// takes it, and no image below that one sees it.
    pub(super) fn take_snapshot(&mut self) -> Option<String> {
        self.snapshot.take()
    }

    /// Counts one more level of files that stand on files.
    pub(super) fn descend(&mut self) -> usize {
        self.depth += 1;
        self.depth
    }

    /// The directory of the file that was named, after its links.
    fn directory(&mut self) -> Result<&OwnedFd, ImageError> {
        if self.directory.is_none() {
            let failed = |source: io::Error| ImageError::Open { file: self.named.clone(), source };
            let real = std::fs::canonicalize(&self.named).map_err(failed)?;
            let parent = real.parent().unwrap_or(Path::new("/"));
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(CWD, parent, flags, Mode::empty())
                .map_err(|error| failed(error.into()))?;
            self.directory = Some(fd);
        }
        self.directory.as_ref().ok_or_else(|| ImageError::NotAFile { file: self.named.clone() })
    }

    fn adopt(&mut self, fd: OwnedFd, path: PathBuf, name: PathBuf) -> Result<Window, ImageError> {
        let (identity, holes) = look(fd.as_fd(), &path, name)?;
        let file = Arc::new(File::from(fd));
        let number = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
        let window = Window::whole(Arc::clone(&file), path.clone(), number, identity.size, holes);
        self.files.push(Opened { file, path, identity, is_device: !holes, window: window.clone() });
        Ok(window)
    }

    /// Opens no further files: what is in an archive must not name files beside it.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// Whether the file that the user named is a block device.
    pub(super) fn is_device(&self) -> bool {
        self.files.first().is_some_and(|file| file.is_device)
    }

    /// Takes metadata into the identity.
    pub(super) fn metadata(&mut self, bytes: &[u8]) {
        self.metadata.update(&(bytes.len() as u64).to_le_bytes());
        self.metadata.update(bytes);
    }

    /// Takes one of the format's own ids into the identity.
    pub(super) fn id(&mut self, name: &str, value: impl Into<String>) {
        self.ids.insert(name.to_owned(), value.into());
    }

    /// The files, the ids and the metadata's digest.
    pub(super) fn finish(self) -> (Vec<Opened>, BTreeMap<String, String>, Digest) {
        (self.files, self.ids, Digest(*self.metadata.finalize().as_bytes()))
    }
}

/// What the file system says of an open file now, and whether it can have holes.
pub(super) fn look(
    fd: std::os::fd::BorrowedFd<'_>,
    path: &Path,
    name: PathBuf,
) -> Result<(FileIdentity, bool), ImageError> {
    let failed = |source: io::Error| ImageError::Open { file: path.to_owned(), source };
    let stat = rustix::fs::fstat(fd).map_err(|error| failed(error.into()))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            let size = u64::try_from(stat.st_size).unwrap_or(0);
            Ok((FileIdentity::new(name, &stat, size, false), true))
        }
        FileType::BlockDevice => {
            let mut device = File::from(fd.try_clone_to_owned().map_err(failed)?);
            let size = device.seek(SeekFrom::End(0)).map_err(failed)?;
            Ok((FileIdentity::new(name, &stat, size, true), false))
        }
        _ => Err(ImageError::NotAFile { file: path.to_owned() }),
    }
}
