//! Writing a disk's content onto a target.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::block::{self, BLOCK, Buffer, Content};
use super::budget::{Budget, lock};
use super::manifest::{Finished, v1};
use super::work::{self, Unit, Work};
use super::{Cancel, CopyError, Event, Header, Manifest, ManifestError, Observer, Target, retry, survey};
use crate::image::{BlockSource, ReadSet};
use crate::model::Digest;

/// How often progress is told.
const TICK: Duration = Duration::from_millis(100);
/// How many blocks of a write that is resumed are read back first, as a sample: cheap, and
/// catches a target that something else has written to since.
const SAMPLE: u64 = 16;

/// What to do with a manifest that exists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ExistingManifest {
    /// Refuse to go on.
    #[default]
    Refuse,
    /// Go on where it ends; it must be of the same image and target.
    Resume,
    /// Begin again.
    Replace,
}

/// How to write.
#[derive(Debug, Clone)]
pub struct WriteOptions {
    /// Where the manifest is kept; without it nothing can be resumed.
    pub manifest: Option<PathBuf>,
    /// What to do when there is one.
    pub existing_manifest: ExistingManifest,
    /// The image's identity, recorded in the manifest and compared when resuming.
    pub image: Digest,
    /// What chunks of the image must hold, when an overlay was computed from them.
    pub expect: ReadSet,
    /// How many threads read, hash and write; `None` for twice the processors, within 4 to 16:
    /// while one waits for the target, another decodes.
    pub threads: Option<usize>,
    /// How long a crash may throw back: time between checkpoints.
    pub checkpoint: Duration,
    /// Memory and bandwidth, shared with other writes.
    pub budget: Arc<Budget>,
}

impl WriteOptions {
    /// The usual way for an image of this identity: no manifest, a checkpoint every 5 seconds.
    #[must_use]
    pub fn new(image: Digest) -> Self {
        Self {
            manifest: None,
            existing_manifest: ExistingManifest::default(),
            image,
            expect: ReadSet::default(),
            threads: None,
            checkpoint: Duration::from_secs(5),
            budget: Arc::default(),
        }
    }
}

/// What a write came to.
#[derive(Debug)]
pub struct WriteOutcome {
    /// The content's digest, see [`ContentHasher`](block::ContentHasher).
    pub content: Digest,
    /// Bytes of the disk.
    pub size: u64,
    /// Bytes of it in blocks that hold data.
    pub data_bytes: u64,
    /// Bytes of it in blocks that are zero.
    pub zero_bytes: u64,
    /// Bytes of data that this run wrote.
    pub written_bytes: u64,
    /// Bytes of zeros that this run had to write because the target was not zero there.
    pub zeroed_bytes: u64,
    /// Bytes that earlier runs had finished.
    pub resumed_bytes: u64,
    /// How long this run took.
    pub elapsed: Duration,
    /// The manifest, for verifying and for the overlay.
    pub manifest: Manifest,
}

/// Writes all of `source` onto `target`, flushed when this returns.
///
/// # Errors
/// When the image cannot be read or is not as expected, the target cannot be written or flushed,
/// the manifest cannot be used, or `cancel` was asked for. What was flushed stays recorded in the
/// manifest in all of these cases.
pub fn write(
    source: &dyn BlockSource,
    target: &Target,
    options: &WriteOptions,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<WriteOutcome, CopyError> {
    let begun = Instant::now();
    let size = source.size();
    if size > target.size() {
        let (path, have) = (target.path().to_owned(), target.size());
        return Err(super::TargetError::TooSmall { path, size: have, needed: size }.into());
    }
    let mut manifest = open_manifest(size, target, options)?;
    let resumed = manifest.done_bytes();
    check_sample(&manifest, target)?;

    let survey = survey(source).map_err(|source| CopyError::Source { offset: 0, source })?;
    observer.event(&Event::Started { total: size, data: survey.data, zero: survey.zero, resumed });
    let job = Job {
        source,
        target,
        options,
        cancel,
        work: Mutex::new(Work::new(source, manifest.done().clone(), &options.expect)),
        finished: Mutex::default(),
        failure: Mutex::default(),
        stop: AtomicBool::new(false),
        running: Mutex::new(0),
        ended: Condvar::new(),
        counts: Counts::default(),
    };
    let checkpoints = job.run(&mut manifest, resumed, observer);
    if let Some(failure) = lock(&job.failure).take() {
        return Err(failure);
    }
    checkpoints?;
    if cancel.is_cancelled() && manifest.done_bytes() < size {
        return Err(CopyError::Cancelled { done: manifest.done_bytes(), total: size });
    }
    if manifest.done_bytes() == 0 {
        // A disk of no bytes has no checkpoint of its own.
        target.sync().map_err(|source| CopyError::Sync { path: target.path().to_owned(), source })?;
    }
    let Finished { data, zero, content } = manifest.finish()?;
    observer.event(&Event::Finished { content, data, zero });
    Ok(WriteOutcome {
        content,
        size,
        data_bytes: data,
        zero_bytes: zero,
        written_bytes: job.counts.written.load(Ordering::Relaxed),
        zeroed_bytes: job.counts.zeroed.load(Ordering::Relaxed),
        resumed_bytes: resumed,
        elapsed: begun.elapsed(),
        manifest,
    })
}

fn open_manifest(size: u64, target: &Target, options: &WriteOptions) -> Result<Manifest, ManifestError> {
    let header = Header {
        version: v1::VERSION,
        block_size: BLOCK,
        disk_size: size,
        image: options.image,
        target: target.identity().to_owned(),
    };
    let Some(path) = &options.manifest else { return Manifest::temporary(header) };
    let exists = path.try_exists().map_err(|source| ManifestError::Open { path: path.clone(), source })?;
    match options.existing_manifest {
        ExistingManifest::Refuse if exists => Err(ManifestError::Exists { path: path.clone() }),
        ExistingManifest::Resume if exists => {
            let manifest = Manifest::open(path)?;
            let (path, found) = (path.clone(), manifest.header());
            if (found.image, found.disk_size) != (header.image, size) {
                return Err(ManifestError::OtherImage { path });
            }
            if found.target != header.target {
                let recorded = found.target.clone();
                return Err(ManifestError::OtherTarget { path, recorded, found: header.target });
            }
            Ok(manifest)
        }
        _ => Manifest::create(path, header),
    }
}

/// Reads back some of the blocks that the manifest claims.
fn check_sample(manifest: &Manifest, target: &Target) -> Result<(), CopyError> {
    if manifest.overlay().is_some() {
        // The target rightly differs from the image where the overlay is.
        return Ok(());
    }
    let mut buffer = Buffer::new();
    for index in manifest.sample(SAMPLE)? {
        let offset = index * BLOCK;
        let bytes = buffer.bytes_mut(block::length(index, manifest.header().disk_size) as usize);
        let path = || target.path().to_owned();
        target.read(offset, bytes).map_err(|source| CopyError::ReadBack { path: path(), offset, source })?;
        if Content::of(bytes) != manifest.content(index)? {
            return Err(CopyError::TargetMoved { path: path(), offset });
        }
    }
    Ok(())
}

/// Bytes so far.
#[derive(Debug, Default)]
struct Counts {
    done: AtomicU64,
    written: AtomicU64,
    zero: AtomicU64,
    zeroed: AtomicU64,
}

/// What the workers and their coordinator share.
struct Job<'a> {
    source: &'a dyn BlockSource,
    target: &'a Target,
    options: &'a WriteOptions,
    cancel: &'a Cancel,
    work: Mutex<Work<'a>>,
    finished: Mutex<Vec<(u64, Content)>>,
    failure: Mutex<Option<CopyError>>,
    stop: AtomicBool,
    running: Mutex<usize>,
    ended: Condvar,
    counts: Counts,
}

/// How many threads work when nobody says.
pub(super) fn default_threads() -> usize {
    thread::available_parallelism().map_or(4, |processors| (processors.get() * 2).clamp(4, 16))
}

impl Job<'_> {
    /// Starts the workers, tells progress and makes checkpoints until they have ended; then the
    /// last checkpoint.
    fn run(&self, manifest: &mut Manifest, resumed: u64, observer: &dyn Observer) -> Result<(), CopyError> {
        let wanted = self.options.threads.unwrap_or_else(default_threads).max(1);
        thread::scope(|scope| {
            let mut workers = Vec::new();
            for number in 0..wanted {
                let reservation = match number {
                    0 => self.options.budget.reserve(&|| self.cancel.is_cancelled()),
                    _ => self.options.budget.try_reserve(),
                };
                let Some(reservation) = reservation else { break };
                *lock(&self.running) += 1;
                let ending = Ending(self);
                let spawned =
                    thread::Builder::new().name(format!("copy-{number}")).spawn_scoped(scope, move || {
                        let _ending = ending;
                        let _reservation = reservation;
                        self.work();
                    });
                match spawned {
                    Ok(worker) => workers.push(worker),
                    Err(source) if number == 0 => self.fail(CopyError::Thread { source }),
                    Err(_) => break,
                }
            }
            let checkpoints = self.coordinate(manifest, resumed, observer);
            for worker in workers {
                if worker.join().is_err() {
                    self.fail(CopyError::WorkerDied);
                }
            }
            checkpoints
        })
    }

    fn coordinate(
        &self,
        manifest: &mut Manifest,
        resumed: u64,
        observer: &dyn Observer,
    ) -> Result<(), CopyError> {
        let mut last = Instant::now();
        let mut running = lock(&self.running);
        while *running > 0 {
            running = self.ended.wait_timeout(running, TICK).unwrap_or_else(PoisonError::into_inner).0;
            drop(running);
            self.tell(resumed, observer);
            if last.elapsed() >= self.options.checkpoint {
                if let Err(error) = self.checkpoint(manifest, observer) {
                    self.stop.store(true, Ordering::Relaxed);
                    return Err(error);
                }
                last = Instant::now();
            }
            running = lock(&self.running);
        }
        drop(running);
        self.checkpoint(manifest, observer)?;
        self.tell(resumed, observer);
        Ok(())
    }

    fn tell(&self, resumed: u64, observer: &dyn Observer) {
        observer.event(&Event::Progress {
            done: resumed + self.counts.done.load(Ordering::Relaxed),
            written: self.counts.written.load(Ordering::Relaxed),
            zero: self.counts.zero.load(Ordering::Relaxed),
        });
    }

    /// Flushes the target, then records what had been written before.
    fn checkpoint(&self, manifest: &mut Manifest, observer: &dyn Observer) -> Result<(), CopyError> {
        let mut blocks = std::mem::take(&mut *lock(&self.finished));
        if blocks.is_empty() {
            return Ok(());
        }
        let path = || self.target.path().to_owned();
        self.target.sync().map_err(|source| CopyError::Sync { path: path(), source })?;
        manifest.checkpoint(&mut blocks)?;
        observer.event(&Event::Checkpoint { done: manifest.done_bytes() });
        Ok(())
    }

    fn fail(&self, error: CopyError) {
        lock(&self.failure).get_or_insert(error);
        self.stop.store(true, Ordering::Relaxed);
    }

    fn must_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.cancel.is_cancelled()
    }

    fn work(&self) {
        let (mut buffer, mut scratch) = (Buffer::new(), None);
        while !self.must_stop() {
            let unit = lock(&self.work).next();
            let done = match unit {
                Ok(None) => return,
                Ok(Some(unit)) => self.carry_out(unit, &mut buffer, &mut scratch),
                Err((offset, source)) => Err(CopyError::Source { offset, source }),
            };
            if let Err(error) = done {
                return self.fail(error);
            }
        }
    }

    fn carry_out(
        &self,
        unit: Unit,
        buffer: &mut Buffer,
        scratch: &mut Option<Buffer>,
    ) -> Result<(), CopyError> {
        match unit {
            Unit::Check(index) => self.read(index, buffer).map(drop),
            Unit::Zero { first, count } => {
                let start = first * BLOCK;
                let end = self.source.size().min((first + count) * BLOCK);
                self.zero(start, end - start, buffer)?;
                lock(&self.finished).extend((first..first + count).map(|index| (index, Content::Zero)));
                self.count(end - start, true);
                Ok(())
            }
            Unit::Data(index) => {
                let bytes = self.read(index, buffer)?;
                let (content, length) = (Content::of(bytes), bytes.len() as u64);
                match content {
                    Content::Zero => self.zero(index * BLOCK, length, buffer)?,
                    Content::Data(_) => self.write(index, bytes, scratch)?,
                }
                lock(&self.finished).push((index, content));
                self.count(length, content == Content::Zero);
                Ok(())
            }
        }
    }

    fn count(&self, bytes: u64, zero: bool) {
        self.counts.done.fetch_add(bytes, Ordering::Relaxed);
        if zero {
            self.counts.zero.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Reads a block of the image and compares it with what is expected of it.
    fn read<'b>(&self, index: u64, buffer: &'b mut Buffer) -> Result<&'b [u8], CopyError> {
        let offset = index * BLOCK;
        let bytes = buffer.bytes_mut(block::length(index, self.source.size()) as usize);
        retry::source(|| self.source.read_at(offset, bytes))
            .map_err(|source| CopyError::Source { offset, source })?;
        match work::mismatch(&self.options.expect, index, bytes) {
            Some((offset, expected, found)) => Err(CopyError::ImageMoved { offset, expected, found }),
            None => Ok(bytes),
        }
    }

    /// Writes a block, without its runs of zeros where those are cheaper to skip.
    fn write(&self, index: u64, bytes: &[u8], scratch: &mut Option<Buffer>) -> Result<(), CopyError> {
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
                self.options.budget.throttle(length, &|| self.must_stop());
                self.target.write(at, &bytes[start..end]).map_err(|source| self.write_error(at, source))?;
                self.counts.written.fetch_add(length, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn zero(&self, offset: u64, length: u64, scratch: &mut Buffer) -> Result<(), CopyError> {
        let written =
            self.target.zero(offset, length, scratch).map_err(|source| self.write_error(offset, source))?;
        self.counts.zeroed.fetch_add(written, Ordering::Relaxed);
        self.options.budget.throttle(written, &|| self.must_stop());
        Ok(())
    }

    fn write_error(&self, offset: u64, source: io::Error) -> CopyError {
        CopyError::Write { path: self.target.path().to_owned(), offset, source }
    }
}

/// Counts a worker out when it ends, however it ends.
struct Ending<'a, 'b>(&'a Job<'b>);

impl Drop for Ending<'_, '_> {
    fn drop(&mut self) {
        *lock(&self.0.running) -= 1;
        self.0.ended.notify_all();
    }
}
