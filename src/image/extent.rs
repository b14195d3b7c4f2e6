//! A disk as extents: what every format's metadata comes to.

use std::ops::Range;

use super::codec::Codec;
use super::source::SourceError;
use super::window::Window;

/// A unit (a VMDK's grain, a qcow2's cluster) that is stored compressed.
#[derive(Debug, Clone)]
pub(super) struct Packed<'a> {
    /// The file.
    pub file: &'a Window,
    /// Where its bytes begin in the file.
    pub offset: u64,
    /// How many bytes it has at most; what lies behind may belong to others.
    pub most: u64,
    /// How many bytes it probably has: those up to the next unit in the file.
    pub likely: u64,
    /// The disk's byte that the unit begins with.
    pub start: u64,
    /// The unit's bytes once decoded.
    pub length: usize,
    /// How many it must hold at least: fewer only at a disk's end.
    pub content: usize,
    /// How it is stored.
    pub codec: Codec,
}

/// Where the bytes of an extent are.
#[derive(Debug, Clone)]
pub(super) enum Place<'a> {
    /// Nowhere: all of them are zero.
    Zero,
    /// In the image that this one stands on. Only a layer that has a parent says so.
    Parent,
    /// In a file as they are, from this offset on.
    Plain(&'a Window, u64),
    /// In a compressed unit, of which the extent may be a part.
    Packed(Packed<'a>),
}

impl Place<'_> {
    /// The same place of a disk in which it begins this many bytes later.
    pub(super) fn moved(self, by: u64) -> Self {
        match self {
            Self::Packed(packed) => Self::Packed(Packed { start: packed.start + by, ..packed }),
            other => other,
        }
    }
}

/// A range of a disk and where its bytes are.
#[derive(Debug, Clone)]
pub(super) struct Extent<'a> {
    pub range: Range<u64>,
    pub place: Place<'a>,
}

/// Appends an extent, joined to the one before when it goes on where that ends.
pub(super) fn push<'a>(extents: &mut Vec<Extent<'a>>, range: Range<u64>, place: Place<'a>) {
    if range.is_empty() {
        return;
    }
    if let Some(last) = extents.last_mut()
        && last.range.end == range.start
    {
        let joins = match (&last.place, &place) {
            (Place::Zero, Place::Zero) | (Place::Parent, Place::Parent) => true,
            (Place::Plain(before, from), Place::Plain(file, offset)) => {
                std::ptr::eq(*before, *file)
                    && from.checked_add(last.range.end - last.range.start) == Some(*offset)
            }
            _ => false,
        };
        if joins {
            last.range.end = range.end;
            return;
        }
    }
    extents.push(Extent { range, place });
}

/// What a format makes of its metadata.
pub(super) trait Layout: Send + Sync {
    /// The disk's size in bytes.
    fn size(&self) -> u64;

    /// Appends the extents that cover exactly `range`, in order and without gaps. The range is
    /// within the disk.
    fn extents<'a>(&'a self, range: Range<u64>, found: &mut Vec<Extent<'a>>) -> Result<(), SourceError>;
}
