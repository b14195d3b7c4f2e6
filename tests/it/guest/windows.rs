//! Windows guests: what other people's programs make and read.

mod drivers;
mod firstboot;
