//! Initramfs archives: read as the kernel reads them, and extended by a segment of our own.

pub mod addition;
pub mod archive;
pub mod compression;
pub mod hint;
pub mod lzo;
pub mod newc;
pub mod setting;
pub mod unpack;
