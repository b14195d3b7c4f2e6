//! What runs now, gathered from the events. Pure: the time comes with each call.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::apply::Event;
use crate::model::{Address, Bytes};
use crate::ui::human::units;

use super::rate::Rate;

/// How far a write has come.
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress {
    /// Bytes of the disk dealt with.
    pub done: u64,
    /// Bytes of the disk.
    pub total: u64,
    /// Bytes put on the volume.
    pub written: u64,
    /// Whether it is being read back.
    pub verifying: bool,
    /// Bytes of the image's data; 0 where that is not known, and while it is read back.
    pub data: u64,
    /// Bytes of them that are not dealt with yet.
    pub data_left: u64,
    /// Milliseconds until it is written, as predicted, when something is.
    pub time_left: Option<u64>,
}

/// A write that goes on.
#[derive(Debug, Clone, Default)]
pub struct Writing {
    /// Where it stands.
    pub at: Progress,
    /// Bytes of data dealt with, all of them while it is read back.
    data_done: u64,
    progress: Rate,
    output: Rate,
}

impl Writing {
    /// It stands there now.
    pub fn update(&mut self, now: Duration, at: Progress) {
        if at.verifying != self.at.verifying {
            self.progress = Rate::default();
        }
        self.progress.sample(now, at.done);
        if at.verifying {
            self.data_done = self.data_done.max(self.at.data);
        } else {
            self.data_done = at.data.saturating_sub(at.data_left);
            self.output.sample(now, at.written);
        }
        self.at = at;
    }

    /// What is shown of it, and of how much: of its data, since holes take no time; of the disk
    /// where it has none, where all of that is written, and while all of it is read back.
    #[must_use]
    pub fn part(&self) -> (u64, u64) {
        match self.at.verifying || self.at.data_left == 0 {
            true => (self.at.done, self.at.total),
            false => (self.data_done, self.at.data),
        }
    }

    /// Whole percents.
    #[must_use]
    pub fn percent(&self) -> u64 {
        let (done, total) = self.part();
        let percent = u128::from(done) * 100 / u128::from(total.max(1));
        u64::try_from(percent).unwrap_or(100).min(100)
    }

    /// `4.1 GiB of 12 GiB, 412 MiB/s, 1 min 20 s left`.
    #[must_use]
    pub fn describe(&self) -> String {
        let (done, total) = self.part();
        let mut text = format!("{} of {}", Bytes(done), Bytes(total));
        let speed = if self.at.verifying { &self.progress } else { &self.output };
        // An update may find everything there already.
        if let Some(speed) = speed.per_second().filter(|speed| *speed >= 1.0) {
            text.push_str(&format!(", {}", units::speed(speed)));
        }
        if let Some(seconds) = self.seconds_left() {
            text.push_str(&format!(", {} left", units::about(seconds)));
        }
        text
    }

    fn seconds_left(&self) -> Option<f64> {
        if self.at.verifying || self.at.data == 0 {
            return self.progress.seconds_for(self.at.total.saturating_sub(self.at.done));
        }
        self.at.time_left.map(|left| Duration::from_millis(left).as_secs_f64())
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
    /// Bytes of data that writes which have ended dealt with.
    done_before: u64,
    data: Rate,
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
            &Event::WriteProgress {
                ref address,
                done,
                total,
                written,
                verifying,
                data,
                data_left,
                time_left,
            } => {
                if let Some(running) = self.running.get_mut(address) {
                    let at = Progress { done, total, written, verifying, data, data_left, time_left };
                    running.writing.get_or_insert_default().update(now, at);
                    self.data.sample(now, self.data_done());
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
            self.done_before = self.done_before.saturating_add(writing.data_done);
        }
    }

    fn writes(&self) -> impl Iterator<Item = &Writing> {
        self.running.values().filter_map(|running| running.writing.as_ref())
    }

    /// Bytes of data dealt with so far: written, or found on the volume already.
    #[must_use]
    pub fn data_done(&self) -> u64 {
        self.writes().fold(self.done_before, |sum, writing| sum.saturating_add(writing.data_done))
    }

    /// How long the writes will take: those that run by their own prediction, and those to come at
    /// the speed of all.
    fn seconds_left(&self) -> Option<f64> {
        let writes = self.writes().filter(|writing| !writing.at.verifying);
        let running = writes.filter_map(Writing::seconds_left).reduce(f64::max);
        let (left, of_running) = (
            self.data_bytes.saturating_sub(self.data_done()),
            self.writes().fold(0, |sum: u64, writing| sum.saturating_add(writing.at.data_left)),
        );
        match left.saturating_sub(of_running) {
            0 => running,
            _ => self.data.seconds_for(left).map(|all| running.map_or(all, |longest| all.max(longest))),
        }
    }

    /// `3 of 9 steps, 4.1 GiB of 12 GiB, 2 min 3 s left`.
    #[must_use]
    pub fn total(&self) -> String {
        let mut text = format!("{} of {}", self.ended, units::count(self.nodes, "step"));
        if self.failed > 0 {
            text.push_str(&format!(", {} failed", self.failed));
        }
        if self.data_bytes > 0 {
            let done = self.data_done().min(self.data_bytes);
            text.push_str(&format!(", {} of {}", Bytes(done), Bytes(self.data_bytes)));
            if let Some(seconds) = self.seconds_left() {
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
