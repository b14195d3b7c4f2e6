//! Terraform is the reference: a table of expressions and what it makes of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::support::checked_in;

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config")
}

/// The expressions and their recorded values.
fn table() -> Vec<(String, String)> {
    let text = fs::read_to_string(tests().join("expressions.txt")).unwrap();
    text.split("\n>>> ")
        .skip(1)
        .map(|entry| {
            let (expression, value) = entry.split_once("\n<<< ").unwrap();
            (expression.to_owned(), value.trim_end().to_owned())
        })
        .collect()
}

/// A directory with the files that the expressions read.
fn workspace(name: &str, text: &str) -> TempDir {
    let directory = TempDir::new().unwrap();
    for entry in walkdir::WalkDir::new(tests().join("reference")) {
        let entry = entry.unwrap();
        let target = directory.path().join(entry.path().strip_prefix(tests().join("reference")).unwrap());
        if entry.file_type().is_dir() {
            fs::create_dir_all(target).unwrap();
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
    fs::write(directory.path().join(name), text).unwrap();
    directory
}

fn configuration(table: &[(String, String)]) -> String {
    let each = table.iter().enumerate().map(|(index, (expression, _))| {
        format!("locals {{\n  e{index} = {expression}\n}}\noutput \"e{index}\" {{\n  value = jsonencode(local.e{index})\n}}\n")
    });
    each.collect()
}

#[test]
fn expressions_mean_what_they_mean_to_terraform() {
    let table = table();
    assert!(table.len() > 200, "{}", table.len());
    let directory = workspace("main.replant.hcl", &configuration(&table));
    let (evaluated, diagnostics) = checked_in(directory.path());
    let outputs = evaluated.expect("it parses").outputs;
    let mut wrong = Vec::new();
    for (index, (expression, expected)) in table.iter().enumerate() {
        let got = match outputs.get(&format!("e{index}")).and_then(|output| output.value.clone()) {
            Some(Value::String(text)) => text,
            other => format!("{other:?}"),
        };
        if got != *expected {
            wrong.push(format!("{expression}\n    expected {expected}\n    got      {got}"));
        }
    }
    assert!(wrong.is_empty(), "{}\n{:#?}", wrong.join("\n"), diagnostics);
    assert!(!diagnostics.has_errors(), "{diagnostics:#?}");
}

#[test]
fn terraform_agrees() {
    if Command::new("terraform").arg("version").output().is_err() {
        eprintln!("skipped: terraform is not installed; the recorded values were checked");
        return;
    }
    let table = table();
    let directory = workspace("main.tf", &configuration(&table));
    let terraform = |arguments: &[&str]| {
        let output = Command::new("terraform")
            .args(arguments)
            .current_dir(directory.path())
            .env("TF_CLI_CONFIG_FILE", "/dev/null")
            .env("CHECKPOINT_DISABLE", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    terraform(&["apply", "-auto-approve", "-no-color", "-input=false"]);
    let outputs: Value = serde_json::from_slice(&terraform(&["output", "-json"])).unwrap();
    for (index, (expression, expected)) in table.iter().enumerate() {
        assert_eq!(outputs[format!("e{index}")]["value"], Value::String(expected.clone()), "{expression}");
    }
}
