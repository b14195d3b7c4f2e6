//! A disk with its overlay on.

use std::ops::Range;

use super::super::source::{BlockSource, Run, SourceError};
use super::blocks::{OVERLAY_BLOCK, Overlay, OverlayError};

/// A disk with an overlay on: the overlay's size, its blocks, else the base's bytes, zeros beyond
/// the base's end.
#[derive(Debug, Clone)]
pub struct OverlaySource<S> {
    base: S,
    overlay: Overlay,
}

impl<S: BlockSource> OverlaySource<S> {
    /// Lays `overlay` on `base`.
    ///
    /// # Errors
    /// When the overlay contradicts itself.
    pub fn new(base: S, overlay: Overlay) -> Result<Self, OverlayError> {
        overlay.check()?;
        Ok(Self { base, overlay })
    }

    /// What is below.
    pub fn base(&self) -> &S {
        &self.base
    }

    /// What is on top.
    pub fn overlay(&self) -> &Overlay {
        &self.overlay
    }
}

impl<S: BlockSource> BlockSource for OverlaySource<S> {
    fn size(&self) -> u64 {
        self.overlay.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), SourceError> {
        let range = within(offset, buffer.len() as u64, self.size())?;
        read_base(&self.base, offset, buffer)?;
        for (index, block) in self.overlay.blocks.range(blocks_of(&range)) {
            overlap(*index, &range, block, |at, bytes| buffer[at..at + bytes.len()].copy_from_slice(bytes));
        }
        Ok(())
    }

    fn runs(&self, range: Range<u64>) -> Result<Vec<Run>, SourceError> {
        within(range.start, range.end.saturating_sub(range.start), self.size())?;
        let mut runs = base_runs(&self.base, range.clone())?;
        let blocks = self.overlay.blocks.range(blocks_of(&range)).map(|(index, _)| *index);
        cover(&mut runs, &range, blocks);
        Ok(runs)
    }
}

/// A range of a disk, or the error that it is none.
pub(super) fn within(offset: u64, length: u64, size: u64) -> Result<Range<u64>, SourceError> {
    match offset.checked_add(length) {
        Some(end) if end <= size => Ok(offset..end),
        _ => Err(SourceError::OutOfRange { offset, length, size }),
    }
}

/// The blocks that a range touches.
pub(super) fn blocks_of(range: &Range<u64>) -> Range<u64> {
    range.start / OVERLAY_BLOCK..range.end.div_ceil(OVERLAY_BLOCK).max(range.start / OVERLAY_BLOCK)
}

/// Gives the part of a block that lies in a range, and where in the range it begins.
pub(super) fn overlap(index: u64, range: &Range<u64>, block: &[u8], take: impl FnOnce(usize, &[u8])) {
    let start = index * OVERLAY_BLOCK;
    let from = range.start.max(start);
    let to = range.end.min(start + block.len() as u64);
    if from < to {
        let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX);
        take(at(from - range.start), &block[at(from - start)..at(to - start)]);
    }
}

/// Reads from a base, zeros beyond its end.
pub(super) fn read_base<S: BlockSource + ?Sized>(
    base: &S,
    offset: u64,
    buffer: &mut [u8],
) -> Result<(), SourceError> {
    let left = usize::try_from(base.size().saturating_sub(offset)).unwrap_or(usize::MAX);
    let (inside, beyond) = buffer.split_at_mut(left.min(buffer.len()));
    if !inside.is_empty() {
        base.read_at(offset, inside)?;
    }
    beyond.fill(0);
    Ok(())
}

/// The runs of a base, zeros beyond its end.
pub(super) fn base_runs<S: BlockSource + ?Sized>(
    base: &S,
    range: Range<u64>,
) -> Result<Vec<Run>, SourceError> {
    let end = range.end.min(base.size());
    let mut runs = if range.start < end { base.runs(range.start..end)? } else { Vec::new() };
    let from = range.start.max(end);
    if from < range.end {
        match runs.last_mut() {
            Some(last) if last.zero => last.range.end = range.end,
            _ => runs.push(Run { range: from..range.end, zero: true }),
        }
    }
    Ok(runs)
}

/// Makes data of what blocks cover.
pub(super) fn cover(runs: &mut Vec<Run>, range: &Range<u64>, blocks: impl Iterator<Item = u64>) {
    let mut covered: Vec<Range<u64>> = Vec::new();
    for index in blocks {
        let start = (index * OVERLAY_BLOCK).max(range.start);
        let end = (index + 1).saturating_mul(OVERLAY_BLOCK).min(range.end);
        match covered.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => covered.push(start..end),
        }
    }
    if covered.is_empty() {
        return;
    }
    let mut joined: Vec<Run> = Vec::with_capacity(runs.len() + 2 * covered.len());
    let mut add = |range: Range<u64>, zero: bool| {
        if range.is_empty() {
            return;
        }
        match joined.last_mut() {
            Some(last) if last.zero == zero => last.range.end = range.end,
            _ => joined.push(Run { range, zero }),
        }
    };
    let mut covered = covered.into_iter().peekable();
    for run in runs.iter() {
        let mut from = run.range.start;
        while let Some(next) = covered.peek() {
            if next.start >= run.range.end {
                break;
            }
            add(from..next.start.max(from), run.zero);
            let to = next.end.min(run.range.end);
            add(next.start.max(from)..to, false);
            from = to;
            if next.end > run.range.end {
                break;
            }
            covered.next();
        }
        add(from..run.range.end, run.zero);
    }
    *runs = joined;
}
