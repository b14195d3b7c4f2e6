//! Boot loaders: what they start, and the kernel arguments, edited as text.

pub mod arguments;
pub mod config;
pub mod efi;
pub mod entries;
pub mod environment;
pub mod kernel;
