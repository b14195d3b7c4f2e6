//! Cutting a disk into units of work, lazily and in order.

use std::collections::VecDeque;
use std::sync::Mutex;

use super::CopyError;
use super::base::{Base, Was};
use super::block::{self, BLOCK, Buffer, Content};
use super::budget::lock;
use super::manifest::Ranges;
use super::retry;
use super::survey::WINDOW;
use crate::image::overlay::READ_CHUNK;
use crate::image::{BlockSource, ReadSet, Run};
use crate::model::Digest;

/// Most blocks of zeros in one unit: large enough that deallocating is cheap, small enough that
/// progress and checkpoints stay lively where zeros have to be read back or written.
pub(super) const ZERO_BLOCKS: u64 = 64;

/// One thing for a worker to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Read, hash and write this block.
    Data(u64),
    /// Make these blocks zero: the image's metadata says that they are.
    Zero {
        /// The first of them.
        first: u64,
        /// How many.
        count: u64,
        /// Whether they are recorded as zero, though not certain to be.
        recorded: bool,
    },
    /// These blocks are zero in the image, and on the target, for certain.
    Keep {
        /// The first of them.
        first: u64,
        /// How many.
        count: u64,
    },
    /// This block is on the target already; only compare what the image holds with what was
    /// expected of it.
    Check(u64),
}

/// Where workers get their units and the units' bytes: several ask at once.
pub(super) trait Feed: Sync {
    /// What a worker keeps of a unit between taking it and reading it: nothing where blocks are
    /// read by position, the packed bytes where a stream gives them in passing.
    type Held: Default;

    /// The next thing to do, waited for where it has to be; `None` when nothing is left. May
    /// leave the block's bytes in `buffer` already.
    fn next(&self, held: &mut Self::Held, buffer: &mut Buffer) -> Result<Option<Unit>, CopyError>;

    /// Fills `bytes` with a block that this worker was given last. They are the start of the
    /// buffer that it was asked for with, untouched since.
    fn read(&self, index: u64, held: &mut Self::Held, bytes: &mut [u8]) -> Result<(), CopyError>;

    /// Bytes of the disk; of a stream whose size is not known yet, the most that they can be.
    fn size(&self) -> u64;

    /// How many bytes of a block that this worker was given last are data, by the metadata.
    fn data(&self, index: u64, held: &Self::Held) -> u64 {
        let _nothing_is_known = held;
        block::length(index, self.size())
    }

    /// How many bytes have come, where they come as a stream.
    fn received(&self) -> Option<u64> {
        None
    }

    /// Ends a wait in [`next`](Self::next), where there can be one.
    fn stop(&self) {}
}

/// Blocks of a source that is read by position.
pub(super) struct Positions<'a> {
    source: &'a dyn BlockSource,
    work: Mutex<Work<'a>>,
}

impl<'a> Positions<'a> {
    pub(super) fn new(source: &'a dyn BlockSource, work: Work<'a>) -> Self {
        Self { source, work: Mutex::new(work) }
    }
}

impl Feed for Positions<'_> {
    /// How many bytes of the block are data.
    type Held = u64;

    fn next(&self, held: &mut u64, _: &mut Buffer) -> Result<Option<Unit>, CopyError> {
        let mut work = lock(&self.work);
        let unit = work.next()?;
        *held = work.data;
        Ok(unit)
    }

    fn data(&self, _: u64, held: &u64) -> u64 {
        *held
    }

    fn read(&self, index: u64, _: &mut u64, bytes: &mut [u8]) -> Result<(), CopyError> {
        let offset = index * BLOCK;
        retry::source(|| self.source.read_at(offset, bytes))
            .map_err(|source| CopyError::Source { offset, source })
    }

    fn size(&self) -> u64 {
        self.source.size()
    }
}

/// The units that are left, in the disk's order.
pub(super) struct Work<'a> {
    source: &'a dyn BlockSource,
    done: Ranges,
    base: &'a Base,
    expect: &'a ReadSet,
    next: u64,
    queue: VecDeque<Unit>,
    /// How much of each block with data in the queue is data.
    weights: VecDeque<u64>,
    /// How much of the unit that was given last is data.
    data: u64,
}

impl<'a> Work<'a> {
    /// All blocks but those that are done.
    pub(super) fn new(
        source: &'a dyn BlockSource,
        done: Ranges,
        base: &'a Base,
        expect: &'a ReadSet,
    ) -> Self {
        Self {
            source,
            done,
            base,
            expect,
            next: 0,
            queue: VecDeque::new(),
            weights: VecDeque::new(),
            data: 0,
        }
    }

    /// The next unit; `None` when there is none.
    pub(super) fn next(&mut self) -> Result<Option<Unit>, CopyError> {
        let blocks = block::count(self.source.size());
        while self.queue.is_empty() && self.next < blocks {
            self.plan_window(blocks)?;
        }
        let unit = self.queue.pop_front();
        self.data = match unit {
            Some(Unit::Data(_)) => self.weights.pop_front().unwrap_or(0),
            _ => 0,
        };
        Ok(unit)
    }

    fn plan_window(&mut self, blocks: u64) -> Result<(), CopyError> {
        let size = self.source.size();
        let (first, last) = (self.next, blocks.min(self.next + WINDOW / BLOCK));
        self.next = last;
        let checked = first.saturating_mul(CHUNKS)..last.saturating_mul(CHUNKS);
        if self.done.covers(first, last) && self.expect.chunks.range(checked).next().is_none() {
            return Ok(());
        }
        let window = first * BLOCK..size.min(last * BLOCK);
        let runs = retry::source(|| self.source.runs(window.clone()))
            .map_err(|source| CopyError::Source { offset: window.start, source })?;
        let zeros = self.base.zeros(first, last)?;
        let mut runs = runs.iter().peekable();
        for (index, was) in (first..last).zip(zeros) {
            let start = index * BLOCK;
            let end = start + block::length(index, size);
            // What no run calls zero is data.
            let mut data = end - start;
            let zeros_of = |run: &Run| match run.zero {
                true => run.range.end.min(end).saturating_sub(run.range.start.max(start)),
                false => 0,
            };
            while let Some(run) = runs.next_if(|run| run.range.end <= end) {
                data = data.saturating_sub(zeros_of(run));
            }
            if let Some(run) = runs.peek() {
                data = data.saturating_sub(zeros_of(run));
            }
            let zero = data == 0;
            let expected = expected(self.expect, index).next().is_some();
            let unit = match (self.done.contains(index), zero, expected) {
                (true, _, false) => continue,
                (true, _, true) => Unit::Check(index),
                (false, true, false) if was == Was::Certainly(Content::Zero) => {
                    Unit::Keep { first: index, count: 1 }
                }
                (false, true, false) => {
                    Unit::Zero { first: index, count: 1, recorded: was == Was::Perhaps(Content::Zero) }
                }
                (false, ..) => {
                    self.weights.push_back(data);
                    Unit::Data(index)
                }
            };
            self.push(unit);
        }
        Ok(())
    }

    fn push(&mut self, unit: Unit) {
        match (unit, self.queue.back_mut()) {
            (
                Unit::Zero { first, recorded, .. },
                Some(Unit::Zero { first: begin, count, recorded: before }),
            ) if *begin + *count == first && *before == recorded && *count < ZERO_BLOCKS => *count += 1,
            (Unit::Keep { first, .. }, Some(Unit::Keep { first: begin, count }))
                if *begin + *count == first =>
            {
                *count += 1;
            }
            _ => self.queue.push_back(unit),
        }
    }
}

/// How many chunks of a read set a block has.
const CHUNKS: u64 = BLOCK / READ_CHUNK;

/// The chunks of a block of which something is expected.
pub(super) fn expected(set: &ReadSet, block: u64) -> impl Iterator<Item = (u64, Digest)> + '_ {
    let first = block.saturating_mul(CHUNKS);
    set.chunks.range(first..first.saturating_add(CHUNKS)).map(|(chunk, digest)| (*chunk, *digest))
}

/// The first chunk of a block that does not hold what is expected: its offset on the disk, and
/// the digests expected and found. `bytes` are the block's.
pub(super) fn mismatch(set: &ReadSet, block: u64, bytes: &[u8]) -> Option<(u64, Digest, Digest)> {
    expected(set, block).find_map(|(chunk, wanted)| {
        let offset = chunk * READ_CHUNK;
        let start = bytes.len().min((offset - block * BLOCK) as usize);
        let end = bytes.len().min(start + READ_CHUNK as usize);
        let found = Digest::of(&bytes[start..end]);
        (found != wanted).then_some((offset, wanted, found))
    })
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::super::manifest::{Settled, What, v2};
    use super::super::{Header, Manifest};
    use super::*;
    use crate::image::SourceError;

    struct Sketch(Vec<(u64, bool)>);

    impl BlockSource for Sketch {
        fn size(&self) -> u64 {
            self.0.iter().map(|(length, _)| length).sum()
        }

        fn read_at(&self, _: u64, buffer: &mut [u8]) -> Result<(), SourceError> {
            buffer.fill(1);
            Ok(())
        }

        fn runs(&self, range: Range<u64>) -> Result<Vec<Run>, SourceError> {
            let (mut runs, mut at) = (Vec::new(), 0);
            for (length, zero) in &self.0 {
                let (start, end) = (range.start.max(at), range.end.min(at + length));
                if start < end {
                    runs.push(Run { range: start..end, zero: *zero });
                }
                at += length;
            }
            Ok(runs)
        }
    }

    fn all(source: &Sketch, done: Ranges, expect: &ReadSet) -> Vec<Unit> {
        let base = Base::new(&recorded(source.size()), &Ranges::default());
        units(source, done, &base, expect)
    }

    fn units(source: &Sketch, done: Ranges, base: &Base, expect: &ReadSet) -> Vec<Unit> {
        let mut work = Work::new(source, done, base, expect);
        std::iter::from_fn(|| work.next().unwrap()).collect()
    }

    fn recorded(disk_size: u64) -> Manifest {
        let (image, target) = (Digest::of(b"image"), "target".to_owned());
        Manifest::temporary(Header { version: v2::VERSION, block_size: BLOCK, disk_size, image, target })
            .unwrap()
    }

    fn zero(first: u64, count: u64) -> Unit {
        Unit::Zero { first, count, recorded: false }
    }

    #[test]
    fn only_blocks_that_are_wholly_zero_are_zero_units() {
        let source = Sketch(vec![(BLOCK + 1, false), (3 * BLOCK, true), (7, false), (BLOCK, true)]);
        let units = all(&source, Ranges::default(), &ReadSet::default());
        assert_eq!(units, [Unit::Data(0), Unit::Data(1), zero(2, 2), Unit::Data(4), zero(5, 1)]);
    }

    #[test]
    fn long_zeros_are_cut_and_cross_no_gap() {
        let source = Sketch(vec![(3000 * BLOCK, true)]);
        let units = all(&source, Ranges::default(), &ReadSet::default());
        let mut next = 0;
        for unit in units {
            let Unit::Zero { first, count, .. } = unit else { panic!("{unit:?}") };
            assert_eq!(first, next);
            assert!(count <= ZERO_BLOCKS);
            next += count;
        }
        assert_eq!(next, 3000);
    }

    #[test]
    fn what_is_expected_is_read_even_when_zero_or_done() {
        let source = Sketch(vec![(4 * BLOCK, true)]);
        let chunks = [(0, Digest::of(b"")), (3 * BLOCK / READ_CHUNK + 2, Digest::of(b""))].into();
        let expect = ReadSet { chunks };
        let mut done = Ranges::default();
        done.insert(3, 4);
        assert_eq!(all(&source, done, &expect), [Unit::Data(0), zero(1, 2), Unit::Check(3)]);
    }

    #[test]
    fn zeros_that_are_recorded_are_kept_when_certain_and_looked_at_when_not() {
        let source = Sketch(vec![(9 * BLOCK, true)]);
        let mut manifest = recorded(source.size());
        let data = What::Now(Content::Data(Digest::of(b"data")));
        manifest
            .checkpoint(&mut [
                Settled { first: 0, count: 2, what: What::Now(Content::Zero) },
                Settled { first: 2, count: 1, what: data },
                Settled { first: 4, count: 4, what: What::Now(Content::Zero) },
            ])
            .unwrap();
        let base = Base::new(&manifest, &[(0, 6)].into_iter().collect());
        let units = units(&source, [(7, 8)].into_iter().collect(), &base, &ReadSet::default());
        assert_eq!(
            units,
            [
                Unit::Keep { first: 0, count: 2 },
                zero(2, 2),
                Unit::Keep { first: 4, count: 2 },
                Unit::Zero { first: 6, count: 1, recorded: true },
                zero(8, 1)
            ]
        );
    }
}
