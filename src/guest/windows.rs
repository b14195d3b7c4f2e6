//! Windows guests: looked into and prepared from files alone, NTFS by ntfs-3g, the registry by our
//! own reader and libhivex.

mod bcd;
pub mod examine;
mod files;
pub mod hive;
mod look;
mod mount;
mod recipe;
mod reg;
mod registry;
mod review;
mod services;
mod version;
