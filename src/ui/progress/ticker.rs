//! A thread that calls something at intervals until it is dropped.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Ticker {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Begins. Where no thread can be made there are no ticks: what they show is not needed.
    pub(super) fn every(interval: Duration, mut tick: impl FnMut() + Send + 'static) -> Self {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("progress".to_owned()).spawn(move || {
            let (flag, wake) = &*stopped;
            let mut over = flag.lock().unwrap_or_else(PoisonError::into_inner);
            while !*over {
                over = wake.wait_timeout(over, interval).unwrap_or_else(PoisonError::into_inner).0;
                if !*over {
                    tick();
                }
            }
        });
        Self { stop, thread: thread.ok() }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.1.notify_all();
        if let Some(thread) = self.thread.take() {
            let _a_panicked_ticker_shows_nothing_more = thread.join();
        }
    }
}
