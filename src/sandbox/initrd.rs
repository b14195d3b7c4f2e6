//! The sandbox's initial filesystem: a cpio archive of host files, made on the fly.

pub mod archive;
pub mod build;
pub mod elf;
pub mod modules;
pub mod tools;

pub use build::{InitrdError, build};
