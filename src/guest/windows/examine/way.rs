//! The way into a volume that may be closed: what Windows had not finished is put in place first, and
//! where that cannot be, what a user gives up.

use std::io;
use std::path::Path;

use super::run::Made;
use crate::guest::report::{Edit, EditKind, FileChange, FileDiff, Finding, FindingSeverity, GiveUp};
use crate::guest::windows::mount::{self, Gate, Ntfs};
use crate::guest::windows::review;

const LOG: &str = "clear NTFS's log and have Windows check the volume (chkdsk) when it first starts; what waits in the log is lost";
const SESSION: &str =
    "remove the hibernated session, so that Windows starts afresh; what was not saved in it is lost";

/// What stands before a volume, whether that can be put in order, and what its user has said of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    gate: Gate,
    /// How many records of the log can be put in place.
    waiting: Option<u32>,
    /// The user gives up what the gate protects.
    is_given_up: bool,
}

impl Way {
    /// Through this gate of a volume. Nothing is changed by asking.
    pub fn new(gate: Gate, device: &Path, give_up: GiveUp) -> Self {
        let waiting = (gate == Gate::Unclean).then(|| mount::apply_log(device, false).ok()).flatten();
        let is_given_up = match gate {
            Gate::Unclean => give_up.log && waiting.is_none(),
            Gate::Hibernated => give_up.session,
            Gate::Open | Gate::Damaged(_) | Gate::NoTools => false,
        };
        Self { gate, waiting, is_given_up }
    }

    /// Whether the volume may be changed.
    pub fn is_open(self) -> bool {
        self.gate == Gate::Open || self.waiting.is_some() || self.is_given_up
    }

    /// What a person is told; what they have given up is only a warning.
    pub fn finding(self, name: &str) -> Option<Finding> {
        if let Some(records) = self.waiting {
            return Some(review::log_waits(name, records));
        }
        let found = review::gate(self.gate, name)?;
        if !self.is_given_up {
            return Some(found);
        }
        let what = if self.gate == Gate::Hibernated {
            "as you accept, the session is removed: what was not saved in it is lost, and Windows checks its file system when it first starts"
        } else {
            "as you accept, the log is cleared: what Windows had not put in place is lost, and it checks its file system when it first starts"
        };
        Some(Finding { severity: FindingSeverity::Warns, advice: None, ..found.remedy(what) })
    }

    /// Mounts the volume, opened first when it is to be written.
    ///
    /// # Errors
    /// When ntfsrecover, ntfsfix or ntfs-3g refuses, or the volume is not open after all.
    pub fn mount(self, device: &Path, at: &Path, write: bool) -> io::Result<Ntfs> {
        match self.gate {
            Gate::Unclean if write && self.waiting.is_some() => {
                mount::apply_log(device, true)?;
                match mount::gate(device) {
                    Gate::Open => Ntfs::mount(device, at, true),
                    _ => Err(io::Error::other("its log is applied, and it is not clean")),
                }
            }
            Gate::Unclean if write && self.is_given_up => {
                mount::clear_log(device)?;
                Ntfs::mount(device, at, true)
            }
            Gate::Hibernated if write && self.is_given_up => {
                // It ends by saying that the volume is hibernated; mounting shows whether that is all.
                let cleared = mount::clear_log(device);
                Ntfs::mount_without_session(device, at).map_err(|error| cleared.err().unwrap_or(error))
            }
            _ => Ntfs::mount(device, at, write),
        }
    }

    /// Notes what opening it does.
    pub fn note(self, name: &str, made: &mut Made) {
        let mut add = |path: String, purpose: String, kind: EditKind| {
            let lines = vec![purpose.clone()];
            let change = FileChange::Binary { old_length: None, new_length: None, lines };
            made.diffs.push(FileDiff { path: path.clone(), change });
            made.recipe.edits.push(Edit { path, purpose, kind });
        };
        if let Some(records) = self.waiting {
            let purpose = format!("apply NTFS's log, as Windows does when it starts (records: {records})");
            add(name.to_owned(), purpose, EditKind::ApplyLog);
        } else if self.is_given_up {
            add(name.to_owned(), LOG.to_owned(), EditKind::ClearLog);
            if self.gate == Gate::Hibernated {
                add("C:\\hiberfil.sys".to_owned(), SESSION.to_owned(), EditKind::RemoveSession);
            }
        }
    }
}
