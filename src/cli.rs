//! The command line: one file a command, the error's kind decides the exit code.

pub mod apply;
pub mod check;
pub mod completions;
pub mod components;
pub mod exit;
pub mod fmt;
pub mod graph;
pub mod image_arguments;
pub mod import;
pub mod init;
pub mod inspect;
pub mod inspect_guest;
mod interrupt;
mod location;
pub mod man;
mod meter;
pub mod output;
pub mod plan;
pub mod prepare;
pub mod rebuild;
pub mod run;
pub mod schema;
pub mod show;
pub mod state;
pub mod sweep;
pub mod terminal;
mod twins;
pub mod validate;
pub mod variables;
mod waiting;
pub mod workspace;
pub mod write;
mod write_source;

pub use run::main;
