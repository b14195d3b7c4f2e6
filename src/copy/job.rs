//! The workers of a write: each takes a unit, reads, hashes and writes it; their coordinator
//! tells progress and makes checkpoints.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::base::{Base, Was};
use super::block::{self, BLOCK, Buffer, Content};
use super::budget::lock;
use super::estimate::{Estimate, Spent};
use super::manifest::{Settled, What};
use super::pool::Pool;
use super::work::{self, Feed, Unit};
use super::{Cancel, CopyError, Event, Manifest, Observer, Target, WriteOptions};

/// What a run did, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tally {
    /// Read from the source.
    pub read: u64,
    /// Written as data.
    pub written: u64,
    /// Written as zeros, over something else.
    pub zeroed: u64,
    /// Left alone, for they held already what they should.
    pub kept: u64,
}

/// Bytes so far.
#[derive(Debug, Default)]
struct Counts {
    done: AtomicU64,
    read: AtomicU64,
    written: AtomicU64,
    zero: AtomicU64,
    zeroed: AtomicU64,
    kept: AtomicU64,
    /// Of blocks with data: how much of them is data, and the nanoseconds that they took.
    data: AtomicU64,
    data_time: AtomicU64,
    /// Of the other blocks: how long they are, and the nanoseconds that they took.
    empty: AtomicU64,
    empty_time: AtomicU64,
}

/// One write: what the workers and their coordinator share.
pub(super) struct Job<'a, F> {
    feed: &'a F,
    target: &'a Target,
    base: &'a Base,
    options: &'a WriteOptions,
    pool: Pool<'a>,
    settled: Mutex<Vec<Settled>>,
    counts: Counts,
}

/// What a worker keeps from unit to unit.
struct Bench<H> {
    held: H,
    buffer: Buffer,
    scratch: Option<Buffer>,
}

impl<'a, F: Feed> Job<'a, F> {
    /// The write of what `feed` gives onto `target`, of which `base` was known before.
    pub(super) fn new(
        feed: &'a F,
        target: &'a Target,
        base: &'a Base,
        options: &'a WriteOptions,
        cancel: &'a Cancel,
    ) -> Self {
        let pool = Pool::new(&options.budget, cancel);
        let (settled, counts) = (Mutex::default(), Counts::default());
        Self { feed, target, base, options, pool, settled, counts }
    }

    /// Starts the workers, tells progress and makes checkpoints until they have ended; then the
    /// last checkpoint. `resumed` bytes were done before; `data` bytes of data are left, where
    /// that is known.
    pub(super) fn run(
        &self,
        manifest: &mut Manifest,
        (resumed, data): (u64, Option<u64>),
        observer: &dyn Observer,
    ) -> Result<Tally, CopyError> {
        let begun = Instant::now();
        let (mut last, mut estimate) = (begun, Estimate::default());
        estimate.sample(Duration::ZERO, Spent::default());
        let ticked = self.pool.run("copy", self.options.threads, &|| self.work(), &mut || {
            estimate.sample(begun.elapsed(), self.spent());
            self.tell((resumed, data), &estimate, observer);
            if self.pool.must_stop() {
                self.feed.stop();
            }
            if last.elapsed() >= self.options.checkpoint {
                self.checkpoint(manifest, observer).inspect_err(|_| self.feed.stop())?;
                last = Instant::now();
            }
            Ok(())
        });
        // After a checkpoint that failed there is no other: what it was to record is lost.
        let ended = ticked.and_then(|()| self.checkpoint(manifest, observer));
        self.pool.failure()?;
        ended?;
        estimate.sample(begun.elapsed(), self.spent());
        self.tell((resumed, data), &estimate, observer);
        let bytes = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counts { read, written, zeroed, kept, .. } = &self.counts;
        Ok(Tally { read: bytes(read), written: bytes(written), zeroed: bytes(zeroed), kept: bytes(kept) })
    }

    fn spent(&self) -> Spent {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counts { data, data_time, empty, empty_time, .. } = &self.counts;
        Spent { data: of(data), data_time: of(data_time), zero: of(empty), zero_time: of(empty_time) }
    }

    fn tell(&self, (resumed, data): (u64, Option<u64>), estimate: &Estimate, observer: &dyn Observer) {
        let done = resumed + self.counts.done.load(Ordering::Relaxed);
        let data_left = data.map(|data| data.saturating_sub(self.counts.data.load(Ordering::Relaxed)));
        let time_left = data_left.and_then(|data| {
            let zeros = self.feed.size().saturating_sub(done).saturating_sub(data);
            estimate.left(data, zeros)
        });
        observer.event(&Event::Progress {
            done,
            written: self.counts.written.load(Ordering::Relaxed),
            zero: self.counts.zero.load(Ordering::Relaxed),
            unchanged: self.counts.kept.load(Ordering::Relaxed),
            data_left,
            time_left: time_left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
        });
        if let Some(bytes) = self.feed.received() {
            observer.event(&Event::Received { bytes });
        }
    }

    /// Flushes the target, then records what had been written before.
    fn checkpoint(&self, manifest: &mut Manifest, observer: &dyn Observer) -> Result<(), CopyError> {
        let mut blocks = std::mem::take(&mut *lock(&self.settled));
        if blocks.is_empty() {
            return Ok(());
        }
        let path = || self.target.path().to_owned();
        self.target.sync().map_err(|source| CopyError::Sync { path: path(), source })?;
        if self.feed.size() < manifest.header().disk_size {
            // A stream has come to its end: from now on the manifest is of a disk of that size, so
            // that its last block is known to be a short one.
            manifest.resize(self.feed.size())?;
        }
        manifest.checkpoint(&mut blocks)?;
        observer.event(&Event::Checkpoint { done: manifest.done_bytes() });
        Ok(())
    }

    fn work(&self) -> Result<(), CopyError> {
        let mut bench = Bench { held: F::Held::default(), buffer: Buffer::new(), scratch: None };
        while !self.pool.must_stop() {
            match self.feed.next(&mut bench.held, &mut bench.buffer)? {
                Some(unit) => {
                    let begun = Instant::now();
                    self.carry_out(unit, &mut bench)?;
                    self.spend(unit, begun.elapsed(), &bench.held);
                }
                None => break,
            }
        }
        Ok(())
    }

    /// Takes down what a unit cost.
    fn spend(&self, unit: Unit, took: Duration, held: &F::Held) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let (bytes, (all, time)) = match unit {
            Unit::Data(index) => (self.feed.data(index, held), (&self.counts.data, &self.counts.data_time)),
            Unit::Zero { first, count, .. } | Unit::Keep { first, count } => {
                let bytes = self.feed.size().min((first + count) * BLOCK).saturating_sub(first * BLOCK);
                (bytes, (&self.counts.empty, &self.counts.empty_time))
            }
            Unit::Check(_) => return,
        };
        all.fetch_add(bytes, Ordering::Relaxed);
        time.fetch_add(took, Ordering::Relaxed);
    }

    fn carry_out(&self, unit: Unit, bench: &mut Bench<F::Held>) -> Result<(), CopyError> {
        match unit {
            Unit::Check(index) => self.read(index, &mut bench.held, &mut bench.buffer).map(drop),
            Unit::Keep { first, count } => {
                self.settle(first, count, What::Kept, true);
                Ok(())
            }
            Unit::Zero { first, count, recorded } => {
                let start = first * BLOCK;
                let end = self.feed.size().min((first + count) * BLOCK);
                let written = self.zero(start, end - start, &mut bench.buffer)?;
                let kept = recorded && written == 0;
                self.settle(first, count, if kept { What::Kept } else { What::Now(Content::Zero) }, true);
                Ok(())
            }
            Unit::Data(index) => {
                let bytes = self.read(index, &mut bench.held, &mut bench.buffer)?;
                let content = Content::of(bytes);
                let kept = match self.base.of(index)? {
                    Was::Certainly(held) => held == content,
                    Was::Perhaps(held) if held == content => {
                        self.holds(index, bytes, bench.scratch.get_or_insert_with(Buffer::new))?
                    }
                    Was::Perhaps(_) | Was::Unknown => false,
                };
                match content {
                    _ if kept => {}
                    Content::Zero => {
                        let length = bytes.len() as u64;
                        self.zero(index * BLOCK, length, &mut bench.buffer)?;
                    }
                    Content::Data(_) => {
                        let written = self.write(index, bytes, &mut bench.scratch)?;
                        // Zeros that are written along with the data around them are no data.
                        let written = written.min(self.feed.data(index, &bench.held));
                        self.counts.written.fetch_add(written, Ordering::Relaxed);
                    }
                }
                let what = if kept { What::Kept } else { What::Now(content) };
                self.settle(index, 1, what, content == Content::Zero);
                Ok(())
            }
        }
    }

    /// Whether the target holds these bytes as a block.
    fn holds(&self, index: u64, bytes: &[u8], scratch: &mut Buffer) -> Result<bool, CopyError> {
        let offset = index * BLOCK;
        let found = scratch.bytes_mut(bytes.len());
        self.target.read(offset, found).map_err(|source| CopyError::ReadBack {
            path: self.target.path().to_owned(),
            offset,
            source,
        })?;
        Ok(found == bytes)
    }

    /// Takes down what came of some blocks, for the next checkpoint.
    fn settle(&self, first: u64, count: u64, what: What, zero: bool) {
        lock(&self.settled).push(Settled { first, count, what });
        let bytes = self.feed.size().min((first + count) * BLOCK) - first * BLOCK;
        self.counts.done.fetch_add(bytes, Ordering::Relaxed);
        if zero {
            self.counts.zero.fetch_add(bytes, Ordering::Relaxed);
        }
        if what == What::Kept {
            self.counts.kept.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Reads a block of the image and compares it with what is expected of it.
    fn read<'b>(
        &self,
        index: u64,
        held: &mut F::Held,
        buffer: &'b mut Buffer,
    ) -> Result<&'b [u8], CopyError> {
        let bytes = buffer.bytes_mut(block::length(index, self.feed.size()) as usize);
        self.feed.read(index, held, bytes)?;
        self.counts.read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        match work::mismatch(&self.options.expect, index, bytes) {
            Some((offset, expected, found)) => Err(CopyError::ImageMoved { offset, expected, found }),
            None => Ok(bytes),
        }
    }

    /// Writes a block, without its runs of zeros where those are cheaper to skip; says how many
    /// bytes that were.
    fn write(&self, index: u64, bytes: &[u8], scratch: &mut Option<Buffer>) -> Result<u64, CopyError> {
        let mut written = 0;
        let offset = index * BLOCK;
        let runs = match self.target.skips_parts() {
            true => block::runs(bytes, self.target.gap()),
            false => vec![(0, bytes.len(), false)],
        };
        for (start, end, zero) in runs {
            let (at, length) = (offset + start as u64, (end - start) as u64);
            if zero {
                self.zero(at, length, scratch.get_or_insert_with(Buffer::new))?;
            } else {
                self.options.budget.throttle(length, &|| self.pool.must_stop());
                self.target.write(at, &bytes[start..end]).map_err(|source| self.write_error(at, source))?;
                written += length;
            }
        }
        Ok(written)
    }

    /// Makes a range zero; says how many bytes had to be written for that.
    fn zero(&self, offset: u64, length: u64, scratch: &mut Buffer) -> Result<u64, CopyError> {
        let written =
            self.target.zero(offset, length, scratch).map_err(|source| self.write_error(offset, source))?;
        self.counts.zeroed.fetch_add(written, Ordering::Relaxed);
        self.options.budget.throttle(written, &|| self.pool.must_stop());
        Ok(written)
    }

    fn write_error(&self, offset: u64, source: io::Error) -> CopyError {
        CopyError::Write { path: self.target.path().to_owned(), offset, source }
    }
}
