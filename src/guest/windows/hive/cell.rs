//! Bins and cells: what a hive is made of below keys and values.

use super::HiveError;
use super::base::{BASE_BLOCK, BaseBlock, PAGE};
use crate::guest::windows::bytes::u32_at;

/// Bytes of a bin's header.
const BIN_HEADER: usize = 32;
/// No offset.
pub(super) const NONE: u32 = u32::MAX;

/// The bins of a hive, every cell of which was seen once.
#[derive(Debug)]
pub(super) struct Cells<'h> {
    bins: &'h [u8],
    /// One bit for every eight bytes: an allocated cell begins there.
    allocated: Vec<u64>,
}

/// An error at an offset from the first bin.
pub(super) fn damaged(offset: u32, what: &'static str) -> HiveError {
    HiveError::Damaged { offset: u64::from(offset) + BASE_BLOCK as u64, what }
}

impl<'h> Cells<'h> {
    /// Goes through all bins ("Hive bin", "Cell"): no gap, no overlap.
    pub(super) fn read(bytes: &'h [u8], base: &BaseBlock) -> Result<Self, HiveError> {
        let wanted = BASE_BLOCK + base.bins_size as usize;
        let truncated = HiveError::Truncated { length: bytes.len() as u64, wanted: wanted as u64 };
        let bins = bytes.get(BASE_BLOCK..wanted).ok_or(truncated)?;
        if bins.is_empty() {
            return Err(damaged(0, "it has no bins"));
        }
        let mut cells = Self { bins, allocated: vec![0; bins.len().div_ceil(8 * 64)] };
        let mut start = 0;
        while start < bins.len() {
            start += cells.bin(start)?;
        }
        Ok(cells)
    }

    fn bin(&mut self, start: usize) -> Result<usize, HiveError> {
        let offset = start as u32;
        let wrong = |what| Err(damaged(offset, what));
        if !self.bins[start..].starts_with(b"hbin") {
            return wrong("a bin does not begin with \"hbin\"");
        }
        let field = |at| u32_at(self.bins, start + at).unwrap_or_default();
        if field(4) != offset {
            return wrong("a bin says that it stands elsewhere");
        }
        let size = field(8) as usize;
        if size == 0 || !size.is_multiple_of(PAGE) || size > self.bins.len() - start {
            return wrong("a bin's size is wrong");
        }
        let end = start + size;
        let mut at = start + BIN_HEADER;
        while at < end {
            let length = u32_at(self.bins, at).unwrap_or_default() as i32;
            let bytes = length.unsigned_abs() as usize;
            if bytes < 8 || !bytes.is_multiple_of(8) || bytes > end - at {
                return Err(damaged(at as u32, "a cell's size is wrong"));
            }
            if length < 0 {
                self.allocated[at / 512] |= 1 << (at / 8 % 64);
            }
            at += bytes;
        }
        Ok(size)
    }

    /// How many bytes all bins have.
    pub(super) fn len(&self) -> usize {
        self.bins.len()
    }

    /// What an allocated cell holds.
    pub(super) fn cell(&self, offset: u32) -> Result<&'h [u8], HiveError> {
        let at = offset as usize;
        let is_cell = at.is_multiple_of(8)
            && self.allocated.get(at / 512).is_some_and(|word| word & (1 << (at / 8 % 64)) != 0);
        let length = u32_at(self.bins, at).unwrap_or_default() as i32;
        let bytes = length.unsigned_abs() as usize;
        match self.bins.get(at..).and_then(|rest| rest.get(4..bytes)) {
            Some(cell) if is_cell => Ok(cell),
            _ => Err(damaged(offset, "something points here where no cell is")),
        }
    }

    /// The first bytes of a cell.
    pub(super) fn part(&self, offset: u32, length: usize) -> Result<&'h [u8], HiveError> {
        self.cell(offset)?
            .get(..length)
            .ok_or_else(|| damaged(offset, "a cell is too short for what it holds"))
    }
}
