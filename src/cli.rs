//! The command line: one file a command, the error's kind decides the exit code.

pub mod exit;
mod interrupt;
mod meter;
pub mod run;
pub mod terminal;
pub mod write;

pub use run::main;
