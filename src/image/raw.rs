//! Raw images: the disk's bytes as they are, holes where the file has holes.

use std::ops::Range;

use super::extent::{Extent, Layout, Place, push};
use super::source::SourceError;
use super::window::Window;

/// A file as a disk.
#[derive(Debug)]
pub(super) struct Raw {
    pub file: Window,
}

impl Layout for Raw {
    fn size(&self) -> u64 {
        self.file.len()
    }

    fn extents<'a>(&'a self, range: Range<u64>, found: &mut Vec<Extent<'a>>) -> Result<(), SourceError> {
        plain(&self.file, range.start, range, found);
        Ok(())
    }
}

/// The extents of a range of a disk that lies in `file` from `offset` on, holes as zeros.
pub(super) fn plain<'a>(file: &'a Window, offset: u64, range: Range<u64>, found: &mut Vec<Extent<'a>>) {
    let shift = |place: u64| range.start + (place - offset);
    let end = offset + (range.end - range.start);
    let mut place = offset;
    while place < end {
        let Some(data) = file.next(false, place, end) else {
            return push(found, shift(place)..range.end, Place::Plain(file, place));
        };
        push(found, shift(place)..shift(data), Place::Zero);
        let hole = if data < end { file.next(true, data, end).unwrap_or(end).max(data + 1) } else { end };
        push(found, shift(data)..shift(hole), Place::Plain(file, data));
        place = hole;
    }
}
