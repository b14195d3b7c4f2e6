//! `replant fmt`: one way to write a configuration.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use similar::TextDiff;

use super::exit::Exit;
use super::terminal;
use crate::config;
use crate::diagnostic::{Diagnostic, Diagnostics};

/// Endings of the files that are formatted.
const SUFFIXES: [&str; 2] = [".replant.hcl", ".replantvars.hcl"];

/// Writes the configuration's files with one indentation, spacing and alignment.
#[derive(Debug, Args)]
pub struct Fmt {
    /// Change nothing; exit with 1 when something would change.
    #[arg(long)]
    pub check: bool,
    /// Show what changes.
    #[arg(long)]
    pub diff: bool,
}

/// Formats the files of a directory and names those that changed.
#[must_use]
pub fn run(directory: &Path, arguments: &Fmt) -> Exit {
    let mut diagnostics = Diagnostics::new();
    let mut changed = false;
    for path in files(directory, &mut diagnostics) {
        match file(&path, arguments) {
            Ok(differs) => changed |= differs,
            Err(found) => diagnostics.extend(found),
        }
    }
    if !diagnostics.is_empty() {
        terminal::print_diagnostics(&diagnostics, false);
    }
    if diagnostics.has_errors() || (arguments.check && changed) { Exit::Failure } else { Exit::Success }
}

fn failed(path: &Path, what: &str, error: &std::io::Error) -> Diagnostic {
    Diagnostic::error("fmt::file", what)
        .detail(format!("{}: {error}.", path.display()))
        .help("check the path and its permissions")
}

fn files(directory: &Path, diagnostics: &mut Diagnostics) -> Vec<PathBuf> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => {
            diagnostics.push(failed(directory, "a directory cannot be read", &error));
            return Vec::new();
        }
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            !name.starts_with('.') && SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) && path.is_file()
        })
        .collect();
    files.sort();
    files
}

/// Formats one file; whether it differs.
fn file(path: &Path, arguments: &Fmt) -> Result<bool, Diagnostics> {
    let text =
        std::fs::read_to_string(path).map_err(|error| failed(path, "a file cannot be read", &error))?;
    let shown = path.strip_prefix("./").unwrap_or(path);
    let formatted = config::format_text(shown.to_owned(), &text)?;
    if formatted == text {
        return Ok(false);
    }
    terminal::print(&format!("{}\n", shown.display()));
    if arguments.diff {
        let name = shown.display().to_string();
        let diff = TextDiff::from_lines(&text, &formatted);
        terminal::print(
            &diff.unified_diff().header(&format!("old/{name}"), &format!("new/{name}")).to_string(),
        );
    }
    if !arguments.check {
        replace(path, &formatted).map_err(|error| failed(path, "a file cannot be written", &error))?;
    }
    Ok(true)
}

/// Writes beside the file and renames, so that no crash can leave half of it.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    // A link is followed: what it points to is the file.
    let path = std::fs::canonicalize(path)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(std::fs::metadata(&path)?.permissions())?;
    file.as_file().sync_all()?;
    file.persist(&path).map_err(|error| error.error)?;
    Ok(())
}
