//! Windows registry hives: read strictly, brought up to date from their transaction logs, compared.
//!
//! Everything here reads bytes that a guest left behind: offsets are checked before they are
//! followed, lists are bounded by what the file could hold, and nothing is visited for ever.
//! The format is described in M. Suhanov's "Windows registry file format specification" (CC BY 4.0);
//! sections are named where they matter.

mod base;
mod cell;
mod compare;
mod edit;
mod hivex;
mod key;
mod log;
mod marvin;
mod name;
mod replay;
mod sole;
mod value;

pub use base::BaseBlock;
pub use compare::{Change, Difference, compare};
pub use edit::{EditError, HiveEdit, HivePlan, edit};
pub use key::{Hive, Key, Statistics};
pub use replay::{Applied, Replayed, replay};
pub use value::{Data, Value};

/// Why a hive cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HiveError {
    /// Too short, or without `regf`.
    #[error("it is no registry hive: {0}")]
    NotAHive(&'static str),
    /// A version that no supported Windows writes.
    #[error("its format is version {major}.{minor}; Windows 2008 R2 and later write 1.3 to 1.6")]
    Version {
        /// The major version.
        major: u32,
        /// The minor version.
        minor: u32,
    },
    /// The header's checksum is wrong, so it was caught while Windows wrote it.
    #[error("its header's checksum is wrong")]
    Checksum,
    /// Shorter than its header says.
    #[error("it ends after {length} bytes of {wanted}")]
    Truncated {
        /// Bytes that there are.
        length: u64,
        /// Bytes that its header promises.
        wanted: u64,
    },
    /// Something in it contradicts the format.
    #[error("it is damaged at offset {offset:#x}: {what}")]
    Damaged {
        /// From the start of the file.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// Changes are missing that are in no log.
    #[error("Windows was caught while it wrote it, and its logs do not complete it: {0}")]
    Unrecoverable(&'static str),
}
