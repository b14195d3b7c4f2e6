//! The record of what is on a target: a digest for each block, and which of them are safe.
//!
//! A manifest is one file, its layout one module a version. It is made by an atomic rename, and
//! then only appended to and filled in, in such an order that a crash at any point leaves a
//! manifest that claims no more than what was flushed.

mod error;
mod resize;
mod store;
pub mod v1;

pub use error::ManifestError;
pub use store::{Finished, Manifest};
pub(crate) use store::{Ranges, Recorded};
pub use v1::Header;
