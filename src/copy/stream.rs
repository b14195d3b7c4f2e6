//! Writing a disk that is read once, from front to back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::base::{Base, Was};
use super::block::{self, BLOCK, Buffer, Content};
use super::budget::lock;
use super::job::Job;
use super::manifest::Finished;
use super::work::{self, Feed, Unit, ZERO_BLOCKS};
use super::write::{check_sample, open_manifest};
use super::{
    Cancel, CopyError, Event, ExistingManifest, Manifest, ManifestError, Observer, Target, TargetError,
    WriteOptions, WriteOutcome, beyond,
};
use crate::image::stream::{PIECE, Packed, Piece, Stream, StreamError, Watch};

const _: () = assert!(PIECE == BLOCK, "a piece of a stream is a block of a copy");

/// The most that a disk of unknown size may have when its target does not bound it: the largest
/// volume of any kind. Only a sparse file's apparent size depends on it.
const MOST: u64 = 64 << 40;

/// Writes all of a stream's disk onto `target`, flushed when this returns. A file grows with it.
///
/// The workers take turns at reading: one reads the next block into its own buffer while the
/// others decode, hash and write theirs, so that nothing is copied and no queue can grow.
///
/// When a write is resumed, the stream is read from its beginning again: blocks that the manifest
/// has are compared with it instead of being written.
///
/// # Errors
/// When the stream cannot be read, stalls, is cut short, damaged or longer than the target, is not
/// the one that the manifest was begun with, the target cannot be written or flushed, the manifest
/// cannot be used, or `cancel` was asked for. What was flushed stays recorded in the manifest in
/// all of these cases.
pub fn write_stream(
    stream: Stream,
    target: &Target,
    options: &WriteOptions,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<WriteOutcome, CopyError> {
    let begun = Instant::now();
    let total = stream.size();
    let refusing;
    let options = match options.existing_manifest {
        // Where a stream ends is not known when an update would have to say what is in doubt.
        ExistingManifest::Update => {
            refusing = WriteOptions { existing_manifest: ExistingManifest::Refuse, ..options.clone() };
            &refusing
        }
        _ => options,
    };
    if let Some(size) = total.filter(|size| *size > target.size()) {
        let (path, have) = (target.path().to_owned(), target.size());
        return Err(TargetError::TooSmall { path, size: have, needed: size }.into());
    }
    let most = total.unwrap_or(if target.is_device() { target.size() } else { MOST });
    let mut manifest = match &options.manifest {
        // The size that an unfinished manifest of such a stream has is only the most that was
        // possible, and that of a finished one is the stream's.
        Some(path) if total.is_none() && options.existing_manifest == ExistingManifest::Resume => {
            let known = path.exists().then(|| Manifest::open(path)).transpose()?;
            let size = known.map_or(most, |manifest| manifest.header().disk_size);
            open_manifest(size, target, options)?
        }
        _ => open_manifest(most, target, options)?,
    };
    if manifest.header().image != options.image || manifest.is_updating() {
        return Err(ManifestError::OtherImage { path: manifest.path().to_owned() }.into());
    }
    let resumed = manifest.done_bytes();
    check_sample(&manifest, target)?;
    let base = Base::new(&manifest, manifest.done());

    observer.event(&Event::Streaming { total, resumed });
    let feed = Forward {
        watch: stream.watch(),
        reading: Mutex::new(Reading { stream, position: 0, zeros: 0, ended: false }),
        size: AtomicU64::new(manifest.header().disk_size),
        base: &base,
        target,
        options,
    };
    let tally =
        Job::new(&feed, target, &base, options, cancel).run(&mut manifest, (resumed, None), observer)?;
    let size = feed.size();
    let (position, ended) = {
        let reading = lock(&feed.reading);
        (reading.position, reading.ended)
    };
    if !ended {
        return Err(CopyError::Cancelled {
            done: manifest.done_bytes().min(position),
            total: total.unwrap_or(position),
        });
    }
    if size < manifest.header().disk_size {
        manifest.resize(size)?;
    }
    let cleared = if options.clear_beyond { beyond::clear_ends(target, size)? } else { 0 };
    if cleared > 0 || manifest.done_bytes() == 0 {
        // What no checkpoint flushed, and a disk of no bytes, which has none.
        target.sync().map_err(|source| CopyError::Sync { path: target.path().to_owned(), source })?;
    }
    let Finished { data, zero, content } = manifest.finish()?;
    observer.event(&Event::Finished { content, data, zero });
    Ok(WriteOutcome {
        content,
        size,
        data_bytes: data,
        zero_bytes: zero,
        written_bytes: tally.written,
        zeroed_bytes: tally.zeroed + cleared,
        resumed_bytes: resumed,
        unchanged_bytes: 0,
        read_bytes: tally.read,
        update: None,
        elapsed: begun.elapsed(),
        manifest,
    })
}

/// Blocks of a stream, in the order in which they come.
struct Forward<'a> {
    reading: Mutex<Reading>,
    watch: Arc<Watch>,
    /// The disk's size, or the most that it can have until its end has come.
    size: AtomicU64,
    /// What an earlier run has recorded.
    base: &'a Base,
    target: &'a Target,
    options: &'a WriteOptions,
}

/// Where the stream stands. Whoever has the lock reads.
struct Reading {
    stream: Stream,
    /// Bytes of the disk that have been given out.
    position: u64,
    /// Bytes of zeros that come next.
    zeros: u64,
    ended: bool,
}

/// What a worker keeps of its block.
#[derive(Default)]
struct Held {
    packed: Packed,
    what: What,
}

/// In which form a block came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum What {
    #[default]
    Plain,
    Packed,
    Zero,
}

impl Forward<'_> {
    /// Makes room on the target for what comes next.
    fn make_room(&self, end: u64) -> Result<(), CopyError> {
        self.target.grow(end)?;
        match end > self.target.size() {
            true => {
                let path = self.target.path().to_owned();
                Err(CopyError::StreamTooLong { path, size: self.target.size() })
            }
            false => Ok(()),
        }
    }

    /// What an earlier run has recorded of a block.
    fn recorded(&self, index: u64) -> Result<Option<Content>, CopyError> {
        Ok(match self.base.of(index)? {
            Was::Certainly(content) => Some(content),
            Was::Perhaps(_) | Was::Unknown => None,
        })
    }

    fn other(&self, index: u64) -> CopyError {
        CopyError::OtherStream { path: self.target.path().to_owned(), offset: index * BLOCK }
    }

    /// The next blocks of the zeros that have come: those that are to be made zero, or one that
    /// has to be looked at.
    fn zeros(&self, reading: &mut Reading, held: &mut Held) -> Result<Option<Unit>, CopyError> {
        let (mut first, mut count) = (reading.position / BLOCK, 0);
        while reading.zeros > 0 && count < ZERO_BLOCKS {
            let index = first + count;
            let length = reading.zeros.min(BLOCK);
            let recorded = self.recorded(index)?;
            let expected = work::expected(&self.options.expect, index).next().is_some();
            if (recorded.is_some() || expected) && count > 0 {
                break;
            }
            reading.position += length;
            reading.zeros -= length;
            match recorded {
                _ if expected => {
                    held.what = What::Zero;
                    return Ok(Some(if recorded.is_some() { Unit::Check(index) } else { Unit::Data(index) }));
                }
                Some(Content::Zero) => first = index + 1,
                Some(Content::Data(_)) => return Err(self.other(index)),
                None => count += 1,
            }
        }
        Ok((count > 0).then_some(Unit::Zero { first, count, recorded: false }))
    }

    /// Reads on until there is something to do.
    fn advance(
        &self,
        reading: &mut Reading,
        held: &mut Held,
        buffer: &mut Buffer,
    ) -> Result<Option<Unit>, CopyError> {
        loop {
            if let Some(unit) = self.zeros(reading, held)? {
                return Ok(Some(unit));
            }
            let piece = reading.stream.next(buffer.bytes_mut(BLOCK as usize), &mut held.packed)?;
            let length = match piece {
                None => {
                    reading.ended = true;
                    self.end(reading.position)?;
                    return Ok(None);
                }
                Some(Piece::Zero { length }) => {
                    self.make_room(reading.position + length)?;
                    reading.zeros = length;
                    continue;
                }
                Some(Piece::Plain { length }) => {
                    held.what = What::Plain;
                    length as u64
                }
                Some(Piece::Packed { length }) => {
                    held.what = What::Packed;
                    length as u64
                }
            };
            let index = reading.position / BLOCK;
            let end = reading.position + length;
            let most = self.size();
            if end > most {
                // The target's size, or that of the stream that was written before.
                return Err(match most == self.target.size() && self.target.is_device() {
                    true => CopyError::StreamTooLong { path: self.target.path().to_owned(), size: most },
                    false => self.other(index),
                });
            }
            self.make_room(end)?;
            reading.position = end;
            if length < BLOCK {
                self.end(end)?;
            }
            return Ok(Some(match self.recorded(index)? {
                Some(_) => Unit::Check(index),
                None => Unit::Data(index),
            }));
        }
    }

    /// The disk ends here.
    fn end(&self, size: u64) -> Result<(), CopyError> {
        if self.base.end() > block::count(size) {
            return Err(self.other(block::count(size)));
        }
        self.size.store(size, Ordering::Relaxed);
        Ok(())
    }
}

impl Feed for Forward<'_> {
    type Held = Held;

    fn next(&self, held: &mut Held, buffer: &mut Buffer) -> Result<Option<Unit>, CopyError> {
        let mut reading = lock(&self.reading);
        if reading.ended {
            return Ok(None);
        }
        match self.advance(&mut reading, held, buffer) {
            // Whoever stopped it knows why.
            Err(CopyError::Stream(StreamError::Stopped)) => Ok(None),
            other => other,
        }
    }

    fn read(&self, index: u64, held: &mut Held, bytes: &mut [u8]) -> Result<(), CopyError> {
        match held.what {
            What::Plain => {}
            What::Packed => held.packed.decode(bytes)?,
            What::Zero => bytes.fill(0),
        }
        match self.recorded(index)? {
            Some(recorded) if recorded != Content::of(bytes) => Err(self.other(index)),
            _ => Ok(()),
        }
    }

    fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    fn received(&self) -> Option<u64> {
        Some(self.watch.bytes_read())
    }

    fn stop(&self) {
        self.watch.stop();
    }
}
