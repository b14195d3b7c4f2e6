//! What several copies at once may use together: memory and bandwidth.

use std::num::NonZeroU64;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::block::BLOCK;

/// How long a wait lasts before it looks whether it should stop.
const LOOK: Duration = Duration::from_millis(50);
/// How much unused bandwidth may be saved up.
const BURST: Duration = Duration::from_millis(250);

/// A budget of memory and bandwidth, shared by any number of writes.
///
/// Memory is counted in buffers, one for each worker: a write always gets one (waiting for it
/// when it must), and more only while some are left. A worker holds its one buffer and waits for
/// nothing else, so writes cannot block each other for ever.
#[derive(Debug)]
pub struct Budget {
    free: Mutex<u64>,
    released: Condvar,
    bandwidth: Option<Bucket>,
}

impl Default for Budget {
    /// [`MEMORY`](Self::MEMORY), no limit of bandwidth.
    fn default() -> Self {
        Self::new(Self::MEMORY, None)
    }
}

impl Budget {
    /// Bytes of buffers when nobody says otherwise.
    pub const MEMORY: u64 = 128 << 20;

    /// `memory` bytes for buffers (at least one block), and `bandwidth` bytes a second written to
    /// targets and read back from them, when there is to be a limit.
    #[must_use]
    pub fn new(memory: u64, bandwidth: Option<NonZeroU64>) -> Self {
        Self {
            free: Mutex::new((memory / BLOCK).max(1)),
            released: Condvar::new(),
            bandwidth: bandwidth.map(Bucket::new),
        }
    }

    /// A buffer's worth of memory, waited for; `None` when `stop` said so first.
    pub(crate) fn reserve(&self, stop: &dyn Fn() -> bool) -> Option<Reservation<'_>> {
        let mut free = lock(&self.free);
        while *free == 0 {
            if stop() {
                return None;
            }
            free = self.released.wait_timeout(free, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        *free -= 1;
        Some(Reservation(self))
    }

    /// A buffer's worth of memory if some is free now.
    pub(crate) fn try_reserve(&self) -> Option<Reservation<'_>> {
        let mut free = lock(&self.free);
        *free = free.checked_sub(1)?;
        Some(Reservation(self))
    }

    /// Waits until `bytes` may be written, or until `stop` says so.
    pub(crate) fn throttle(&self, bytes: u64, stop: &dyn Fn() -> bool) {
        let Some(bucket) = &self.bandwidth else { return };
        let until = bucket.take(bytes, Instant::now());
        loop {
            let wait = until.saturating_duration_since(Instant::now());
            if wait.is_zero() || stop() {
                return;
            }
            std::thread::sleep(wait.min(LOOK));
        }
    }
}

/// Memory that goes back to its budget when this is dropped.
#[derive(Debug)]
pub(crate) struct Reservation<'a>(&'a Budget);

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        *lock(&self.0.free) += 1;
        self.0.released.notify_one();
    }
}

/// A token bucket kept as the moment at which everything promised so far will have been paid.
#[derive(Debug)]
struct Bucket {
    rate: NonZeroU64,
    paid: Mutex<Instant>,
}

impl Bucket {
    fn new(rate: NonZeroU64) -> Self {
        Self { rate, paid: Mutex::new(Instant::now()) }
    }

    /// When `bytes` more may begin.
    fn take(&self, bytes: u64, now: Instant) -> Instant {
        let cost = Duration::from_secs_f64(bytes as f64 / self.rate.get() as f64);
        let mut paid = lock(&self.paid);
        let start = now.checked_sub(BURST).map_or(*paid, |earliest| earliest.max(*paid));
        *paid = start + cost;
        start
    }
}

/// A poisoned lock only means that another thread died; what these guard is always whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_runs_out_and_comes_back() {
        let budget = Budget::new(2 * BLOCK, None);
        let first = budget.try_reserve().unwrap();
        let second = budget.reserve(&|| false).unwrap();
        assert!(budget.try_reserve().is_none());
        assert!(budget.reserve(&|| true).is_none());
        drop(first);
        assert!(budget.try_reserve().is_some());
        drop(second);
    }

    #[test]
    fn the_rate_holds_over_time() {
        let bucket = Bucket::new(NonZeroU64::new(100 << 20).unwrap());
        let now = Instant::now() + Duration::from_secs(10);
        let last = (0..1000).map(|_| bucket.take(1 << 20, now)).last().unwrap();
        let seconds = last.duration_since(now).as_secs_f64();
        assert!((9.5..10.1).contains(&seconds), "{seconds}");
    }
}
