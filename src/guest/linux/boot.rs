//! Boot loaders: what they start, and the kernel arguments, edited as text.

pub mod arguments;
pub mod assignment;
pub mod bls;
pub mod config;
pub mod defaults;
pub mod edit;
pub mod efi;
pub mod entries;
pub mod environment;
pub mod extlinux;
pub mod kernel;
pub mod leftovers;
pub mod review;
pub mod versions;
pub mod waiting;
pub mod windows;
