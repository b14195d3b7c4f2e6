//! `replant schema`: JSON Schemas of everything that is stored or printed for programs.

use clap::Args;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::exit::Exit;
use super::terminal;
use crate::copy;
use crate::diagnostic::Diagnostic;
use crate::plan::Plan;
use crate::state::State;
use crate::state::format::v1::JournalLine;
use crate::ui::inspection::Inspection;
use crate::ui::json::Line;

/// One schema. The copies in `schemas/` are held to these by a test.
#[derive(Debug, Clone, Copy)]
pub struct Published {
    /// Its name: `state`.
    pub name: &'static str,
    /// The version of the format.
    pub version: u32,
    /// What it describes.
    pub title: &'static str,
    schema: fn(&mut SchemaGenerator) -> Schema,
}

impl Published {
    /// The schema's text, ending in a line feed.
    ///
    /// # Errors
    /// Never for the schemas of [`PUBLISHED`]; a test writes all of them.
    pub fn text(&self) -> Result<String, serde_json::Error> {
        let mut generator = SchemaGenerator::default();
        let mut schema = (self.schema)(&mut generator);
        schema.insert("title".to_owned(), format!("{}, version {}", self.title, self.version).into());
        let mut text = serde_json::to_string_pretty(&schema)?;
        text.push('\n');
        Ok(text)
    }

    /// The name of its copy in `schemas/`.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{}.v{}.json", self.name, self.version)
    }
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    std::mem::take(generator).into_root_schema_for::<T>()
}

/// All schemas.
pub const PUBLISHED: &[Published] = &[
    Published { name: "state", version: 1, title: "Replant's state file", schema: of::<State> },
    Published {
        name: "journal",
        version: 1,
        title: "A line of the state's journal",
        schema: of::<JournalLine>,
    },
    Published { name: "plan", version: 1, title: "A plan", schema: of::<Plan> },
    Published {
        name: "manifest",
        version: 2,
        title: "The header of a write's manifest",
        schema: of::<copy::Header>,
    },
    Published {
        name: "inspection",
        version: 1,
        title: "What inspect --json gives",
        schema: of::<Inspection>,
    },
    Published { name: "events", version: 1, title: "A line of --json", schema: of::<Line<'static>> },
];

/// Prints a JSON Schema.
#[derive(Debug, Args)]
pub struct SchemaCommand {
    /// Which; without it, the names are listed.
    pub name: Option<String>,
}

/// Prints it, or the names.
#[must_use]
pub fn run(arguments: &SchemaCommand) -> Exit {
    let Some(name) = &arguments.name else {
        let lines: String =
            PUBLISHED.iter().map(|schema| format!("{:<11} {}\n", schema.name, schema.title)).collect();
        terminal::print(&lines);
        return Exit::Success;
    };
    let names: Vec<_> = PUBLISHED.iter().map(|schema| schema.name).collect();
    let unknown = || {
        Diagnostic::error("cli::unknown_schema", "there is no schema of this name")
            .detail(format!("`{name}` is none of {}.", names.join(", ")))
            .help("list them:\nreplant schema")
    };
    let text = PUBLISHED.iter().find(|schema| schema.name == name).ok_or_else(unknown).and_then(|schema| {
        schema.text().map_err(|error| {
            Diagnostic::error("cli::schema", "the schema cannot be written").detail(error.to_string())
        })
    });
    terminal::finish(text, false)
}
