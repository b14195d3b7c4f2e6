//! How long and how often a server is asked.

use std::time::Duration;

/// How long making a connection may take.
pub(super) const CONNECT: Duration = Duration::from_secs(10);
/// How often a range is asked for.
pub(super) const ATTEMPTS: u32 = 5;
/// How many of these may end because no byte came.
pub(super) const STALLS: u32 = 3;
/// Waits between the attempts.
pub(super) const WAITS: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(8)];
/// The longest wait that a busy server can ask for.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// How many stall times one attempt may take in all: a server that sends a byte now and then is
/// no better than a silent one.
pub(super) const STALLS_IN_ALL: u32 = 8;
/// Most redirections of one request.
pub(super) const REDIRECTIONS: usize = 5;

/// Seconds without a byte after which an attempt is given up, when the environment says nothing.
const STALL: u64 = 15;
/// The variable that says otherwise.
const STALL_VARIABLE: &str = "REPLANT_STALL_SECONDS";

/// How long to wait for a byte.
pub(super) fn stall() -> Duration {
    let said = std::env::var(STALL_VARIABLE).ok().and_then(|text| text.parse().ok());
    Duration::from_secs(said.filter(|seconds| (1..=600).contains(seconds)).unwrap_or(STALL))
}
