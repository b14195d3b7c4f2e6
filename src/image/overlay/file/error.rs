//! Why stored overlays cannot be written or read.

use super::super::blocks::OverlayError;

/// How large a stored overlay may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileLimits {
    /// Bytes of its blocks, unpacked.
    pub blocks: u64,
    /// Bytes of its header.
    pub header: u64,
}

impl Default for FileLimits {
    /// 1 GiB of blocks, 64 MiB of header (which names about 40 GiB of chunks that were read).
    fn default() -> Self {
        Self { blocks: 1 << 30, header: 64 << 20 }
    }
}

/// Why a stored overlay cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be written.
    #[error("cannot write the overlay")]
    Write(#[source] std::io::Error),
    /// It cannot be read, or ends too early.
    #[error("cannot read the overlay")]
    Read(#[source] std::io::Error),
    /// It does not begin as an overlay does.
    #[error("this is no stored overlay")]
    NotAnOverlay,
    /// It was written by a newer Replant.
    #[error("the overlay is stored in version {found}; this Replant knows versions up to {known}")]
    Newer {
        /// Its version.
        found: u32,
        /// The newest known version.
        known: u32,
    },
    /// Its header is not one.
    #[error("the stored overlay's header is damaged")]
    Header(#[source] serde_json::Error),
    /// It contradicts itself.
    #[error("the stored overlay is damaged")]
    Content(#[from] OverlayError),
    /// Its content does not have the digest that it should have.
    #[error("the stored overlay is damaged: its digest is not the recorded one")]
    Digest,
    /// Its list of blocks is out of order, or something follows its end.
    #[error("the stored overlay is damaged: {0}")]
    Damaged(&'static str),
    /// It is larger than the limits allow.
    #[error("the stored overlay's {what} has {size} bytes, at most {limit} are possible")]
    TooLarge {
        /// Which part.
        what: &'static str,
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
}

impl FileError {
    /// Whether trying again can help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Write(source) | Self::Read(source) => matches!(
                source.kind(),
                std::io::ErrorKind::Interrupted
                    | std::io::ErrorKind::TimedOut
                    | std::io::ErrorKind::WouldBlock
            ),
            _ => false,
        }
    }
}
