//! `replant man`: the manual pages.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_mangen::Man as Page;

use super::exit::Exit;
use super::run::Arguments;
use super::terminal;
use crate::diagnostic::Diagnostic;

/// Prints the manual page, or writes the pages of all commands into a directory.
#[derive(Debug, Args)]
pub struct Man {
    /// The directory; it must exist.
    pub target: Option<PathBuf>,
}

/// Prints or writes the pages.
#[must_use]
pub fn run(arguments: &Man) -> Exit {
    let command = Arguments::command();
    let outcome = match &arguments.target {
        Some(directory) => clap_mangen::generate_to(command, directory),
        None => {
            let mut page = Vec::new();
            Page::new(command).render(&mut page).map(|()| terminal::print(&String::from_utf8_lossy(&page)))
        }
    };
    match outcome {
        Ok(()) => Exit::Success,
        Err(error) => {
            let place =
                arguments.target.as_deref().map(|path| path.display().to_string()).unwrap_or_default();
            terminal::print_diagnostic(
                &Diagnostic::error("cli::cannot_write", "the manual pages cannot be written")
                    .detail(format!("{place}: {error}"))
                    .help("name a directory that exists and can be written"),
                false,
            );
            Exit::Failure
        }
    }
}
