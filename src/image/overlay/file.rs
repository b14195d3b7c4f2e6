//! An overlay as bytes: in a saved plan, in the cache of inspections.

mod error;
mod v1;
mod versions;

pub use error::{FileError, FileLimits};
