//! One event as the line, or lines, that a log gets.

use std::time::Duration;

use crate::apply::Event;
use crate::model::{Address, Bytes};
use crate::plan::Mode;
use crate::ui::progress::board::{Running, milliseconds};

use super::paint::Paint;
use super::receipt::render_receipt_as;
use super::text::{Look, harmless};
use super::units::{count, duration};

/// What an event says, each line ending in a line feed; empty when a log needs none.
#[must_use]
pub fn render_event(event: &Event, look: Look) -> String {
    let paint = Paint { color: look.color };
    match event {
        Event::RunStarted { mode, nodes, data_bytes } => {
            let what = match mode {
                Mode::Restore => "Applying",
                Mode::Destroy => "Destroying",
            };
            let data = if *data_bytes > 0 { format!(", {} of data", Bytes(*data_bytes)) } else { String::new() };
            format!("{what}: {}{data}.\n", count(*nodes, "step"))
        }
        Event::Recovered { address, what } => {
            line(paint, address, &clean(&format!("left by an earlier run: {what}")))
        }
        Event::WaitingForSlots { address, wanted } => {
            line(paint, address, &format!("waiting for {}", count(*wanted, "free slot")))
        }
        Event::NodeStarted { address, verb } => line(paint, address, &clean(&format!("{verb} ..."))),
        Event::NodeProgress { address, what } => line(paint, address, &clean(what)),
        Event::WriteProgress { .. } => String::new(),
        Event::NodeFinished { address, verb, detail, took } => {
            let detail = if detail.is_empty() { String::new() } else { format!(" [{detail}]") };
            line(paint, address, &clean(&format!("{verb} done after {}{detail}", duration(*took))))
        }
        Event::NodeFailed { address, verb, diagnostic } => {
            let what = format!("{verb} failed: {} ({})", diagnostic.summary, diagnostic.code);
            line(paint, address, &paint.red(&clean(&what)))
        }
        Event::NodeSkipped { address, because } => {
            line(paint, address, &paint.yellow(&clean(&format!("not run: {because}"))))
        }
        Event::Interrupted { stage: 1 } => format!(
            "{}\n",
            paint.yellow(
                "Interrupted: nothing new begins; what runs is finished and recorded. Interrupt again to stop at once."
            )
        ),
        Event::Interrupted { .. } => format!(
            "{}\n",
            paint.yellow("Stopping at once. The state is intact; the next apply finds out what came of what ran.")
        ),
        Event::RunFinished { receipt } => format!("\n{}", render_receipt_as(receipt, look)),
    }
}

fn clean(text: &str) -> String {
    harmless(text).replace('\n', " ")
}

/// `what` is clean, and painted where it is to be.
fn line(paint: Paint, address: &Address, what: &str) -> String {
    format!("{}: {what}\n", paint.bold(&clean(&address.to_string())))
}

/// What a log gets every few seconds about a node that goes on.
#[must_use]
pub fn progress_line(address: &Address, running: &Running, now: Duration) -> String {
    let what = match (&running.writing, &running.what) {
        (Some(writing), _) => {
            let verb = if writing.at.verifying { "verify" } else { running.verb.as_str() };
            format!("{verb} {} %, {}", writing.percent(), writing.describe())
        }
        (None, Some(what)) => format!("still {what}"),
        (None, None) => format!("still at {}", running.verb),
    };
    let passed = duration(milliseconds(now.saturating_sub(running.since)) / 1000 * 1000);
    format!("{}: {} [{passed}]\n", clean(&address.to_string()), clean(&what))
}
