//! Configurations.

use std::fs;
use std::path::PathBuf;

use replant::config::{self, Options};

use super::directory::directory;
use super::memory::bounded;

/// A configuration of one file, evaluated with nothing known of its instances.
pub fn config(input: &[u8]) {
    let directory = directory("config");
    fs::write(directory.join("main.replant.hcl"), input).expect("files in memory can be written");
    let options = Options { variables: vec![("name".to_owned(), "web".to_owned())], ..Options::default() };
    bounded(input.len() as u64, || {
        let (_, diagnostics) = config::check(&directory, &options);
        drop(diagnostics);
    });
    if let Ok(text) = std::str::from_utf8(input) {
        bounded(input.len() as u64, || {
            let file = || PathBuf::from("main.replant.hcl");
            if let Ok(once) = config::format_text(file(), text) {
                let twice = config::format_text(file(), &once);
                assert!(twice.is_ok_and(|twice| twice == once), "formatting twice is formatting once");
            }
        });
    }
}
