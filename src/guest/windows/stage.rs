//! Directories and files that are put into a Windows volume, with the access that Windows needs of
//! them. Values: what a plan shows before any of it is carried out.

use super::components::FoundFile;

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
    /// The security descriptor of a file (or directory) that lies beside it, else of its parent.
    LikeSibling,
    /// This self-relative security descriptor ([MS-DTYP] 2.4.6).
    Descriptor(Vec<u8>),
}

/// One thing to put into the volume. A directory above it that is missing is made, like its parent.
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
