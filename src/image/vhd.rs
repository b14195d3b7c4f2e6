//! Microsoft's first virtual hard disk, fixed, dynamic and differencing. Written to the "Virtual Hard Disk Image
//! Format Specification" 1.0; which of its two sizes counts is measured on what software writes.

mod disk;
mod footer;
mod parent;

pub(super) use disk::open;
