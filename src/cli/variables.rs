//! Values for a configuration's variables, from the command line and the environment.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;

use crate::config::Options;
use crate::diagnostic::{Diagnostic, Diagnostics};

/// Values for a configuration's variables.
#[derive(Debug, Clone, Default, Args)]
pub struct Variables {
    /// Sets a variable; may be repeated.
    #[arg(long = "var", value_name = "NAME=VALUE")]
    pub variables: Vec<String>,
    /// Reads variables from a file (HCL, or JSON when it ends in .json); may be repeated.
    #[arg(long = "var-file", value_name = "FILE")]
    pub variable_files: Vec<PathBuf>,
}

impl Variables {
    /// With the environment's `REPLANT_VAR_…`.
    ///
    /// # Errors
    /// When a `--var` is not of the form name=value: a diagnostic, since the exit code of a wrong
    /// command line is also that of a plan with changes.
    pub fn options(&self) -> Result<Options, Diagnostics> {
        let mut variables = Vec::new();
        for text in &self.variables {
            let pair = text.split_once('=').map(|(name, value)| (name.trim(), value));
            let Some((name, value)) = pair.filter(|(name, _)| !name.is_empty()) else {
                return Err(Diagnostic::error("config::bad_variable_argument", "A variable without a value")
                    .detail("--var takes a name and a value.")
                    .help("write it as --var name=value")
                    .into());
            };
            variables.push((name.to_owned(), value.to_owned()));
        }
        Ok(Options {
            variables,
            variable_files: self.variable_files.clone(),
            environment: environment(),
            components_may_be_missing: false,
        })
    }
}

/// The environment's `REPLANT_VAR_…`; what is no text is passed over.
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("REPLANT_VAR_"))
        .collect()
}
