//! The command.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::machine::{Machine, examine};
use super::{group, text};
use crate::cli::exit::Exit;
use crate::cli::location::LocationParser;
use crate::cli::terminal;
use crate::config;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::model::Location;

/// The file that is written.
const FILE: &str = "main.replant.hcl";
/// The ending of a configuration's files.
const SUFFIX: &str = ".replant.hcl";

/// Writes a first configuration from backups: one instance for each appliance, and for the images
/// that belong to one machine by their names (web.vmdk and web_1.vmdk, web-disk1.vmdk and
/// web-disk2.vmdk).
///
/// The images are only read, and each guest is looked at in a sandbox. What was found stands in the
/// file as comments. Nothing is ever overwritten.
#[derive(Debug, Args)]
pub struct Init {
    /// Disk images, appliances, and directories of them; without any, the directory `backups` or
    /// else the configuration's own.
    #[arg(value_name = "IMAGE", value_parser = LocationParser)]
    pub images: Vec<Location>,

    /// Where the machines are to be restored.
    #[arg(long, value_enum, default_value_t = ProviderArgument::Local)]
    pub provider: ProviderArgument,
}

/// A provider on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProviderArgument {
    /// A cloud in a directory, to rehearse in.
    Local,
    /// Amazon EC2; what only its account knows becomes variables.
    Aws,
}

/// Writes it, and says what is in it.
#[must_use]
pub fn run(directory: &Path, command: &Init) -> Exit {
    match init(directory, command) {
        Ok(said) => {
            terminal::print(&said);
            Exit::Success
        }
        Err(diagnostics) => {
            terminal::print_diagnostics(&diagnostics, false);
            Exit::Failure
        }
    }
}

fn init(directory: &Path, command: &Init) -> Result<String, Diagnostics> {
    refuse_existing(directory)?;
    let named = match command.images.as_slice() {
        [] if directory.join("backups").is_dir() => vec![Location::Local(PathBuf::from("backups"))],
        [] => vec![Location::Local(PathBuf::from("."))],
        named => named.to_vec(),
    };
    let images = group::expand(directory, &named)?;
    let mut machines: Vec<Machine> = Vec::new();
    let mut wrong = Diagnostics::new();
    for (name, images) in group::machines(&images) {
        match examine(directory, &name, images) {
            Ok(mut machine) => {
                machine.name = free(&machine.name, &machines);
                machines.push(machine);
            }
            Err(diagnostic) => wrong.push(diagnostic),
        }
    }
    if wrong.has_errors() {
        return Err(wrong);
    }
    let path = directory.join(FILE);
    let text = config::format_text(PathBuf::from(FILE), &text::configuration(&machines, command.provider))?;
    create(&path, &text)?;
    Ok(text::said(&machines, FILE))
}

/// The name, or the first one after it that no other machine has.
fn free(name: &str, others: &[Machine]) -> String {
    let is_free = |name: &String| others.iter().all(|other| other.name != *name);
    let numbered = (2u32..).map(|number| format!("{name}-{number}"));
    std::iter::once(name.to_owned()).chain(numbered).find(is_free).unwrap_or_default()
}

/// A directory has one configuration.
fn refuse_existing(directory: &Path) -> Result<(), Diagnostic> {
    let entries = std::fs::read_dir(directory).map_err(|error| {
        Diagnostic::error("init::directory", "The directory cannot be read")
            .detail(format!("{}: {error}.", directory.display()))
            .help("make it first, or name another one with -C DIR")
    })?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(SUFFIX) && !name.starts_with('.'))
        .collect();
    names.sort();
    match names.first() {
        None => Ok(()),
        Some(first) => Err(exists(&directory.join(first))),
    }
}

fn exists(path: &Path) -> Diagnostic {
    Diagnostic::error("init::exists", "There is a configuration already")
        .detail(format!("{} exists, and nothing is overwritten.", path.display()))
        .help("add an instance block to it by hand")
        .help("or write another configuration into an empty directory: replant -C DIR init IMAGE…")
}

/// Writes a file that does not exist yet: all of it, or nothing.
fn create(path: &Path, text: &str) -> Result<(), Diagnostic> {
    let failed = |error: std::io::Error| {
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            return exists(path);
        }
        Diagnostic::error("init::write", "The configuration cannot be written")
            .detail(format!("{}: {error}.", path.display()))
            .help("check the directory's permissions and whether there is room")
    };
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.as_file().set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644)).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist_noclobber(path).map_err(|error| failed(error.error))?;
    Ok(())
}
