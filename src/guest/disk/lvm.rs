//! LVM2: what the physical volumes say, and its logical volumes as devices of the sandbox.
//!
//! Read by a parser of our own instead of LVM's tools: those are not on every host, would bring a
//! dozen libraries into the sandbox, and want to repair, lock and remember. The kernel's device
//! mapper does the work either way.

pub mod activate;
pub mod extend;
pub mod group;
pub mod label;
pub mod text;
