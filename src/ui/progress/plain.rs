//! Events as lines, for logs and pipes.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::apply::{Event, Observer};
use crate::ui::human::Look;
use crate::ui::human::event::{progress_line, render_event};

use super::board::Board;
use super::ticker::Ticker;

/// How often something is said about each node that goes on.
pub const INTERVAL: Duration = Duration::from_secs(10);

/// Writes a line when a node begins and ends, and one for each that goes on every ten seconds.
pub struct Plain {
    inner: Arc<Mutex<Inner>>,
    _ticker: Ticker,
}

struct Inner {
    out: Box<dyn Write + Send>,
    look: Look,
    begun: Instant,
    interval: Duration,
    board: Board,
}

impl Plain {
    /// To this stream.
    #[must_use]
    pub fn new(out: Box<dyn Write + Send>, look: Look) -> Self {
        Self::with_interval(out, look, INTERVAL)
    }

    /// As [`Plain::new`], with another time between two words about the same node.
    #[must_use]
    pub fn with_interval(out: Box<dyn Write + Send>, look: Look, interval: Duration) -> Self {
        let inner = Inner { out, look, begun: Instant::now(), interval, board: Board::default() };
        let inner = Arc::new(Mutex::new(inner));
        let ticked = Arc::downgrade(&inner);
        let ticker = Ticker::every(interval.min(Duration::from_secs(1)), move || {
            if let Some(inner) = ticked.upgrade() {
                inner.lock().unwrap_or_else(PoisonError::into_inner).tick();
            }
        });
        Self { inner, _ticker: ticker }
    }
}

impl Observer for Plain {
    fn event(&self, event: &Event) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let now = inner.begun.elapsed();
        inner.board.take(now, event);
        let text = render_event(event, inner.look);
        inner.write(&text);
    }
}

impl Inner {
    fn write(&mut self, text: &str) {
        if !text.is_empty() {
            let _reader_gone = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        }
    }

    fn tick(&mut self) {
        let now = self.begun.elapsed();
        let mut text = String::new();
        for (address, running) in &mut self.board.running {
            if now.saturating_sub(running.said) >= self.interval {
                running.said = now;
                text.push_str(&progress_line(address, running, now));
            }
        }
        self.write(&text);
    }
}
