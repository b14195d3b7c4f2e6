//! What the bytes of an image's files are read through: the seam below every format.
//!
//! A [`Backing`] is one open file (a local file, an object, an export of an NBD server), a
//! [`Store`] is the place where an image's files lie beside each other (a directory, a bucket's
//! prefix). Formats see neither: they read [`Window`](super::window::Window)s.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::ImageError;
use super::identity::FileIdentity;

/// Why a backing gave no bytes. The window adds the file's name and the place.
#[derive(Debug)]
pub(super) enum Fault {
    /// The system's error, on the first attempt: whoever reads may try again when its kind says
    /// that this can help.
    Io(io::Error),
    /// The server cannot be reached or does not answer as it must, after all attempts.
    Lost {
        /// How often it was asked.
        attempts: u32,
        /// What went wrong the last time.
        source: io::Error,
    },
    /// The server kept a connection open, but no byte came, after all attempts.
    Stalled {
        /// Seconds without a byte after which an attempt was given up.
        seconds: u64,
        /// How often it was asked.
        attempts: u32,
    },
    /// It is not what it was when it was opened.
    Changed(String),
    /// It is not there any more.
    Gone,
    /// The server does not let us read it (any more).
    Denied(String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// One open file of an image, read by position by any number of threads at once.
///
/// An implementer promises: the length never changes; bytes that were given once are given again
/// or [`Fault::Changed`] is; no call blocks for ever (a backing on a network has time limits of
/// its own, tries again by itself within them, and then gives [`Fault::Lost`] or
/// [`Fault::Stalled`]); hostile answers of a server are faults and never panics or unbounded
/// memory.
pub(super) trait Backing: Send + Sync + fmt::Debug {
    /// Its length in bytes, as it was when it was opened.
    fn len(&self) -> u64;

    /// Reads bytes from `offset` on into the buffer's beginning; gives how many. At least one
    /// where there are any: 0 says that the file is shorter than it was. The range is within
    /// [`Backing::len`] and the buffer is not empty; a buffer may have any size (a few bytes of
    /// a header, MiBs of data) and alignment.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Fault>;

    /// The next byte at or after `offset` that lies in a hole (`hole`: all zeros, known without
    /// reading) or is data, at most `limit`. `None`: nothing is known of holes, all of it is to
    /// be read.
    fn next(&self, hole: bool, offset: u64, limit: u64) -> Option<u64> {
        let _ = (hole, offset, limit);
        None
    }

    /// What identifies it, as it was when it was opened, where that is known without looking again.
    fn identity_when_opened(&self, name: PathBuf) -> Result<FileIdentity, Fault> {
        self.identity(name)
    }

    /// What identifies it, looked up now, under this name: compared with what it was when it was
    /// opened.
    fn identity(&self, name: PathBuf) -> Result<FileIdentity, Fault>;

    /// Whether it is a disk by its nature (a block device, an export of an NBD server), of which a file name says
    /// nothing: content without a format is then raw.
    fn is_device(&self) -> bool {
        false
    }
}

/// Why a store did not open a file.
#[derive(Debug)]
pub(super) enum NotOpened {
    /// The name leads outside.
    Outside,
    /// It cannot be opened; `NotFound` when it is not there.
    Failed(io::Error),
    /// It is there, but cannot be used as an image's file.
    Refused(ImageError),
}

/// Where the files of one image lie beside each other.
pub(super) trait Store: Send + Sync + fmt::Debug {
    /// Opens a file beneath the place where the named file is. The path has only normal
    /// components (no root, no `..`) and at least one; nothing outside may be reached by it.
    fn open(&self, relative: &Path) -> Result<Arc<dyn Backing>, NotOpened>;

    /// What such a file is called in messages. Never with anything secret in it.
    fn called(&self, relative: &Path) -> PathBuf;
}

/// What a location opens to: the file that it names, and where further files of the image lie.
pub(super) type Named = (Box<dyn Store>, Arc<dyn Backing>);
