//! Preparation of guests: real initramfs archives, faithful trees, hostile input.

mod boots;
mod changes;
mod distributions;
mod findings;
pub mod fixtures;
mod generators;
mod hostile;
mod initramfs;
pub mod windows;
mod work;
