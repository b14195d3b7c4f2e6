//! Linux software RAID: what a member's superblock says, and arrays that the sandbox's kernel
//! assembles. The kernel writes to all members alike and keeps their event counts, so that the
//! guest finds them equal.

pub mod array;
pub mod superblock;
