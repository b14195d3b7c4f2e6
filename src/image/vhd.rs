//! Microsoft's first virtual hard disk, fixed and dynamic. Written to the "Virtual Hard Disk Image
//! Format Specification" 1.0; which of its two sizes counts is measured on what software writes.

mod disk;
mod footer;

pub(super) use disk::open;
