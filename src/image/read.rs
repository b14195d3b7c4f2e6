//! Reading a disk through its extents: few large reads, decoded straight into the caller's buffer.

use std::cell::RefCell;
use std::ops::Range;

use super::cache::Cache;
use super::codec::{DecodeError, decode};
use super::extent::{Extent, Layout, Packed, Place};
use super::source::{Run, SourceError};
use super::window::Window;

/// Most bytes of compressed units that one read from a file takes.
const MOST_STORED: u64 = 4 << 20;
/// A gap between two units in the file that is cheaper to read than to skip.
const GAP: u64 = 64 << 10;
/// How much of a disk's metadata is turned into extents at once: few, should every sector be one.
pub(super) const STRIDE: u64 = 256 << 20;
/// Bytes of decoded units kept for readers of less than whole units (a guest's file system).
const UNITS_KEPT: u64 = 8 << 20;

thread_local! {
    static STORED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Decoded units, by their place in the image's files.
pub(super) type Units = Cache<Vec<u8>>;

/// A cache for units of this many bytes.
pub(super) fn units(unit: u64) -> Units {
    Cache::new(UNITS_KEPT, unit)
}

/// Fills the whole of `buffer` from the disk's byte `offset`.
pub(super) fn read_at(
    layout: &dyn Layout,
    units: &Units,
    offset: u64,
    buffer: &mut [u8],
) -> Result<(), SourceError> {
    let size = layout.size();
    let length = buffer.len() as u64;
    let end = offset.checked_add(length).filter(|end| *end <= size).ok_or(SourceError::OutOfRange {
        offset,
        length,
        size,
    })?;
    let mut extents = Vec::with_capacity(16);
    layout.extents(offset..end, &mut extents)?;
    let mut extents = extents.as_slice();
    let mut buffer = buffer;
    while let Some((first, rest)) = extents.split_first() {
        let count = match &first.place {
            Place::Packed(packed) => batch(packed, rest),
            _ => 1,
        };
        let (group, others) = extents.split_at(count);
        let bytes: u64 = group.iter().map(|extent| extent.range.end - extent.range.start).sum();
        // The extents cover the range exactly, so that the bytes left always suffice.
        let at = usize::try_from(bytes).unwrap_or(usize::MAX).min(buffer.len());
        let (part, after) = buffer.split_at_mut(at);
        match &first.place {
            Place::Zero | Place::Parent => part.fill(0),
            Place::Plain(file, place) => file.read_exact_at(*place, part)?,
            Place::Packed(_) => unpack(units, group, part)?,
        }
        buffer = after;
        extents = others;
    }
    Ok(())
}

/// How many extents, from `first` on, are units that lie one after the other in the same file.
fn batch(first: &Packed<'_>, rest: &[Extent<'_>]) -> usize {
    let mut count = 1;
    let mut before = first.offset;
    let mut end = first.offset.saturating_add(first.likely);
    for extent in rest {
        match &extent.place {
            Place::Packed(next)
                if std::ptr::eq(next.file, first.file)
                    && next.offset >= before
                    && next.offset.saturating_sub(end) <= GAP
                    && next.offset.saturating_add(next.likely) - first.offset <= MOST_STORED =>
            {
                before = next.offset;
                end = end.max(next.offset.saturating_add(next.likely));
                count += 1;
            }
            _ => break,
        }
    }
    count
}

/// Decodes a batch of units into the bytes that their extents cover.
fn unpack(units: &Units, group: &[Extent<'_>], buffer: &mut [u8]) -> Result<(), SourceError> {
    let mut packed = group.iter().filter_map(|extent| match &extent.place {
        Place::Packed(packed) => Some((extent.range.clone(), packed)),
        _ => None,
    });
    let Some((_, first)) = packed.clone().next() else { return Ok(()) };
    let from = first.offset;
    let end = packed.clone().map(|(_, unit)| unit.offset.saturating_add(unit.likely)).max().unwrap_or(from);
    let end = end.min(first.file.len()).max(from);
    STORED.with_borrow_mut(|stored| {
        let mut loaded = false;
        let mut buffer = buffer;
        packed.try_for_each(|(range, unit)| {
            let needed = usize::try_from(range.end - range.start).unwrap_or(usize::MAX).min(buffer.len());
            let (part, after) = std::mem::take(&mut buffer).split_at_mut(needed);
            buffer = after;
            let mut load = |stored: &mut Vec<u8>, unit_bytes: &mut [u8]| {
                if !loaded {
                    fill(first, from, end - from, stored)?;
                    loaded = true;
                }
                let skip = usize::try_from(unit.offset - from).unwrap_or(usize::MAX);
                decode_unit(unit, stored.get(skip..).unwrap_or_default(), unit_bytes)
            };
            if range.start == unit.start && part.len() == unit.length {
                load(stored, part)
            } else {
                let decoded = units.get(unit.file.key(unit.offset), || {
                    let mut bytes = vec![0; unit.length];
                    load(stored, &mut bytes).map(|()| bytes)
                })?;
                let skip = usize::try_from(range.start - unit.start).unwrap_or(usize::MAX);
                match decoded.get(skip..).and_then(|bytes| bytes.get(..part.len())) {
                    Some(bytes) => part.copy_from_slice(bytes),
                    None => return Err(unit.file.damaged(unit.offset, "its unit is shorter than it may be")),
                }
                Ok(())
            }
        })
    })
}

fn fill(unit: &Packed<'_>, from: u64, length: u64, stored: &mut Vec<u8>) -> Result<(), SourceError> {
    stored.resize(usize::try_from(length).unwrap_or(usize::MAX), 0);
    unit.file.read_exact_at(from, stored)
}

fn decode_unit(unit: &Packed<'_>, stored: &[u8], bytes: &mut [u8]) -> Result<(), SourceError> {
    let mut more = Vec::new();
    let mut stored = &stored[..stored.len().min(usize::try_from(unit.most).unwrap_or(usize::MAX))];
    loop {
        match decode(unit.codec, stored, bytes) {
            Ok(held) if held >= unit.content => {
                bytes[held..].fill(0);
                return Ok(());
            }
            Ok(held) => {
                return Err(unit.file.damaged(
                    unit.offset,
                    format!("the unit here holds {held} bytes where {} are expected", unit.content),
                ));
            }
            Err(DecodeError::Bad(what)) => return Err(unit.file.damaged(unit.offset, what)),
            Err(DecodeError::Short(needed)) => {
                if needed > unit.most || needed <= stored.len() as u64 {
                    return Err(unit.file.damaged(
                        unit.offset,
                        format!(
                            "the unit here says it is {needed} bytes, {} at most are possible",
                            unit.most
                        ),
                    ));
                }
                fill(unit, unit.offset, needed, &mut more)?;
                stored = &more;
            }
        }
    }
}

/// The runs of a range of a disk.
pub(super) fn runs(layout: &dyn Layout, range: Range<u64>) -> Result<Vec<Run>, SourceError> {
    let mut found: Vec<Run> = Vec::new();
    each_extent(layout, range, |extent| {
        let (range, zero) = (extent.range.clone(), matches!(extent.place, Place::Zero | Place::Parent));
        match found.last_mut() {
            Some(last) if last.zero == zero => last.range.end = range.end,
            _ => found.push(Run { range, zero }),
        }
    })?;
    Ok(found)
}

/// How many bytes of a disk are data. All of them must be where the metadata says, as far as the
/// files' lengths tell: a backup that was cut short keeps its metadata when that stands in front.
pub(super) fn data_bytes(layout: &dyn Layout) -> Result<u64, SourceError> {
    let mut bytes = 0;
    let mut beyond: Option<(&Window, u64, u64)> = None;
    each_extent(layout, 0..layout.size(), |extent| {
        let length = extent.range.end - extent.range.start;
        let (file, offset, end) = match &extent.place {
            Place::Zero | Place::Parent => return,
            Place::Plain(file, offset) => (*file, *offset, offset.saturating_add(length)),
            // How long it is stands in it.
            Place::Packed(packed) => (packed.file, packed.offset, packed.offset.saturating_add(1)),
        };
        bytes += length;
        if end > file.len() {
            beyond = match beyond {
                Some((first, at, most)) if std::ptr::eq(first, file) => Some((first, at, most.max(end))),
                None => Some((file, offset, end)),
                other => other,
            };
        }
    })?;
    match beyond {
        Some((file, offset, least)) => Err(file.cut_short(offset.max(file.len()), least)),
        None => Ok(bytes),
    }
}

/// Checks that a range is within a disk.
pub(super) fn check(range: &Range<u64>, size: u64) -> Result<(), SourceError> {
    if range.end > size || range.start > range.end {
        let length = range.end.saturating_sub(range.start);
        return Err(SourceError::OutOfRange { offset: range.start, length, size });
    }
    Ok(())
}

fn each_extent<'a>(
    layout: &'a dyn Layout,
    range: Range<u64>,
    mut seen: impl FnMut(&Extent<'a>),
) -> Result<(), SourceError> {
    check(&range, layout.size())?;
    let mut from = range.start;
    let mut extents = Vec::new();
    while from < range.end {
        let to = range.end.min(from.saturating_add(STRIDE));
        extents.clear();
        layout.extents(from..to, &mut extents)?;
        extents.iter().for_each(&mut seen);
        from = to;
    }
    Ok(())
}
