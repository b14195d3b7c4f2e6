//! The command line: one file a command, the error's kind decides the exit code.

pub mod exit;
pub mod run;
pub mod terminal;

pub use run::main;
