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
mod kit;
mod large;
mod prepared;
mod restored;
mod staged;
mod trees;
mod wishes;
