//! Disks that are read once, from front to back: from a pipe, or unpacked on the way.
//!
//! One reader takes the bytes in order and cuts them into pieces of a disk; what is compressed in
//! units of its own (a VMDK's grains) stays so until a worker decodes it.

mod appliance;
mod compression;
mod error;
mod input;
mod open;
mod piece;
mod raw;
mod recognise;
mod sparse;
mod tables;
mod tar;

pub use compression::{Compression, Unpack};
pub use error::StreamError;
pub use input::Watch;
pub use open::{Stream, StreamOptions, is_for_stream};
pub use piece::{PIECE, Packed, Piece};
