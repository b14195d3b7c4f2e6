//! `replant fmt`, with `terraform fmt` as its reference.

use std::fs;
use std::path::{Path, PathBuf};

use replant::config::format_text;

use super::support::directory;
use crate::support::replant;

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config")
}

#[test]
fn it_formats_as_terraform_does() {
    let text = fs::read_to_string(tests().join("format/unformatted.hcl")).unwrap();
    let expected = fs::read_to_string(tests().join("format/formatted.hcl")).unwrap();
    let formatted = format_text("x.replant.hcl".into(), &text).unwrap();
    similar_asserts(&formatted, &expected);
    similar_asserts(&format_text("x.replant.hcl".into(), &formatted).unwrap(), &formatted);
}

#[track_caller]
fn similar_asserts(got: &str, expected: &str) {
    let diff = similar::TextDiff::from_lines(expected, got);
    assert!(got == expected, "{}", diff.unified_diff().header("expected", "got"));
}

#[test]
fn what_is_formatted_stays_so() {
    let mut checked = 0;
    for file in fs::read_dir(tests().join("invalid")).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        if let Ok(once) = format_text("x.replant.hcl".into(), &text) {
            similar_asserts(&format_text("x.replant.hcl".into(), &once).unwrap(), &once);
            checked += 1;
        }
    }
    assert!(checked > 100, "{checked}");
}

#[test]
fn the_command_checks_shows_and_writes() {
    let directory = directory("locals {\na=1\n}\n");
    let path = directory.path().join("main.replant.hcl");
    let output = replant(directory.path(), ["fmt", "--check", "--diff"]).code(1);
    assert!(output.stdout.starts_with("main.replant.hcl\n--- old/main.replant.hcl\n"), "{}", output.stdout);
    assert!(output.stdout.contains("\n-a=1\n+  a = 1\n"), "{}", output.stdout);
    assert_eq!(fs::read_to_string(&path).unwrap(), "locals {\na=1\n}\n");
    assert_eq!(replant(directory.path(), ["fmt"]).success().stdout, "main.replant.hcl\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), "locals {\n  a = 1\n}\n");
    assert_eq!(replant(directory.path(), ["fmt", "--check"]).success().stdout, "");
    fs::write(&path, "locals {\n a = \n}\n").unwrap();
    assert!(replant(directory.path(), ["fmt"]).code(1).stderr.contains("config::syntax"));
}
