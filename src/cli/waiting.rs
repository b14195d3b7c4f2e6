//! Says what is being waited for while nothing else can be shown: a cloud or a server that does
//! not answer is asked for minutes.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::terminal;
use crate::model::waiting;
use crate::ui::human::text::harmless;

/// How often it looks.
const LOOK: Duration = Duration::from_millis(250);
/// A wait that is shorter is not worth a line on a terminal.
const SOON: Duration = Duration::from_secs(2);
/// Between two lines where nobody watches.
const BETWEEN_LINES: Duration = Duration::from_secs(10);
/// Before the first line where nobody watches.
const FIRST_LINE: Duration = Duration::from_secs(5);

/// Watches the waits of this process until it is dropped, and shows them on standard error.
pub struct Watch {
    ended: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Begins to watch. Without a thread for it, nothing is shown.
    #[must_use]
    pub fn begin() -> Self {
        let ended = Arc::new((Mutex::new(false), Condvar::new()));
        let told = Arc::clone(&ended);
        let thread = thread::Builder::new().name("waiting".to_owned()).spawn(move || watch(&told)).ok();
        Self { ended, thread }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        *self.ended.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.ended.1.notify_all();
        if let Some(thread) = self.thread.take() {
            // What it would have shown is over.
            let _died = thread.join();
        }
    }
}

fn watch((ended, told): &(Mutex<bool>, Condvar)) {
    let mut shown = Shown::new(terminal::is_interactive());
    let mut over = ended.lock().unwrap_or_else(PoisonError::into_inner);
    while !*over {
        over = told.wait_timeout(over, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        if let Some(line) = shown.look(waiting::longest(), Instant::now()) {
            terminal::say(&line);
        }
    }
    shown.clear();
}

/// What is on the screen, or was said last.
struct Shown {
    watched: bool,
    bar: Option<ProgressBar>,
    said: Option<Instant>,
}

impl Shown {
    fn new(watched: bool) -> Self {
        Self { watched, bar: None, said: None }
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Takes in what is waited for now; the line that a log gets.
    fn look(&mut self, waiting: Option<(Instant, String)>, now: Instant) -> Option<String> {
        let patience = if self.watched { SOON } else { FIRST_LINE };
        let waiting = waiting.filter(|(since, _)| now.saturating_duration_since(*since) >= patience);
        let Some((since, what)) = waiting else {
            self.clear();
            return None;
        };
        let passed = now.saturating_duration_since(since).as_secs();
        let line = format!("Waiting for {} ({passed} s)", harmless(&what).replace('\n', " "));
        if self.watched {
            let bar = self.bar.get_or_insert_with(|| {
                let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
                match ProgressStyle::with_template("{spinner} {wide_msg}") {
                    Ok(style) => bar.with_style(style),
                    Err(_) => bar,
                }
            });
            bar.set_message(line);
            bar.tick();
            return None;
        }
        if self.said.is_some_and(|said| now.saturating_duration_since(said) < BETWEEN_LINES) {
            return None;
        }
        self.said = Some(now);
        Some(line + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_gets_a_line_after_some_seconds_and_then_now_and_again() {
        let mut shown = Shown::new(false);
        let begun = Instant::now();
        let wait = || Some((begun, "EC2 in eu-central-1, try 3 of 10".to_owned()));
        let lines: Vec<(u64, String)> = (0..=20)
            .filter_map(|second| Some((second, shown.look(wait(), begun + Duration::from_secs(second))?)))
            .collect();
        let line = |second| (second, format!("Waiting for EC2 in eu-central-1, try 3 of 10 ({second} s)\n"));
        assert_eq!(lines, [line(5), line(15)]);
        assert_eq!(shown.look(None, begun + Duration::from_secs(40)), None);
    }
}
