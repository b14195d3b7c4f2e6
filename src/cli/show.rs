//! `replant show`: the state, or a saved plan, as a person reads it.

use std::path::{Path, PathBuf};

use clap::Args;

use super::exit::Exit;
use super::terminal;
use crate::diagnostic::Diagnostic;
use crate::plan::saved;
use crate::state::Store;
use crate::ui::human::plan::render_plan_as;
use crate::ui::human::state::render_state;
use crate::ui::json;

/// Shows the state, or a saved plan.
#[derive(Debug, Args)]
pub struct ShowCommand {
    /// A saved plan; without one, the state.
    #[arg(value_name = "PLAN")]
    pub plan: Option<PathBuf>,
    /// Lines of context around changes in guest files.
    #[arg(long, value_name = "LINES", default_value_t = 3)]
    pub context: usize,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
    /// The state of the rehearsal.
    #[arg(long, conflicts_with = "plan")]
    pub rehearse: bool,
}

/// Prints it.
#[must_use]
pub fn run(directory: &Path, command: &ShowCommand) -> Exit {
    terminal::finish(text(directory, command), command.json)
}

fn text(directory: &Path, command: &ShowCommand) -> Result<String, Diagnostic> {
    if let Some(path) = &command.plan {
        let (plan, _) = saved::load(path).map_err(|error| error.diagnostic())?;
        return Ok(if command.json {
            json::render_plan(&plan)
        } else {
            render_plan_as(&plan, command.context, terminal::stdout_look())
        });
    }
    let paths = super::state::paths(directory, command.rehearse);
    let state = Store::read(&paths).map_err(|error| error.diagnostic())?;
    if command.json {
        return serde_json::to_string_pretty(&state).map(|text| text + "\n").map_err(|error| {
            Diagnostic::error("state::encode", "The state cannot be written as JSON")
                .detail(error.to_string())
        });
    }
    Ok(render_state(&state))
}
