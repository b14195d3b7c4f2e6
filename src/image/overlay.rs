//! Copy-on-write blocks over an image, and the record of what was read to compute them.

mod blocks;
mod cow;
mod file;
mod read_set;
mod source;

pub use blocks::{OVERLAY_BLOCK, Overlay, OverlayError};
pub use cow::{CowDisk, CowError, CowLimits};
pub use file::{FileError, FileLimits};
pub use read_set::{READ_CHUNK, ReadSet, StaleError};
pub use source::OverlaySource;
