//! The seam between images and whoever reads them.

use std::ops::Range;
use std::path::PathBuf;

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
    /// Whether reading again can help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Read { source, .. } => matches!(
                source.kind(),
                std::io::ErrorKind::Interrupted
                    | std::io::ErrorKind::TimedOut
                    | std::io::ErrorKind::WouldBlock
            ),
            Self::OutOfRange { .. } | Self::Damaged { .. } => false,
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
        }
    )*};
}

through!(&S, Box<S>, std::sync::Arc<S>);
