//! Writing a disk's content onto a target.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::block::{self, BLOCK, Buffer, Content};
use super::budget::Budget;
use super::job::Job;
use super::manifest::{Finished, v1};
use super::work::{Positions, Work};
use super::{Cancel, CopyError, Event, Header, Manifest, ManifestError, Observer, Target, survey};
use crate::image::{BlockSource, ReadSet};
use crate::model::Digest;

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
    let work = Work::new(source, manifest.done().clone(), &options.expect);
    let feed = Positions::new(source, work);
    let counts = Job::new(&feed, target, options, cancel).run(&mut manifest, resumed, observer)?;
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
        written_bytes: counts.written,
        zeroed_bytes: counts.zeroed,
        resumed_bytes: resumed,
        elapsed: begun.elapsed(),
        manifest,
    })
}

pub(super) fn open_manifest(
    size: u64,
    target: &Target,
    options: &WriteOptions,
) -> Result<Manifest, ManifestError> {
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
pub(super) fn check_sample(manifest: &Manifest, target: &Target) -> Result<(), CopyError> {
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
