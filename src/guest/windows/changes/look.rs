//! All wishes at once.

use super::{files, identity, name};
use crate::guest::findings::{Findings, blocks};
use crate::guest::windows::files::Files;
use crate::guest::windows::firstboot::Script;
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
    /// What the first boot runs of theirs.
    pub script: Option<Script>,
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
    let script = wanted.first_boot.as_ref().and_then(|wanted| match Script::new(wanted) {
        Ok(script) => Some(script),
        Err(error) => {
            findings.push(
                blocks("first_boot_impossible", "your script cannot be run at the guest's first boot")
                    .seen(error.to_string())
                    .advice("The guest is Windows. Begin the script with one of these lines:\n#!powershell\n#!cmd"),
            );
            None
        }
    });
    let system = match &wanted.hostname {
        Some(wanted) => name::edits(&system.hive()?, look, wanted, findings)
            .map_err(|source| RegistryError::Hive { path: system.shown().to_owned(), source })?,
        None => Vec::new(),
    };
    Ok(Changes { staged: files::staged(files, &wanted.files, findings)?, system, script })
}
