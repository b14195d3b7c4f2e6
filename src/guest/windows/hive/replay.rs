//! Transaction-log replay: a hive as Windows would have it after loading it.
//!
//! A crash-consistent backup holds hives whose newest changes are only in their logs. They must be
//! put in before anything is edited: an edited hive looks finished, so Windows would never look into
//! its logs again.

use std::cmp::Ordering;

use super::HiveError;
use super::base::{BASE_BLOCK, BaseBlock, SECTOR, checksum};
use super::log::{self, Entry};
use crate::guest::windows::bytes::{u32_at, u64_at};

/// A log's file type in its base block.
const OLD: [u32; 2] = [1, 2];
const NEW: u32 = 6;
/// The only flag that a log entry carries ("Log entries", note 11).
const LOCKED: u32 = 1;

/// What of a log went into the hive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// The log's place in the list that was given.
    pub log: usize,
    /// How many entries (a log of dirty pages counts as one).
    pub entries: usize,
    /// How many bytes of pages.
    pub bytes: u64,
}

/// A hive that is up to date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// Its file.
    pub bytes: Vec<u8>,
    /// What was applied, in that order; nothing when Windows had finished writing it.
    pub applied: Vec<Applied>,
}

struct Log<'l> {
    index: usize,
    bytes: &'l [u8],
    base: BaseBlock,
}

/// Brings a hive up to date. `logs` are the contents of its `.LOG1`, `.LOG2` and `.LOG` files, as
/// many as there are, in that order; empty ones may stand among them.
///
/// # Errors
/// When it is no hive, or was caught while it was written and no log completes it.
pub fn replay(mut bytes: Vec<u8>, logs: &[&[u8]]) -> Result<Replayed, HiveError> {
    let base = BaseBlock::read(&bytes);
    if let Ok(base) = &base {
        if base.is_sound && base.file_type != 0 {
            return Err(HiveError::NotAHive("it is a log"));
        }
        if !base.is_dirty() {
            return Ok(Replayed { bytes, applied: Vec::new() });
        }
    }
    if bytes.len() < BASE_BLOCK {
        return Err(HiveError::NotAHive("it is shorter than a header"));
    }
    let base = base.ok().filter(|base| base.is_sound);
    let logs: Vec<Log<'_>> = (logs.iter().enumerate())
        .filter_map(|(index, bytes)| {
            let base = BaseBlock::read(bytes).ok()?;
            let is_whole = base.is_sound && base.primary_sequence == base.secondary_sequence;
            is_whole.then_some(Log { index, bytes, base })
        })
        .collect();
    let applied = if logs.iter().any(|log| log.base.file_type == NEW) {
        new_logs(&mut bytes, base.as_ref(), &logs)?
    } else {
        old_log(&mut bytes, base.as_ref(), &logs)?
    };
    Ok(Replayed { bytes, applied })
}

/// Sequence numbers run around ("Base block": they are counted up for ever).
fn order(left: u32, right: u32) -> Ordering {
    (left.wrapping_sub(right) as i32).cmp(&0)
}

/// "Multiple transaction log files", the new format: entries of both, from the earlier one on; of
/// the later one alone when the hive's own base block is lost.
fn new_logs(
    bytes: &mut Vec<u8>,
    base: Option<&BaseBlock>,
    logs: &[Log<'_>],
) -> Result<Vec<Applied>, HiveError> {
    let mut logs: Vec<&Log<'_>> = logs.iter().filter(|log| log.base.file_type == NEW).collect();
    logs.sort_by(|left, right| order(left.base.primary_sequence, right.base.primary_sequence));
    match base {
        // What is older is in the hive already.
        Some(base) => logs.retain(|log| order(log.base.primary_sequence, base.secondary_sequence).is_ge()),
        None => {
            let most = bytes.len();
            logs.retain(|log| {
                !log::entries(log.bytes, &log.base, most.saturating_add(log.bytes.len())).is_empty()
            });
            logs = logs.split_off(logs.len().saturating_sub(1));
        }
    }
    let mut applied = Vec::new();
    let mut last: Option<u32> = None;
    for log in logs {
        if last.is_some_and(|last| log.base.primary_sequence != last.wrapping_add(1)) {
            break;
        }
        let entries = log::entries(log.bytes, &log.base, bytes.len().saturating_add(log.bytes.len()));
        let Some(end) = entries.last() else {
            if last.is_some() {
                break;
            }
            continue;
        };
        if last.is_none() {
            take_base(bytes, log.bytes);
        }
        last = Some(end.sequence);
        let length = entries.iter().map(|entry| apply(bytes, entry)).sum();
        applied.push(Applied { log: log.index, entries: entries.len(), bytes: length });
    }
    // Numbers of entries that are in a log already are not given again.
    let last = last.ok_or(HiveError::Unrecoverable("no log holds an entry that follows the hive"))?;
    finish(bytes, last.wrapping_add(1));
    Ok(applied)
}

fn apply(bytes: &mut Vec<u8>, entry: &Entry<'_>) -> u64 {
    bytes.resize(BASE_BLOCK + entry.bins_size as usize, 0);
    let mut length = 0;
    for (offset, page) in &entry.pages {
        let at = BASE_BLOCK + *offset as usize;
        bytes[at..at + page.len()].copy_from_slice(page);
        length += page.len() as u64;
    }
    put(bytes, 40, entry.bins_size);
    let flags = u32_at(bytes, 144).unwrap_or_default();
    put(bytes, 144, flags & !LOCKED | entry.flags & LOCKED);
    length
}

/// "Old format": the first log that was written together with the hive.
fn old_log(
    bytes: &mut Vec<u8>,
    base: Option<&BaseBlock>,
    logs: &[Log<'_>],
) -> Result<Vec<Applied>, HiveError> {
    // The first bin carries a copy of the time of the writing before ("Hive bin", note 3).
    let bin = u64_at(bytes, BASE_BLOCK + 20).filter(|_| bytes[BASE_BLOCK..].starts_with(b"hbin"));
    let belongs = |written: u64| match base {
        Some(base) => written == base.last_written,
        None => bin.is_some_and(|bin| written >= bin),
    };
    let most = bytes.len();
    let mut why = "it has no whole log";
    for log in logs.iter().filter(|log| OLD.contains(&log.base.file_type)) {
        if !belongs(log.base.last_written) {
            why = "its log belongs to another time";
            continue;
        }
        // What a hive grows by is in the log.
        if log.base.bins_size as usize > most.saturating_add(log.bytes.len()) {
            why = "its log says that it is larger than it can be";
            continue;
        }
        let Some(pages) = log::pages(log.bytes, &log.base) else {
            why = "its log is torn";
            continue;
        };
        take_base(bytes, log.bytes);
        bytes.resize(BASE_BLOCK + log.base.bins_size as usize, 0);
        let mut length = 0;
        for (at, page) in pages {
            // The bitmap's last byte may have bits beyond the last bin.
            if let Some(place) = bytes.get_mut(at..at + SECTOR) {
                place.copy_from_slice(page);
                length += SECTOR as u64;
            }
        }
        finish(bytes, log.base.primary_sequence.wrapping_add(1));
        return Ok(vec![Applied { log: log.index, entries: 1, bytes: length }]);
    }
    Err(HiveError::Unrecoverable(why))
}

/// The hive's base block from a log's.
fn take_base(bytes: &mut [u8], log: &[u8]) {
    bytes[..SECTOR].copy_from_slice(&log[..SECTOR]);
    put(bytes, 28, 0);
}

/// Writing has ended.
fn finish(bytes: &mut [u8], sequence: u32) {
    put(bytes, 4, sequence);
    put(bytes, 8, sequence);
    let sum = checksum(bytes);
    put(bytes, 508, sum);
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}
