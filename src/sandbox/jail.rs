//! The jail: namespaces of its own, an empty root, no privileges, few system calls.
//!
//! An unprivileged user id alone is none: UML's hostfs mounts whatever the process can see (run).

pub mod confine;
pub mod filter;
pub mod prison;
pub mod spec;

pub use spec::{JailFile, JailSpec};
