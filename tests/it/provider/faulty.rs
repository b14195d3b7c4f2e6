//! Faults come by their seed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use replant::provider::faulty::{Faults, Faulty};
use replant::provider::local::{Delays, LocalProvider, Settings};
use replant::provider::{Filter, Provider, ProviderErrorKind, VolumeState};
use tempfile::TempDir;

use super::conformance::{run, token, volume_request};
use super::local::{access_node, open, spec};

fn cloud(faults: Faults) -> (TempDir, Faulty) {
    let base = TempDir::new().unwrap();
    let faulty = Faulty::new(open(base.path()), faults);
    (base, faulty)
}

async fn outcomes(faults: Faults) -> Vec<Option<String>> {
    let (_base, faulty) = cloud(faults);
    let mut outcomes = Vec::new();
    for _ in 0..60 {
        // Fresh tokens and ids: faults must not depend on them.
        let made = faulty.create_volume(&volume_request("local-1a")).await;
        outcomes.push(made.err().map(|error| error.code));
        outcomes.push(faulty.volumes(&Filter::default()).await.err().map(|error| error.code));
    }
    outcomes
}

#[test]
fn a_seed_reproduces_its_faults() {
    run(async {
        let faults =
            |seed| Faults { seed, throttled: 100, unavailable: 100, lost_replies: 100, ..Faults::default() };
        let first = outcomes(faults(1)).await;
        assert_eq!(first, outcomes(faults(1)).await);
        assert_ne!(first, outcomes(faults(2)).await);
        for code in ["RequestLimitExceeded", "InternalError", "Unavailable"] {
            assert!(first.iter().any(|outcome| outcome.as_deref() == Some(code)), "{code}");
        }
        assert!(outcomes(Faults::default()).await.iter().all(Option::is_none));
    });
}

#[test]
fn a_lost_reply_leaves_its_effect() {
    run(async {
        let (_base, faulty) = cloud(Faults { lost_replies: 1000, ..Faults::default() });
        let request = volume_request("local-1a");
        for _ in 0..3 {
            let error = faulty.create_volume(&request).await.unwrap_err();
            assert!(error.kind == ProviderErrorKind::Unavailable && error.is_retryable());
        }
        assert_eq!(faulty.volumes(&Filter::default()).await.unwrap().len(), 1);
        let (_base, faulty) = cloud(Faults { throttled: 1000, ..Faults::default() });
        assert!(faulty.create_volume(&request).await.unwrap_err().is_retryable());
    });
}

#[test]
fn what_is_new_hides_and_what_changed_lags() {
    run(async {
        let base = TempDir::new().unwrap();
        let slow = Settings { delays: Delays::all(Duration::from_millis(500)), ..Settings::default() };
        let local = LocalProvider::open_with(&spec(), &access_node(), base.path(), slow).unwrap();
        let faults = Faults { hidden: 2, stale: 3, ..Faults::default() };
        let faulty = Faulty::new(Arc::new(local), faults);
        let id = faulty.create_volume(&volume_request("local-1a")).await.unwrap().id;
        let describe = async || faulty.volumes(&Filter::id(&id)).await.unwrap().pop();
        assert_eq!(describe().await, None);
        assert_eq!(describe().await, None);
        assert_eq!(describe().await.unwrap().state, VolumeState::Creating);
        tokio::time::sleep(Duration::from_millis(600)).await;
        for _ in 0..3 {
            assert_eq!(describe().await.unwrap().state, VolumeState::Creating);
        }
        assert_eq!(describe().await.unwrap().state, VolumeState::Available);
    });
}

#[test]
fn crash_points_lie_on_both_sides_of_an_effect() {
    run(async {
        for (point, made) in [(1, 0), (2, 1), (3, 1), (4, 2)] {
            let base = TempDir::new().unwrap();
            let (hits, seen) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(u64::MAX)));
            let directory = base.path().join("cloud/volumes");
            let on_crash = {
                let (hits, seen) = (Arc::clone(&hits), Arc::clone(&seen));
                Arc::new(move || {
                    hits.fetch_add(1, Ordering::SeqCst);
                    let records = std::fs::read_dir(&directory).unwrap().filter(|entry| {
                        entry.as_ref().unwrap().path().extension().is_some_and(|e| e == "json")
                    });
                    seen.store(records.count() as u64, Ordering::SeqCst);
                })
            };
            let faults = Faults { crash: Some((point, on_crash)), ..Faults::default() };
            let faulty = Faulty::new(open(base.path()), faults);
            for _ in 0..2 {
                let request =
                    replant::provider::CreateVolume { token: token(), ..volume_request("local-1a") };
                faulty.create_volume(&request).await.unwrap();
                faulty.volumes(&Filter::default()).await.unwrap();
            }
            assert_eq!(
                (hits.load(Ordering::SeqCst), seen.load(Ordering::SeqCst)),
                (1, made),
                "point {point}"
            );
            assert_eq!(faulty.crash_points(), 4);
        }
    });
}
