//! `replant completions`: a shell's completion script.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::exit::Exit;
use super::run::Arguments;
use super::terminal;

/// Prints a completion script for a shell.
#[derive(Debug, Args)]
pub struct Completions {
    /// Which shell.
    pub shell: Shell,
}

/// Prints the script.
#[must_use]
pub fn run(arguments: &Completions) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "replant", &mut script);
    terminal::print(&String::from_utf8_lossy(&script));
    Exit::Success
}
