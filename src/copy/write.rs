//! Writing a disk's content onto a target.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::base::Base;
use super::block::{self, BLOCK, Buffer, Content};
use super::budget::Budget;
use super::job::Job;
use super::manifest::{Finished, v2};
use super::survey::survey_left;
use super::work::{Positions, Work};
use super::{
    Cancel, Changes, CopyError, Event, Header, Manifest, ManifestError, Observer, Target, Update, beyond,
    update,
};
use crate::image::{BlockSource, ReadSet};
use crate::model::Digest;

/// How many blocks of a target that was written before are read back first, as a sample: cheap,
/// and catches one that something else has written to since.
const SAMPLE: u64 = 16;

/// What to do with a manifest that exists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ExistingManifest {
    /// Refuse to go on.
    #[default]
    Refuse,
    /// Bring the target from what is recorded to this image, writing only what differs. It must
    /// be of the same target, and of a write that has finished, or of an update of one.
    Update,
    /// Go on where it ends: with a first write of the same image on the same target; otherwise as
    /// [`Update`](Self::Update).
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
    /// The image's identity, recorded in the manifest and compared with what is recorded there.
    pub image: Digest,
    /// What says which parts of the image an update has to look at.
    pub changes: Changes,
    /// Whether the first and the last MiB of what the target has beyond the disk are made zero:
    /// a partition table's copy or a filesystem's signature that was left there would be taken
    /// for one of this disk.
    pub clear_beyond: bool,
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
            changes: Changes::default(),
            clear_beyond: false,
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
    /// Bytes of the disk that an update left alone, for the target held them already.
    pub unchanged_bytes: u64,
    /// Bytes that were read of the source.
    pub read_bytes: u64,
    /// What was brought up to the image; `None` for a first write.
    pub update: Option<Update>,
    /// How long this run took.
    pub elapsed: Duration,
    /// The manifest, for verifying and for the overlay.
    pub manifest: Manifest,
}

/// Writes all of `source` onto `target`, flushed when this returns. Where a manifest says what is
/// there already, only what differs.
///
/// # Errors
/// When the image cannot be read, is not as expected or changes meanwhile, the target cannot be
/// written or flushed, the manifest cannot be used, or `cancel` was asked for. What was flushed
/// stays recorded in the manifest in all of these cases.
pub fn write(
    source: &dyn BlockSource,
    target: &Target,
    options: &WriteOptions,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<WriteOutcome, CopyError> {
    let begun = Instant::now();
    let size = source.size();
    target.check_size(size)?;
    let mut manifest = open_manifest(size, target, options)?;
    check_sample(&manifest, target)?;
    let mut certain = manifest.done().clone();
    for (first, end) in manifest.stray().iter() {
        certain.remove(first, end);
    }
    let is_new = manifest.finished().is_none() && !manifest.is_updating();
    let update = if is_new { None } else { update::begin(&mut manifest, source, options)? };
    let base = Base::new(&manifest, &certain);
    let before = manifest.done_bytes();
    let resumed = if update.is_some() { 0 } else { before };

    if let Some(update) = &update {
        observer.event(&Event::Updating(update.clone()));
    }
    let survey =
        survey_left(source, manifest.done()).map_err(|source| CopyError::Source { offset: 0, source })?;
    observer.event(&Event::Started { total: size, data: survey.data, zero: survey.zero, resumed });
    let cleared = beyond::clear_stray(target, &manifest, cancel)?;
    let work = Work::new(source, manifest.done().clone(), &base, &options.expect);
    let feed = Positions::new(source, work);
    let tally = Job::new(&feed, target, &base, options, cancel).run(
        &mut manifest,
        (before, Some(survey.data)),
        observer,
    )?;
    if cancel.is_cancelled() && manifest.done_bytes() < size {
        return Err(CopyError::Cancelled { done: manifest.done_bytes(), total: size });
    }
    // Before the manifest says that all of it is of this image.
    source.check_unchanged().map_err(|source| CopyError::Source { offset: 0, source })?;
    let cleared = cleared + if options.clear_beyond { beyond::clear_ends(target, size)? } else { 0 };
    target.check_size(size)?;
    if cleared > 0 || before == size {
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
        unchanged_bytes: tally.kept + before - resumed,
        read_bytes: tally.read,
        update,
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
        version: v2::VERSION,
        block_size: BLOCK,
        disk_size: size,
        image: options.image,
        target: target.identity().to_owned(),
    };
    let Some(path) = &options.manifest else { return Manifest::temporary(header) };
    let exists = path.try_exists().map_err(|source| ManifestError::Open { path: path.clone(), source })?;
    let is_resume = match options.existing_manifest {
        ExistingManifest::Refuse if exists => return Err(ManifestError::Exists { path: path.clone() }),
        ExistingManifest::Update if exists => false,
        ExistingManifest::Resume if exists => true,
        _ => return Manifest::create(path, header),
    };
    let manifest = Manifest::open(path)?;
    let (path, found) = (path.clone(), manifest.header());
    if found.target != header.target {
        let recorded = found.target.clone();
        return Err(ManifestError::OtherTarget { path, recorded, found: header.target });
    }
    if manifest.finished().is_none() && !manifest.is_updating() {
        // A first write that was interrupted: there is nothing whole to bring up to date.
        if !is_resume {
            return Err(ManifestError::Unfinished { path });
        }
        if (found.image, found.disk_size) != (header.image, size) {
            return Err(ManifestError::OtherImage { path });
        }
    }
    Ok(manifest)
}

/// Reads back some of the blocks that the manifest claims.
pub(super) fn check_sample(manifest: &Manifest, target: &Target) -> Result<(), CopyError> {
    let mut buffer = Buffer::new();
    target.drop_cache();
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
