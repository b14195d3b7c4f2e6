//! A state file's bytes to a state, with the place of a mistake.

use std::path::Path;

use serde::Deserialize;

use super::error::StateError;
use super::format::v1::{State, VERSION};
use super::validate;
use crate::diagnostic::Span;

/// The most characters of a source line that a message carries.
const LINE_LIMIT: usize = 500;

/// What every version of the format has.
#[derive(Deserialize)]
struct Probe {
    version: u64,
    replant_version: Option<String>,
}

/// Reads a state of any version that we know.
///
/// # Errors
/// It is no state, or one of a version that we do not know, or says what can never be.
pub(super) fn state(bytes: &[u8], path: &Path) -> Result<State, StateError> {
    if let Ok(Probe { version, replant_version }) = serde_json::from_slice(bytes)
        && version != u64::from(VERSION)
    {
        return Err(StateError::Version { path: path.to_owned(), found: version, writer: replant_version });
    }
    let state: State = serde_json::from_slice(bytes).map_err(|error| syntax(&error, bytes, path))?;
    validate::state(&state).map_err(|why| StateError::Invalid { path: path.to_owned(), why })?;
    Ok(state)
}

fn syntax(error: &serde_json::Error, bytes: &[u8], path: &Path) -> StateError {
    let line = bytes.split(|byte| *byte == b'\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    let source_line: String = String::from_utf8_lossy(line).chars().take(LINE_LIMIT).collect();
    let column = error.column().max(1);
    let span = (column <= LINE_LIMIT && !bytes.is_empty()).then(|| {
        Box::new(Span {
            file: path.to_owned(),
            line: u32::try_from(error.line().max(1)).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
            length: 1,
            source_line,
        })
    });
    StateError::Syntax { path: path.to_owned(), message: error.to_string(), span }
}
