//! The layer rule: data flows one way, and only the edge prints. Also: no test file is forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Module → the modules of this crate that it may use.
const ALLOWED: &[(&str, &[&str])] = &[
    ("diagnostic", &[]),
    ("model", &["diagnostic"]),
    ("image", &["model", "diagnostic"]),
    ("copy", &["model", "diagnostic", "image"]),
    ("guest", &["model", "diagnostic"]),
    ("sandbox", &["model", "diagnostic", "image", "guest"]),
    ("config", &["model", "diagnostic"]),
    ("provider", &["model", "diagnostic"]),
    ("state", &["model", "diagnostic", "provider"]),
    ("graph", &["model", "diagnostic"]),
    ("observe", &["model", "diagnostic", "image", "guest", "sandbox", "provider", "state"]),
    ("plan", &["model", "diagnostic", "image", "guest", "graph", "provider", "state", "observe"]),
    (
        "apply",
        &[
            "model",
            "diagnostic",
            "image",
            "copy",
            "guest",
            "sandbox",
            "graph",
            "provider",
            "state",
            "observe",
            "plan",
        ],
    ),
    (
        "ui",
        &[
            "model",
            "diagnostic",
            "image",
            "copy",
            "guest",
            "graph",
            "provider",
            "state",
            "observe",
            "plan",
            "apply",
        ],
    ),
];

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn source_files() -> Vec<(String, PathBuf, String)> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    files
        .into_iter()
        .map(|path| {
            let relative = path.strip_prefix(&source).unwrap();
            let first = relative.components().next().unwrap().as_os_str().to_string_lossy();
            let module = first.strip_suffix(".rs").unwrap_or(&first).to_owned();
            let text = fs::read_to_string(&path).unwrap();
            (module, path, text)
        })
        .collect()
}

/// The first segments after `crate::` anywhere in a text, also in `use crate::{a::…, b}`.
fn uses(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for (position, _) in line.match_indices("crate::") {
            if line[..position].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
                continue;
            }
            let rest = &line[position + "crate::".len()..];
            assert!(!rest.starts_with('{'), "name one module a `use crate::` line: {line}");
            found.insert(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    found
}

#[test]
fn modules_use_only_what_lies_below_them() {
    let allowed: BTreeMap<_, BTreeSet<_>> =
        ALLOWED.iter().map(|(module, below)| (*module, below.iter().copied().collect())).collect();
    let mut wrong = Vec::new();
    for (module, path, text) in source_files() {
        if matches!(module.as_str(), "cli" | "main" | "lib" | "bin") {
            continue;
        }
        let below = allowed.get(module.as_str()).unwrap_or_else(|| panic!("no layer for {}", path.display()));
        for used in uses(&text) {
            if used != module && !below.contains(used.as_str()) {
                wrong.push(format!("{} uses crate::{used}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_edge_prints() {
    for (module, path, text) in source_files() {
        if matches!(module.as_str(), "cli" | "ui" | "main" | "bin") {
            continue;
        }
        for word in [
            "println!",
            "eprintln!",
            "print!(",
            "eprint!(",
            "std::io::stdout",
            "std::io::stderr",
            "indicatif",
        ] {
            assert!(!text.contains(word), "{} holds {word}", path.display());
        }
    }
}

#[test]
fn files_stay_readable() {
    for (_, path, text) in source_files() {
        assert!(text.lines().count() <= 700, "{} asks to be divided", path.display());
    }
}

#[test]
fn no_test_file_is_forgotten() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let main = fs::read_to_string(tests.join("main.rs")).unwrap();
    for entry in fs::read_dir(&tests).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if path.is_file() && name != "main" && path.extension().is_some_and(|extension| extension == "rs") {
            assert!(main.contains(&format!("mod {name};")), "{} is not in main.rs", path.display());
        }
    }
}
