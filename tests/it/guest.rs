//! Preparation of guests: real initramfs archives, faithful trees, hostile input.

mod boots;
mod changes;
mod debian;
mod findings;
pub mod fixtures;
mod generators;
mod hostile;
mod initramfs;
mod trees;
