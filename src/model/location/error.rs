//! What is wrong with a text that should say where an image is. Never with the text itself in it: that may hold
//! credentials.

/// A text that names no place of an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct ParseLocationError {
    /// What is wrong, a clause.
    pub what: String,
    /// What to write instead.
    pub help: String,
}

impl ParseLocationError {
    pub(super) fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { what: what.into(), help: help.into() }
    }
}
