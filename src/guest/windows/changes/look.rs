//! All wishes at once, but for the script: the first boot runs that among its own steps.

use super::{files, identity, name};
use crate::guest::findings::Findings;
use crate::guest::windows::files::Files;
use crate::guest::windows::look::Look;
use crate::guest::windows::registry::{HiveFile, Planned, RegistryError};
use crate::guest::windows::stage::Staged;
use crate::model::GuestChanges;

/// What is changed for the user.
#[derive(Debug, Default)]
pub struct Changes {
    /// Their files.
    pub staged: Vec<Staged>,
    /// Edits of SYSTEM.
    pub system: Vec<Planned>,
}

/// What the user's wishes come to in this guest. What cannot be is a finding that blocks.
///
/// # Errors
/// When the volume or its registry cannot be read.
pub fn look(
    files: &Files,
    system: &HiveFile,
    look: &Look,
    wanted: &GuestChanges,
    findings: &mut Findings,
) -> Result<Changes, RegistryError> {
    identity::look(wanted.identity, findings);
    let system = match &wanted.hostname {
        Some(wanted) => name::edits(&system.hive()?, look, wanted, findings)
            .map_err(|source| RegistryError::Hive { path: system.shown().to_owned(), source })?,
        None => Vec::new(),
    };
    Ok(Changes { staged: files::staged(files, &wanted.files, findings)?, system })
}
