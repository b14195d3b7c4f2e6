//! Linux guests: their files, and what preparation does to them.

pub mod access;
pub mod boot;
pub mod changes;
pub mod devices;
pub mod drivers;
pub mod fstab;
pub mod index;
pub mod initramfs;
pub mod modprobe;
pub mod modules;
pub mod mounts;
pub mod network;
pub mod recipe;
pub mod release;
pub mod services;
pub mod storage;
pub mod system;
pub mod units;
