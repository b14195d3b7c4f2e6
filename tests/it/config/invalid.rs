//! One mistake a file, and the diagnostic that it gets.

use std::fs;
use std::path::{Path, PathBuf};

use replant::diagnostic::Diagnostic;
use replant::ui::human::render_diagnostic;

use super::support::{checked_in, directory};

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/invalid");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The diagnostics of a file, with the temporary directory's name taken out.
fn diagnostics(file: &Path) -> Vec<Diagnostic> {
    let directory = directory(&fs::read_to_string(file).unwrap());
    let prefix = format!("{}/", directory.path().display());
    let clean = |text: &str| text.replace(&prefix, "");
    let (_, found) = checked_in(directory.path());
    found
        .into_iter()
        .map(|mut diagnostic| {
            diagnostic.detail = clean(&diagnostic.detail);
            diagnostic.help = diagnostic.help.iter().map(|help| clean(help)).collect();
            if let Some(span) = &mut diagnostic.span {
                span.file = clean(&span.file.display().to_string()).into();
            }
            diagnostic
        })
        .collect()
}

#[test]
fn every_mistake_has_one_diagnostic() {
    let files = files();
    assert!(files.len() >= 40, "only {} files", files.len());
    let mut wrong = Vec::new();
    for file in &files {
        let found = diagnostics(file);
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let [only] = found.as_slice() else {
            wrong.push(format!("{name}: {} diagnostics: {found:#?}", found.len()));
            continue;
        };
        if !only.is_error() || !only.code.as_str().starts_with("config::") {
            wrong.push(format!("{name}: {}", only.code));
        }
        if only.help.is_empty() || only.span.is_none() || only.detail.is_empty() {
            wrong.push(format!("{name}: no help, place or detail: {only:#?}"));
        }
        let text = format!("{only:?}");
        if text.contains("hunter2") {
            wrong.push(format!("{name}: shows a secret: {text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_diagnostic_reads_well() {
    insta::with_settings!({ prepend_module_to_snapshot => false, snapshot_path => "../../config/snapshots", omit_expression => true }, {
        for file in files() {
            let text: String = diagnostics(&file).iter().map(|each| render_diagnostic(each, false)).collect();
            let name = file.file_name().unwrap().to_string_lossy().replace(".replant.hcl", "");
            insta::assert_snapshot!(name, text);
        }
    });
}
