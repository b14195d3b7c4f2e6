//! Why something cannot be put into a volume, and what a person is told of it.

use crate::diagnostic::chain;
use crate::guest::findings::blocks;
use crate::guest::report::Finding;
use crate::guest::tree::TreeError;
use crate::guest::windows::components::ComponentError;
use crate::model::Bytes;

/// Why something cannot be put into a volume. Retrying gives the same: the guest's blocks and the
/// user's files decide.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The volume cannot be read or written.
    #[error(transparent)]
    File(#[from] TreeError),
    /// A file of the user's components cannot be read.
    #[error(transparent)]
    Component(#[from] ComponentError),
    /// Windows cannot have something of this name.
    #[error("{path:?}: {why}")]
    Name {
        /// The path from the volume's root.
        path: String,
        /// Why.
        why: &'static str,
    },
    /// Something else is there.
    #[error("{path}: {what} is there")]
    Obstacle {
        /// Its path as people write it.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// Two different things are to be put into the same place.
    #[error("{path} is wanted twice, with different content")]
    Twice {
        /// The path as people write it.
        path: String,
    },
    /// So many names that it cannot be said what is there.
    #[error("{path} has more names than are looked at")]
    Crowded {
        /// The directory as people write it.
        path: String,
    },
    /// It does not fit.
    #[error("{free} bytes are free, and {needed} are needed")]
    Full {
        /// Bytes that are free.
        free: u64,
        /// Bytes that are needed, what NTFS itself takes included.
        needed: u64,
    },
    /// A file or directory has no security descriptor, or one that is damaged.
    #[error("{path} has no security descriptor that could be used")]
    Descriptor {
        /// Its path as people write it.
        path: String,
    },
    /// A file does not hold what was written to it, or has not the access that it was given.
    #[error("{path} does not read back as it was written")]
    ReadBack {
        /// Its path as people write it.
        path: String,
    },
}

impl StageError {
    /// What a person is told; the guest is not prepared.
    #[must_use]
    pub fn finding(&self) -> Finding {
        let text = chain(self);
        match self {
            Self::Full { free, needed } => blocks("filesystem_full", "a filesystem has no room for the edits")
                .seen(format!("C:: {} free, {} needed", Bytes(*free), Bytes(*needed)))
                .advice("Free some space in the guest and back it up again."),
            Self::Component(_) => blocks("windows_component_unreadable", "A file of your components cannot be read")
                .seen(text)
                .advice("Put that file into the folder again, whole; an archive can be checked with\nunzip -t"),
            Self::Name { .. } | Self::Obstacle { .. } | Self::Twice { .. } | Self::Crowded { .. } => blocks(
                "windows_file_not_placed",
                "A file cannot be put into the Windows volume where it belongs; the guest is not prepared",
            )
            .seen(text)
            .advice("Junctions and links are not followed, since they may lead anywhere. Make room at that path in the source machine, and make a new backup."),
            Self::File(_) | Self::Descriptor { .. } | Self::ReadBack { .. } => blocks(
                "windows_filesystem",
                "A file of Windows cannot be read or written; the guest is not prepared",
            )
            .seen(text)
            .advice("Make room on that partition, or run chkdsk /f, in the source machine; then make a new backup."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_that_cannot_be_read_is_named() {
        let source = std::io::Error::other("a member's checksum is wrong");
        let finding =
            StageError::Component(ComponentError::Read { path: "ENA/ena.zip/ena.sys".to_owned(), source })
                .finding();
        assert_eq!(finding.code, "guest::windows_component_unreadable");
        assert_eq!(finding.evidence, ["ENA/ena.zip/ena.sys cannot be read: a member's checksum is wrong"]);
    }
}
