//! From the arguments to a command's function.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use super::exit::Exit;
use super::{completions, man, output, schema, state};

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
    /// Prints the outputs of the last apply.
    Output(output::Outputs),
    /// Looks at the state or changes what it says.
    State(state::StateCommand),
    /// Prints a JSON Schema.
    Schema(schema::SchemaCommand),
    /// Prints a completion script for a shell.
    Completions(completions::Completions),
    /// Prints the manual page, or writes the pages of all commands into a directory.
    Man(man::Man),
}

/// Parses the arguments, runs the command, gives its exit code.
#[must_use]
pub fn main() -> ExitCode {
    run(&Arguments::parse()).into()
}

fn run(arguments: &Arguments) -> Exit {
    let directory = &arguments.directory;
    match &arguments.command {
        Command::Output(command) => output::run(directory, command),
        Command::State(command) => state::run(directory, command),
        Command::Schema(command) => schema::run(command),
        Command::Completions(command) => completions::run(command),
        Command::Man(command) => man::run(command),
    }
}
