//! Ctrl-C in two stages: the first asks for an orderly stop, the second stops at once.

use std::process;
use std::thread;

use tokio::signal::unix::{SignalKind, signal};

use super::exit;
use super::terminal;
use crate::copy::Cancel;

/// From now on the first interrupt (or request to terminate) asks `cancel`, and the second ends
/// the process. Nothing is lost by that either: what counts as written was flushed before.
///
/// # Errors
/// When the system gives no thread or no signal handler.
pub fn watch(cancel: &Cancel) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let cancel = cancel.clone();
    let wait = move || {
        runtime.block_on(async move {
            for first in [true, false] {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if first {
                    cancel.cancel();
                    terminal::say("Stopping at the next block; interrupt again to stop at once.\n");
                } else {
                    process::exit(i32::from(exit::INTERRUPTED));
                }
            }
        });
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
    Ok(())
}
