//! Stories told once for each seed.
#![allow(dead_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// A seed to run alone.
const ONE: &str = "REPLANT_SEED";
/// How many seeds a story is told for, instead of the few of every day.
const COUNT: &str = "REPLANT_SEEDS";

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Tells a story for each of `count` seeds, so many at once; most of a story is spent in pauses.
/// All of them are told, also after a failure; how to tell those that failed again is said.
pub fn each(test: &str, count: u64, at_once: u64, story: impl Fn(u64) + Sync) {
    let (first, count) = match number(ONE) {
        Some(seed) => (seed, 1),
        None => (0, number(COUNT).unwrap_or(count)),
    };
    let (next, failed) = (AtomicU64::new(first), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..at_once.min(count) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    if catch_unwind(AssertUnwindSafe(|| story(seed))).is_err() {
                        eprintln!("seed {seed} failed; alone:\n{ONE}={seed} cargo test --test it {test}");
                        failed.lock().unwrap().push(seed);
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort_unstable();
    assert!(
        failed.is_empty(),
        "{} of {count} seeds failed: {failed:?}; one alone:\n{ONE}={} cargo test --test it {test}",
        failed.len(),
        failed[0]
    );
    eprintln!("{count} seeds");
}
