//! How far a download has come, on standard error.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::terminal;
use crate::model::Bytes;

/// Between two lines where nobody watches a bar.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// Shows a download.
pub enum Progress {
    /// A bar that is redrawn.
    Bar(ProgressBar),
    /// A line now and then.
    Lines {
        /// The file.
        name: String,
        /// When the next line is due.
        next: Instant,
    },
    /// Nothing: a program reads what is printed.
    Silent,
}

impl Progress {
    /// For a file.
    pub fn new(name: &str, json: bool) -> Self {
        if json {
            return Self::Silent;
        }
        let style = ProgressStyle::with_template(
            "{msg} {bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
        );
        if let (true, Ok(style)) = (terminal::is_interactive(), style) {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(style);
            bar.set_message(name.to_owned());
            return Self::Bar(bar);
        }
        Self::Lines { name: name.to_owned(), next: Instant::now() + BETWEEN_LINES }
    }

    /// What has come, and of how many bytes, where that is known.
    #[cfg_attr(not(feature = "remote"), allow(dead_code))]
    pub fn tell(&mut self, received: u64, total: Option<u64>) {
        match self {
            Self::Bar(bar) => {
                if let Some(total) = total {
                    bar.set_length(total);
                }
                bar.set_position(received);
            }
            Self::Lines { name, next } => {
                let now = Instant::now();
                if now >= *next {
                    *next = now + BETWEEN_LINES;
                    let of = total.map(|total| format!(" of {}", Bytes(total))).unwrap_or_default();
                    terminal::say(&format!("{name}: {}{of}\n", Bytes(received)));
                }
            }
            Self::Silent => {}
        }
    }

    /// Takes the bar away.
    pub fn end(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
