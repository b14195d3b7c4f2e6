//! Windows guests: looked into and prepared from files alone.

pub mod components;
pub mod firstboot;
pub mod inf;
pub mod pe;
