//! What the user wants changed in a guest: files, a name, an identity, a script for its first boot.

pub mod accounts;
pub mod files;
pub mod first_boot;
pub mod hostname;
pub mod identity;
pub mod service;
