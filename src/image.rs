//! Disk images as extents: every format read-only, its metadata parsed to where the data is.

mod backing;
mod bitmap;
mod cache;
mod chain;
pub mod check;
mod codec;
mod detect;
pub mod error;
mod extent;
mod foreign;
pub mod format;
pub mod identity;
mod local;
pub mod nbd;
pub mod open;
mod opener;
pub mod ova;
pub mod overlay;
mod parent;
mod qcow2;
mod raw;
mod read;
#[cfg(feature = "remote")]
mod remote;
pub mod served;
pub mod source;
pub mod stream;
mod vhd;
mod vhdx;
mod vmdk;
mod window;

pub use error::ImageError;
pub use format::Format;
pub use identity::{FileIdentity, Identity};
pub use open::{Image, OpenOptions, open};
pub use overlay::{Overlay, ReadSet};
#[cfg(feature = "remote")]
pub use remote::{DownloadError, download};
pub use source::{BlockSource, Run, SourceError};
pub use stream::{Stream, StreamError, StreamOptions};
