//! Windows guests: what they are made of, and what preparation does to them.

pub mod components;
pub mod inf;
pub mod pe;
