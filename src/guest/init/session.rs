//! From power on to power off.

use std::process::ExitCode;

use super::{job, system};

/// Runs as the sandbox's init. Does nothing when it is not process 1.
#[must_use]
pub fn main() -> ExitCode {
    if std::process::id() != 1 {
        system::tell("replant-guest is the init of Replant's sandbox; it does nothing elsewhere");
        return ExitCode::FAILURE;
    }
    let outcome = system::set_up().map_err(|error| error.to_string()).and_then(|()| job::run());
    if let Err(reason) = outcome {
        system::tell(&format!("replant-guest: {reason}"));
    }
    system::power_off();
    ExitCode::FAILURE
}
