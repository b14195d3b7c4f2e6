//! The book says what the code does: its lists are held against the source, its links lead somewhere.
//!
//! After a change of the source, `REPLANT_UPDATE_DOCS=1 cargo test --test it docs` writes the lists anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

const BEGIN: &str = "<!-- begin: made from the source -->\n";
const END: &str = "<!-- end -->";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(directory: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|is| is == extension) {
            found.push(path);
        }
    }
    found.sort();
}

/// The part of a page between the marks is `expected`; or becomes it, when an update is asked for.
#[track_caller]
fn holds(page: &str, expected: &str) {
    let path = root().join("docs/src").join(page);
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the mark of the beginning");
    let (is, after) = rest.split_once(END).expect("the mark of the end");
    if is == expected {
        return;
    }
    assert!(
        std::env::var_os("REPLANT_UPDATE_DOCS").is_some(),
        "docs/src/{page} is not what the source says; write it anew with\n\n    \
         REPLANT_UPDATE_DOCS=1 cargo test --test it docs\n\n{}",
        similar::TextDiff::from_lines(is, expected).unified_diff()
    );
    fs::write(&path, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
}

/// Every code, and the summaries it comes with.
#[test]
fn every_code_is_listed() {
    let code = Regex::new(r#""([a-z]+::[a-z0-9_]+)"(?:(?:\s*\.into\(\))?\s*,\s*(?:FindingSeverity::\w+,\s*|Severity::\w+,\s*|Blocks,\s*|Warns,\s*|Informs,\s*)?"([^"{}]+)")?"#).unwrap();
    let mut codes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut sources = Vec::new();
    files(&root().join("src"), "rs", &mut sources);
    for path in sources {
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        let text: String = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .flat_map(|line| [line, "\n"])
            .collect();
        for found in code.captures_iter(&text) {
            let summaries = codes.entry(found[1].to_owned()).or_default();
            summaries.extend(found.get(2).map(|summary| summary.as_str().to_owned()));
        }
    }
    let mut table = String::new();
    let mut area = "";
    for (code, summaries) in &codes {
        let (of, _) = code.split_once("::").unwrap();
        if of != area {
            area = of;
            write!(table, "\n### `{area}`\n\n| code | it says |\n|---|---|\n").unwrap();
        }
        let summaries: Vec<_> = summaries.iter().map(String::as_str).collect();
        writeln!(table, "| `{code}` | {} |", summaries.join("; ").replace('|', "\\|")).unwrap();
    }
    table.push('\n');
    holds("codes.md", &table);
}

#[test]
fn every_function_is_listed() {
    let text = fs::read_to_string(root().join("src/config/functions/table.rs")).unwrap();
    let entry = Regex::new(r#"(exactly|at_least|between)\("([a-z0-9]+)", (\d+)(?:, (\d+))?"#).unwrap();
    let mut table = "| function | arguments |\n|---|---|\n".to_owned();
    for found in entry.captures_iter(&text) {
        let arguments = match (&found[1], &found[3], found.get(4)) {
            ("exactly", count, _) => count.to_owned(),
            ("between", least, Some(most)) => format!("{least} to {}", most.as_str()),
            (_, least, _) => format!("{least} or more"),
        };
        writeln!(table, "| `{}` | {arguments} |", &found[2]).unwrap();
    }
    holds("functions.md", &table);
}

/// Every command's help, as the program prints it.
#[test]
fn every_command_is_listed() {
    let directory = tempfile::tempdir().unwrap();
    let help = |command: &[&str]| {
        crate::support::replant(directory.path(), command.iter().chain(&["--help"])).success().stdout
    };
    let commands = |text: &str| -> Vec<String> {
        let listed = text.lines().skip_while(|line| *line != "Commands:").skip(1);
        let listed = listed.take_while(|line| line.starts_with("  "));
        let names =
            listed.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
        names.filter(|name| *name != "help").map(str::to_owned).collect()
    };
    let mut text = String::new();
    for command in commands(&help(&[])) {
        let said = help(&[&command]);
        write!(text, "\n### `replant {command}`\n\n```text\n{}\n```\n", said.trim_end()).unwrap();
        for inner in commands(&said) {
            let said = help(&[&command, &inner]);
            write!(text, "\n### `replant {command} {inner}`\n\n```text\n{}\n```\n", said.trim_end()).unwrap();
        }
    }
    text.push('\n');
    holds("command-line.md", &text);
}

#[test]
fn every_page_is_in_the_summary_and_every_link_leads_somewhere() {
    let book = root().join("docs/src");
    let mut pages = Vec::new();
    files(&book, "md", &mut pages);
    let summary = fs::read_to_string(book.join("SUMMARY.md")).unwrap();
    for page in &pages {
        let name = page.file_name().unwrap().to_string_lossy();
        assert!(
            name == "SUMMARY.md" || summary.contains(&format!("({name})")),
            "{name} is not in SUMMARY.md"
        );
    }
    pages.push(root().join("README.md"));
    let link = Regex::new(r"\]\(([^)#:]+)(?:#[^)]*)?\)").unwrap();
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for target in link.captures_iter(&text) {
            let to = page.parent().unwrap().join(&target[1]);
            assert!(to.exists(), "{}: {} leads nowhere", page.display(), &target[1]);
        }
    }
}

/// The table of updates is the code's.
#[test]
fn the_table_of_updates_is_the_planner_s() {
    let page = fs::read_to_string(root().join("docs/src/updates.md")).unwrap();
    let (instance, volume) = page.split_once("## A volume").unwrap();
    let rows = |part: &str, way: &str| -> BTreeSet<String> {
        let ends = format!("| {way} |");
        let rows = part.lines().filter(|line| line.starts_with("| `") && line.ends_with(&ends));
        rows.map(|line| line.split('`').nth(1).unwrap().to_owned()).collect()
    };
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(rows(instance, "replacement"), set(&replant::plan::instance::FORCING));
    assert_eq!(rows(instance, "stop and start"), set(&replant::plan::instance::STOPPING));
    assert_eq!(rows(volume, "replacement"), set(&replant::plan::volume::FORCING));
}
