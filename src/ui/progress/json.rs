//! Events as JSON lines.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::apply::{Event, Observer};
use crate::model::Address;
use crate::ui::json::render_event;

/// A write says how far it has come at most so often; its first and last word always come.
const INTERVAL: Duration = Duration::from_secs(1);

/// Writes each event as a line.
pub struct JsonLines {
    inner: Mutex<Inner>,
}

struct Inner {
    out: Box<dyn Write + Send>,
    writes: BTreeMap<Address, Instant>,
}

impl JsonLines {
    /// To this stream.
    #[must_use]
    pub fn new(out: Box<dyn Write + Send>) -> Self {
        Self { inner: Mutex::new(Inner { out, writes: BTreeMap::new() }) }
    }
}

impl Observer for JsonLines {
    fn event(&self, event: &Event) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Event::WriteProgress { address, done, total, .. } = event {
            let now = Instant::now();
            let soon = inner.writes.get(address).is_some_and(|last| now.duration_since(*last) < INTERVAL);
            if soon && done < total {
                return;
            }
            inner.writes.insert(address.clone(), now);
        }
        let line = render_event(event);
        let _reader_gone = inner.out.write_all(line.as_bytes()).and_then(|()| inner.out.flush());
    }
}
