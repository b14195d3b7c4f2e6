//! From the arguments to a command's function.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::exit::Exit;
use super::{
    apply, check, completions, components, fmt, graph, import, init, inspect, man, output, plan, prepare,
    schema, show, state, sweep, validate, write,
};

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
    /// Writes a first configuration from backups.
    Init(init::Init),
    /// Checks the configuration.
    Validate(validate::Validate),
    /// Reads all of an image, and says whether it is damaged.
    Check(check::Check),
    /// Looks into an image and says whether its guest will boot on EC2.
    Inspect(inspect::Inspect),
    /// Shows what makes an image's guest boot on EC2, and writes it with that done.
    Prepare(prepare::Prepare),
    /// Amazon's drivers and agents for Windows guests: downloads them, looks at what is there.
    Components(components::Components),
    /// Formats the configuration's files.
    Fmt(fmt::Fmt),
    /// Shows what `apply` would do, down to the files inside the guests.
    Plan(plan::PlanCommand),
    /// Does what the plan says: a saved one, or one that it makes and shows first.
    Apply(apply::ApplyCommand),
    /// Destroys everything that is in the state.
    Destroy(apply::DestroyCommand),
    /// Shows the state, or a saved plan.
    Show(show::ShowCommand),
    /// Draws the graph of the configuration's restore.
    Graph(graph::GraphCommand),
    /// Prints the outputs of the last apply.
    Output(output::Outputs),
    /// Looks at the state or changes what it says.
    State(state::StateCommand),
    /// Takes an instance or a volume that exists into the state.
    Import(import::Import),
    /// Lists what this workspace made and its state does not know, and removes it.
    Sweep(sweep::Sweep),
    /// Prints a JSON Schema.
    Schema(schema::SchemaCommand),
    /// Prints a completion script for a shell.
    Completions(completions::Completions),
    /// Prints the manual page, or writes the pages of all commands into a directory.
    Man(man::Man),
    /// Writes an image's disk onto a device or a file.
    Write(write::Write),
}

/// Parses the arguments, runs the command, gives its exit code.
#[must_use]
pub fn main() -> ExitCode {
    allow_open_files();
    if let Some(code) = crate::sandbox::helper::main(std::env::args_os().skip(1)) {
        return code;
    }
    run(&Arguments::parse()).into()
}

/// Lets as many files be open as the system allows at all: a VMware disk of 2 TiB has 1,024 pieces
/// of 2 GiB, and the usual limit, which is there for programs that count them in a fixed set of
/// bits, is 1,024. Where it cannot be raised, it suffices for nearly every image.
fn allow_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

fn run(arguments: &Arguments) -> Exit {
    let directory = &arguments.directory;
    match &arguments.command {
        Command::Init(command) => init::run(directory, command),
        Command::Validate(command) => validate::run(directory, command),
        Command::Check(command) => check::run(directory, command),
        Command::Inspect(command) => inspect::run(directory, command),
        Command::Prepare(command) => prepare::run(directory, command),
        Command::Components(command) => components::run(directory, command),
        Command::Fmt(command) => fmt::run(directory, command),
        Command::Plan(command) => plan::run(directory, command),
        Command::Apply(command) => apply::run(directory, command),
        Command::Destroy(command) => apply::destroy(directory, command),
        Command::Show(command) => show::run(directory, command),
        Command::Graph(command) => graph::run(directory, command),
        Command::Output(command) => output::run(directory, command),
        Command::State(command) => state::run(directory, command),
        Command::Import(command) => import::run(directory, command),
        Command::Sweep(command) => sweep::run(directory, command),
        Command::Schema(command) => schema::run(command),
        Command::Completions(command) => completions::run(command),
        Command::Man(command) => man::run(command),
        Command::Write(command) => write::run(directory, command),
    }
}
