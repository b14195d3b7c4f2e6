//! Disk images as extents: every format read-only, its metadata parsed to where the data is.

pub mod overlay;
pub mod source;

pub use overlay::{Overlay, ReadSet};
pub use source::{BlockSource, SourceError};
