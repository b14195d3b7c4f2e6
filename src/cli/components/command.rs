//! The commands about components.

use std::path::Path;

use clap::{Args, Subcommand};

use super::{fetch, list};
use crate::cli::exit::Exit;

/// Amazon's drivers and agents for Windows guests: downloads them, looks at what is there.
///
/// They are put into Windows guests from the folder that guest { windows { components = "…" } }
/// names.
#[derive(Debug, Args)]
pub struct Components {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What can be done with components.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Downloads what Windows guests need into their folders, each file once it is found right.
    Fetch(Box<fetch::Fetch>),
    /// Shows what a folder holds: versions, for which Windows, by whom signed.
    List(list::List),
}

/// Does it.
#[must_use]
pub fn run(directory: &Path, command: &Components) -> Exit {
    match &command.action {
        Action::Fetch(command) => fetch::run(directory, command),
        Action::List(command) => list::run(directory, command),
    }
}
