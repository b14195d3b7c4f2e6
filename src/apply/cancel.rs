//! The two-stage interrupt: first finish what runs, then stop at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Notify;

use crate::copy;

/// Shared by whoever interrupts and whoever runs.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    stage: AtomicU8,
    changed: Notify,
    copies: copy::Cancel,
}

impl Cancel {
    /// One interrupt more; gives the stage that it leads to.
    pub fn interrupt(&self) -> u8 {
        let before = self
            .inner
            .stage
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |stage| Some(stage.saturating_add(1).min(2)))
            .unwrap_or(2);
        let stage = before.saturating_add(1).min(2);
        if stage == 2 {
            self.inner.copies.cancel();
        }
        self.inner.changed.notify_waiters();
        stage
    }

    /// 0: go on; 1: start nothing new; 2: stop.
    #[must_use]
    pub fn stage(&self) -> u8 {
        self.inner.stage.load(Ordering::SeqCst)
    }

    /// The flag that running copies look at.
    #[must_use]
    pub fn copies(&self) -> copy::Cancel {
        self.inner.copies.clone()
    }

    /// Returns when the stage is at least this.
    pub async fn reached(&self, stage: u8) {
        loop {
            let changed = self.inner.changed.notified();
            if self.stage() >= stage {
                return;
            }
            changed.await;
        }
    }
}
