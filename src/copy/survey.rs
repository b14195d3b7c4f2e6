//! What a disk's metadata says of its content, before anything is read.

use std::ops::Range;

use super::block;
use super::manifest::Ranges;
use super::retry;
use crate::image::{BlockSource, SourceError};

/// How much of the disk is asked for at a time: bounds the list of runs.
pub(crate) const WINDOW: u64 = 1 << 30;

/// How many bytes of a disk are data and how many are zero, by its metadata.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Survey {
    /// Bytes that may hold something (they may still be zeros).
    pub data: u64,
    /// Bytes that the format says are zero.
    pub zero: u64,
}

/// Surveys a disk: metadata only, in bounded memory.
///
/// # Errors
/// When the metadata cannot be read or is damaged.
pub fn survey(source: &dyn BlockSource) -> Result<Survey, SourceError> {
    survey_left(source, &Ranges::default())
}

/// Surveys the blocks of a disk that are not done.
pub(super) fn survey_left(source: &dyn BlockSource, done: &Ranges) -> Result<Survey, SourceError> {
    let (size, mut at, mut survey) = (source.size(), 0, Survey::default());
    while at < size {
        let end = size.min(at.saturating_add(WINDOW));
        if !done.covers(at / block::BLOCK, block::count(end)) {
            for run in retry::source(|| source.runs(at..end))? {
                let length = left_of(&run.range, done);
                *(if run.zero { &mut survey.zero } else { &mut survey.data }) += length;
            }
        }
        at = end;
    }
    Ok(survey)
}

/// How many bytes of a range are in blocks that are not done.
fn left_of(range: &Range<u64>, done: &Ranges) -> u64 {
    let length = range.end.saturating_sub(range.start);
    let (first, end) = (range.start / block::BLOCK, block::count(range.end));
    if !done.touches(first, end) {
        return length;
    }
    let is_done = |index: &u64| done.contains(*index);
    let of_block = |index: u64| {
        let (start, until) = (index * block::BLOCK, (index + 1).saturating_mul(block::BLOCK));
        range.end.min(until) - range.start.max(start)
    };
    length - (first..end).filter(is_done).map(of_block).sum::<u64>()
}
