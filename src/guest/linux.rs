//! Linux guests: their files, and what preparation does to them.

pub mod fstab;
pub mod index;
pub mod initramfs;
pub mod modules;
