//! Keeps the terminal from echoing `^C` into the bars: what stands behind a bar's line makes it
//! two lines, and the one is left behind when the bars are drawn anew.

use std::io;

use rustix::process::getpgrp;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

/// The terminal's settings as they were; put back when this is dropped.
pub(super) struct NoEcho(Termios);

impl NoEcho {
    /// Stops the echo of control characters. `None` when standard input is no terminal, or we do
    /// not run in its foreground (changing its settings would stop us).
    pub(super) fn begin() -> Option<Self> {
        let terminal = io::stdin();
        if tcgetpgrp(&terminal).ok()? != getpgrp() {
            return None;
        }
        let before = tcgetattr(&terminal).ok()?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHOCTL);
        tcsetattr(&terminal, OptionalActions::Now, &quiet).ok()?;
        Some(Self(before))
    }
}

impl Drop for NoEcho {
    fn drop(&mut self) {
        let terminal = io::stdin();
        if tcgetpgrp(&terminal).is_ok_and(|group| group == getpgrp()) {
            let _terminal_gone = tcsetattr(&terminal, OptionalActions::Now, &self.0);
        }
    }
}
