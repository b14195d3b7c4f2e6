//! Diagnostics as values: what went wrong, where, why, and how to fix it (promise 7).
//!
//! A leaf: nothing here renders or prints; `ui` does. A diagnostic carries its own source
//! line, so that it can be shown, stored and sent without the file it came from.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An error and all that lies below it, in one line.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(cause) = below {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        below = cause.source();
    }
    text
}

/// How much a diagnostic weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing can go on.
    Error,
    /// Replant goes on; a person should look.
    Warning,
    /// Worth knowing.
    Note,
}

/// A stable code of the form `config::unknown_attribute`: module, then the mistake in snake case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Code(String);

impl Code {
    /// Makes a code from a literal.
    #[must_use]
    pub fn new(code: &str) -> Self {
        Self(code.to_owned())
    }

    /// The code's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A place in a text file. Lines and columns count from 1; columns and lengths are in characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Span {
    /// The file, as the user would name it (relative to where they stand when possible).
    pub file: PathBuf,
    /// The line of the first character.
    pub line: u32,
    /// The column of the first character.
    pub column: u32,
    /// How many characters of that line are meant (at least 1; cut at the line's end).
    pub length: u32,
    /// The whole source line, without its line ending.
    pub source_line: String,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// One thing to tell the user.
///
/// Style: the summary is short and never holds user names or values; the detail says what and
/// why, with names and values; each help line is one way to fix it, a command to copy standing
/// alone on its line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Diagnostic {
    /// How much it weighs.
    pub severity: Severity,
    /// Its stable code.
    pub code: Code,
    /// What is wrong, in one short line.
    pub summary: String,
    /// What exactly, and why; may be empty.
    pub detail: String,
    /// Where, when it is in a file the user wrote.
    pub span: Option<Span>,
    /// The address it is about, when there is one.
    pub address: Option<String>,
    /// Ways to fix it.
    pub help: Vec<String>,
}

impl Diagnostic {
    /// An error with a code and a summary.
    #[must_use]
    pub fn error(code: &str, summary: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, summary)
    }

    /// A warning with a code and a summary.
    #[must_use]
    pub fn warning(code: &str, summary: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, summary)
    }

    /// A note with a code and a summary.
    #[must_use]
    pub fn note(code: &str, summary: impl Into<String>) -> Self {
        Self::new(Severity::Note, code, summary)
    }

    fn new(severity: Severity, code: &str, summary: impl Into<String>) -> Self {
        Self {
            severity,
            code: Code::new(code),
            summary: summary.into(),
            detail: String::new(),
            span: None,
            address: None,
            help: Vec::new(),
        }
    }

    /// Says what exactly and why.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Says where.
    #[must_use]
    pub fn at(mut self, span: Option<Span>) -> Self {
        self.span = span;
        self
    }

    /// Says which resource.
    #[must_use]
    pub fn about(mut self, address: impl fmt::Display) -> Self {
        self.address = Some(address.to_string());
        self
    }

    /// Adds one way to fix it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// Whether it stops the run.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// All diagnostics of a stage: collected, never one at a time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// No diagnostics yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    /// Adds all of another collection.
    pub fn extend(&mut self, others: impl IntoIterator<Item = Diagnostic>) {
        self.0.extend(others);
    }

    /// Whether any of them stops the run.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(Diagnostic::is_error)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in the order they were found.
    #[must_use]
    pub fn as_slice(&self) -> &[Diagnostic] {
        &self.0
    }

    /// Sorted by place (file, line, column), those without a place last; stable.
    pub fn sort_by_place(&mut self) {
        self.0.sort_by(|a, b| match (&a.span, &b.span) {
            (Some(a), Some(b)) => (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (None, None) => std::cmp::Ordering::Equal,
        });
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}
