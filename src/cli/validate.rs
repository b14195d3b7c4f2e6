//! `replant validate`: all mistakes of a configuration, without looking at images or the cloud.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::exit::Exit;
use super::terminal;
use crate::config::{self, Options};
use crate::diagnostic::{Diagnostics, Severity};

/// Values for a configuration's variables.
#[derive(Debug, Clone, Default, Args)]
pub struct Variables {
    /// A value for a variable.
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = parse_variable)]
    pub variables: Vec<(String, String)>,
    /// A file of values for variables (HCL, or JSON when it ends in .json).
    #[arg(long = "var-file", value_name = "FILE")]
    pub variable_files: Vec<PathBuf>,
}

fn parse_variable(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(name, value)| (name.trim().to_owned(), value.to_owned()))
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| "write it as NAME=VALUE".to_owned())
}

/// The environment's `REPLANT_VAR_…`; what is no text is passed over.
#[must_use]
pub fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("REPLANT_VAR_"))
        .collect()
}

impl Variables {
    /// With the environment's `REPLANT_VAR_…`.
    #[must_use]
    pub fn options(&self) -> Options {
        Options {
            variables: self.variables.clone(),
            variable_files: self.variable_files.clone(),
            environment: environment(),
        }
    }
}

/// Checks the configuration, without looking at images, state or the cloud.
#[derive(Debug, Args)]
pub struct Validate {
    /// Values for variables.
    #[command(flatten)]
    pub variables: Variables,
    /// As one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Checks it.
#[must_use]
pub fn run(directory: &Path, arguments: &Validate) -> Exit {
    let (checked, diagnostics) = config::check(directory, &arguments.variables.options());
    let valid = checked.is_some() && !diagnostics.has_errors();
    if arguments.json {
        let count = |severity| diagnostics.as_slice().iter().filter(|each| each.severity == severity).count();
        let report = json!({
            "version": 1,
            "valid": valid,
            "errors": count(Severity::Error),
            "warnings": count(Severity::Warning),
            "diagnostics": diagnostics.as_slice(),
        });
        terminal::print(&format!("{report:#}\n"));
    } else {
        if !diagnostics.is_empty() {
            terminal::print_diagnostics(&diagnostics, false);
        }
        if valid {
            terminal::print(&success(checked.map_or(0, |(_, found)| found.instances.len()), &diagnostics));
        }
    }
    if valid { Exit::Success } else { Exit::Failure }
}

fn success(instances: usize, diagnostics: &Diagnostics) -> String {
    let plural = if instances == 1 { "" } else { "s" };
    let warned = if diagnostics.is_empty() { "" } else { ", but look at the warnings above" };
    format!("The configuration is valid: {instances} instance{plural}{warned}.\n")
}
