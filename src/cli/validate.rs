//! `replant validate`: all mistakes of a configuration, without looking at images or the cloud.

use std::path::Path;

use clap::Args;
use serde_json::json;

use super::exit::Exit;
use super::terminal;
use super::variables::Variables;
use crate::config;
use crate::diagnostic::{Diagnostics, Severity};
use crate::plan;

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
    let (checked, mut diagnostics) = match arguments.variables.options() {
        Ok(options) => config::check(directory, &options),
        Err(diagnostics) => (None, diagnostics),
    };
    if let Some((_, evaluated)) = &checked {
        diagnostics.extend(evaluated.instances.values().flat_map(plan::check::secrets));
    }
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
