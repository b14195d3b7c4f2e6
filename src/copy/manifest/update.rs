//! Adding to a manifest, as blocks, overlays and whole disks come to be on the target.

use super::super::block::{self, Content, ContentHasher};
use super::slots::SLOTS_AT_A_TIME;
use super::store::Over;
use super::v2::{self, Record};
use super::{Finished, Manifest, ManifestError, Ranges};
use crate::model::Digest;

/// A log that is longer than this many bytes, and than half its table, is folded into a new table
/// when an update has finished: reading it must not come to cost more than what it is about.
const LONG_LOG: u64 = 1 << 20;

/// What came of some blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// They hold what was recorded of them before.
    Kept,
    /// They hold this now.
    Now(Content),
}

/// Neighbouring blocks that hold what they should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settled {
    /// The first of them.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// What came of them.
    pub what: What,
}

impl Manifest {
    /// Says that blocks are on the target; call it only after the target was flushed. `settled`
    /// is sorted here; durable when this returns.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn checkpoint(&mut self, settled: &mut [Settled]) -> Result<(), ManifestError> {
        self.modernise()?;
        settled.sort_unstable_by_key(|blocks| blocks.first);
        let joins = |a: &Settled, b: &Settled| {
            a.first + a.count == b.first && (a.what == What::Kept) == (b.what == What::Kept)
        };
        for run in settled.chunk_by(joins) {
            let (Some(from), Some(to)) = (run.first(), run.last()) else { continue };
            let (first, end) = (from.first, to.first + to.count);
            if from.what == What::Kept {
                self.append(&[(Record::Kept { first, count: end - first }, &[])])?;
                continue;
            }
            let mut slots = Vec::new();
            let mut at = first;
            for blocks in run {
                let What::Now(content) = blocks.what else { continue };
                for _ in 0..blocks.count {
                    slots.extend_from_slice(&content.slot());
                    if slots.len() as u64 == SLOTS_AT_A_TIME * v2::SLOT {
                        self.hold(at, &slots)?;
                        at += SLOTS_AT_A_TIME;
                        slots.clear();
                    }
                }
            }
            if !slots.is_empty() {
                self.hold(at, &slots)?;
            }
        }
        self.sync()
    }

    /// Records the slots of the blocks from `first` on: in the table when they are the first ever,
    /// else behind the log.
    fn hold(&mut self, first: u64, slots: &[u8]) -> Result<(), ManifestError> {
        let count = slots.len() as u64 / v2::SLOT;
        let digest = Digest::of(slots);
        if self.updating {
            return self.append(&[(Record::Put { first, count, slots: digest }, slots)]);
        }
        self.write_at(slots, v2::TABLE + first * v2::SLOT)?;
        self.append(&[(Record::Done { first, count, slots: digest }, &[])])
    }

    /// Says that the target is about to be brought up to another image, or to the same one again:
    /// of the blocks in `doubtful` nothing is certain from here on, nor of those that the two
    /// disks do not have both. Call it before the first byte is written; durable when this
    /// returns.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn begin_update(
        &mut self,
        image: Digest,
        size: u64,
        doubtful: &Ranges,
    ) -> Result<(), ManifestError> {
        self.modernise()?;
        let of = |ranges: &Ranges, make: &dyn Fn(u64, u64) -> Record| -> Vec<(Record, &[u8])> {
            ranges.iter().map(|(first, end)| (make(first, end - first), &[][..])).collect()
        };
        let mut records = of(&doubtful.common(&self.done), &|first, count| Record::Doubtful { first, count });
        // What the larger disk had at its end stays on the target until someone sees to it.
        let mut left = Ranges::default();
        if size < self.header.disk_size {
            left.insert(size / block::BLOCK, self.blocks());
        }
        records.extend(of(&left, &|first, count| Record::Stray { first, count }));
        // Last: what a crash leaves of the records before it counts for nothing.
        records.push((Record::Updating { image, size }, &[]));
        self.append(&records)?;
        self.sync()
    }

    /// Says that the whole disk is on the target, and nothing else where the image is not: hashes
    /// the slots, and appends what it came to.
    ///
    /// # Errors
    /// When blocks are missing, or it cannot be read or written.
    pub(crate) fn finish(&mut self) -> Result<Finished, ManifestError> {
        let size = self.header.disk_size;
        let blocks = self.blocks();
        if !self.done.is_all(blocks) {
            return Err(ManifestError::Unfinished { path: self.path.clone() });
        }
        let (mut hasher, mut zero) = (ContentHasher::new(size), 0);
        self.slots.each(0, blocks, &mut |first, slots| {
            hasher.update(slots);
            for (index, slot) in (first..).zip(slots.chunks(v2::SLOT as usize)) {
                if block::is_zero(slot) {
                    zero += block::length(index, size);
                }
            }
        })?;
        let finished = Finished { data: size - zero, zero, content: hasher.finish() };
        if self.finished != Some(finished) {
            self.modernise()?;
            let Finished { data, zero, content } = finished;
            self.append(&[(Record::Finished { data, zero, content }, &[])])?;
            self.sync()?;
        }
        let log = self.end.position * v2::RECORD as u64;
        if self.named && log > LONG_LOG.max(self.slots.table() * v2::SLOT / 2) {
            self.rebuild()?;
        }
        Ok(finished)
    }

    /// Says that writing or undoing an overlay on these blocks begins: from here on, a mixture.
    pub(crate) fn overlay_begins(&mut self, overlay: Digest, blocks: &Ranges) -> Result<(), ManifestError> {
        self.modernise()?;
        let missing = blocks.iter().filter(|range| {
            let range: Ranges = [*range].into_iter().collect();
            range.common(&self.stray) != range
        });
        let mut records: Vec<(Record, &[u8])> =
            missing.map(|(first, end)| (Record::Stray { first, count: end - first }, &[][..])).collect();
        records.push((Record::OverlayBegun { overlay }, &[]));
        self.append(&records)?;
        self.sync()
    }

    /// Says that the overlay is on the target; call it only after the target was flushed.
    pub(crate) fn overlay_done(&mut self, overlay: Digest) -> Result<(), ManifestError> {
        self.append(&[(Record::OverlayDone { overlay }, &[])])?;
        self.sync()
    }

    /// Says that the overlay is off the target; call it only after the target was flushed.
    pub(crate) fn overlay_undone(&mut self, overlay: Digest) -> Result<(), ManifestError> {
        self.append(&[(Record::OverlayUndone { overlay }, &[])])?;
        self.sync()
    }

    /// Makes a manifest of an older version anew in the newest.
    fn modernise(&mut self) -> Result<(), ManifestError> {
        match self.old {
            true => self.rebuild(),
            false => Ok(()),
        }
    }

    /// Turns it into one of a disk of `size` bytes, at most as large as before: that of a stream,
    /// which says its size at its end. A crash leaves one or the other.
    ///
    /// # Errors
    /// When blocks beyond the new end are done, or it cannot be read or written.
    pub(crate) fn resize(&mut self, size: u64) -> Result<(), ManifestError> {
        if self.done.touches(block::count(size), self.blocks()) {
            return Err(ManifestError::OtherImage { path: self.path.clone() });
        }
        self.header.disk_size = size;
        self.rebuild()
    }

    /// Puts a new file in its place that says the same with a table of all slots and a short log.
    fn rebuild(&mut self) -> Result<(), ManifestError> {
        let header = self.header.clone();
        let rebuilt = match self.named {
            true => Self::create_with(&self.path, header, &mut |new| self.tell(new))?,
            false => {
                let mut new = Self::temporary(header)?;
                self.tell(&mut new)?;
                new
            }
        };
        *self = rebuilt;
        Ok(())
    }

    /// Tells an empty manifest of the same disk what it says.
    fn tell(&self, new: &mut Self) -> Result<(), ManifestError> {
        for (first, end) in self.done.iter() {
            let (mut copied, mut hasher) = (Ok(()), blake3::Hasher::new());
            self.slots.each(first, end, &mut |at, slots| {
                hasher.update(slots);
                if copied.is_ok() {
                    copied = new.write_at(slots, v2::TABLE + at * v2::SLOT);
                }
            })?;
            copied?;
            let slots = Digest(*hasher.finalize().as_bytes());
            new.append(&[(Record::Done { first, count: end - first, slots }, &[])])?;
        }
        let mut records: Vec<(Record, &[u8])> = Vec::new();
        if let Some(Finished { data, zero, content }) = self.finished {
            records.push((Record::Finished { data, zero, content }, &[]));
        }
        let stray = self.stray.iter();
        records.extend(stray.map(|(first, end)| (Record::Stray { first, count: end - first }, &[][..])));
        match self.over {
            Over::Nothing => {}
            Over::Partly(overlay) => records.push((Record::OverlayBegun { overlay }, &[])),
            Over::Wholly(overlay) => records.push((Record::OverlayDone { overlay }, &[])),
        }
        new.append(&records)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::Header;
    use super::*;
    use crate::copy::block::BLOCK;

    fn header(blocks: u64) -> Header {
        Header {
            version: v2::VERSION,
            block_size: BLOCK,
            disk_size: blocks * BLOCK - 5,
            image: Digest::of(b"image"),
            target: "target".to_owned(),
        }
    }

    fn content(number: u64) -> Content {
        Content::Data(Digest::of(&number.to_le_bytes()))
    }

    fn now(first: u64, count: u64, content: Content) -> Settled {
        Settled { first, count, what: What::Now(content) }
    }

    fn data(index: u64) -> Settled {
        now(index, 1, content(index))
    }

    fn kept(first: u64, count: u64) -> Settled {
        Settled { first, count, what: What::Kept }
    }

    fn ranges(ranges: &[(u64, u64)]) -> Ranges {
        ranges.iter().copied().collect()
    }

    fn done(manifest: &Manifest) -> Vec<u64> {
        (0..manifest.blocks()).filter(|index| manifest.is_done(*index)).collect()
    }

    /// A finished one of 9 blocks, block 5 zero.
    fn finished(path: &Path) -> Manifest {
        let mut manifest = Manifest::create(path, header(9)).unwrap();
        let mut all: Vec<_> = (0..9).map(data).collect();
        all[5] = now(5, 1, Content::Zero);
        manifest.checkpoint(&mut all).unwrap();
        manifest.finish().unwrap();
        manifest
    }

    #[test]
    fn what_was_checkpointed_is_there_when_it_is_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m");
        let mut manifest = Manifest::create(&path, header(9)).unwrap();
        manifest.checkpoint(&mut [data(4), data(0), data(1), now(5, 1, Content::Zero)]).unwrap();
        assert!(matches!(manifest.finish(), Err(ManifestError::Unfinished { .. })));
        assert!(matches!(Manifest::open(&path), Err(ManifestError::Locked { .. })));
        drop(manifest);

        let mut manifest = Manifest::open(&path).unwrap();
        assert_eq!(done(&manifest), [0, 1, 4, 5]);
        assert_eq!(manifest.content(4).unwrap(), content(4));
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
        let last = manifest.log_end() - v2::RECORD as u64;
        manifest.write_at(&[9], last + 3).unwrap();
        manifest.write_at(&[9], v2::TABLE + 2 * v2::SLOT).unwrap();
        drop(manifest);
        let manifest = Manifest::open(&path).unwrap();
        assert_eq!(done(&manifest), [0, 1]);
    }

    #[test]
    fn cut_off_anywhere_it_is_an_error_or_claims_less() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m");
        let mut manifest = Manifest::create(&path, header(3)).unwrap();
        manifest.checkpoint(&mut [data(0), data(1), data(2)]).unwrap();
        manifest.finish().unwrap();
        drop(manifest);
        let whole = fs::read(&path).unwrap();
        for length in [0, 1, 55, 56, 4095, 4096, 4100, 8191, 8192, 8200, 8256, 8300] {
            fs::write(&path, &whole[..length.min(whole.len())]).unwrap();
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
                0 => manifest.overlay_begins(overlay, &ranges(&[(0, 1), (7, 9)])).unwrap(),
                1 => manifest.overlay_done(overlay).unwrap(),
                _ => manifest.overlay_undone(overlay).unwrap(),
            }
            drop(manifest);
            manifest = Manifest::open(&path).unwrap();
            assert_eq!(manifest.overlay(), expected);
            let stray = if expected.is_some() { ranges(&[(0, 1), (7, 9)]) } else { Ranges::default() };
            assert_eq!(*manifest.stray(), stray);
        }
    }

    #[test]
    fn an_update_changes_what_it_names_and_keeps_the_rest() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m");
        let mut manifest = finished(&path);
        let before = manifest.finished().unwrap();
        let image = Digest::of(b"newer");
        manifest.begin_update(image, header(9).disk_size, &ranges(&[(2, 7)])).unwrap();
        let old = manifest.slots();
        assert_eq!((done(&manifest), manifest.finished()), (vec![0, 1, 7, 8], None));
        manifest.checkpoint(&mut [kept(2, 1), now(4, 2, content(77)), kept(3, 1)]).unwrap();
        // Who began to read before sees what was there before.
        assert_eq!(old.content(5).unwrap(), Content::Zero);
        drop((old, manifest));

        let mut manifest = Manifest::open(&path).unwrap();
        assert!(manifest.is_updating());
        assert_eq!((manifest.header().image, done(&manifest)), (image, vec![0, 1, 2, 3, 4, 5, 7, 8]));
        assert_eq!(manifest.content(5).unwrap(), content(77));
        assert_eq!(manifest.content(6).unwrap(), content(6));
        manifest.checkpoint(&mut [now(6, 1, Content::Zero)]).unwrap();
        let after = manifest.finish().unwrap();
        assert!(after != before && after.zero == BLOCK);
        drop(manifest);
        let manifest = Manifest::open(&path).unwrap();
        assert_eq!((manifest.finished(), manifest.is_updating()), (Some(after), false));
    }

    #[test]
    fn without_its_last_record_an_update_has_not_begun() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m");
        let mut manifest = finished(&path);
        let before = (manifest.finished(), manifest.header().clone());
        let end = manifest.log_end();
        manifest.begin_update(Digest::of(b"newer"), header(9).disk_size, &ranges(&[(0, 2), (4, 9)])).unwrap();
        let begun = fs::read(&path).unwrap();
        assert_eq!(manifest.log_end() - end, 3 * v2::RECORD as u64);
        manifest.checkpoint(&mut [now(0, 1, content(100))]).unwrap();
        drop(manifest);
        for cut in [0, 1, 64, 100, 128, 191] {
            fs::write(&path, &begun[..end as usize + cut]).unwrap();
            let manifest = Manifest::open(&path).unwrap();
            assert_eq!((manifest.finished(), manifest.header().clone()), before, "{cut}");
            assert!(!manifest.is_updating());
            drop(manifest);
        }
        fs::write(&path, &begun).unwrap();
        let manifest = Manifest::open(&path).unwrap();
        assert!(manifest.is_updating());
        assert_eq!(done(&manifest), [2, 3]);
    }

    #[test]
    fn torn_slots_behind_the_log_claim_nothing_and_what_follows_is_not_believed_later() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m");
        let mut manifest = finished(&path);
        let size = header(9).disk_size;
        manifest.begin_update(Digest::of(b"b"), size, &ranges(&[(0, 9)])).unwrap();
        let end = manifest.log_end();
        manifest.checkpoint(&mut [now(0, 3, content(50))]).unwrap();
        manifest.checkpoint(&mut [now(5, 2, content(51))]).unwrap();
        let whole = fs::read(&path).unwrap();
        drop(manifest);
        let mut torn = whole.clone();
        torn[end as usize + v2::RECORD + 40] ^= 1;
        fs::write(&path, &torn).unwrap();
        let mut manifest = Manifest::open(&path).unwrap();
        assert_eq!(done(&manifest), [0_u64; 0]);
        assert_eq!(manifest.content(1).unwrap(), content(1));
        // The same place is written again, with something else; the old second record must not
        // come back behind it, though its bytes are there still.
        manifest.checkpoint(&mut [now(0, 3, content(60))]).unwrap();
        manifest.write_at(&whole[manifest.log_end() as usize..], manifest.log_end()).unwrap();
        drop(manifest);
        let manifest = Manifest::open(&path).unwrap();
        assert_eq!(done(&manifest), [0, 1, 2]);
    }

    #[test]
    fn a_disk_that_grows_or_shrinks_keeps_only_what_both_have() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m");
        let mut manifest = finished(&path);
        // Block 8 is 5 bytes short of a block.
        manifest.begin_update(Digest::of(b"larger"), 12 * BLOCK, &ranges(&[(1, 2)])).unwrap();
        assert_eq!(done(&manifest), [0, 2, 3, 4, 5, 6, 7]);
        manifest.checkpoint(&mut [kept(1, 1), now(8, 4, content(8))]).unwrap();
        let larger = manifest.finish().unwrap();
        assert_eq!((larger.data + larger.zero, manifest.content(11).unwrap()), (12 * BLOCK, content(8)));
        manifest.begin_update(Digest::of(b"smaller"), 3 * BLOCK + 1, &Ranges::default()).unwrap();
        drop(manifest);
        let mut manifest = Manifest::open(&path).unwrap();
        assert_eq!(done(&manifest), [0, 1, 2]);
        assert_eq!(*manifest.stray(), ranges(&[(3, 12)]));
        manifest.checkpoint(&mut [now(3, 1, content(9))]).unwrap();
        assert_eq!(manifest.finish().unwrap().data, 3 * BLOCK + 1);
        assert!(manifest.stray().is_empty());
    }

    #[test]
    fn an_update_takes_an_overlay_off() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m");
        let overlay = Digest::of(b"overlay");
        let mut manifest = finished(&path);
        manifest.overlay_begins(overlay, &ranges(&[(2, 3), (20, 21)])).unwrap();
        manifest.overlay_done(overlay).unwrap();
        assert!(manifest.finished().is_some() && !manifest.sample(9).unwrap().contains(&2));
        manifest.begin_update(header(9).image, header(9).disk_size, &ranges(&[(2, 3)])).unwrap();
        assert_eq!(manifest.overlay(), Some((overlay, false)));
        manifest.checkpoint(&mut [now(2, 1, content(2))]).unwrap();
        manifest.finish().unwrap();
        drop(manifest);
        let manifest = Manifest::open(&path).unwrap();
        assert_eq!((manifest.overlay(), manifest.stray().is_empty()), (None, true));
    }

    #[test]
    fn a_long_log_is_folded_into_the_table() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m");
        let blocks = 1000;
        let mut manifest = Manifest::create(&path, header(blocks)).unwrap();
        manifest.checkpoint(&mut [now(0, blocks, Content::Zero)]).unwrap();
        manifest.finish().unwrap();
        let short = fs::metadata(&path).unwrap().len();
        let (size, all) = (header(blocks).disk_size, ranges(&[(0, blocks)]));
        for turn in 0..100_u64 {
            manifest.begin_update(Digest::of(&turn.to_le_bytes()), size, &all).unwrap();
            let mut blocks: Vec<_> = (0..blocks).map(|index| now(index, 1, content(index * turn))).collect();
            manifest.checkpoint(&mut blocks).unwrap();
            manifest.finish().unwrap();
            assert!(fs::metadata(&path).unwrap().len() < short + LONG_LOG + 64 * blocks.len() as u64);
        }
        // The name is the new file's, and so is the lock.
        assert!(matches!(Manifest::open(&path), Err(ManifestError::Locked { .. })));
        let finished = manifest.finished();
        drop(manifest);
        let manifest = Manifest::open(&path).unwrap();
        assert_eq!((manifest.finished(), manifest.content(7).unwrap()), (finished, content(7 * 99)));
    }

    /// What version 1 wrote: a disk of 6 MiB and 700 bytes, its blocks 2 and 4 zero.
    fn frozen(path: &Path, name: &str) -> Manifest {
        let held = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/copy/data");
        fs::copy(held.join(format!("manifest-v1-{name}.bin")), path).unwrap();
        Manifest::open(path).unwrap()
    }

    #[test]
    fn version_1_is_read_and_made_anew_when_something_is_added() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m");
        let mut manifest = frozen(&path, "finished");
        let was = manifest.finished().unwrap();
        assert_eq!((was.data, was.zero), ((4 << 20) + 700, 2 << 20));
        assert_eq!((manifest.content(2).unwrap(), manifest.overlay()), (Content::Zero, None));
        let kept_slot = manifest.content(6).unwrap();
        assert_eq!(fs::read(&path).unwrap()[16], 1);
        manifest.begin_update(Digest::of(b"newer"), (6 << 20) + 700, &ranges(&[(0, 1)])).unwrap();
        assert_eq!(fs::read(&path).unwrap()[16], 2);
        manifest.checkpoint(&mut [now(0, 1, content(1))]).unwrap();
        manifest.finish().unwrap();
        drop(manifest);
        let manifest = Manifest::open(&path).unwrap();
        assert_eq!(manifest.content(6).unwrap(), kept_slot);
        assert_eq!(manifest.header().target, "vol-0123456789abcdef0");
        drop(manifest);

        let mut manifest = frozen(&path, "unfinished");
        assert_eq!((done(&manifest), manifest.finished()), (vec![0, 1, 2, 3, 4], None));
        manifest.checkpoint(&mut [data(5), data(6)]).unwrap();
        manifest.finish().unwrap();
        drop(manifest);
        assert!(Manifest::open(&path).unwrap().finished().is_some());

        // It did not say where the overlay lies: it may be anywhere.
        let manifest = frozen(&path, "overlay");
        assert!(manifest.finished().is_some() && matches!(manifest.overlay(), Some((_, true))));
        assert!(manifest.stray().contains(0) && manifest.stray().contains(1 << 30));
    }
}
