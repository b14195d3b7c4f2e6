//! `replant output`: the outputs of the last apply.

use std::path::Path;

use clap::Args;
use serde_json::{Value, json};

use super::exit::Exit;
use super::terminal;
use crate::diagnostic::Diagnostic;
use crate::state::{Paths, State, Store};
use crate::ui::human::state::{render_output, render_outputs};

/// Prints the outputs of the last apply.
#[derive(Debug, Args)]
pub struct Outputs {
    /// Only this one.
    pub name: Option<String>,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
    /// The text itself, without quotes and line feed, of one string, number or boolean.
    #[arg(long, conflicts_with = "json", requires = "name")]
    pub raw: bool,
    /// Those of the rehearsal.
    #[arg(long)]
    pub rehearse: bool,
}

/// Prints them.
#[must_use]
pub fn run(directory: &Path, arguments: &Outputs) -> Exit {
    let paths = super::state::paths(directory, arguments.rehearse);
    let said =
        Store::read(&paths).map_err(Diagnostic::from).and_then(|state| text(&state, &paths, arguments));
    terminal::finish(said, false)
}

fn text(state: &State, paths: &Paths, arguments: &Outputs) -> Result<String, Diagnostic> {
    let pretty = |value: &Value| format!("{value:#}\n");
    let Some(name) = &arguments.name else {
        if arguments.json {
            let all = state.outputs.iter().map(|(name, output)| {
                (name.clone(), json!({ "value": output.value, "sensitive": output.sensitive }))
            });
            return Ok(pretty(&Value::Object(all.collect())));
        }
        return if state.outputs.is_empty() {
            Err(Diagnostic::warning("output::none", "there are no outputs")
                .detail(format!("{} has none.", paths.state.display()))
                .help("write an `output` block, then:\nreplant apply"))
        } else {
            Ok(render_outputs(&state.outputs))
        };
    };
    let output = state.outputs.get(name).ok_or_else(|| {
        let nearest = state
            .outputs
            .keys()
            .map(|known| (strsim::damerau_levenshtein(known, name), known))
            .min()
            .filter(|(distance, _)| *distance <= 2);
        let unknown = Diagnostic::error("output::unknown", "there is no output of this name")
            .detail(format!("`{name}` is no output of the last apply."));
        match nearest {
            Some((_, known)) => unknown.help(format!("did you mean `{known}`?")),
            None => unknown.help("list them:\nreplant output"),
        }
    })?;
    let Some(value) = &output.value else {
        return Err(Diagnostic::error("output::sensitive", "the value of this output is not kept")
            .detail(format!(
                "`{name}` is sensitive; secrets stay out of the state, so its value is not there."
            ))
            .help("read it from where the configuration takes it"));
    };
    match (arguments.raw, arguments.json, value) {
        (true, _, Value::String(text)) => Ok(text.clone()),
        (true, _, Value::Number(_) | Value::Bool(_)) => Ok(value.to_string()),
        (true, _, _) => {
            Err(Diagnostic::error("output::not_raw", "only a string, a number or a boolean can be raw")
                .detail(format!("`{name}` is a list, an object or null."))
                .help(format!("take it as JSON:\nreplant output --json {name}")))
        }
        (false, true, value) => Ok(pretty(value)),
        (false, false, _) => Ok(format!("{}\n", render_output(output))),
    }
}
