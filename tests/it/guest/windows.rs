//! Windows guests: hives, NTFS, and what preparation makes of them.

mod hives;
mod kit;
mod prepared;
mod trees;
