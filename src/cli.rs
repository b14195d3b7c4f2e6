//! The command line: one file a command, the error's kind decides the exit code.

pub mod apply;
pub mod completions;
pub mod exit;
pub mod graph;
pub mod inspect_guest;
pub mod man;
pub mod output;
pub mod plan;
mod interrupt;
mod meter;
pub mod run;
pub mod schema;
pub mod show;
pub mod state;
pub mod terminal;
pub mod workspace;
pub mod write;
pub mod validate;

pub use run::main;
