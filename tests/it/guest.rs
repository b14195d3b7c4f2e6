//! Preparation of guests: real initramfs archives, faithful trees, hostile input.

mod changes;
mod debian;
mod fixtures;
mod hostile;
mod initramfs;
mod trees;
