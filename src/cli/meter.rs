//! A copy's progress as a person or a program wants it.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::terminal;
use crate::copy::{Event, Observer};
use crate::model::Bytes;
use crate::ui::human::units;
use crate::ui::json::{Line, Said, line};
use crate::ui::progress::board::{Progress, Writing};
use crate::ui::progress::rate::Rate;

/// Between two lines where nobody watches a bar.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// A bar where the end is known, and where it is not.
const KNOWN: &str = "{prefix:9} [{bar:24}] {percent:>3} % {msg}";
const UNKNOWN: &str = "{prefix:9} {spinner} {msg}";

/// Shows a copy's events.
pub enum Meter {
    /// A bar that is redrawn, on standard error.
    Bar(ProgressBar, Mutex<Seen>),
    /// A line now and then, on standard error.
    Lines(Mutex<(Seen, Instant)>),
    /// Each event as a JSON line, on standard output.
    Json,
}

/// What was seen of a copy.
pub struct Seen {
    verb: &'static str,
    begun: Instant,
    /// The disk's size, where it is known.
    total: Option<u64>,
    /// Bytes of data that were to be dealt with; 0 where that is not known.
    data: u64,
    writing: Writing,
    /// What has come of a stream whose size is not known.
    received: Rate,
    come: u64,
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
        let now = Instant::now();
        let seen = Seen::new("Writing", Some(0));
        if watched {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template(KNOWN) {
                bar.set_style(style.progress_chars("=> "));
                return Self::Bar(bar, Mutex::new(seen));
            }
        }
        Self::Lines(Mutex::new((seen, now + BETWEEN_LINES)))
    }

    /// Takes the bar away, when there is one.
    pub fn clear(&self) {
        if let Self::Bar(bar, _) = self {
            bar.finish_and_clear();
        }
    }
}

impl Observer for Meter {
    fn event(&self, event: &Event) {
        match self {
            Self::Json => terminal::print(&Line { version: line::VERSION, said: Said::Copy(event) }.render()),
            Self::Bar(bar, seen) => {
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                let was_known = seen.total.is_some();
                if !seen.take(event) {
                    return;
                }
                if was_known != seen.total.is_some() {
                    let template = if was_known { UNKNOWN } else { KNOWN };
                    if let Ok(style) = ProgressStyle::with_template(template) {
                        bar.set_style(style.progress_chars("=> "));
                    }
                }
                bar.set_prefix(seen.verb);
                if seen.total.is_some() {
                    let (done, total) = seen.writing.part();
                    bar.set_length(total);
                    bar.set_position(done);
                }
                bar.set_message(seen.describe());
            }
            Self::Lines(lines) => {
                let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                let (verb, now) = (lines.0.verb, Instant::now());
                if !lines.0.take(event) {
                    return;
                }
                if lines.0.verb != verb {
                    lines.1 = now + BETWEEN_LINES;
                } else if now >= lines.1 {
                    lines.1 = now + BETWEEN_LINES;
                    terminal::say(&format!("{}: {}\n", lines.0.verb, lines.0.describe()));
                }
            }
        }
    }
}

impl Seen {
    fn new(verb: &'static str, total: Option<u64>) -> Self {
        let (writing, received) = (Writing::default(), Rate::default());
        Self { verb, begun: Instant::now(), total, data: 0, writing, received, come: 0 }
    }

    /// Takes an event in; whether it changed what is shown.
    fn take(&mut self, event: &Event) -> bool {
        let now = self.begun.elapsed();
        let total = self.total.unwrap_or(0);
        let at = match *event {
            Event::Started { total, data, resumed, .. } => {
                *self = Self { data, ..Self::new("Writing", Some(total)) };
                Progress { done: resumed, total, data, data_left: data, ..Progress::default() }
            }
            Event::Streaming { total, resumed } => {
                *self = Self::new("Writing", total);
                Progress { done: resumed, total: total.unwrap_or(0), ..Progress::default() }
            }
            Event::Received { bytes } if self.total.is_none() => {
                self.come = bytes;
                self.received.sample(now, bytes);
                return true;
            }
            Event::Verifying { total } => {
                *self = Self::new("Verifying", Some(total));
                Progress { total, verifying: true, ..Progress::default() }
            }
            Event::Progress { done, written, data_left, time_left, .. } => {
                let (data, data_left) = (self.data, data_left.unwrap_or(0));
                Progress { done, total, written, verifying: false, data, data_left, time_left }
            }
            Event::Verified { done } => Progress { done, total, verifying: true, ..Progress::default() },
            Event::Updating(_)
            | Event::Checkpoint { .. }
            | Event::Finished { .. }
            | Event::Received { .. } => return false,
        };
        self.writing.update(now, at);
        true
    }

    /// `123 MiB of 655.1 MiB, 39.9 MiB/s, 15 s left`.
    fn describe(&self) -> String {
        if self.total.is_some() {
            return self.writing.describe();
        }
        let speed = self.received.per_second().map(|speed| format!(", {}", units::speed(speed)));
        format!("{} have come{}", Bytes(self.come), speed.unwrap_or_default())
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
