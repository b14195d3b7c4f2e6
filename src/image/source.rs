//! The seam between images and whoever reads them.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::backing::Fault;
use crate::model::Digest;

/// Why bytes could not be read from an image.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A read beyond the disk's end.
    #[error("a read of {length} bytes at {offset} goes beyond the disk's end at {size}")]
    OutOfRange {
        /// Where the read began.
        offset: u64,
        /// How much was wanted.
        length: u64,
        /// The disk's size.
        size: u64,
    },
    /// The file gave an error.
    #[error("cannot read {} at byte {offset}", file.display())]
    Read {
        /// Which file.
        file: PathBuf,
        /// Where in that file.
        offset: u64,
        /// What the system said.
        source: std::io::Error,
    },
    /// The server that holds the file cannot be reached or does not answer as it must.
    #[error("cannot read {} at byte {offset}, tried {attempts} times", file.display())]
    Lost {
        /// Which file.
        file: PathBuf,
        /// Where in that file.
        offset: u64,
        /// How often it was tried.
        attempts: u32,
        /// What went wrong the last time.
        source: std::io::Error,
    },
    /// The server that holds the file stays silent.
    #[error("cannot read {} at byte {offset}: its server sent nothing for {seconds} seconds, tried {attempts} times", file.display())]
    Stalled {
        /// Which file.
        file: PathBuf,
        /// Where in that file.
        offset: u64,
        /// How long each attempt waited for a byte.
        seconds: u64,
        /// How often it was tried.
        attempts: u32,
    },
    /// The file is not what it was when it was opened.
    #[error("{} changed while it was read (at byte {offset}): {what}", file.display())]
    Changed {
        /// Which file.
        file: PathBuf,
        /// Where in that file.
        offset: u64,
        /// What is different.
        what: String,
    },
    /// The file was removed since it was opened.
    #[error("{} was removed while it was read (at byte {offset})", file.display())]
    Gone {
        /// Which file.
        file: PathBuf,
        /// Where in that file.
        offset: u64,
    },
    /// The server that holds the file does not let it be read any more.
    #[error("{} may not be read (at byte {offset}): {what}", file.display())]
    Denied {
        /// Which file.
        file: PathBuf,
        /// Where in that file.
        offset: u64,
        /// What the server said.
        what: String,
    },
    /// What the file holds there is not what its format demands.
    #[error("{} is damaged at byte {offset}: {what}", file.display())]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// Where in that file.
        offset: u64,
        /// What is wrong with it.
        what: String,
    },
}

impl SourceError {
    /// Whether reading again can help, with nobody doing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Lost { .. } | Self::Stalled { .. } => true,
            Self::Read { source, .. } => matches!(
                source.kind(),
                std::io::ErrorKind::Interrupted
                    | std::io::ErrorKind::TimedOut
                    | std::io::ErrorKind::WouldBlock
            ),
            Self::OutOfRange { .. }
            | Self::Damaged { .. }
            | Self::Changed { .. }
            | Self::Gone { .. }
            | Self::Denied { .. } => false,
        }
    }

    /// Whether reading again at once can help. What lies on a server was tried again already,
    /// with waits of its own: more of the same would only make the failure late.
    #[must_use]
    pub fn is_retryable_at_once(&self) -> bool {
        self.is_retryable() && matches!(self, Self::Read { .. })
    }
}

impl Fault {
    /// The fault of this file at this place.
    pub(super) fn at(self, file: &Path, offset: u64) -> SourceError {
        let file = file.to_owned();
        match self {
            Self::Io(source) => SourceError::Read { file, offset, source },
            Self::Lost { attempts, source } => SourceError::Lost { file, offset, attempts, source },
            Self::Stalled { seconds, attempts } => SourceError::Stalled { file, offset, seconds, attempts },
            Self::Changed(what) => SourceError::Changed { file, offset, what },
            Self::Gone => SourceError::Gone { file, offset },
            Self::Denied(what) => SourceError::Denied { file, offset, what },
        }
    }
}

/// A run of a disk of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The bytes of the disk it covers.
    pub range: Range<u64>,
    /// Whether the format says that all of them are zero; `false` for data (which may still be
    /// zeros).
    pub zero: bool,
}

/// A disk's content, readable at any place by any number of threads at once.
pub trait BlockSource: Send + Sync {
    /// The disk's size in bytes (any number of bytes, not necessarily of sectors).
    fn size(&self) -> u64;

    /// Fills the whole of `buffer` from `offset`.
    ///
    /// # Errors
    /// When the range is not within the disk, the file cannot be read, or what it holds is
    /// damaged. Never a partial success.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), SourceError>;

    /// The runs that cover exactly `range`, in order, without gaps, neighbours of the same kind
    /// joined. Cheap: reads metadata only.
    ///
    /// # Errors
    /// As `read_at`.
    fn runs(&self, range: Range<u64>) -> Result<Vec<Run>, SourceError>;

    /// Which parts of `range` may differ from the image whose identity has this digest, when this
    /// one stands on that one: in order, joined, a superset. `None` when that is not known. Cheap:
    /// reads metadata only.
    ///
    /// # Errors
    /// As `read_at`.
    fn changed_since(
        &self,
        image: &Digest,
        range: Range<u64>,
    ) -> Result<Option<Vec<Range<u64>>>, SourceError> {
        let _ = (image, range);
        Ok(None)
    }

    /// Whether other content means another identity. Not so with a device or an export of a server,
    /// which keep theirs.
    fn is_identified(&self) -> bool {
        true
    }

    /// Checks that what it reads from is what it was when it was opened, as far as the system can
    /// say.
    ///
    /// # Errors
    /// [`SourceError::Changed`], or the error of looking.
    fn check_unchanged(&self) -> Result<(), SourceError> {
        Ok(())
    }
}

macro_rules! through {
    ($($pointer:ty),*) => {$(
        impl<S: BlockSource + ?Sized> BlockSource for $pointer {
            fn size(&self) -> u64 {
                (**self).size()
            }

            fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), SourceError> {
                (**self).read_at(offset, buffer)
            }

            fn runs(&self, range: Range<u64>) -> Result<Vec<Run>, SourceError> {
                (**self).runs(range)
            }

            fn changed_since(
                &self,
                image: &Digest,
                range: Range<u64>,
            ) -> Result<Option<Vec<Range<u64>>>, SourceError> {
                (**self).changed_since(image, range)
            }

            fn is_identified(&self) -> bool {
                (**self).is_identified()
            }

            fn check_unchanged(&self) -> Result<(), SourceError> {
                (**self).check_unchanged()
            }
        }
    )*};
}

through!(&S, Box<S>, std::sync::Arc<S>);
