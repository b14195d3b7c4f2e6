//! Events on a terminal: a bar for each write, a line for what else runs, a line for the whole.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::apply::{Event, Observer};
use crate::model::Address;
use crate::ui::human::Look;
use crate::ui::human::event::render_event;
use crate::ui::human::paint::Paint;
use crate::ui::human::text::harmless;

use super::board::Board;
use super::echo::NoEcho;
use super::ticker::Ticker;

/// How often the lines are drawn anew while nothing happens.
const INTERVAL: Duration = Duration::from_millis(250);

/// Draws on a terminal.
pub struct Live {
    inner: Arc<Mutex<Inner>>,
    _ticker: Ticker,
}

struct Inner {
    out: Box<dyn Write + Send>,
    look: Look,
    begun: Instant,
    board: Board,
    bars: MultiProgress,
    writes: BTreeMap<Address, ProgressBar>,
    /// What else runs, and the whole run.
    lines: Option<(ProgressBar, ProgressBar)>,
    no_echo: Option<NoEcho>,
}

impl Live {
    /// Draws on `target`, and writes what stays to `out`; both the same terminal.
    #[must_use]
    pub fn new(target: ProgressDrawTarget, out: Box<dyn Write + Send>, look: Look) -> Self {
        let inner = Inner {
            out,
            look,
            begun: Instant::now(),
            board: Board::default(),
            bars: MultiProgress::with_draw_target(target),
            writes: BTreeMap::new(),
            lines: None,
            no_echo: None,
        };
        let inner = Arc::new(Mutex::new(inner));
        let ticked = Arc::downgrade(&inner);
        let ticker = Ticker::every(INTERVAL, move || {
            if let Some(inner) = ticked.upgrade() {
                inner.lock().unwrap_or_else(PoisonError::into_inner).draw();
            }
        });
        Self { inner, _ticker: ticker }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Live {
    fn event(&self, event: &Event) {
        let mut inner = self.lock();
        let now = inner.begun.elapsed();
        inner.board.take(now, event);
        match event {
            Event::RunStarted { .. } => inner.begin(),
            // The lines below say these.
            Event::NodeStarted { .. } | Event::NodeProgress { .. } | Event::WaitingForSlots { .. } => {}
            Event::WriteProgress { address, .. } => inner.draw_write(address),
            Event::RunFinished { .. } => {
                inner.end();
                inner.write(event);
            }
            Event::NodeFinished { address, .. } | Event::NodeFailed { address, .. } => {
                if let Some(bar) = inner.writes.remove(address) {
                    inner.bars.remove(&bar);
                }
                inner.say(event);
            }
            Event::Recovered { .. } | Event::NodeSkipped { .. } | Event::Interrupted { .. } => {
                inner.say(event)
            }
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.lock().end();
    }
}

fn style(template: &str) -> ProgressStyle {
    // Our templates are right; the default would only look different.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Inner {
    fn begin(&mut self) {
        let line = || ProgressBar::new(0).with_style(style("{msg}"));
        self.lines = Some((self.bars.add(line()), self.bars.add(line())));
        self.no_echo = NoEcho::begin();
    }

    /// Takes everything off the screen that is not to stay.
    fn end(&mut self) {
        for (_, bar) in std::mem::take(&mut self.writes) {
            bar.finish_and_clear();
        }
        if let Some((others, total)) = self.lines.take() {
            others.finish_and_clear();
            total.finish_and_clear();
        }
        let _nothing_to_clear = self.bars.clear();
        self.no_echo = None;
    }

    /// Puts a line above the bars that stays.
    fn say(&self, event: &Event) {
        let text = render_event(event, self.look);
        if !text.is_empty() {
            let _terminal_gone = self.bars.println(text.trim_end_matches('\n'));
        }
    }

    fn write(&mut self, event: &Event) {
        let text = render_event(event, self.look);
        let _terminal_gone = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }

    fn draw_write(&mut self, address: &Address) {
        let Some(writing) = self.board.running.get(address).and_then(|running| running.writing.as_ref())
        else {
            return;
        };
        let Some((others, _)) = &self.lines else { return };
        let bars = &self.bars;
        let bar = self.writes.entry(address.clone()).or_insert_with(|| {
            let template = if self.look.color {
                "{prefix} [{bar:24.green}] {percent:>3} % {msg}"
            } else {
                "{prefix} [{bar:24}] {percent:>3} % {msg}"
            };
            let bar = ProgressBar::new(writing.part().1).with_style(style(template).progress_chars("=> "));
            bars.insert_before(others, bar.with_prefix(harmless(&address.to_string())))
        });
        let (done, total) = writing.part();
        bar.set_length(total);
        bar.set_position(done);
        let verifying = if writing.at.verifying { "verify " } else { "" };
        bar.set_message(format!("{verifying}{}", writing.describe()));
    }

    fn draw(&self) {
        let Some((others, total)) = &self.lines else { return };
        let paint = Paint { color: self.look.color };
        others.set_message(self.fit(&harmless(&self.board.others(self.begun.elapsed()))));
        total.set_message(paint.bold(&self.fit(&self.board.total())));
    }

    /// Cuts a line so that it stays one.
    fn fit(&self, text: &str) -> String {
        let width = self.look.width.saturating_sub(1);
        if text.chars().count() <= width {
            return text.to_owned();
        }
        let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
        cut.push('…');
        cut
    }
}
