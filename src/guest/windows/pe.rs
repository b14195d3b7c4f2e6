//! Windows programs and drivers (PE files): for which processor, which version, and whether they
//! carry a signature of their own, which Windows asks of drivers that it starts with.
//!
//! After Microsoft's "PE format" and "Windows Authenticode portable executable signature format".

mod der;
mod image;
mod signature;
#[cfg(test)]
mod tests;
mod version;

pub use image::{Machine, Pe, PeError};
pub use signature::{DigestAlgorithm, Publisher, Signature, detached, publisher};
