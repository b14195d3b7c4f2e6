//! Linux guests: their files, and what preparation does to them.

pub mod fstab;
