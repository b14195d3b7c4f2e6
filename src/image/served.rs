//! The files of an image that one process holds open and another one reads: what is on a network
//! is parsed and decoded in a process that has neither network nor credentials.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::backing::{Backing, Fault, NotOpened, Store};
use super::error::ImageError;
use super::identity::FileIdentity;
use super::open::{Image, OpenOptions, open_over};
use super::opener::Opener;
use super::source::SourceError;

/// One file of an image, as the process that holds it describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServedFile {
    /// Its number among the image's files.
    pub number: u32,
    /// What identifies it.
    pub identity: FileIdentity,
    /// Whether it is a disk by its nature, of which a file name says nothing.
    pub is_device: bool,
}

/// Whoever holds an image's files open.
pub trait Files: Send + Sync + fmt::Debug {
    /// The file of this name, from the image's directory on; the empty name is the file that the
    /// user named. `None`: the image has no such file.
    ///
    /// # Errors
    /// When the holder does not answer.
    fn find(&self, name: &Path) -> io::Result<Option<ServedFile>>;

    /// Reads some bytes from a place in a file, at least one.
    ///
    /// # Errors
    /// When the holder cannot read, or does not answer.
    fn read(&self, number: u32, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// The next byte of a hole (`hole`) or of data, at most `limit`; `None` when nothing is known.
    fn next(&self, number: u32, hole: bool, offset: u64, limit: u64) -> Option<u64>;
}

#[derive(Debug)]
struct Served {
    files: Arc<dyn Files>,
    about: ServedFile,
}

impl Backing for Served {
    fn len(&self) -> u64 {
        self.about.identity.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Fault> {
        Ok(self.files.read(self.about.number, offset, buffer)?)
    }

    fn next(&self, hole: bool, offset: u64, limit: u64) -> Option<u64> {
        self.files.next(self.about.number, hole, offset, limit)
    }

    /// Whether it changed is for the holder to see.
    fn identity(&self, name: PathBuf) -> Result<FileIdentity, Fault> {
        Ok(FileIdentity { name, ..self.about.identity.clone() })
    }

    fn is_device(&self) -> bool {
        self.about.is_device
    }
}

#[derive(Debug)]
struct Holder {
    files: Arc<dyn Files>,
    named: PathBuf,
}

impl Holder {
    fn find(&self, name: &Path) -> io::Result<Arc<dyn Backing>> {
        let about = self.files.find(name)?.ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(Served { files: Arc::clone(&self.files), about }))
    }
}

impl Store for Holder {
    fn open(&self, relative: &Path) -> Result<Arc<dyn Backing>, NotOpened> {
        self.find(relative).map_err(NotOpened::Failed)
    }

    fn called(&self, relative: &Path) -> PathBuf {
        self.named.parent().unwrap_or(Path::new("")).join(relative)
    }
}

/// Opens an image whose files another process holds, and which messages call `called`.
///
/// # Errors
/// As [`open`](super::open::open).
pub fn open_served(called: &Path, files: Arc<dyn Files>, options: &OpenOptions) -> Result<Image, ImageError> {
    let holder = Holder { files, named: called.to_owned() };
    let failed = |source| ImageError::Open { file: called.to_owned(), source };
    let about = holder.files.find(Path::new("")).map_err(failed)?;
    let about = about.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
    let name = about.identity.name.clone();
    let backing = Arc::new(Served { files: Arc::clone(&holder.files), about });
    let (opener, file) = Opener::over(Box::new(holder), backing, called.to_owned(), name)?;
    open_over(called.into(), opener, file, options)
}

impl Image {
    /// One of its files by its name from the image's directory on, for another process; the empty
    /// name is the file that was named.
    #[must_use]
    pub fn file_named(&self, name: &Path) -> Option<ServedFile> {
        let index = match name.as_os_str().is_empty() {
            true => 0,
            false => self.opened().iter().position(|file| file.identity.name == name)?,
        };
        let file = self.opened().get(index)?;
        let number = u32::try_from(index).ok()?;
        Some(ServedFile { number, identity: file.identity.clone(), is_device: file.backing().is_device() })
    }

    /// Reads some bytes of one of its files; `None` when the range is not within one.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read_file(
        &self,
        number: u32,
        offset: u64,
        buffer: &mut [u8],
    ) -> Option<Result<usize, SourceError>> {
        let file = self.opened().get(usize::try_from(number).ok()?)?;
        let end = offset.checked_add(buffer.len() as u64)?;
        if buffer.is_empty() || end > file.backing().len() {
            return None;
        }
        Some(file.backing().read_at(offset, buffer).map_err(|fault| fault.at(&file.path, offset)))
    }

    /// The next byte of a hole or of data in one of its files, when that is known.
    #[must_use]
    pub fn next_in_file(&self, number: u32, hole: bool, offset: u64, limit: u64) -> Option<u64> {
        let file = self.opened().get(usize::try_from(number).ok()?)?;
        let is_within = offset <= limit && limit <= file.backing().len();
        if is_within { file.backing().next(hole, offset, limit) } else { None }
    }
}
