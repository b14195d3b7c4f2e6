//! Reading a target back and comparing it with its manifest, holes included.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::block::{self, BLOCK, Buffer, Content};
use super::budget::{Budget, lock};
use super::overlay::{self, Pieces};
use super::pool::Pool;
use super::{Cancel, CopyError, Event, Manifest, ManifestError, Observer, Target, retry};
use crate::image::{BlockSource, Overlay};

/// A preparation that lies over the content: the overlay, and the image, for what is below it.
#[derive(Clone, Copy)]
pub struct Prepared<'a> {
    /// The overlay.
    pub overlay: &'a Overlay,
    /// The image that the manifest is of.
    pub source: &'a dyn BlockSource,
}

/// How to verify.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// How many threads; `None` for the same as a write's.
    pub threads: Option<usize>,
    /// Memory and bandwidth, shared with other copies.
    pub budget: Arc<Budget>,
}

/// What a verification came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyOutcome {
    /// Bytes compared: the whole disk.
    pub bytes: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// Reads the whole disk back from the medium (past the page cache where the system allows it)
/// and compares it with the manifest: every block of data by its digest, every zero block by its
/// bytes. With `prepared`, the overlay's blocks must be the overlay's, and everything else the
/// image's.
///
/// # Errors
/// When something differs (all of it is counted first), the target cannot be read, the manifest
/// is not of a finished write or speaks of another overlay, or `cancel` was asked for.
pub fn verify(
    target: &Target,
    manifest: &Manifest,
    prepared: Option<Prepared<'_>>,
    options: &VerifyOptions,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<VerifyOutcome, CopyError> {
    let begun = Instant::now();
    overlay::check_recorded(manifest, prepared.map(|prepared| prepared.overlay))?;
    if manifest.finished().is_none() {
        return Err(ManifestError::Unfinished { path: manifest.path().to_owned() }.into());
    }
    let size = manifest.header().disk_size;
    let end = prepared.map_or(size, |prepared| size.max(prepared.overlay.size));
    target.check_size(end)?;
    target.drop_cache();
    observer.event(&Event::Verifying { total: size });
    let reading = Reading {
        target,
        manifest,
        prepared,
        end,
        pool: Pool::new(&options.budget, cancel),
        budget: &options.budget,
        next: AtomicU64::new(0),
        done: AtomicU64::new(0),
        differences: Mutex::default(),
    };
    reading.pool.run("verify", options.threads, &|| reading.work(), &mut || {
        observer.event(&Event::Verified { done: reading.done.load(Ordering::Relaxed) });
        Ok(())
    })?;
    reading.pool.failure()?;
    if cancel.is_cancelled() && reading.done.load(Ordering::Relaxed) < size {
        return Err(CopyError::Cancelled { done: manifest.done_bytes(), total: size });
    }
    let differences = lock(&reading.differences);
    if let Some((first, zero)) = differences.first {
        return Err(CopyError::Differs {
            path: target.path().to_owned(),
            blocks: differences.blocks,
            offset: first * BLOCK,
            zero,
        });
    }
    Ok(VerifyOutcome { bytes: size, elapsed: begun.elapsed() })
}

#[derive(Debug, Default)]
struct Differences {
    blocks: u64,
    first: Option<(u64, bool)>,
}

struct Reading<'a> {
    target: &'a Target,
    manifest: &'a Manifest,
    prepared: Option<Prepared<'a>>,
    /// Where the last byte that is compared ends; beyond the manifest's disk, only the overlay's.
    end: u64,
    pool: Pool<'a>,
    budget: &'a Budget,
    next: AtomicU64,
    done: AtomicU64,
    differences: Mutex<Differences>,
}

impl Reading<'_> {
    fn work(&self) -> Result<(), CopyError> {
        let mut buffer = Buffer::new();
        while !self.pool.must_stop() {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= block::count(self.end) {
                break;
            }
            if let Some(zero) = self.is_as_recorded(index, &mut buffer)? {
                let mut differences = lock(&self.differences);
                differences.blocks += 1;
                let first = differences.first.filter(|(first, _)| *first < index);
                differences.first = first.or(Some((index, zero)));
            }
            let length = block::length(index, self.manifest.header().disk_size);
            self.done.fetch_add(length, Ordering::Relaxed);
        }
        Ok(())
    }

    /// `None` when the block is as it should be, otherwise whether it should be zero.
    fn is_as_recorded(&self, index: u64, buffer: &mut Buffer) -> Result<Option<bool>, CopyError> {
        let size = self.manifest.header().disk_size;
        let offset = index * BLOCK;
        let recorded = if index < block::count(size) { self.manifest.content(index)? } else { Content::Zero };
        let pieces = self.prepared.map(|prepared| Pieces::of_block(prepared.overlay, index));
        let pieces = pieces.unwrap_or_default();

        let in_disk = block::length(index, size) as usize;
        if pieces.is_empty()
            && (in_disk == 0 || recorded == Content::Zero && self.target.is_hole(offset, in_disk as u64))
        {
            return Ok(None);
        }
        let bytes = buffer.bytes_mut(block::length(index, self.end) as usize);
        self.budget.throttle(bytes.len() as u64, &|| self.pool.must_stop());
        self.target.read(offset, bytes).map_err(|source| CopyError::ReadBack {
            path: self.target.path().to_owned(),
            offset,
            source,
        })?;
        if !pieces.match_target(bytes) {
            return Ok(Some(false));
        }
        if let Some(prepared) = self.prepared {
            pieces
                .put_image(prepared.source, offset, bytes)
                .map_err(|source| CopyError::Source { offset, source })?;
        }
        let same = Content::of(&bytes[..in_disk]) == recorded;
        Ok((!same).then_some(recorded == Content::Zero))
    }
}

impl Pieces<'_> {
    /// Puts what the image holds in the overlay's places of a block that begins at `offset`.
    pub(super) fn put_image(
        &self,
        source: &dyn BlockSource,
        offset: u64,
        bytes: &mut [u8],
    ) -> Result<(), crate::image::SourceError> {
        let size = source.size();
        for (start, piece) in self.iter() {
            let end = (start + piece.len()).min(bytes.len());
            let Some(place) = bytes.get_mut(start..end) else { continue };
            let at = offset + start as u64;
            let from_image = size.saturating_sub(at).min(place.len() as u64) as usize;
            let (below, beyond) = place.split_at_mut(from_image);
            if !below.is_empty() {
                retry::source(|| source.read_at(at, below))?;
            }
            beyond.fill(0);
        }
        Ok(())
    }
}
