//! `replant graph`: what comes before what, as a picture.

use std::path::Path;

use clap::{Args, ValueEnum};

use super::exit::Exit;
use super::terminal;
use super::workspace::{WorkspaceArguments, known};
use crate::config;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::graph::{self, Graph};
use crate::observe::{Inspector, Machine, Pins, Prepared, resolve};
use crate::plan::build::shape;
use crate::state::Store;

/// A language that draws graphs.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Language {
    /// Graphviz.
    Dot,
    /// Mermaid, for pull requests.
    Mermaid,
}

/// Draws the graph of the configuration's restore.
#[derive(Debug, Args)]
pub struct GraphCommand {
    /// The language.
    #[arg(long, value_enum, default_value = "dot")]
    pub format: Language,
    /// The configuration's variables.
    #[command(flatten)]
    pub variables: WorkspaceArguments,
}

/// Nobody looks into guests for a picture.
struct Nobody;

impl Inspector for Nobody {
    fn inspect(&self, machine: &Machine) -> Result<Prepared, Diagnostic> {
        Err(Diagnostic::note("graph::not_inspected", "Not inspected").about(&machine.spec.address))
    }
}

/// Draws it.
#[must_use]
pub fn run(directory: &Path, command: &GraphCommand) -> Exit {
    terminal::finish(draw(directory, command), false)
}

fn draw(directory: &Path, command: &GraphCommand) -> Result<String, Diagnostics> {
    let (config, diagnostics) = config::load(directory, &command.variables.values.options()?);
    let Some(config) = config.filter(|_| !diagnostics.has_errors()) else { return Err(diagnostics) };
    let paths = super::state::paths(directory, command.variables.rehearse);
    let state = Store::read(&paths).map_err(|error| Diagnostics::from(error.diagnostic()))?;
    let (evaluated, diagnostics) = config.evaluate(&known(&state, &std::collections::BTreeSet::new()));
    if diagnostics.has_errors() {
        return Err(diagnostics);
    }
    let (machines, diagnostics) = resolve(&evaluated.instances, &Pins::of(&state), &Nobody, &|_| false);
    if diagnostics.has_errors() {
        return Err(diagnostics);
    }
    let shapes: Vec<_> = machines
        .values()
        .map(|machine| shape(machine, machine.spec.guest.drivers == crate::model::DriversPolicy::Auto))
        .collect();
    let graph = Graph::build(&shapes).map_err(|cycle| {
        Diagnostics::from(
            Diagnostic::error("plan::cycle", "A circle of dependencies").detail(cycle.to_string()),
        )
    })?;
    Ok(graph.draw(match command.format {
        Language::Dot => graph::Format::Dot,
        Language::Mermaid => graph::Format::Mermaid,
    }))
}
