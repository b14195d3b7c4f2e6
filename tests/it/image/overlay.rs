//! Overlays against a plain model: a vector of bytes that every operation is made on too.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use proptest::prelude::*;
use replant::image::overlay::{
    CowDisk, CowError, CowLimits, FileError, FileLimits, OVERLAY_BLOCK, Overlay, OverlaySource, READ_CHUNK,
    ReadSet, StaleError,
};
use replant::image::{BlockSource, Run, SourceError};
use replant::model::Digest;

use super::fixture::Numbers;

/// A disk in memory whose chunks of 10,000 bytes are noise or holes.
#[derive(Debug, Clone)]
struct Memory(Vec<u8>);

const PIECE: usize = 10_000;

impl Memory {
    fn new(size: usize, seed: u64) -> Self {
        let mut numbers = Numbers::new(seed);
        let mut bytes = vec![0; size];
        for piece in bytes.chunks_mut(PIECE) {
            if numbers.below(2) == 0 {
                piece.iter_mut().for_each(|byte| *byte = numbers.next() as u8 | 1);
            }
        }
        Self(bytes)
    }
}

impl BlockSource for Memory {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), SourceError> {
        let (length, size) = (buffer.len() as u64, self.size());
        let out = SourceError::OutOfRange { offset, length, size };
        let range = offset as usize..(offset as usize).saturating_add(buffer.len());
        buffer.copy_from_slice(self.0.get(range).ok_or(out)?);
        Ok(())
    }

    fn runs(&self, range: Range<u64>) -> Result<Vec<Run>, SourceError> {
        let mut runs: Vec<Run> = Vec::new();
        let mut from = range.start;
        while from < range.end {
            let to = (from / PIECE as u64 * PIECE as u64 + PIECE as u64).min(range.end);
            let zero = self.0[from as usize] == 0;
            match runs.last_mut() {
                Some(last) if last.zero == zero => last.range.end = to,
                _ => runs.push(Run { range: from..to, zero }),
            }
            from = to;
        }
        Ok(runs)
    }
}

const NO_LIMIT: CowLimits = CowLimits { written: u64::MAX, recorded: Some(u64::MAX) };

#[derive(Debug, Clone)]
enum Step {
    Read(u64, u64),
    Write(u64, u64, u64),
    Zero(u64, u64),
    Discard(u64, u64),
}

fn steps(size: u64) -> impl Strategy<Value = Vec<Step>> {
    // Half of the places and lengths are those of blocks, as a file system's are.
    let place = prop_oneof![0..size, (0..size / 4096 + 1).prop_map(|block| block * 4096)];
    let length = prop_oneof![0..20_000u64, (0..20u64).prop_map(|blocks| blocks * 4096)];
    let cut = move |(place, length): (u64, u64)| {
        let place = place.min(size);
        (place, length.min(size - place))
    };
    let at = (place, length).prop_map(cut);
    prop::collection::vec(
        prop_oneof![
            at.clone().prop_map(|(place, length)| Step::Read(place, length)),
            (at.clone(), any::<u64>()).prop_map(|((place, length), seed)| Step::Write(place, length, seed)),
            at.clone().prop_map(|(place, length)| Step::Zero(place, length)),
            at.prop_map(|(place, length)| Step::Discard(place, length)),
        ],
        1..40,
    )
}

/// The bytes that a discard gives back: whole blocks, and the disk's short last one.
fn discarded(offset: u64, length: u64, size: u64) -> Range<usize> {
    let end = offset + length;
    let first = offset.next_multiple_of(OVERLAY_BLOCK);
    let last = if end == size { end } else { end / OVERLAY_BLOCK * OVERLAY_BLOCK };
    if first < last { first as usize..last as usize } else { 0..0 }
}

/// Checks that runs have no gaps, are joined, and say zero only of zeros.
fn check_runs(source: &impl BlockSource, expected: &[u8]) {
    let runs = source.runs(0..source.size()).unwrap();
    let mut end = 0;
    for run in &runs {
        assert_eq!(run.range.start, end);
        end = run.range.end;
        if run.zero {
            let part = &expected[run.range.start as usize..run.range.end as usize];
            assert!(part.iter().all(|byte| *byte == 0));
        }
    }
    assert_eq!(end, source.size());
    assert!(runs.windows(2).all(|pair| pair[0].zero != pair[1].zero), "runs are joined");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_disk_over_a_base_does_what_a_vector_does(
        seed in any::<u64>(),
        base_size in prop_oneof![Just(300_000usize), Just(262_144), Just(65_536), Just(1), Just(0)],
        grown in prop_oneof![Just(0u64), Just(100_000), Just(1)],
        steps in steps(300_000),
    ) {
        let base = Memory::new(base_size, seed);
        let size = base_size as u64 + grown;
        let disk = CowDisk::new(base.clone(), size, NO_LIMIT);
        let mut model = base.0.clone();
        model.resize(size as usize, 0);
        let below = model.clone();
        for step in steps {
            match step {
                Step::Read(offset, length) => {
                    let offset = offset.min(size);
                    let mut bytes = vec![0xee; length.min(size - offset) as usize];
                    disk.read_at(offset, &mut bytes).unwrap();
                    prop_assert!(bytes == model[offset as usize..][..bytes.len()]);
                }
                Step::Write(offset, length, seed) => {
                    let offset = offset.min(size);
                    let mut bytes = vec![0; length.min(size - offset) as usize];
                    Numbers::new(seed).fill(&mut bytes);
                    disk.write_at(offset, &bytes).unwrap();
                    model[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
                }
                Step::Zero(offset, length) => {
                    let offset = offset.min(size);
                    let length = length.min(size - offset);
                    disk.write_zeroes(offset, length).unwrap();
                    model[offset as usize..][..length as usize].fill(0);
                }
                Step::Discard(offset, length) => {
                    let offset = offset.min(size);
                    let length = length.min(size - offset);
                    disk.discard(offset, length).unwrap();
                    let range = discarded(offset, length, size);
                    model[range.clone()].copy_from_slice(&below[range]);
                }
            }
        }
        let mut now = vec![0; size as usize];
        disk.read_at(0, &mut now).unwrap();
        prop_assert!(now == model);
        let (base, overlay) = disk.into_overlay().unwrap();
        overlay.check().unwrap();
        overlay.read_set.check(&base).unwrap();
        for (index, block) in &overlay.blocks {
            let start = (index * OVERLAY_BLOCK) as usize;
            prop_assert!(below[start..start + block.len()] != block[..], "a block equals the base's");
        }
        let source = OverlaySource::new(&base, overlay.clone()).unwrap();
        let mut whole = vec![0; size as usize];
        source.read_at(0, &mut whole).unwrap();
        prop_assert!(whole == model);
        check_runs(&source, &model);
        for chunk in 0..20 {
            let offset = chunk * 15_013 % size.max(1);
            let mut part = vec![0; (size - offset).min(9_999) as usize];
            source.read_at(offset, &mut part).unwrap();
            prop_assert!(part == model[offset as usize..][..part.len()]);
        }
        let mut stored = Vec::new();
        overlay.write_to(&mut stored).unwrap();
        prop_assert_eq!(Overlay::read_from(&stored[..], FileLimits::default()).unwrap(), overlay);
    }

    /// Whatever byte of a stored overlay changes, and wherever it is cut: an error, never another
    /// overlay.
    #[test]
    fn a_damaged_file_is_never_another_overlay(at in any::<prop::sample::Index>(), flip in 1u8.., cut: bool) {
        let overlay = sample();
        let mut stored = Vec::new();
        overlay.write_to(&mut stored).unwrap();
        let at = at.index(stored.len());
        if cut {
            stored.truncate(at);
        } else {
            stored[at] ^= flip;
        }
        if let Ok(read) = Overlay::read_from(&stored[..], FileLimits::default()) {
            prop_assert_eq!(read, overlay);
            prop_assert!(!cut);
        }
    }
}

fn sample() -> Overlay {
    let block = |byte: u8| (0..4096u32).map(|at| (at as u8).wrapping_mul(byte)).collect::<Vec<u8>>();
    Overlay {
        size: 1_000_000,
        blocks: BTreeMap::from([
            (0, block(1)),
            (1, block(2)),
            (7, block(3)),
            (244, block(5)[..576].to_vec()),
        ]),
        read_set: ReadSet { chunks: BTreeMap::from([(0, Digest::of(b"first")), (15, Digest::of(b"last"))]) },
    }
}

#[test]
fn version_1_of_the_file_is_still_read() {
    let frozen = include_bytes!("data/overlay-v1.bin");
    let overlay = Overlay::read_from(&frozen[..], FileLimits::default()).unwrap();
    assert_eq!(overlay, sample());
    assert_eq!(
        overlay.digest().to_string(),
        "blake3:accc18513bb7402530e86441ea6df8fed7f0d004e4acc01d65849ad674a1a301"
    );
}

#[test]
fn a_newer_file_says_so() {
    let mut stored = Vec::new();
    sample().write_to(&mut stored).unwrap();
    stored[16] = 9;
    let error = Overlay::read_from(&stored[..], FileLimits::default()).unwrap_err();
    assert!(matches!(error, FileError::Newer { found: 9, known: 1 }), "{error}");
    stored[0] = b'x';
    let error = Overlay::read_from(&stored[..], FileLimits::default()).unwrap_err();
    assert!(matches!(error, FileError::NotAnOverlay), "{error}");
}

#[test]
fn a_file_beyond_the_limits_is_refused_before_it_is_unpacked() {
    let blocks = (0..2000).map(|index| (index, vec![0; 4096])).collect();
    let bomb = Overlay { size: 1 << 40, blocks, read_set: ReadSet::default() };
    let mut stored = Vec::new();
    bomb.write_to(&mut stored).unwrap();
    assert!(stored.len() < 10_000, "zeros compress well: {}", stored.len());
    let limits = FileLimits { blocks: 1 << 20, ..FileLimits::default() };
    assert!(matches!(Overlay::read_from(&stored[..], limits), Err(FileError::TooLarge { .. })));
    let limits = FileLimits { header: 10, ..FileLimits::default() };
    assert!(matches!(Overlay::read_from(&stored[..], limits), Err(FileError::TooLarge { .. })));
    let mut longer = stored.clone();
    longer.push(0);
    assert!(matches!(Overlay::read_from(&longer[..], FileLimits::default()), Err(FileError::Damaged(_))));
}

#[test]
fn a_changed_base_is_noticed_where_it_was_read() {
    let base = Memory::new(500_001, 3);
    let disk = CowDisk::new(base.clone(), 500_001, NO_LIMIT);
    disk.read_at(70_000, &mut [0; 10]).unwrap();
    disk.read_at(500_000, &mut [0; 1]).unwrap();
    // Writing half a block reads the other half.
    disk.write_at(200_000, b"x").unwrap();
    // Writing a whole block of what was there before depends on what was there.
    let same = base.0[4096 * 80..4096 * 81].to_vec();
    disk.write_at(4096 * 80, &same).unwrap();
    let (base, overlay) = disk.into_overlay().unwrap();
    let read: Vec<u64> = overlay.read_set.chunks.keys().copied().collect();
    assert_eq!(read, [1, 3, 5, 7]);
    assert_eq!(overlay.blocks.keys().copied().collect::<Vec<_>>(), [48]);
    overlay.read_set.check(&base).unwrap();
    for chunk in 0..8u64 {
        let mut changed = base.clone();
        changed.0[(chunk * READ_CHUNK) as usize + 5] ^= 1;
        let result = overlay.read_set.check(&changed);
        if read.contains(&chunk) {
            assert!(matches!(result, Err(StaleError::Changed { offset }) if offset == chunk * READ_CHUNK));
        } else {
            assert!(result.is_ok());
        }
    }
    let shorter = Memory(base.0[..400_000].to_vec());
    assert!(matches!(overlay.read_set.check(&shorter), Err(StaleError::Shorter { .. })));
}

#[test]
fn limits_hold_and_are_remembered() {
    let limits = CowLimits { written: 10 * 4096, recorded: Some(3 * READ_CHUNK) };
    let disk = CowDisk::new(Memory::new(1 << 20, 9), 1 << 20, limits);
    disk.write_at(0, &[7; 10 * 4096]).unwrap();
    disk.write_at(4096, &[8; 4096]).unwrap();
    assert!(matches!(disk.write_at(90_000, &[1]), Err(CowError::WrittenTooMuch { limit: 40_960 })));
    disk.discard(0, 4096).unwrap();
    disk.write_at(90_112, &[1; 4096]).unwrap();
    assert!(matches!(disk.into_overlay(), Err(CowError::WrittenTooMuch { .. })));

    let disk = CowDisk::new(Memory::new(1 << 20, 9), 1 << 20, limits);
    assert!(matches!(disk.read_at(0, &mut vec![0; 1 << 20]), Err(CowError::ReadTooMuch { .. })));
    assert!(matches!(disk.into_overlay(), Err(CowError::ReadTooMuch { .. })));
}

#[test]
fn zeroing_what_is_zero_takes_no_memory() {
    let base = Memory(vec![0; 1 << 20]);
    let disk = CowDisk::new(base, 8 << 30, NO_LIMIT);
    disk.write_at(100 << 20, &[1; 8192]).unwrap();
    disk.write_zeroes(10, (8 << 30) - 10).unwrap();
    assert!(disk.changed_bytes() <= 4096, "{}", disk.changed_bytes());
    let (_, overlay) = disk.into_overlay().unwrap();
    assert!(overlay.blocks.is_empty());
    assert_eq!(overlay.read_set.chunks.len(), 16);
}

#[test]
fn many_threads_write_side_by_side() {
    let disk = Arc::new(CowDisk::new(Memory::new(1 << 20, 1), 1 << 20, NO_LIMIT));
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let disk = &disk;
            scope.spawn(move || {
                // Every thread writes its own sector of every block.
                for block in 0..256 {
                    disk.write_at(block * 4096 + thread * 512, &[thread as u8 + 1; 512]).unwrap();
                    disk.read_at(block * 4096, &mut [0; 4096]).unwrap();
                }
            });
        }
    });
    let mut all = vec![0; 1 << 20];
    disk.read_at(0, &mut all).unwrap();
    for block in all.chunks(4096) {
        for thread in 0..4 {
            assert!(block[thread * 512..][..512].iter().all(|byte| *byte == thread as u8 + 1));
        }
    }
}
