//! What this process waits for from others (a cloud, a server of images), for whoever shows it.
//! Kept beside the calls: they neither know who looks nor wait for it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

static WAITS: Mutex<BTreeMap<u64, (Instant, String)>> = Mutex::new(BTreeMap::new());

fn waits() -> MutexGuard<'static, BTreeMap<u64, (Instant, String)>> {
    WAITS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A wait that goes on until this is dropped.
#[derive(Debug)]
pub struct Wait(u64);

impl Wait {
    /// Begins to wait. `what`: `EC2 in eu-central-1, try 1 of 10`.
    #[must_use]
    pub fn begin(what: impl Into<String>) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        waits().insert(number, (Instant::now(), what.into()));
        Self(number)
    }

    /// It waits for something else now; since when stays.
    pub fn goes_on(&self, what: impl Into<String>) {
        if let Some((_, said)) = waits().get_mut(&self.0) {
            *said = what.into();
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        waits().remove(&self.0);
    }
}

/// What has been waited for the longest, and since when.
#[must_use]
pub fn longest() -> Option<(Instant, String)> {
    waits().values().min_by_key(|(since, _)| *since).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_seen_until_it_ends() {
        let wait = Wait::begin("a test's server, try 1 of 2");
        let said = || waits().get(&wait.0).map(|(_, what)| what.clone());
        assert_eq!(said().as_deref(), Some("a test's server, try 1 of 2"));
        assert!(longest().is_some());
        wait.goes_on("a test's server, try 2 of 2");
        assert_eq!(said().as_deref(), Some("a test's server, try 2 of 2"));
        let number = wait.0;
        drop(wait);
        assert!(!waits().contains_key(&number));
    }
}
