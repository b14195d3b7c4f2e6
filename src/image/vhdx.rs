//! Microsoft's second virtual hard disk, fixed and dynamic, with its log replayed in memory.
//! Written to the specification MS-VHDX.

mod bytes;
mod disk;
mod header;
mod log;
mod metadata;

pub(super) use disk::open;
