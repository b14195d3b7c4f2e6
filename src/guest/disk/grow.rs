//! A disk that is larger than its image: partitions, logical volumes and filesystems grow.

pub mod filesystems;
pub mod logical;
pub mod swap;
pub mod tables;
