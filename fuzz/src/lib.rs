//! What the fuzzer runs: for each of Replant's parsers of what comes from outside, a function that
//! takes an input, and one that makes new inputs of old ones. `fuzz/README.md` says how to use it.
//!
//! The library does not know libFuzzer: Replant's own tests include it as a module, and run the
//! corpus through the same functions.
#![allow(clippy::expect_used, clippy::panic)]

mod base;
mod case;
mod config;
mod directory;
mod guest;
mod image;
mod memory;
mod mutate;
mod network;
mod numbers;
mod registry;
mod seal;
mod sparse;
mod stored;
mod stream;
mod targets;
mod text;
mod windows;
mod words;

pub use image::unsound;
pub use memory::bounded;
pub use numbers::Numbers;
pub use registry::unreached;
pub use targets::{TARGETS, Target, target};
