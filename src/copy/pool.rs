//! The threads that do a copy's work, and what they and their coordinator share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::budget::{Budget, lock};
use super::{Cancel, CopyError};

/// How often the coordinator looks up: progress is told that often, a request to stop is seen at
/// the next block anyway.
const TICK: Duration = Duration::from_millis(100);

/// How many threads work when nobody says: while one waits for the target, another decodes.
fn default_threads() -> usize {
    thread::available_parallelism().map_or(4, |processors| (processors.get() * 2).clamp(4, 16))
}

/// Workers on one job. The first failure is kept and stops all of them.
pub(super) struct Pool<'a> {
    budget: &'a Budget,
    cancel: &'a Cancel,
    failure: Mutex<Option<CopyError>>,
    stop: AtomicBool,
    running: Mutex<usize>,
    ended: Condvar,
}

impl<'a> Pool<'a> {
    /// Workers that hold buffers of this budget, one each, and end when `cancel` is asked for.
    pub(super) fn new(budget: &'a Budget, cancel: &'a Cancel) -> Self {
        Self {
            budget,
            cancel,
            failure: Mutex::default(),
            stop: AtomicBool::new(false),
            running: Mutex::new(0),
            ended: Condvar::new(),
        }
    }

    /// Whether a worker must end before its next piece of work.
    pub(super) fn must_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.cancel.is_cancelled()
    }

    /// Keeps the first failure, and stops all workers.
    pub(super) fn fail(&self, error: CopyError) {
        lock(&self.failure).get_or_insert(error);
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Why a worker failed, if one did.
    pub(super) fn failure(&self) -> Result<(), CopyError> {
        lock(&self.failure).take().map_or(Ok(()), Err)
    }

    /// Runs `work` on up to `threads` threads (as many as the budget has buffers for, at least
    /// one), each until it returns: when nothing is left to do, when
    /// [`must_stop`](Self::must_stop) says so, or with an error, which stops the others. While
    /// they work, `tick` is called several times a second; its error stops them, and is returned
    /// when they have ended. A worker's error is told by [`failure`](Self::failure).
    ///
    /// # Errors
    /// The first of `tick`; it is not called again after that.
    pub(super) fn run(
        &self,
        name: &str,
        threads: Option<usize>,
        work: &(dyn Fn() -> Result<(), CopyError> + Sync),
        tick: &mut dyn FnMut() -> Result<(), CopyError>,
    ) -> Result<(), CopyError> {
        thread::scope(|scope| {
            let mut workers = Vec::new();
            for number in 0..threads.unwrap_or_else(default_threads).max(1) {
                let reservation = match number {
                    0 => self.budget.reserve(&|| self.cancel.is_cancelled()),
                    _ => self.budget.try_reserve(),
                };
                let Some(reservation) = reservation else { break };
                *lock(&self.running) += 1;
                let ending = Ending(self);
                let worker = move || {
                    let _ending = ending;
                    let _reservation = reservation;
                    if let Err(error) = work() {
                        self.fail(error);
                    }
                };
                let spawned =
                    thread::Builder::new().name(format!("{name}-{number}")).spawn_scoped(scope, worker);
                match spawned {
                    Ok(worker) => workers.push(worker),
                    Err(source) if number == 0 => self.fail(CopyError::Thread { source }),
                    Err(_) => break,
                }
            }
            let ticked = self.tick_until_ended(tick);
            for worker in workers {
                if worker.join().is_err() {
                    self.fail(CopyError::WorkerDied);
                }
            }
            ticked
        })
    }

    fn tick_until_ended(&self, tick: &mut dyn FnMut() -> Result<(), CopyError>) -> Result<(), CopyError> {
        let mut running = lock(&self.running);
        while *running > 0 {
            running = self.ended.wait_timeout(running, TICK).unwrap_or_else(PoisonError::into_inner).0;
            drop(running);
            if let Err(error) = tick() {
                self.stop.store(true, Ordering::Relaxed);
                return Err(error);
            }
            running = lock(&self.running);
        }
        Ok(())
    }
}

/// Counts a worker out when it ends, however it ends.
struct Ending<'a, 'b>(&'a Pool<'b>);

impl Drop for Ending<'_, '_> {
    fn drop(&mut self) {
        *lock(&self.0.running) -= 1;
        self.0.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::super::BLOCK;
    use super::*;

    fn died() -> CopyError {
        CopyError::WorkerDied
    }

    #[test]
    fn a_failure_stops_the_others_and_ticks_go_on_until_then() {
        let (budget, cancel) = (Budget::default(), Cancel::new());
        let pool = Pool::new(&budget, &cancel);
        let (turn, mut ticks) = (AtomicU64::new(0), 0);
        let work = || match turn.fetch_add(1, Ordering::Relaxed) {
            0 => {
                thread::sleep(2 * TICK);
                Err(CopyError::Thread { source: std::io::Error::other("here") })
            }
            _ => {
                while !pool.must_stop() {
                    thread::sleep(Duration::from_millis(1));
                }
                Ok(())
            }
        };
        let tick = &mut || {
            ticks += 1;
            Ok(())
        };
        assert!(pool.run("test", Some(5), &work, tick).is_ok());
        assert!(matches!(pool.failure(), Err(CopyError::Thread { .. })));
        assert!(ticks >= 2, "{ticks}");
        assert_eq!(turn.into_inner(), 5);
    }

    #[test]
    fn a_failing_tick_stops_the_workers_and_a_panic_is_a_failure() {
        let (budget, cancel) = (Budget::new(3 * BLOCK, None), Cancel::new());
        let pool = Pool::new(&budget, &cancel);
        let started = AtomicU64::new(0);
        let work = || {
            started.fetch_add(1, Ordering::Relaxed);
            while !pool.must_stop() {
                thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        };
        assert!(pool.run("test", Some(9), &work, &mut || Err(died())).is_err());
        // No more of them than there are buffers.
        assert_eq!(started.into_inner(), 3);
        assert!(pool.failure().is_ok());

        let pool = Pool::new(&budget, &cancel);
        let work = || -> Result<(), CopyError> { panic!("on purpose") };
        assert!(pool.run("test", Some(1), &work, &mut || Ok(())).is_ok());
        assert!(matches!(pool.failure(), Err(CopyError::WorkerDied)));
    }
}
