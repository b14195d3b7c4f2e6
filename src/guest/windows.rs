//! Windows guests: looked into and prepared from files alone, NTFS by ntfs-3g, the registry by our
//! own reader and libhivex.

mod bcd;
mod bytes;
mod changes;
pub mod components;
mod drives;
pub mod examine;
pub mod files;
pub mod firstboot;
pub mod fuzzing;
pub mod hive;
pub mod inf;
pub mod inject;
pub mod look;
mod mount;
pub mod pe;
mod programs;
mod recipe;
mod reg;
pub mod registry;
pub mod remote;
mod review;
pub mod services;
pub mod stage;
pub mod version;
