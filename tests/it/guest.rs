//! Preparation of guests: real initramfs archives, faithful trees, hostile input.

mod changes;
mod distributions;
mod fixtures;
mod hostile;
mod initramfs;
