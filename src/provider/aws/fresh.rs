//! Ids that EC2 gave and may not know everywhere yet ("Eventual consistency in the Amazon EC2
//! API"): a call that names one of them and is told that it does not exist is repeated.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::call::Failed;
use crate::provider::types::ProviderErrorKind;

/// For how long an id is new (EC2 gives no limit; two minutes were seen).
const NEW: Duration = Duration::from_secs(120);
/// The first pause; each next one is twice as long, up to [`LONGEST`].
const FIRST: Duration = Duration::from_millis(200);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(5);

/// When ids came to be.
#[derive(Debug, Default)]
pub(super) struct Fresh(Mutex<HashMap<String, Instant>>);

impl Fresh {
    fn ids<T>(&self, use_it: impl FnOnce(&mut HashMap<String, Instant>) -> T) -> T {
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes an id that EC2 just gave. One that is noted keeps its time.
    pub(super) fn note(&self, id: &str) {
        let now = Instant::now();
        self.ids(|ids| {
            ids.retain(|_, since| now.duration_since(*since) < NEW);
            ids.entry(id.to_owned()).or_insert(now);
        });
    }

    /// Forgets an id: from now on, that it does not exist is the truth.
    pub(super) fn forget(&self, id: &str) {
        self.ids(|ids| ids.remove(id));
    }

    fn is_new(&self, id: &str) -> bool {
        self.ids(|ids| ids.get(id).is_some_and(|since| since.elapsed() < NEW))
    }

    /// Calls until what it names is known, as long as one of these ids is new.
    pub(super) async fn settled<T, F>(&self, ids: &[&str], call: impl FnMut() -> F) -> Result<T, Failed>
    where
        F: Future<Output = Result<T, Failed>>,
    {
        self.repeated(ids, false, call).await
    }

    /// As [`Self::settled`], for a call that ends what it names: once an attempt may have taken
    /// effect unseen, that it does not exist is the end that was wanted.
    pub(super) async fn settled_or_gone<F>(&self, id: &str, call: impl FnMut() -> F) -> Result<(), Failed>
    where
        F: Future<Output = Result<(), Failed>>,
    {
        let ended = self.repeated(&[id], true, call).await;
        self.forget(id);
        match ended {
            Err(failed) if failed.is_unknown && failed.error.kind == ProviderErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    async fn repeated<T, F>(&self, ids: &[&str], ends: bool, mut call: impl FnMut() -> F) -> Result<T, Failed>
    where
        F: Future<Output = Result<T, Failed>>,
    {
        let mut pause = FIRST;
        let mut unknown = false;
        loop {
            let mut failed = match call().await {
                Ok(value) => return Ok(value),
                Err(failed) => failed,
            };
            unknown |= failed.is_unknown;
            failed.is_unknown = unknown;
            let is_early = failed.error.kind == ProviderErrorKind::NotFound
                && !(ends && unknown)
                && ids.iter().any(|id| names(&failed.error.code, id) && self.is_new(id));
            if !is_early {
                return Err(failed);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST);
        }
    }
}

/// Whether a code speaks of this id: what is not there may be another of the call's.
fn names(code: &str, id: &str) -> bool {
    let prefixes = [
        ("InvalidVolume.", "vol-"),
        ("InvalidInstanceID.", "i-"),
        ("InvalidSnapshot.", "snap-"),
        ("InvalidAMIID.", "ami-"),
    ];
    let kind = prefixes.iter().find(|(of_code, _)| code.starts_with(of_code));
    // CreateTags says only that it does not know an id.
    kind.map_or(code == "InvalidID.NotFound", |(_, prefix)| id.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::provider::types::ProviderError;

    fn missing() -> Failed {
        ProviderError::new("AttachVolume", ProviderErrorKind::NotFound, "InvalidVolume.NotFound", "no").into()
    }

    #[tokio::test]
    async fn only_new_ids_are_waited_for() {
        let fresh = Fresh::default();
        let calls = Cell::new(0);
        let call = || {
            calls.set(calls.get() + 1);
            let seen = calls.get();
            async move { if seen < 3 { Err(missing()) } else { Ok(seen) } }
        };
        assert!(fresh.settled(&["vol-1"], call).await.is_err());
        assert_eq!(calls.replace(0), 1);
        fresh.note("vol-1");
        let call = || {
            calls.set(calls.get() + 1);
            let seen = calls.get();
            async move { if seen < 3 { Err(missing()) } else { Ok(seen) } }
        };
        assert_eq!(fresh.settled(&["i-1", "vol-1"], call).await.unwrap(), 3);
        // It is the instance that is not there.
        let other = || async {
            let code = "InvalidInstanceID.NotFound";
            Err::<(), _>(ProviderError::new("AttachVolume", ProviderErrorKind::NotFound, code, "no").into())
        };
        assert!(fresh.settled(&["i-1", "vol-1"], other).await.is_err());
        fresh.forget("vol-1");
        assert!(fresh.settled(&["vol-1"], || async { Err::<(), _>(missing()) }).await.is_err());
    }
}
