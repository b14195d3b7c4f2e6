//! Dirty bitmaps: what changed on a disk, as its server has kept count.

use std::ops::Range;

use super::error::NbdError;
use super::handshake::contexts;
use super::map::Map;
use super::pool::Pool;
use super::wire::{Limits, Wire};
use crate::model::NbdLocation;

/// The namespace of QEMU's bitmaps among the metadata contexts, and the flag of what is dirty.
const NAMESPACE: &str = "qemu:dirty-bitmap:";
const DIRTY: u32 = 1;

/// How much of the disk is asked for at a time.
const WINDOW: u64 = 1 << 30;
/// The most ranges; beyond, neighbours are joined over ever wider gaps.
const MOST_RANGES: usize = 1 << 20;

/// Which parts of the export the bitmap says are dirty: in order, joined, a superset.
pub(in crate::image) fn dirty(
    location: &NbdLocation,
    bitmap: &str,
    size: u64,
) -> Result<Vec<Range<u64>>, NbdError> {
    let context = format!("{NAMESPACE}{bitmap}");
    let pool = Pool::open(location.clone(), &context, Limits::USUAL)?;
    if pool.export.size != size {
        let what = format!("it had {size} bytes, now it has {}", pool.export.size);
        return Err(NbdError::Changed { what });
    }
    if pool.export.context.is_none() {
        // Only names for the error: it is given without them when they cannot be had.
        let bitmaps = Wire::connect(location, &Limits::USUAL)
            .and_then(|wire| contexts(&wire, &location.export, NAMESPACE))
            .unwrap_or_default();
        return Err(NbdError::NoBitmap { bitmap: bitmap.to_owned(), bitmaps });
    }
    let map = Map::new(|flags| flags & DIRTY == 0);
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut gap = 0;
    let mut at = 0;
    while at < size {
        let end = size.min(at + WINDOW);
        for range in map.rest(&pool, at..end).map_err(|failed| failed.error)? {
            join(&mut ranges, range, gap);
        }
        while ranges.len() > MOST_RANGES {
            gap = (gap * 2).max(64 << 10);
            let fine = std::mem::take(&mut ranges);
            fine.into_iter().for_each(|range| join(&mut ranges, range, gap));
        }
        at = end;
    }
    Ok(ranges)
}

fn join(ranges: &mut Vec<Range<u64>>, range: Range<u64>, gap: u64) {
    match ranges.last_mut() {
        Some(last) if range.start - last.end <= gap => last.end = range.end,
        _ => ranges.push(range),
    }
}
