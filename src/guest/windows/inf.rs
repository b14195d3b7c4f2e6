//! Setup information files (`.inf`): which devices a driver package is for, under which Windows,
//! and what its installation does. After Microsoft's "INF file sections and directives".
//!
//! A file is read whole and bounded; nothing in it is carried out.

mod budget;
mod decoration;
mod error;
mod install;
mod models;
mod parse;
mod registry;
#[cfg(test)]
mod tests;
mod text;
mod version;

pub use decoration::{Product, Target};
pub use error::InfError;
pub use install::{CopiedFile, Destination, Install, Service};
pub use models::Model;
pub use parse::{Inf, Line, Section};
pub use registry::{RegistryData, RegistryValue};
pub use version::Version;
