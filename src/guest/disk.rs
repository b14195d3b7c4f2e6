//! A guest's disks inside the sandbox: partition tables, filesystems, mounting, growing.

pub mod device;
pub mod find;
pub mod findings;
pub mod gpt;
pub mod grow;
pub mod ioctl;
pub mod layout;
pub mod mbr;
pub mod mount;
pub mod probe;
pub mod table;
