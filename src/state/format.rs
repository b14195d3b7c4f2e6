//! The stored formats of the state, one file a version.

pub mod v1;
