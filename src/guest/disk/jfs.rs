//! A JFS that was mounted when it was copied. The kernel leaves its journal and its maps to JFS's own fsck
//! (it mounts nothing else to be written), which the sandbox has where the host has jfsutils.

use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::guest::program;

const FSCK: &str = "/bin/jfs_fsck";
/// A filesystem that takes longer is refused.
const CHECKING: Duration = Duration::from_secs(60);
/// fsck.jfs(8): errors that it corrected.
const CORRECTED: i32 = 1;

/// Whether the program is there that can do it.
#[must_use]
pub fn can_mend() -> bool {
    Path::new(FSCK).exists()
}

/// Puts in place what waits in the journal and checks the rest: what the guest would do at its next start
/// (`fsck -a`). The journal's replay alone (`--replay_journal_only`) marks as clean what is not, when it
/// fails (seen with jfsutils 1.1.15).
///
/// # Errors
/// When fsck.jfs is not there, finds what it cannot correct, or does not come to an end.
pub fn mend(device: &Path) -> io::Result<()> {
    let (status, _) = program::bounded(Command::new(FSCK).arg("-a").arg(device), CHECKING)?;
    match status.code() {
        Some(0 | CORRECTED) => Ok(()),
        _ => Err(io::Error::other("fsck.jfs does not correct it")),
    }
}
