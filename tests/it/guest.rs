//! Preparation of guests: real initramfs archives, faithful trees, hostile input.

mod distributions;
mod fixtures;
mod hostile;
mod initramfs;
