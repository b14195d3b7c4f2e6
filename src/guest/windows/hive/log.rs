//! Transaction logs: what Windows wrote there before it wrote the hive.

use super::base::{BASE_BLOCK, BaseBlock, PAGE, SECTOR};
use super::marvin::marvin32;
use crate::guest::windows::bytes::{u32_at, u64_at};

/// One entry of a log of entries.
#[derive(Debug, Clone)]
pub(super) struct Entry<'l> {
    pub sequence: u32,
    pub flags: u32,
    pub bins_size: u32,
    /// Offset from the first bin, and what to put there.
    pub pages: Vec<(u32, &'l [u8])>,
}

/// The entries of a log ("New format") from its first on, as far as they are whole, follow each
/// other, and make no more of the hive than `most` bytes (what it grows by is in the log).
pub(super) fn entries<'l>(log: &'l [u8], base: &BaseBlock, most: usize) -> Vec<Entry<'l>> {
    let mut entries = Vec::new();
    let (mut at, mut sequence) = (SECTOR, base.primary_sequence);
    while let Some((entry, size)) = log.get(at..).and_then(|rest| entry(rest, sequence)) {
        if entry.bins_size as usize > most {
            break;
        }
        entries.push(entry);
        at += size;
        sequence = sequence.wrapping_add(1);
    }
    entries
}

fn entry(bytes: &[u8], wanted: u32) -> Option<(Entry<'_>, usize)> {
    if !bytes.starts_with(b"HvLE") {
        return None;
    }
    let size = u32_at(bytes, 4)? as usize;
    if size < SECTOR || !size.is_multiple_of(SECTOR) {
        return None;
    }
    let whole = bytes.get(..size)?;
    let (sequence, bins_size, count) = (u32_at(whole, 12)?, u32_at(whole, 16)?, u32_at(whole, 20)?);
    let is_whole = u64_at(whole, 32)? == marvin32(whole.get(..32)?)
        && u64_at(whole, 24)? == marvin32(whole.get(40..)?)
        && (bins_size as usize).is_multiple_of(PAGE)
        && sequence == wanted;
    if !is_whole {
        return None;
    }
    let references = whole.get(40..40_usize.checked_add((count as usize).checked_mul(8)?)?)?;
    let mut at = 40 + references.len();
    let mut pages = Vec::new();
    for reference in references.chunks_exact(8) {
        let (offset, length) = (u32_at(reference, 0)?, u32_at(reference, 4)?);
        if offset.checked_add(length)? > bins_size {
            return None;
        }
        pages.push((offset, whole.get(at..at.checked_add(length as usize)?)?));
        at += length as usize;
    }
    Some((Entry { sequence, flags: u32_at(whole, 8)?, bins_size, pages }, size))
}

/// The dirty pages of a log ("Old format"), as offsets in the hive's file; `None` when it is torn.
pub(super) fn pages<'l>(log: &'l [u8], base: &BaseBlock) -> Option<Vec<(usize, &'l [u8])>> {
    // Sectors of 4,096 bytes: only up to Windows 7, on disks that have them.
    let sector = match u32_at(log, 44)? {
        factor @ 1..=8 => SECTOR * factor as usize,
        _ => return None,
    };
    let vector = log.get(sector..)?.strip_prefix(b"DIRT")?;
    let bitmap = vector.get(..(base.bins_size as usize / SECTOR).div_ceil(8))?;
    let mut at = sector + (4 + bitmap.len()).next_multiple_of(sector);
    let mut pages = Vec::new();
    for (index, byte) in bitmap.iter().enumerate() {
        for bit in (0..8).filter(|bit| byte & (1 << bit) != 0) {
            pages.push((BASE_BLOCK + SECTOR * (index * 8 + bit), log.get(at..at + SECTOR)?));
            at += SECTOR;
        }
    }
    Some(pages)
}
