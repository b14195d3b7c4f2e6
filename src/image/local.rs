//! Files and block devices of this machine.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};

use super::backing::{Backing, Fault, Named, NotOpened, Store};
use super::error::ImageError;
use super::identity::FileIdentity;

/// Opening for reading only; a pipe does not block, and is refused afterwards.
const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// An open file or block device.
#[derive(Debug)]
struct LocalFile {
    file: File,
    length: u64,
    /// The file system can say where a regular file has holes; a device's unwritten blocks are
    /// not known to be zero.
    is_device: bool,
}

impl LocalFile {
    fn adopt(fd: OwnedFd, path: &Path) -> Result<Self, ImageError> {
        let failed = |source: io::Error| ImageError::Open { file: path.to_owned(), source };
        let mut file = File::from(fd);
        let stat = rustix::fs::fstat(&file).map_err(|error| failed(error.into()))?;
        let (length, is_device) = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => (u64::try_from(stat.st_size).unwrap_or(0), false),
            FileType::BlockDevice => (file.seek(SeekFrom::End(0)).map_err(failed)?, true),
            _ => return Err(ImageError::NotAFile { file: path.to_owned() }),
        };
        Ok(Self { file, length, is_device })
    }
}

impl Backing for LocalFile {
    fn len(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Fault> {
        Ok(self.file.read_at(buffer, offset)?)
    }

    fn next(&self, hole: bool, offset: u64, limit: u64) -> Option<u64> {
        if self.is_device {
            return None;
        }
        let from = if hole { rustix::fs::SeekFrom::Hole(offset) } else { rustix::fs::SeekFrom::Data(offset) };
        match rustix::fs::seek(self.file.as_fd(), from) {
            Ok(found) => Some(found.min(limit)),
            // No data up to the file's end: all of the rest is a hole, but not when that end came
            // nearer since the file was opened. Then whoever reads gets an error.
            Err(rustix::io::Errno::NXIO) => {
                let now =
                    rustix::fs::fstat(&self.file).ok().and_then(|stat| u64::try_from(stat.st_size).ok());
                now.filter(|now| *now >= self.length).map(|_| limit)
            }
            Err(_) => None,
        }
    }

    fn identity(&self, name: PathBuf) -> Result<FileIdentity, Fault> {
        let stat = rustix::fs::fstat(&self.file).map_err(io::Error::from)?;
        let size = match self.is_device {
            true => (&self.file).seek(SeekFrom::End(0))?,
            false => u64::try_from(stat.st_size).unwrap_or(0),
        };
        Ok(FileIdentity::new(name, &stat, size, self.is_device))
    }

    fn is_device(&self) -> bool {
        self.is_device
    }
}

/// The directory of the file that the user named.
#[derive(Debug)]
struct Directory {
    named: PathBuf,
    fd: OnceLock<OwnedFd>,
}

impl Directory {
    /// The directory of the file that was named, after its links.
    fn fd(&self) -> Result<&OwnedFd, io::Error> {
        if let Some(fd) = self.fd.get() {
            return Ok(fd);
        }
        let real = std::fs::canonicalize(&self.named)?;
        let parent = real.parent().unwrap_or(Path::new("/"));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, parent, flags, Mode::empty())?;
        Ok(self.fd.get_or_init(|| fd))
    }
}

impl Store for Directory {
    fn open(&self, relative: &Path) -> Result<Arc<dyn Backing>, NotOpened> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let directory = self
            .fd()
            .map_err(|source| NotOpened::Refused(ImageError::Open { file: self.named.clone(), source }))?;
        match rustix::fs::openat2(directory, relative, READ, Mode::empty(), resolve) {
            Ok(fd) => {
                let file = LocalFile::adopt(fd, &self.called(relative)).map_err(NotOpened::Refused)?;
                Ok(Arc::new(file))
            }
            Err(rustix::io::Errno::LOOP | rustix::io::Errno::XDEV) => Err(NotOpened::Outside),
            Err(error) => Err(NotOpened::Failed(error.into())),
        }
    }

    fn called(&self, relative: &Path) -> PathBuf {
        self.named.parent().unwrap_or(Path::new("")).join(relative)
    }
}

/// Opens the file that the user named. Symbolic links are followed: the user's word counts.
pub(super) fn open(path: &Path) -> Result<Named, ImageError> {
    let fd = rustix::fs::openat(CWD, path, READ, Mode::empty())
        .map_err(|error| ImageError::Open { file: path.to_owned(), source: error.into() })?;
    let file = LocalFile::adopt(fd, path)?;
    Ok((Box::new(Directory { named: path.to_owned(), fd: OnceLock::new() }), Arc::new(file)))
}
