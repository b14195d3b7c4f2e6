//! What is wanted in a volume.

use crate::guest::windows::components::FoundFile;

/// What one file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StagedContent {
    /// Bytes of our own.
    Bytes(Vec<u8>),
    /// A file of the user's components, copied piece by piece.
    Found(FoundFile),
}

/// Who may do what with a staged file or directory. Without any of it ntfs-3g gives everything to
/// everyone (measured).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// What is there keeps its security descriptor. A new file gets that of the files of its kind
    /// beside it, else what its directory hands down; a new directory what the one above hands down.
    LikeSibling,
    /// This self-relative security descriptor ([MS-DTYP] 2.4.6).
    Descriptor(Vec<u8>),
}

/// One thing to put into the volume. A directory above it that is missing is made, with what the one
/// above that hands down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Staged {
    /// A directory; one that is there keeps what it holds and gets the access.
    Directory {
        /// Its path from the volume's root, with slashes: `/Replant`.
        path: String,
        /// Its access.
        access: Access,
        /// What it is for, in a few words.
        purpose: &'static str,
    },
    /// A file; one that is there is replaced.
    File {
        /// Its path from the volume's root, with slashes: `/Windows/System32/drivers/AWSNVMe.sys`.
        path: String,
        /// What it holds.
        content: StagedContent,
        /// Its access.
        access: Access,
        /// What it is for, in a few words.
        purpose: &'static str,
    },
}
