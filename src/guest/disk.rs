//! A guest's disks inside the sandbox: partition tables, RAID, LVM, filesystems, mounting, growing.

pub mod boot_code;
pub mod choice;
pub mod device;
pub mod dm;
pub mod find;
pub mod findings;
pub mod gpt;
pub mod grow;
pub mod hibernation;
pub mod ioctl;
pub mod jfs;
pub mod layout;
pub mod lvm;
pub mod mbr;
pub mod md;
pub mod mount;
pub mod probe;
pub mod resolve;
pub mod roots;
pub mod said;
pub mod stack;
pub mod subvolume;
pub mod table;
