//! The exit codes, which scripts rely on. 0, 1 and 2 are Terraform's.

use std::process::ExitCode;

/// Done; for `plan --detailed-exitcode`: nothing to do.
pub const SUCCESS: u8 = 0;
/// It failed; the diagnostics say why.
pub const FAILURE: u8 = 1;
/// `plan --detailed-exitcode`: there are changes.
pub const CHANGES: u8 = 2;
/// `inspect`: something stands in the way of booting on EC2.
pub const BLOCKED: u8 = 3;
/// Stopped by an interrupt; the state is intact.
pub const INTERRUPTED: u8 = 130;

/// What a command came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// See [`SUCCESS`].
    Success,
    /// See [`FAILURE`].
    Failure,
    /// See [`CHANGES`].
    Changes,
    /// See [`BLOCKED`].
    Blocked,
    /// See [`INTERRUPTED`].
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Success => SUCCESS,
            Exit::Failure => FAILURE,
            Exit::Changes => CHANGES,
            Exit::Blocked => BLOCKED,
            Exit::Interrupted => INTERRUPTED,
        })
    }
}
