//! A run's events as they come: bars on a terminal, lines in a log, JSON for programs.

pub mod board;
mod echo;
pub mod json;
pub mod live;
pub mod plain;
pub mod rate;
mod ticker;

pub use json::JsonLines;
pub use live::Live;
pub use plain::Plain;
