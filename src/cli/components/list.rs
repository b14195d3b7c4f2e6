//! `replant components list`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::trouble;
use crate::cli::exit::Exit;
use crate::cli::inspect::json;
use crate::cli::terminal;
use crate::diagnostic::Diagnostic;
use crate::guest::windows::components::{Inventory, entries};
use crate::ui::components::{Folder, Found, VERSION};
use crate::ui::human::components::render_folder;

/// Shows what a folder holds: versions, for which Windows, by whom signed.
///
/// Zip archives are looked into, nothing is unpacked or changed. What no guest could be given is
/// listed with the reason.
#[derive(Debug, Args)]
pub struct List {
    /// The folder, or a single zip archive.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,

    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

/// Prints what is there.
#[must_use]
pub fn run(directory: &Path, command: &List) -> Exit {
    terminal::finish(list(directory, command), command.json)
}

fn list(directory: &Path, command: &List) -> Result<String, Diagnostic> {
    let path = directory.join(&command.folder);
    trouble::no_components(&command.folder, &path)?;
    let unreadable = |error| trouble::folder(&command.folder, &error);
    let inventory = Inventory::read(&path).map_err(unreadable)?;
    let components = entries(&inventory).map_err(unreadable)?.into_iter().map(Found::from).collect();
    let folder = Folder { version: VERSION, folder: command.folder.clone(), components };
    match command.json {
        true => json(&folder),
        false => Ok(render_folder(&folder, terminal::stdout_look())),
    }
}
