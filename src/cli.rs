//! The command line: one file a command, the error's kind decides the exit code.

pub mod completions;
pub mod exit;
pub mod man;
pub mod output;
pub mod run;
pub mod schema;
pub mod state;
pub mod terminal;

pub use run::main;
