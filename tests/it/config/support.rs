//! A configuration in a directory of its own.

use std::fs;
use std::path::Path;

use replant::config::{Evaluated, Options, check};
use replant::diagnostic::Diagnostics;
use tempfile::TempDir;

/// Writes `main.replant.hcl` and an image beside it.
pub fn directory(text: &str) -> TempDir {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("main.replant.hcl"), text).unwrap();
    fs::write(directory.path().join("disk.raw"), b"").unwrap();
    directory
}

/// Checks a configuration of one file.
pub fn checked(text: &str) -> (Option<Evaluated>, Diagnostics) {
    let directory = directory(text);
    checked_in(directory.path())
}

/// Checks a directory.
pub fn checked_in(directory: &Path) -> (Option<Evaluated>, Diagnostics) {
    let (checked, diagnostics) = check(directory, &Options::default());
    (checked.map(|(_, evaluated)| evaluated), diagnostics)
}

/// Evaluates a configuration that has no mistakes.
#[track_caller]
pub fn valid(text: &str) -> Evaluated {
    let (evaluated, diagnostics) = checked(text);
    assert!(!diagnostics.has_errors(), "{diagnostics:#?}");
    evaluated.unwrap()
}
