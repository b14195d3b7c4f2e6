//! Windows guests: looked into and prepared from files alone.

pub mod firstboot;
