//! The data engine: a disk's content onto a device or a file, with proof of what is there.
//!
//! [`Target::open`] proves that a path may be written (promise 1), [`write()`] puts a source's
//! content on it and leaves a [`Manifest`] (promise 5), [`write_stream`] does so with a disk that is
//! read once, from front to back, [`verify()`] reads it back,
//! [`write_overlay`] puts a preparation's blocks over it and [`undo_overlay`] takes them off
//! again. Everything here blocks the calling thread and works with threads of its own: an
//! asynchronous caller uses its runtime's pool for blocking work.
//!
//! A target that was written before is brought up to another image by the same [`write()`]: its
//! manifest says what is there, and only what differs is written.
//!
//! The work is cut into blocks of 1 MiB. Stateless workers each take the next one, read and
//! decode it, hash it, and write it; a block counts as done only after the target was flushed
//! and the manifest says so.

mod base;
mod beyond;
pub mod block;
pub mod budget;
pub mod error;
mod estimate;
mod job;
pub mod manifest;
pub mod overlay;
mod pool;
pub mod progress;
pub mod receipt;
pub mod retry;
pub mod stream;
pub mod survey;
pub mod target;
pub mod update;
pub mod verify;
mod work;
pub mod write;

pub use block::{BLOCK, Content};
pub use budget::Budget;
pub use error::CopyError;
pub use manifest::{Header, Manifest, ManifestError};
pub use overlay::{OverlayOptions, OverlayOutcome, undo_overlay, write_overlay};
pub use progress::{Cancel, Event, Observer, Silent};
pub use receipt::Receipt;
pub use stream::write_stream;
pub use survey::{Survey, survey};
pub use target::{Existing, Target, TargetError, TargetOptions};
pub use update::{Changes, Reading, Update};
pub use verify::{Prepared, VerifyOptions, VerifyOutcome, verify};
pub use write::{ExistingManifest, WriteOptions, WriteOutcome, write};
