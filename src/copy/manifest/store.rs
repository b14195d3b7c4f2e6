//! A manifest on disk: created, opened, filled in, read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::super::block::{self, Content, ContentHasher};
use super::super::retry;
use super::ManifestError;
use super::v1::{self, Header, HeaderError, Record};
use crate::model::Digest;

/// How many slots are read or hashed at a time: 1 MiB of the table.
const SLOTS_AT_A_TIME: u64 = 32 << 10;

/// What lies over the image's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    Nothing,
    /// Writing or undoing it began, and has not been finished.
    Partly(Digest),
    Wholly(Digest),
}

/// An open manifest. Its table stays in its file: the memory it takes does not grow with the disk.
#[derive(Debug)]
pub struct Manifest {
    path: PathBuf,
    file: File,
    header: Header,
    done: Ranges,
    records: u64,
    finished: Option<Finished>,
    over: Over,
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
        let failed = |source| ManifestError::Create { path: path.to_owned(), source };
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let temporary = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
        let manifest = Self::over_file(path, temporary.as_file().try_clone().map_err(failed)?, header)?;
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
        let bytes = (header.disk_size <= v1::MAX_DISK).then(|| v1::encode_header(&header)).flatten();
        let bytes = bytes.ok_or_else(|| failed(io::Error::from(io::ErrorKind::InvalidInput)))?;
        file.write_all_at(&bytes, 0).map_err(failed)?;
        file.set_len(v1::log_offset(block::count(header.disk_size))).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            header,
            done: Ranges::default(),
            records: 0,
            finished: None,
            over: Over::Nothing,
        })
    }

    /// Gives it another name, in the place of one that may have it.
    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> Result<(), ManifestError> {
        let failed = |source| ManifestError::Create { path: to.to_owned(), source };
        std::fs::rename(from, to).map_err(failed)?;
        to.clone_into(&mut self.path);
        let directory = to.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = File::open(directory.unwrap_or(Path::new("."))).map_err(failed)?;
        directory.sync_all().map_err(failed)
    }

    /// What it says of blocks that are done now, for reading while others are added.
    pub(crate) fn recorded(&self) -> Result<Recorded, ManifestError> {
        let file = self.file.try_clone();
        let file = file.map_err(|source| ManifestError::Open { path: self.path.clone(), source })?;
        Ok(Recorded { path: self.path.clone(), file, done: self.done.clone() })
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
        let mut start = [0; v1::TABLE as usize];
        file.read_exact_at(&mut start, 0).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => {
                ManifestError::Damaged { path: path.to_owned(), what: "it is too short".to_owned() }
            }
            _ => ManifestError::Read { path: path.to_owned(), source },
        })?;
        let header = v1::decode_header(&start).map_err(|error| match error {
            HeaderError::Version(version) => {
                ManifestError::Version { path: path.to_owned(), version, known: v1::VERSION }
            }
            HeaderError::Damaged(what) => {
                ManifestError::Damaged { path: path.to_owned(), what: what.to_owned() }
            }
        })?;
        let mut manifest = Self {
            path: path.to_owned(),
            file,
            header,
            done: Ranges::default(),
            records: 0,
            finished: None,
            over: Over::Nothing,
        };
        manifest.lock()?;
        manifest.replay()?;
        Ok(manifest)
    }

    fn lock(&self) -> Result<(), ManifestError> {
        self.file.try_lock().map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => ManifestError::Locked { path: self.path.clone() },
            std::fs::TryLockError::Error(source) => ManifestError::Open { path: self.path.clone(), source },
        })
    }

    /// Reads the log up to its end. The first invalid record ends it; so does a record that
    /// cannot follow what came before.
    fn replay(&mut self) -> Result<(), ManifestError> {
        let blocks = block::count(self.header.disk_size);
        // Each block is recorded once, or a few times when flushing failed: a log that names
        // them over and over is not ours, and would keep us hashing for ever.
        let mut to_hash = blocks.saturating_mul(8);
        loop {
            let mut bytes = [0; v1::RECORD];
            match self.file.read_exact_at(&mut bytes, self.record_offset()) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(source) => return Err(ManifestError::Read { path: self.path.clone(), source }),
            }
            match v1::decode(&bytes, self.records) {
                None => return Ok(()),
                Some(Record::Done { first, count, slots }) => {
                    let end = first.checked_add(count).filter(|end| *end <= blocks);
                    let Some(end) = end else { return self.damaged("it names blocks beyond the disk") };
                    to_hash = match to_hash.checked_sub(count) {
                        Some(left) => left,
                        None => return self.damaged("its log repeats itself"),
                    };
                    // A table that was not flushed in time proves nothing; the blocks are
                    // written again.
                    if self.digest_of_slots(first, end)? == slots {
                        self.done.insert(first, end);
                    }
                }
                Some(Record::Finished { data, zero, content }) => {
                    self.finished = self.done.is_all(blocks).then_some(Finished { data, zero, content });
                }
                Some(Record::OverlayBegun { overlay }) => self.over = Over::Partly(overlay),
                Some(Record::OverlayDone { overlay }) => self.over = Over::Wholly(overlay),
                Some(Record::OverlayUndone { .. }) => self.over = Over::Nothing,
            }
            self.records += 1;
        }
    }

    fn damaged<T>(&self, what: &str) -> Result<T, ManifestError> {
        Err(ManifestError::Damaged { path: self.path.clone(), what: what.to_owned() })
    }

    fn record_offset(&self) -> u64 {
        let log = v1::log_offset(block::count(self.header.disk_size));
        log + self.records * v1::RECORD as u64
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

    /// Whether a block is on the target and flushed.
    #[must_use]
    pub fn is_done(&self, index: u64) -> bool {
        self.done.contains(index)
    }

    /// Which blocks are on the target and flushed.
    pub(crate) fn done(&self) -> &Ranges {
        &self.done
    }

    /// How many bytes of the disk are on the target and flushed.
    #[must_use]
    pub fn done_bytes(&self) -> u64 {
        let size = self.header.disk_size;
        self.done.0.iter().map(|(first, end)| size.min(end * block::BLOCK) - first * block::BLOCK).sum()
    }

    /// What block `index` holds by this manifest; only blocks that are done mean anything.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn content(&self, index: u64) -> Result<Content, ManifestError> {
        let mut slot = [0; v1::SLOT as usize];
        retry::target(|| self.file.read_exact_at(&mut slot, v1::TABLE + index * v1::SLOT))
            .map_err(|source| ManifestError::Read { path: self.path.clone(), source })?;
        Ok(Content::from_slot(slot))
    }

    /// Up to `wanted` blocks with data that are done, spread evenly over those that are.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn sample(&self, wanted: u64) -> Result<Vec<u64>, ManifestError> {
        let total = self.done.count();
        let mut found = Vec::new();
        let Some(step) = total.checked_sub(1).map(|last| (last / wanted.max(2).saturating_sub(1)).max(1))
        else {
            return Ok(found);
        };
        let mut place = 0;
        while place < total && (found.len() as u64) < wanted {
            if let Some(index) = self.done.nth(place)
                && self.content(index)? != Content::Zero
            {
                found.push(index);
            }
            place += step;
        }
        Ok(found)
    }

    /// Says that blocks are on the target; call it only after the target was flushed. `blocks`
    /// are sorted here; durable when this returns.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn checkpoint(&mut self, blocks: &mut [(u64, Content)]) -> Result<(), ManifestError> {
        blocks.sort_unstable_by_key(|(index, _)| *index);
        for run in blocks.chunk_by(|a, b| a.0 + 1 == b.0) {
            let Some((first, _)) = run.first() else { continue };
            let slots: Vec<u8> = run.iter().flat_map(|(_, content)| content.slot()).collect();
            self.write_at(&slots, v1::TABLE + first * v1::SLOT)?;
            let count = run.len() as u64;
            self.append(Record::Done { first: *first, count, slots: Digest::of(&slots) })?;
            self.done.insert(*first, first + count);
        }
        self.sync()
    }

    /// Says that the whole disk is on the target: hashes the table, and appends what it came to.
    ///
    /// # Errors
    /// When blocks are missing, or it cannot be read or written.
    pub(crate) fn finish(&mut self) -> Result<Finished, ManifestError> {
        let size = self.header.disk_size;
        let blocks = block::count(size);
        if !self.done.is_all(blocks) {
            return Err(ManifestError::Unfinished { path: self.path.clone() });
        }
        let (mut hasher, mut zero) = (ContentHasher::new(size), 0);
        self.each_slots(0, blocks, &mut |first, slots| {
            hasher.update(slots);
            for (index, slot) in (first..).zip(slots.chunks(v1::SLOT as usize)) {
                if block::is_zero(slot) {
                    zero += block::length(index, size);
                }
            }
        })?;
        let finished = Finished { data: size - zero, zero, content: hasher.finish() };
        if self.finished != Some(finished) {
            let Finished { data, zero, content } = finished;
            self.append(Record::Finished { data, zero, content })?;
            self.sync()?;
            self.finished = Some(finished);
        }
        Ok(finished)
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

    /// Says that writing or undoing an overlay begins: from here on, a mixture.
    pub(crate) fn overlay_begins(&mut self, overlay: Digest) -> Result<(), ManifestError> {
        self.append(Record::OverlayBegun { overlay })?;
        self.over = Over::Partly(overlay);
        self.sync()
    }

    /// Says that the overlay is on the target; call it only after the target was flushed.
    pub(crate) fn overlay_done(&mut self, overlay: Digest) -> Result<(), ManifestError> {
        self.append(Record::OverlayDone { overlay })?;
        self.over = Over::Wholly(overlay);
        self.sync()
    }

    /// Says that the overlay is off the target; call it only after the target was flushed.
    pub(crate) fn overlay_undone(&mut self, overlay: Digest) -> Result<(), ManifestError> {
        self.append(Record::OverlayUndone { overlay })?;
        self.over = Over::Nothing;
        self.sync()
    }

    fn append(&mut self, record: Record) -> Result<(), ManifestError> {
        self.write_at(&v1::encode(record, self.records), self.record_offset())?;
        self.records += 1;
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), ManifestError> {
        retry::target(|| self.file.write_all_at(bytes, offset))
            .map_err(|source| ManifestError::Write { path: self.path.clone(), source })
    }

    fn sync(&self) -> Result<(), ManifestError> {
        self.file.sync_data().map_err(|source| ManifestError::Write { path: self.path.clone(), source })
    }

    fn digest_of_slots(&self, first: u64, end: u64) -> Result<Digest, ManifestError> {
        let mut hasher = blake3::Hasher::new();
        self.each_slots(first, end, &mut |_, slots| {
            hasher.update(slots);
        })?;
        Ok(Digest(*hasher.finalize().as_bytes()))
    }

    /// Calls `each` with the slots of a range of blocks, some at a time, and the first's index.
    fn each_slots(
        &self,
        mut first: u64,
        end: u64,
        each: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<(), ManifestError> {
        let mut slots = Vec::new();
        while first < end {
            let count = (end - first).min(SLOTS_AT_A_TIME);
            slots.resize((count * v1::SLOT) as usize, 0);
            retry::target(|| self.file.read_exact_at(&mut slots, v1::TABLE + first * v1::SLOT)).map_err(
                |source| match source.kind() {
                    io::ErrorKind::UnexpectedEof => ManifestError::Damaged {
                        path: self.path.clone(),
                        what: "its table is cut off".to_owned(),
                    },
                    _ => ManifestError::Read { path: self.path.clone(), source },
                },
            )?;
            each(first, &slots);
            first += count;
        }
        Ok(())
    }
}

/// Blocks that were done at a moment, and what they hold.
#[derive(Debug)]
pub(crate) struct Recorded {
    path: PathBuf,
    file: File,
    done: Ranges,
}

impl Recorded {
    /// The block after the last one that was done.
    pub(crate) fn end(&self) -> u64 {
        self.done.0.last().map_or(0, |(_, end)| *end)
    }

    /// What a block holds; `None` when it was not done.
    pub(crate) fn content(&self, index: u64) -> Result<Option<Content>, ManifestError> {
        if !self.done.contains(index) {
            return Ok(None);
        }
        let mut slot = [0; v1::SLOT as usize];
        retry::target(|| self.file.read_exact_at(&mut slot, v1::TABLE + index * v1::SLOT))
            .map_err(|source| ManifestError::Read { path: self.path.clone(), source })?;
        Ok(Some(Content::from_slot(slot)))
    }
}

/// A set of blocks as sorted ranges `(first, end)` that neither touch nor overlap.
#[derive(Debug, Default, Clone)]
pub(crate) struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// The ranges, in order.
    pub(super) fn all(&self) -> &[(u64, u64)] {
        &self.0
    }

    pub(crate) fn insert(&mut self, first: u64, end: u64) {
        if first >= end {
            return;
        }
        let from = self.0.partition_point(|range| range.1 < first);
        let to = self.0.partition_point(|range| range.0 <= end);
        let (mut first, mut end) = (first, end);
        if let Some(touched) = self.0.get(from..to).filter(|touched| !touched.is_empty()) {
            first = first.min(touched[0].0);
            end = end.max(touched[touched.len() - 1].1);
        }
        self.0.splice(from..to, [(first, end)]);
    }

    pub(crate) fn contains(&self, index: u64) -> bool {
        let after = self.0.partition_point(|range| range.0 <= index);
        after.checked_sub(1).and_then(|at| self.0.get(at)).is_some_and(|range| index < range.1)
    }

    fn is_all(&self, blocks: u64) -> bool {
        blocks == 0 || self.0 == [(0, blocks)]
    }

    fn count(&self) -> u64 {
        self.0.iter().map(|(first, end)| end - first).sum()
    }

    /// The block that has `place` others before it.
    fn nth(&self, mut place: u64) -> Option<u64> {
        for (first, end) in &self.0 {
            if place < end - first {
                return Some(first + place);
            }
            place -= end - first;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::block::BLOCK;

    fn header(blocks: u64) -> Header {
        Header {
            version: v1::VERSION,
            block_size: BLOCK,
            disk_size: blocks * BLOCK - 5,
            image: Digest::of(b"image"),
            target: "target".to_owned(),
        }
    }

    fn data(index: u64) -> (u64, Content) {
        (index, Content::Data(Digest::of(&index.to_le_bytes())))
    }

    #[test]
    fn ranges_are_a_set_of_blocks() {
        let mut ranges = Ranges::default();
        let mut model = std::collections::BTreeSet::new();
        for (first, end) in [(5, 7), (1, 2), (9, 9), (2, 3), (7, 9), (20, 22), (0, 1), (4, 21)] {
            ranges.insert(first, end);
            model.extend(first..end);
            for index in 0..30 {
                assert_eq!(ranges.contains(index), model.contains(&index), "{index} in {ranges:?}");
            }
            assert!(ranges.0.windows(2).all(|pair| pair[0].1 < pair[1].0), "{ranges:?}");
            let all: Vec<u64> = (0..ranges.count()).map(|place| ranges.nth(place).unwrap()).collect();
            assert_eq!(all, model.iter().copied().collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_was_checkpointed_is_there_when_it_is_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m");
        let mut manifest = Manifest::create(&path, header(9)).unwrap();
        manifest.checkpoint(&mut [data(4), data(0), data(1), (5, Content::Zero)]).unwrap();
        assert!(matches!(manifest.finish(), Err(ManifestError::Unfinished { .. })));
        assert!(matches!(Manifest::open(&path), Err(ManifestError::Locked { .. })));
        drop(manifest);

        let mut manifest = Manifest::open(&path).unwrap();
        let done: Vec<u64> = (0..9).filter(|index| manifest.is_done(*index)).collect();
        assert_eq!(done, [0, 1, 4, 5]);
        assert_eq!(manifest.content(4).unwrap(), data(4).1);
        assert_eq!(manifest.content(5).unwrap(), Content::Zero);
        assert_eq!(manifest.sample(16).unwrap(), [0, 1, 4]);
        manifest.checkpoint(&mut [data(2), data(3), data(6), data(7), data(8)]).unwrap();
        let finished = manifest.finish().unwrap();
        assert_eq!((finished.data, finished.zero), (8 * BLOCK - 5, BLOCK));
        drop(manifest);
        assert_eq!(Manifest::open(&path).unwrap().finished(), Some(finished));
    }

    #[test]
    fn a_torn_log_and_a_torn_table_claim_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m");
        let mut manifest = Manifest::create(&path, header(9)).unwrap();
        manifest.checkpoint(&mut [data(0), data(1)]).unwrap();
        manifest.checkpoint(&mut [data(2), data(3)]).unwrap();
        manifest.checkpoint(&mut [data(5)]).unwrap();
        let last = manifest.record_offset() - v1::RECORD as u64;
        manifest.file.write_all_at(&[9], last + 3).unwrap();
        manifest.file.write_all_at(&[9], v1::TABLE + 2 * v1::SLOT).unwrap();
        drop(manifest);
        let manifest = Manifest::open(&path).unwrap();
        let done: Vec<u64> = (0..9).filter(|index| manifest.is_done(*index)).collect();
        assert_eq!(done, [0, 1]);
    }

    #[test]
    fn cut_off_anywhere_it_is_an_error_or_claims_less() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m");
        let mut manifest = Manifest::create(&path, header(3)).unwrap();
        manifest.checkpoint(&mut [data(0), data(1), data(2)]).unwrap();
        manifest.finish().unwrap();
        drop(manifest);
        let whole = std::fs::read(&path).unwrap();
        for length in [0, 1, 55, 56, 4095, 4096, 4100, 8191, 8192, 8200, 8256, 8300] {
            std::fs::write(&path, &whole[..length.min(whole.len())]).unwrap();
            if let Ok(manifest) = Manifest::open(&path) {
                assert_eq!(manifest.finished(), None, "{length}");
            }
        }
    }

    #[test]
    fn overlays_come_and_go() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m");
        let overlay = Digest::of(b"overlay");
        let mut manifest = Manifest::create(&path, header(1)).unwrap();
        for (step, expected) in [(0, Some((overlay, false))), (1, Some((overlay, true))), (2, None)] {
            match step {
                0 => manifest.overlay_begins(overlay).unwrap(),
                1 => manifest.overlay_done(overlay).unwrap(),
                _ => manifest.overlay_undone(overlay).unwrap(),
            }
            drop(manifest);
            manifest = Manifest::open(&path).unwrap();
            assert_eq!(manifest.overlay(), expected);
        }
    }
}
