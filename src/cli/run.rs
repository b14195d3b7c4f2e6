//! From the arguments to a command's function.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use super::exit::Exit;
use super::write;

/// Restores of backed-up virtual machines onto Amazon EC2, as code.
#[derive(Debug, Parser)]
#[command(name = "replant", version, propagate_version = true)]
pub struct Arguments {
    /// Run as if started in this directory.
    #[arg(short = 'C', long = "directory", global = true, value_name = "DIR", default_value = ".")]
    pub directory: PathBuf,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Writes an image's disk onto a device or a file.
    Write(write::Write),
}

/// Parses the arguments, runs the command, gives its exit code.
#[must_use]
pub fn main() -> ExitCode {
    run(&Arguments::parse()).into()
}

fn run(arguments: &Arguments) -> Exit {
    let directory = &arguments.directory;
    match &arguments.command {
        Command::Write(command) => write::run(directory, command),
    }
}
