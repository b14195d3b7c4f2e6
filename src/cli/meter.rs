//! A copy's progress as a person or a program wants it.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::terminal;
use crate::copy::{Event, Observer};
use crate::model::Bytes;
use crate::ui::json::{Line, Said, line};

/// Between two lines where nobody watches a bar.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// Shows a copy's events.
pub enum Meter {
    /// A bar that is redrawn, on standard error.
    Bar(ProgressBar),
    /// A line now and then, on standard error.
    Lines(Mutex<Lines>),
    /// Each event as a JSON line, on standard output.
    Json,
}

/// What plain lines need to remember.
pub struct Lines {
    total: u64,
    verb: &'static str,
    begun: Instant,
    before: u64,
    next: Instant,
}

impl Meter {
    /// The one that suits the streams.
    #[must_use]
    pub fn new(json: bool) -> Self {
        if json {
            return Self::Json;
        }
        if terminal::is_interactive() {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style = "{msg:9} {bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style);
                return Self::Bar(bar);
            }
        }
        let now = Instant::now();
        Self::Lines(Mutex::new(Lines {
            total: 0,
            verb: "Writing",
            begun: now,
            before: 0,
            next: now + BETWEEN_LINES,
        }))
    }

    /// Takes the bar away, when there is one.
    pub fn clear(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

impl Observer for Meter {
    fn event(&self, event: &Event) {
        match self {
            Self::Json => terminal::print(&Line { version: line::VERSION, said: Said::Copy(event) }.render()),
            Self::Bar(bar) => match *event {
                Event::Started { total, resumed, .. } => {
                    bar.set_length(total);
                    bar.set_message("Writing");
                    bar.set_position(resumed);
                    bar.reset_eta();
                }
                Event::Verifying { total } => {
                    bar.reset();
                    bar.set_length(total);
                    bar.set_message("Verifying");
                }
                Event::Progress { done, .. } | Event::Verified { done } => bar.set_position(done),
                Event::Updating(_) | Event::Checkpoint { .. } | Event::Finished { .. } => {}
            },
            Self::Lines(lines) => {
                let mut lines = lines.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                match *event {
                    Event::Started { total, resumed, .. } => lines.begin("Writing", total, resumed),
                    Event::Verifying { total } => lines.begin("Verifying", total, 0),
                    Event::Progress { done, .. } | Event::Verified { done } => lines.tick(done),
                    Event::Updating(_) | Event::Checkpoint { .. } | Event::Finished { .. } => {}
                }
            }
        }
    }
}

impl Lines {
    fn begin(&mut self, verb: &'static str, total: u64, before: u64) {
        let now = Instant::now();
        *self = Self { total, verb, begun: now, before, next: now + BETWEEN_LINES };
    }

    fn tick(&mut self, done: u64) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        self.next = now + BETWEEN_LINES;
        let seconds = now.duration_since(self.begun).as_secs_f64().max(0.001);
        let speed = done.saturating_sub(self.before) as f64 / seconds;
        let left = match speed {
            speed if speed > 0.0 => {
                let seconds = self.total.saturating_sub(done) as f64 / speed;
                format!(", {} left", duration(Duration::from_secs_f64(seconds.min(1e9))))
            }
            _ => String::new(),
        };
        terminal::say(&format!(
            "{}: {} of {}, {}/s{left}\n",
            self.verb,
            Bytes(done),
            Bytes(self.total),
            Bytes(speed as u64)
        ));
    }
}

/// A duration as people say it: `4.2 s`, `3 min 5 s`, `2 h 10 min`.
#[must_use]
pub fn duration(duration: Duration) -> String {
    match duration.as_secs() {
        0..60 => format!("{:.1} s", duration.as_secs_f64()),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}
