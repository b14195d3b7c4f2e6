//! A copy's progress as a person or a program wants it.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::terminal;
use crate::copy::{Event, Observer};
use crate::model::Bytes;
use crate::ui::json::{Line, Said, line};

/// Between two lines where nobody watches a bar.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// A bar where the end is known, and where it is not.
const KNOWN: &str = "{msg:9} {bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
const UNKNOWN: &str = "{msg:9} {spinner} {bytes} have come, {bytes_per_sec}";

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
    /// 0 when it is not known.
    total: u64,
    verb: &'static str,
    /// Whether what has come is counted, not what is done.
    received: bool,
    begun: Instant,
    before: u64,
    next: Instant,
}

impl Meter {
    /// The one that suits the streams.
    #[must_use]
    pub fn new(json: bool) -> Self {
        Self::suiting(json, terminal::is_interactive())
    }

    /// As [`new`](Self::new), where standard input is what is copied: only standard error says
    /// whether someone watches.
    #[must_use]
    pub fn of_stream(json: bool) -> Self {
        Self::suiting(json, std::io::stderr().is_terminal())
    }

    fn suiting(json: bool, watched: bool) -> Self {
        if json {
            return Self::Json;
        }
        if watched {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template(KNOWN) {
                bar.set_style(style);
                return Self::Bar(bar);
            }
        }
        let now = Instant::now();
        Self::Lines(Mutex::new(Lines {
            total: 0,
            verb: "Writing",
            received: false,
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
                Event::Streaming { total: Some(total), resumed } => {
                    bar.set_length(total);
                    bar.set_message("Writing");
                    bar.set_position(resumed);
                    bar.reset_eta();
                }
                Event::Streaming { total: None, .. } => {
                    if let Ok(style) = ProgressStyle::with_template(UNKNOWN) {
                        bar.set_style(style);
                    }
                    bar.set_message("Writing");
                }
                Event::Received { bytes } if bar.length().is_none() => bar.set_position(bytes),
                Event::Progress { .. } if bar.length().is_none() => {}
                Event::Verifying { total } => {
                    if let Ok(style) = ProgressStyle::with_template(KNOWN) {
                        bar.set_style(style);
                    }
                    bar.reset();
                    bar.set_length(total);
                    bar.set_message("Verifying");
                }
                Event::Progress { done, .. } | Event::Verified { done } => bar.set_position(done),
                Event::Updating(_)
                | Event::Checkpoint { .. }
                | Event::Finished { .. }
                | Event::Received { .. } => {}
            },
            Self::Lines(lines) => {
                let mut lines = lines.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                match *event {
                    Event::Started { total, resumed, .. } => lines.begin("Writing", total, resumed),
                    Event::Streaming { total, resumed } => {
                        lines.begin("Writing", total.unwrap_or(0), resumed);
                        lines.received = total.is_none();
                    }
                    Event::Received { bytes } if lines.received => lines.tick(bytes),
                    Event::Progress { .. } if lines.received => {}
                    Event::Verifying { total } => lines.begin("Verifying", total, 0),
                    Event::Progress { done, .. } | Event::Verified { done } => lines.tick(done),
                    Event::Updating(_)
                    | Event::Checkpoint { .. }
                    | Event::Finished { .. }
                    | Event::Received { .. } => {}
                }
            }
        }
    }
}

impl Lines {
    fn begin(&mut self, verb: &'static str, total: u64, before: u64) {
        let now = Instant::now();
        *self = Self { total, verb, received: false, begun: now, before, next: now + BETWEEN_LINES };
    }

    fn tick(&mut self, done: u64) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        self.next = now + BETWEEN_LINES;
        let seconds = now.duration_since(self.begun).as_secs_f64().max(0.001);
        let speed = done.saturating_sub(self.before) as f64 / seconds;
        if self.received {
            return terminal::say(&format!(
                "{}: {} have come, {}/s\n",
                self.verb,
                Bytes(done),
                Bytes(speed as u64)
            ));
        }
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
