//! Microsoft's second virtual hard disk, fixed, dynamic and differencing, with its log replayed in memory.
//! Written to the specification MS-VHDX.

mod bytes;
mod disk;
mod header;
mod locator;
mod log;
mod metadata;

pub(super) use disk::open;
