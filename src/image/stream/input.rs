//! The bytes as they come: read in order, watched for stalls, stopped when someone asks.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::StreamError;

/// How often a wait for bytes looks whether it should stop.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// What a pipe may hold, in bytes: the most that Linux gives without privilege. The sender then
/// works on while a block is written.
const PIPE: usize = 1 << 20;

/// What the reader of a stream and those who wait for it share.
#[derive(Debug)]
pub struct Watch {
    name: PathBuf,
    read: AtomicU64,
    stop: AtomicBool,
    failure: Mutex<Option<StreamError>>,
}

impl Watch {
    pub(super) fn new(name: PathBuf) -> Arc<Self> {
        let (read, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        Arc::new(Self { name, read, stop, failure: Mutex::default() })
    }

    /// What the stream is called.
    #[must_use]
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// How many bytes have come so far, as they come: compressed ones count as such.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Ends a wait for bytes with [`StreamError::Stopped`], within a moment.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Notes why the stream ends here, to be found whatever the layers above make of it.
    pub(super) fn fail(&self, error: StreamError) -> io::Error {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        io::Error::other("the stream failed")
    }

    /// What a read error of a layer above means.
    pub(super) fn error(&self, error: io::Error) -> StreamError {
        if let Some(noted) = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return noted;
        }
        let (name, offset) = (self.name.clone(), self.bytes_read());
        match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                StreamError::CutShort { name, offset, what: "more bytes must follow".to_owned() }
            }
            _ => StreamError::Damaged { name, offset, what: format!("it cannot be unpacked: {error}") },
        }
    }

    fn count(&self, bytes: usize) {
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// A file, pipe or socket that is read in order.
#[derive(Debug)]
pub(super) struct Input {
    file: File,
    watch: Arc<Watch>,
    stall: Option<Duration>,
}

impl Input {
    /// Reads that file from where it stands; gives up when nothing comes for `stall`.
    pub(super) fn new(file: File, watch: Arc<Watch>, stall: Option<Duration>) -> Self {
        // Both only make it quicker, and both are refused where they make no sense.
        let _ = rustix::pipe::fcntl_setpipe_size(&file, PIPE);
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Sequential);
        Self { file, watch, stall }
    }

    fn failed(&self, source: io::Error) -> io::Error {
        let (name, offset) = (self.watch.name.clone(), self.watch.bytes_read());
        self.watch.fail(StreamError::Read { name, offset, source })
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let begun = Instant::now();
        loop {
            if self.watch.stop.load(Ordering::Relaxed) {
                return Err(self.watch.fail(StreamError::Stopped));
            }
            let ready = match poll(&mut [PollFd::new(&self.file, PollFlags::IN)], Some(&TICK)) {
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(self.failed(error.into())),
                Ok(ready) => ready > 0,
            };
            if !ready {
                if let Some(stall) = self.stall.filter(|stall| begun.elapsed() >= *stall) {
                    let (name, offset) = (self.watch.name.clone(), self.watch.bytes_read());
                    let seconds = stall.as_secs();
                    return Err(self.watch.fail(StreamError::Stalled { name, offset, seconds }));
                }
                continue;
            }
            match self.file.read(buffer) {
                Ok(count) => {
                    self.watch.count(count);
                    return Ok(count);
                }
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
    }
}

/// Any reader as a stream: it cannot be interrupted while it waits.
pub(super) struct Foreign<R> {
    pub reader: R,
    pub watch: Arc<Watch>,
}

impl<R: Read> Read for Foreign<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.watch.stop.load(Ordering::Relaxed) {
                return Err(self.watch.fail(StreamError::Stopped));
            }
            match self.reader.read(buffer) {
                Ok(count) => {
                    self.watch.count(count);
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    let (name, offset) = (self.watch.name.clone(), self.watch.bytes_read());
                    return Err(self.watch.fail(StreamError::Read { name, offset, source }));
                }
            }
        }
    }
}

/// A reader in any form.
pub(super) type Bytes = Box<dyn Read + Send>;

/// Bytes that were looked at, then the rest.
pub(super) struct Peeked {
    head: Vec<u8>,
    at: usize,
    rest: Bytes,
}

impl Peeked {
    /// Reads up to `most` bytes ahead, fewer only when the stream ends.
    pub(super) fn new(mut rest: Bytes, most: usize) -> io::Result<Self> {
        let mut head = vec![0; most];
        let length = fill(&mut rest, &mut head)?;
        head.truncate(length);
        Ok(Self { head, at: 0, rest })
    }

    /// What was looked at.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }
}

impl Read for Peeked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = &self.head[self.at..];
        if left.is_empty() {
            return self.rest.read(buffer);
        }
        let count = left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&left[..count]);
        self.at += count;
        Ok(count)
    }
}

/// Fills the buffer, less only when the stream ends; gives how much.
pub(super) fn fill(reader: &mut (impl Read + ?Sized), buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match reader.read(&mut buffer[done..]) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Reads to the end, where only zeros may be left (archives are padded with them). `false` when
/// there was something else.
pub(super) fn only_zeros_left(reader: &mut (impl Read + ?Sized)) -> io::Result<bool> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = fill(reader, &mut buffer)?;
        if buffer[..count].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        if count < buffer.len() {
            return Ok(true);
        }
    }
}
