//! What can be wrong with a manifest.

use std::io;
use std::path::PathBuf;

use crate::diagnostic::Diagnostic;

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It cannot be created.
    #[error("cannot create the manifest {}", path.display())]
    Create {
        /// The manifest.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It cannot be opened.
    #[error("cannot open the manifest {}", path.display())]
    Open {
        /// The manifest.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It cannot be read.
    #[error("cannot read the manifest {}", path.display())]
    Read {
        /// The manifest.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write the manifest {}", path.display())]
    Write {
        /// The manifest.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another run is using it.
    #[error("the manifest {} is in use by another run", path.display())]
    Locked {
        /// The manifest.
        path: PathBuf,
    },
    /// It is not a manifest, or is damaged.
    #[error("{} is not a manifest that can be used: {what}", path.display())]
    Damaged {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A newer Replant wrote it.
    #[error("{} has version {version}, this Replant knows versions up to {known}", path.display())]
    Version {
        /// The manifest.
        path: PathBuf,
        /// Its version.
        version: u32,
        /// The newest version known here.
        known: u32,
    },
    /// There is one already, and it was not said to go on with it.
    #[error("the manifest {} exists", path.display())]
    Exists {
        /// The manifest.
        path: PathBuf,
    },
    /// It is of another image.
    #[error("the manifest {} belongs to another image, or the image has changed", path.display())]
    OtherImage {
        /// The manifest.
        path: PathBuf,
    },
    /// It is of another target.
    #[error("the manifest {} belongs to another target ({recorded}; this is {found})", path.display())]
    OtherTarget {
        /// The manifest.
        path: PathBuf,
        /// The target it was made for.
        recorded: String,
        /// The target now.
        found: String,
    },
    /// It does not say that the whole disk was written.
    #[error("the manifest {} is of a write that has not finished", path.display())]
    Unfinished {
        /// The manifest.
        path: PathBuf,
    },
    /// It says that an overlay lies over the content, or another one than was given.
    #[error("the manifest {} says that {recorded} over the image's content, not {given}", path.display())]
    OtherOverlay {
        /// The manifest.
        path: PathBuf,
        /// What it says.
        recorded: String,
        /// What it was compared with.
        given: String,
    },
}

impl ManifestError {
    /// Whether trying again can help, with nobody doing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Locked { .. })
    }

    /// What to tell the user.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let (code, summary, help) = match self {
            Self::Create { .. } | Self::Open { .. } | Self::Read { .. } | Self::Write { .. } => (
                "copy::manifest_io",
                "The manifest cannot be read or written",
                "Check that its directory exists, is writable and has room.",
            ),
            Self::Locked { .. } => {
                ("copy::manifest_locked", "The manifest is in use", "Wait for the other run, or stop it.")
            }
            Self::Damaged { .. } => (
                "copy::manifest_damaged",
                "The manifest is damaged",
                "Without it nobody knows what is on the target: write the whole disk again (with --force).",
            ),
            Self::Version { .. } => (
                "copy::manifest_version",
                "The manifest is from a newer Replant",
                "Use the version of Replant that wrote it, or write the whole disk again with another manifest.",
            ),
            Self::Exists { .. } => (
                "copy::manifest_exists",
                "There is a manifest already",
                "To go on with that write, add --resume; to begin again, add --force or name another manifest.",
            ),
            Self::OtherImage { .. } => (
                "copy::manifest_other_image",
                "The manifest belongs to another image",
                "Name the image that the write began with; to write this one, begin again with another manifest.",
            ),
            Self::OtherTarget { .. } => (
                "copy::manifest_other_target",
                "The manifest belongs to another target",
                "Name the target that the write began on; to write this one, begin again with another manifest.",
            ),
            Self::Unfinished { .. } => (
                "copy::manifest_unfinished",
                "The write has not finished",
                "Finish it first: the same command with --resume.",
            ),
            Self::OtherOverlay { .. } => (
                "copy::manifest_overlay",
                "The target does not hold what was expected",
                "Undo the preparation first, or write the image again.",
            ),
        };
        let detail = match self {
            Self::Create { source, .. }
            | Self::Open { source, .. }
            | Self::Read { source, .. }
            | Self::Write { source, .. } => format!("{self}: {source}."),
            _ => format!("{self}."),
        };
        Diagnostic::error(code, summary).detail(detail).help(help)
    }
}
