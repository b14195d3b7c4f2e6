//! Windows guests: hives, NTFS, drivers and first boots, beside what other people's programs make
//! and read.

mod components;
mod drivers;
mod drives;
mod equipped;
mod findings;
mod firstboot;
mod hives;
mod injected;
pub mod kit;
mod large;
mod large_guest;
mod prepared;
mod real;
mod remote;
mod restored;
mod staged;
pub mod trees;
mod wishes;
