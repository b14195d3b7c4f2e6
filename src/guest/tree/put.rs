//! New files and directories without the habits of Linux (owners, modes, labels), and extended attributes.

use std::fs::File;

use rustix::fs::{Mode, OFlags, XattrFlags, fgetxattr, fsetxattr, mkdirat};
use rustix::io::Errno;

use super::{Tree, TreeError, look};

/// Everybody, for mkdir(2) and open(2): NTFS takes no notice of it.
const MODE: u32 = 0o755;

impl Tree {
    /// Makes one directory; the one above must be there.
    ///
    /// # Errors
    /// [`TreeError::Create`], also when something is there; [`TreeError::BadPath`], [`TreeError::Look`].
    pub fn make_one_directory(&self, path: &str) -> Result<(), TreeError> {
        let (directory, name) = self.parent(path)?;
        mkdirat(&directory, name, Mode::from_raw_mode(MODE))
            .map_err(|source| TreeError::Create { path: path.to_owned(), source })
    }

    /// Makes a file where nothing is, and opens it for writing.
    ///
    /// # Errors
    /// [`TreeError::Create`], also when something is there.
    pub fn create_new(&self, path: &str) -> Result<File, TreeError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        self.resolve_with(path, flags, Mode::from_raw_mode(MODE))
            .map(File::from)
            .map_err(|source| TreeError::Create { path: path.to_owned(), source })
    }

    /// Opens a regular file for writing, empty from now on.
    ///
    /// # Errors
    /// [`TreeError::NotAFile`], [`TreeError::BadPath`], [`TreeError::Look`].
    pub fn empty_file(&self, path: &str) -> Result<File, TreeError> {
        self.regular(path)?;
        self.resolve(path, OFlags::WRONLY | OFlags::TRUNC | OFlags::NOFOLLOW).map(File::from)
    }

    /// An extended attribute of a file or directory; `None` when it has none of that name.
    ///
    /// # Errors
    /// [`TreeError::Look`], also when it is longer than `most` bytes; [`TreeError::BadPath`].
    pub fn attribute(&self, path: &str, name: &str, most: usize) -> Result<Option<Vec<u8>>, TreeError> {
        let file = self.resolve(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW)?;
        let mut value = vec![0_u8; most];
        match fgetxattr(&file, name, value.as_mut_slice()) {
            Ok(length) => {
                value.truncate(length);
                Ok(Some(value))
            }
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
            Err(errno) => Err(look(path)(errno)),
        }
    }

    /// Sets an extended attribute of a file or directory.
    ///
    /// # Errors
    /// [`TreeError::Write`], [`TreeError::BadPath`], [`TreeError::Look`].
    pub fn set_attribute(&self, path: &str, name: &str, value: &[u8]) -> Result<(), TreeError> {
        let file = self.resolve(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW)?;
        fsetxattr(&file, name, value, XattrFlags::empty())
            .map_err(|errno| TreeError::Write { path: path.to_owned(), source: errno.into() })
    }
}
