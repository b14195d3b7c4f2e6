//! A manifest on disk: created, opened, replayed, read.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::super::block::{self, BLOCK, Content};
use super::super::retry;
use super::slots::Slots;
use super::v1::{self, HeaderError};
use super::v2::{self, Header, Record};
use super::{ManifestError, Ranges};
use crate::model::Digest;

/// What lies over the image's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    Nothing,
    /// Writing or undoing it began, and has not been finished.
    Partly(Digest),
    Wholly(Digest),
}

/// An open manifest. Its table stays in its file: the memory it takes does not grow with the disk,
/// only with how finely what has changed is strewn over it.
#[derive(Debug)]
pub struct Manifest {
    pub(super) path: PathBuf,
    /// Whether `path` is its own, not only the directory that it has no name in.
    pub(super) named: bool,
    /// Whether its file is of a version that is no longer written.
    pub(super) old: bool,
    pub(super) header: Header,
    pub(super) slots: Slots,
    /// Blocks that hold what their slots say, flushed, and that is the image's.
    pub(super) done: Ranges,
    /// Blocks that have a slot.
    pub(super) known: Ranges,
    /// Blocks in which there may be something that is not the image's.
    pub(super) stray: Ranges,
    /// Blocks that will be in doubt as soon as the log says for what.
    pub(super) doubtful: Ranges,
    /// Where the log ends.
    pub(super) end: v2::Place,
    pub(super) finished: Option<Finished>,
    pub(super) updating: bool,
    pub(super) over: Over,
}

/// What a finished write came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    /// Bytes that are data.
    pub data: u64,
    /// Bytes that are zero.
    pub zero: u64,
    /// The content's digest.
    pub content: Digest,
}

impl Manifest {
    /// Makes a new manifest at `path`, in the place of one that may be there.
    ///
    /// # Errors
    /// When it cannot be created, written or given its name.
    pub fn create(path: &Path, header: Header) -> Result<Self, ManifestError> {
        Self::create_with(path, header, &mut |_| Ok(()))
    }

    /// As [`create`](Self::create), with something in it when it gets its name.
    pub(super) fn create_with(
        path: &Path,
        header: Header,
        fill: &mut dyn FnMut(&mut Self) -> Result<(), ManifestError>,
    ) -> Result<Self, ManifestError> {
        let failed = |source| ManifestError::Create { path: path.to_owned(), source };
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let temporary = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
        let mut manifest = Self::over_file(path, temporary.as_file().try_clone().map_err(failed)?, header)?;
        manifest.named = true;
        fill(&mut manifest)?;
        temporary.as_file().sync_all().map_err(failed)?;
        manifest.lock()?;
        temporary.persist(path).map_err(|error| failed(error.error))?;
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
        Ok(manifest)
    }

    /// A manifest without a name, gone when it is dropped: for a write that nobody wants to
    /// resume.
    ///
    /// # Errors
    /// When there is no room for temporary files.
    pub fn temporary(header: Header) -> Result<Self, ManifestError> {
        let path = std::env::temp_dir();
        let file =
            tempfile::tempfile().map_err(|source| ManifestError::Create { path: path.clone(), source })?;
        Self::over_file(&path, file, header)
    }

    fn over_file(path: &Path, file: File, header: Header) -> Result<Self, ManifestError> {
        let failed = |source| ManifestError::Create { path: path.to_owned(), source };
        let bytes = (header.disk_size <= v2::MAX_DISK).then(|| v2::encode_header(&header)).flatten();
        let bytes = bytes.ok_or_else(|| failed(io::Error::from(io::ErrorKind::InvalidInput)))?;
        file.write_all_at(&bytes, 0).map_err(failed)?;
        file.set_len(v2::log_offset(block::count(header.disk_size))).map_err(failed)?;
        Ok(Self::empty(path, file, header, false))
    }

    fn empty(path: &Path, file: File, header: Header, old: bool) -> Self {
        let table = block::count(header.disk_size);
        Self {
            path: path.to_owned(),
            named: false,
            old,
            slots: Slots::new(path.to_owned(), file, table),
            header,
            done: Ranges::default(),
            known: Ranges::default(),
            stray: Ranges::default(),
            doubtful: Ranges::default(),
            end: v2::Place::default(),
            finished: None,
            updating: false,
            over: Over::Nothing,
        }
    }

    /// Opens a manifest to go on with it. What a crash left half written is not believed.
    ///
    /// # Errors
    /// When it cannot be opened or read, is in use, damaged or of a newer version.
    pub fn open(path: &Path) -> Result<Self, ManifestError> {
        let file = File::options()
            .read(true)
            .write(true)
            .open(path)
            .map_err(|source| ManifestError::Open { path: path.to_owned(), source })?;
        let damaged = |what: &str| ManifestError::Damaged { path: path.to_owned(), what: what.to_owned() };
        let mut start = [0; v2::TABLE as usize];
        file.read_exact_at(&mut start, 0).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => damaged("it is too short"),
            _ => ManifestError::Read { path: path.to_owned(), source },
        })?;
        let (header, old) = match v2::decode_header(&start) {
            Err(HeaderError::Version(v1::VERSION)) => (v1::decode_header(&start).map(Header::from), true),
            header => (header, false),
        };
        let header = header.map_err(|error| match error {
            HeaderError::Version(version) => {
                ManifestError::Version { path: path.to_owned(), version, known: v2::VERSION }
            }
            HeaderError::Damaged(what) => damaged(what),
        })?;
        let mut manifest = Self { named: true, ..Self::empty(path, file, header, old) };
        manifest.lock()?;
        manifest.refuse_if_replaced()?;
        manifest.replay()?;
        Ok(manifest)
    }

    fn lock(&self) -> Result<(), ManifestError> {
        self.slots.file().try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => ManifestError::Locked { path: self.path.clone() },
            TryLockError::Error(source) => ManifestError::Open { path: self.path.clone(), source },
        })
    }

    /// Another run may have put a new file in its place between opening and locking it.
    fn refuse_if_replaced(&self) -> Result<(), ManifestError> {
        let failed = |source| ManifestError::Open { path: self.path.clone(), source };
        let (ours, named) =
            (self.slots.file().metadata().map_err(failed)?, fs::metadata(&self.path).map_err(failed)?);
        match (ours.dev(), ours.ino()) == (named.dev(), named.ino()) {
            true => Ok(()),
            false => Err(ManifestError::Locked { path: self.path.clone() }),
        }
    }

    /// Reads the log up to its end. The first invalid record ends it; so does a record that
    /// cannot follow what came before.
    fn replay(&mut self) -> Result<(), ManifestError> {
        // Each block of the table is recorded once, or a few times when flushing failed: a log
        // that names them over and over is not ours, and would keep us hashing for ever.
        let mut to_hash = self.slots.table().saturating_mul(8);
        let length = self.slots.file().metadata().map(|metadata| metadata.len());
        let length = length.map_err(|source| ManifestError::Read { path: self.path.clone(), source })?;
        loop {
            let mut bytes = [0; v2::RECORD];
            let offset = self.log_end();
            if offset.saturating_add(v2::RECORD as u64) > length {
                break;
            }
            self.slots.read(&mut bytes, offset)?;
            let record = match self.old {
                true => v1::decode(&bytes, self.end.position).map(Record::from),
                false => v2::decode(&bytes, self.end),
            };
            let Some(record) = record else { break };
            let slots = offset + v2::RECORD as u64;
            match record {
                Record::Done { first, count, slots } => {
                    let end = self.within(first, count, self.slots.table())?;
                    to_hash = match to_hash.checked_sub(count) {
                        Some(left) => left,
                        None => return self.damaged("its log repeats itself"),
                    };
                    // A table that was not flushed in time proves nothing; the blocks are
                    // written again.
                    if self.digest_of_slots(first, end)? != slots {
                        self.passed(v2::RECORD as u64, &bytes);
                        continue;
                    }
                }
                Record::Put { first, count, slots: digest } => {
                    self.within(first, count, self.blocks())?;
                    let held = v2::slots_in_log(count);
                    if slots.saturating_add(held) > length || self.digest_in_log(slots, count)? != digest {
                        break;
                    }
                }
                _ => {}
            }
            self.note(record, slots)?;
            self.passed(record.length(), &bytes);
        }
        if !self.old && length > self.log_end() {
            // What a crash left behind the log's end.
            let cut = self.slots.file().set_len(self.log_end());
            cut.map_err(|source| ManifestError::Write { path: self.path.clone(), source })?;
        }
        Ok(())
    }

    /// Moves the log's end behind a record of this many bytes, slots included.
    fn passed(&mut self, length: u64, record: &[u8; v2::RECORD]) {
        self.end.position += length / v2::RECORD as u64;
        self.end.before.copy_from_slice(&record[56..]);
    }

    /// What a record makes of what is known. `slots` is where its slots begin, if they follow it.
    fn note(&mut self, record: Record, slots: u64) -> Result<(), ManifestError> {
        let blocks = self.blocks();
        match record {
            Record::Done { first, count, .. } => {
                let end = self.within(first, count, blocks)?;
                self.done.insert(first, end);
                self.known.insert(first, end);
            }
            Record::Put { first, count, .. } => {
                let end = self.within(first, count, blocks)?;
                self.slots.place(first, end, slots);
                self.done.insert(first, end);
                self.known.insert(first, end);
            }
            Record::Kept { first, count } => {
                let end = self.within(first, count, blocks)?;
                let kept = [(first, end)].into_iter().collect::<Ranges>();
                if kept.common(&self.known) != kept {
                    return self.damaged("it keeps blocks that it never recorded");
                }
                self.done.insert(first, end);
            }
            Record::Doubtful { first, count } => {
                let end = self.within(first, count, blocks)?;
                self.doubtful.insert(first, end);
            }
            Record::Stray { first, count } => {
                let end = self.within(first, count, v2::MAX_DISK / BLOCK)?;
                self.stray.insert(first, end);
            }
            Record::Updating { image, size } => self.turn_to(image, size)?,
            Record::Finished { data, zero, content } => {
                self.finished = self.done.is_all(blocks).then_some(Finished { data, zero, content });
                if self.finished.is_some() && self.updating {
                    self.updating = false;
                    self.over = Over::Nothing;
                    self.stray = Ranges::default();
                }
            }
            Record::OverlayBegun { overlay } => self.over = Over::Partly(overlay),
            Record::OverlayDone { overlay } => self.over = Over::Wholly(overlay),
            Record::OverlayUndone { .. } => {
                self.over = Over::Nothing;
                self.stray = Ranges::default();
            }
        }
        if self.old && self.over != Over::Nothing {
            // Version 1 did not say where an overlay lies.
            self.stray.insert(0, v2::MAX_DISK / BLOCK);
        }
        Ok(())
    }

    fn turn_to(&mut self, image: Digest, size: u64) -> Result<(), ManifestError> {
        if size > v2::MAX_DISK {
            return self.damaged("its sizes are impossible");
        }
        for (first, end) in std::mem::take(&mut self.doubtful).iter() {
            self.done.remove(first, end);
        }
        if size != self.header.disk_size {
            let whole = size.min(self.header.disk_size) / BLOCK;
            self.done.remove(whole, u64::MAX);
            self.known.remove(whole, u64::MAX);
        }
        self.header.image = image;
        self.header.disk_size = size;
        self.finished = None;
        self.updating = true;
        if let Over::Wholly(overlay) = self.over {
            self.over = Over::Partly(overlay);
        }
        Ok(())
    }

    /// The end of a range of blocks that a record names.
    fn within(&self, first: u64, count: u64, blocks: u64) -> Result<u64, ManifestError> {
        match first.checked_add(count).filter(|end| *end <= blocks) {
            Some(end) => Ok(end),
            None => self.damaged("it names blocks beyond the disk"),
        }
    }

    fn damaged<T>(&self, what: &str) -> Result<T, ManifestError> {
        Err(ManifestError::Damaged { path: self.path.clone(), what: what.to_owned() })
    }

    /// How many blocks the disk has.
    pub(super) fn blocks(&self) -> u64 {
        block::count(self.header.disk_size)
    }

    /// Where the log ends, in bytes of the file.
    pub(super) fn log_end(&self) -> u64 {
        v2::log_offset(self.slots.table()) + self.end.position * v2::RECORD as u64
    }

    /// What it is about.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Where it is; for a temporary one, the directory of temporary files.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the whole came to, when it is all on the target.
    #[must_use]
    pub fn finished(&self) -> Option<Finished> {
        self.finished
    }

    /// Whether the target was wholly written once, and is being brought up to another image.
    #[must_use]
    pub fn is_updating(&self) -> bool {
        self.updating
    }

    /// Whether a block is on the target and flushed.
    #[must_use]
    pub fn is_done(&self, index: u64) -> bool {
        self.done.contains(index)
    }

    /// Which blocks are on the target and flushed.
    pub(crate) fn done(&self) -> &Ranges {
        &self.done
    }

    /// Which blocks have a slot; of those that are not done, it may be wrong.
    pub(crate) fn known(&self) -> &Ranges {
        &self.known
    }

    /// Blocks in which there may be something that is not the image's, within the disk and beyond.
    pub(crate) fn stray(&self) -> &Ranges {
        &self.stray
    }

    /// The slots as they are now, for those who read them while others are added.
    pub(crate) fn slots(&self) -> Slots {
        self.slots.clone()
    }

    /// How many bytes of the disk are on the target and flushed.
    #[must_use]
    pub fn done_bytes(&self) -> u64 {
        self.bytes_of(&self.done)
    }

    /// How many bytes of the disk these blocks are.
    pub(crate) fn bytes_of(&self, blocks: &Ranges) -> u64 {
        let size = self.header.disk_size;
        blocks.iter().map(|(first, end)| size.min(end * BLOCK).saturating_sub(first * BLOCK)).sum()
    }

    /// What block `index` holds by this manifest; only blocks that are done mean anything.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn content(&self, index: u64) -> Result<Content, ManifestError> {
        self.slots.content(index)
    }

    /// Up to `wanted` blocks with data that hold what is recorded of them, spread evenly over
    /// those that do.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn sample(&self, wanted: u64) -> Result<Vec<u64>, ManifestError> {
        self.sample_of(&self.done, wanted)
    }

    /// Up to `wanted` of these blocks that have data in them and nothing that is not the image's.
    pub(crate) fn sample_of(&self, blocks: &Ranges, wanted: u64) -> Result<Vec<u64>, ManifestError> {
        let mut blocks = blocks.clone();
        for (first, end) in self.stray.iter() {
            blocks.remove(first, end);
        }
        let total = blocks.count();
        let mut found = Vec::new();
        let Some(step) = total.checked_sub(1).map(|last| (last / wanted.max(2).saturating_sub(1)).max(1))
        else {
            return Ok(found);
        };
        let mut place = 0;
        while place < total && (found.len() as u64) < wanted {
            if let Some(index) = blocks.nth(place)
                && self.content(index)? != Content::Zero
            {
                found.push(index);
            }
            place += step;
        }
        Ok(found)
    }

    /// The overlay that lies over the content, and whether it does so wholly.
    #[must_use]
    pub fn overlay(&self) -> Option<(Digest, bool)> {
        match self.over {
            Over::Nothing => None,
            Over::Partly(overlay) => Some((overlay, false)),
            Over::Wholly(overlay) => Some((overlay, true)),
        }
    }

    /// Appends records, each with the slots that belong behind it (none for most); not yet
    /// durable.
    pub(super) fn append(&mut self, records: &[(Record, &[u8])]) -> Result<(), ManifestError> {
        let begin = self.log_end();
        let (mut bytes, mut place) = (Vec::new(), self.end);
        for (record, slots) in records {
            let (encoded, check) = v2::encode(*record, place);
            bytes.extend_from_slice(&encoded);
            bytes.extend_from_slice(slots);
            bytes.resize(bytes.len().next_multiple_of(v2::RECORD), 0);
            place.before = check;
            place.position += record.length() / v2::RECORD as u64;
        }
        self.write_at(&bytes, begin)?;
        for (record, _) in records {
            let slots = self.log_end() + v2::RECORD as u64;
            self.note(*record, slots)?;
            self.end.position += record.length() / v2::RECORD as u64;
        }
        self.end = place;
        Ok(())
    }

    pub(super) fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), ManifestError> {
        retry::target(|| self.slots.file().write_all_at(bytes, offset))
            .map_err(|source| ManifestError::Write { path: self.path.clone(), source })
    }

    pub(super) fn sync(&self) -> Result<(), ManifestError> {
        let synced = self.slots.file().sync_data();
        synced.map_err(|source| ManifestError::Write { path: self.path.clone(), source })
    }

    /// The digest of the slots of a range of blocks.
    pub(super) fn digest_of_slots(&self, first: u64, end: u64) -> Result<Digest, ManifestError> {
        let mut hasher = blake3::Hasher::new();
        self.slots.each(first, end, &mut |_, slots| {
            hasher.update(slots);
        })?;
        Ok(Digest(*hasher.finalize().as_bytes()))
    }

    /// The digest of `count` slots that are in the log from `offset` on.
    fn digest_in_log(&self, offset: u64, count: u64) -> Result<Digest, ManifestError> {
        let (mut hasher, mut buffer) = (blake3::Hasher::new(), Vec::new());
        let (mut at, end) = (offset, offset + count * v2::SLOT);
        while at < end {
            buffer.resize((end - at).min(1 << 20) as usize, 0);
            self.slots.read(&mut buffer, at)?;
            hasher.update(&buffer);
            at += buffer.len() as u64;
        }
        Ok(Digest(*hasher.finalize().as_bytes()))
    }
}
