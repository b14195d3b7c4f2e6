//! The record of what is on a target: a digest for each block, and which of them are safe.
//!
//! A manifest is one file, its layout one module a version. It is made by an atomic rename, and
//! then only appended to and filled in, in such an order that a crash at any point leaves a
//! manifest that claims no more than what was flushed. One of an older version is made anew in
//! the newest when something is to be added to it.

mod error;
mod ranges;
mod slots;
mod store;
mod update;
mod v1;
pub mod v2;

pub use error::ManifestError;
pub(crate) use ranges::Ranges;
pub(crate) use slots::Slots;
pub use store::{Finished, Manifest};
pub(crate) use update::{Settled, What};
pub use v2::Header;
