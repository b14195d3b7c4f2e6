//! The envelope of every line that `--json` prints.

use schemars::JsonSchema;
use serde::Serialize;

use crate::apply::Event;
use crate::copy;
use crate::diagnostic::Diagnostic;
use crate::plan::Plan;

/// The version of the lines.
pub const VERSION: u32 = 1;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Line<'a> {
    /// [`VERSION`]; a reader refuses versions it does not know.
    pub version: u32,
    /// What is said.
    pub said: Said<'a>,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "kind", content = "value", rename_all = "snake_case")]
pub enum Said<'a> {
    /// A diagnostic.
    Diagnostic(&'a Diagnostic),
    /// A plan.
    Plan(&'a Plan),
    /// An event of a run.
    Event(&'a Event),
    /// `replant write` goes on.
    Copy(&'a copy::Event),
    /// `replant write` is done.
    Written(&'a copy::Receipt),
}

impl Line<'_> {
    /// The line, ending in a line feed. All types in it have text keys and finite numbers, so that
    /// writing cannot fail; were it to, the line says so instead of being lost.
    #[must_use]
    pub fn render(&self) -> String {
        let mut line = serde_json::to_string(self).unwrap_or_else(|error| {
            serde_json::json!({ "version": self.version, "said": { "kind": "unwritable", "value": error.to_string() } })
                .to_string()
        });
        line.push('\n');
        line
    }
}

/// One diagnostic as a line.
#[must_use]
pub fn render_diagnostic(diagnostic: &Diagnostic) -> String {
    Line { version: VERSION, said: Said::Diagnostic(diagnostic) }.render()
}

/// A plan as a line.
#[must_use]
pub fn render_plan(plan: &Plan) -> String {
    Line { version: VERSION, said: Said::Plan(plan) }.render()
}

/// An event as a line.
#[must_use]
pub fn render_event(event: &Event) -> String {
    Line { version: VERSION, said: Said::Event(event) }.render()
}

/// Diagnostics, one a line.
#[must_use]
pub fn render_diagnostics<'a>(diagnostics: impl IntoIterator<Item = &'a Diagnostic>) -> String {
    diagnostics.into_iter().map(render_diagnostic).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_each() {
        let diagnostic = Diagnostic::error("a::b", "summary").detail("two\nlines");
        let text = render_diagnostics([&diagnostic, &diagnostic]);
        assert_eq!(text.lines().count(), 2);
        for line in text.lines() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(value["version"], 1);
            assert_eq!(value["said"]["kind"], "diagnostic");
            assert_eq!(value["said"]["value"]["code"], "a::b");
        }
    }
}
