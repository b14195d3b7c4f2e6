//! What runs now, gathered from the events. Pure: the time comes with each call.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::apply::Event;
use crate::model::{Address, Bytes};
use crate::ui::human::units;

use super::rate::Rate;

/// A write that goes on.
#[derive(Debug, Clone, Default)]
pub struct Writing {
    /// Bytes of the disk dealt with.
    pub done: u64,
    /// Bytes of the disk.
    pub total: u64,
    /// Bytes put on the volume.
    pub written: u64,
    /// Whether it is being read back.
    pub verifying: bool,
    progress: Rate,
    output: Rate,
}

impl Writing {
    fn update(&mut self, now: Duration, done: u64, total: u64, written: u64, verifying: bool) {
        if verifying != self.verifying {
            self.progress = Rate::default();
        }
        self.verifying = verifying;
        (self.done, self.total) = (done, total);
        self.progress.sample(now, done);
        if !verifying {
            self.written = written;
            self.output.sample(now, written);
        }
    }

    /// Whole percents.
    #[must_use]
    pub fn percent(&self) -> u64 {
        let percent = u128::from(self.done) * 100 / u128::from(self.total.max(1));
        u64::try_from(percent).unwrap_or(100).min(100)
    }

    /// `4.1 GiB of 40 GiB, 412 MiB/s, 1 min 20 s left`.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut text = format!("{} of {}", Bytes(self.done), Bytes(self.total));
        let speed = if self.verifying { &self.progress } else { &self.output };
        if let Some(speed) = speed.per_second() {
            text.push_str(&format!(", {}", units::speed(speed)));
        }
        if let Some(seconds) = self.progress.seconds_for(self.total.saturating_sub(self.done)) {
            text.push_str(&format!(", {} left", units::about(seconds)));
        }
        text
    }
}

/// A node that runs.
#[derive(Debug, Clone)]
pub struct Running {
    /// What it does: `write`.
    pub verb: String,
    /// Since when.
    pub since: Duration,
    /// What it waits for now.
    pub what: Option<String>,
    /// When it writes.
    pub writing: Option<Writing>,
    /// When something was last said about it in a log.
    pub said: Duration,
}

/// Everything that runs, and how far the run has come.
#[derive(Debug, Default)]
pub struct Board {
    /// The nodes that run.
    pub running: BTreeMap<Address, Running>,
    /// Nodes of the run.
    pub nodes: usize,
    /// Nodes that have ended, however.
    pub ended: usize,
    /// Nodes that failed.
    pub failed: usize,
    /// Bytes of data of all writes.
    pub data_bytes: u64,
    /// Bytes put on volumes by writes that have ended.
    written_before: u64,
    output: Rate,
}

impl Board {
    /// Takes an event in.
    pub fn take(&mut self, now: Duration, event: &Event) {
        match event {
            Event::RunStarted { nodes, data_bytes, .. } => {
                self.nodes = *nodes;
                self.data_bytes = *data_bytes;
            }
            Event::NodeStarted { address, verb } => {
                let running =
                    Running { verb: verb.clone(), since: now, what: None, writing: None, said: now };
                self.running.insert(address.clone(), running);
            }
            Event::NodeProgress { address, what } => {
                if let Some(running) = self.running.get_mut(address) {
                    running.what = Some(what.clone());
                }
            }
            Event::WriteProgress { address, done, total, written, verifying } => {
                if let Some(running) = self.running.get_mut(address) {
                    running.writing.get_or_insert_default().update(now, *done, *total, *written, *verifying);
                    self.output.sample(now, self.written());
                }
            }
            Event::NodeFinished { address, .. } => self.end(address),
            Event::NodeFailed { address, .. } => {
                self.failed += 1;
                self.end(address);
            }
            Event::NodeSkipped { .. } => self.ended += 1,
            Event::Recovered { .. }
            | Event::WaitingForSlots { .. }
            | Event::Interrupted { .. }
            | Event::RunFinished { .. } => {}
        }
    }

    fn end(&mut self, address: &Address) {
        self.ended += 1;
        if let Some(Running { writing: Some(writing), .. }) = self.running.remove(address) {
            self.written_before = self.written_before.saturating_add(writing.written);
        }
    }

    /// Bytes put on volumes so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.running
            .values()
            .filter_map(|running| running.writing.as_ref())
            .fold(self.written_before, |sum, writing| sum.saturating_add(writing.written))
    }

    /// `3 of 9 steps, 4.1 GiB of 12 GiB, 2 min 3 s left`.
    #[must_use]
    pub fn total(&self) -> String {
        let mut text = format!("{} of {}", self.ended, units::count(self.nodes, "step"));
        if self.failed > 0 {
            text.push_str(&format!(", {} failed", self.failed));
        }
        if self.data_bytes > 0 {
            let written = self.written();
            // Metadata may call data what turns out to be zero, and resuming counts nothing twice;
            // the two agree in the end or the rest is not shown.
            text.push_str(&format!(
                ", {} of {}",
                Bytes(written.min(self.data_bytes)),
                Bytes(self.data_bytes)
            ));
            let more = self.data_bytes.saturating_sub(written);
            if let Some(seconds) = self.output.seconds_for(more).filter(|_| more > 0) {
                text.push_str(&format!(", {} left", units::about(seconds)));
            }
        }
        text
    }

    /// One line for all that runs, never empty: how many, and those that do not write one by one:
    /// `2 running: instance.web launch (waiting for the login prompt, 12 s)`.
    #[must_use]
    pub fn others(&self, now: Duration) -> String {
        let others: Vec<_> = self
            .running
            .iter()
            .filter(|(_, running)| running.writing.is_none())
            .map(|(address, running)| {
                let passed = units::duration(milliseconds(now.saturating_sub(running.since)) / 1000 * 1000);
                match &running.what {
                    Some(what) => format!("{address} {} ({what}, {passed})", running.verb),
                    None => format!("{address} {} ({passed})", running.verb),
                }
            })
            .collect();
        let count = format!("{} running", self.running.len());
        if others.is_empty() { count } else { format!("{count}: {}", others.join(" · ")) }
    }
}

/// A duration in milliseconds.
#[must_use]
pub fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
