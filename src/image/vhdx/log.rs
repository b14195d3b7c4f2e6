//! The log: changes of the metadata that may not have reached their places. They are replayed in
//! memory; the file stays as it is.

use std::collections::{BTreeMap, BTreeSet};

use super::super::error::ImageError;
use super::super::source::SourceError;
use super::super::window::Window;
use super::bytes::{Guid, guid_at, is_sound, u32_at, u64_at};
use super::header::{Header, Region};

/// The unit of everything in the log.
const SECTOR: usize = 4096;
/// Most bytes of a log; Hyper-V and QEMU make logs of 1 MiB.
const MOST_LOG: u32 = 32 << 20;
/// Most bytes that are summed to find the log's entries: hostile ones overlap.
const MOST_SUMMED: usize = 4 * (32 << 20);
/// Most changes that are kept.
const MOST_PATCHES: usize = 1 << 16;

/// A change of the file: a sector's content, or zeros.
#[derive(Debug)]
struct Patch {
    offset: u64,
    length: u64,
    content: Option<Box<[u8]>>,
}

/// The changes of a log, in their order.
#[derive(Debug, Default)]
pub(super) struct Patches(Vec<Patch>);

impl Patches {
    /// Reads from the file as it is after the changes.
    pub(super) fn read(&self, file: &Window, offset: u64, buffer: &mut [u8]) -> Result<(), SourceError> {
        file.read_exact_at(offset, buffer)?;
        let end = offset.saturating_add(buffer.len() as u64);
        for patch in &self.0 {
            let from = patch.offset.max(offset);
            let to = patch.offset.saturating_add(patch.length).min(end);
            if from < to {
                let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX);
                let part = &mut buffer[at(from - offset)..at(to - offset)];
                match &patch.content {
                    Some(content) => {
                        part.copy_from_slice(&content[at(from - patch.offset)..at(to - patch.offset)])
                    }
                    None => part.fill(0),
                }
            }
        }
        Ok(())
    }

    /// Where the first change is that is in none of these regions, nor in a block of 1 MiB that is
    /// one of `also`.
    pub(super) fn outside(&self, regions: &[Region], also: &BTreeSet<u64>) -> Option<u64> {
        let inside = |patch: &Patch| {
            regions.iter().any(|region| region.contains(patch.offset, patch.length))
                || also.range(..=patch.offset).next_back().is_some_and(|block| {
                    Region { offset: *block, length: 1 << 20 }.contains(patch.offset, patch.length)
                })
        };
        self.0.iter().find(|patch| !inside(patch)).map(|patch| patch.offset)
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One sound entry of the log.
#[derive(Debug, Clone)]
struct Entry {
    at: usize,
    length: usize,
    tail: usize,
    sequence: u64,
    flushed: u64,
}

/// The log as a ring.
struct Ring {
    bytes: Vec<u8>,
}

impl Ring {
    /// Bytes from a place on, around the ring's end.
    fn slice(&self, at: usize, length: usize) -> Vec<u8> {
        let (before, after) = self.bytes.split_at(at.min(self.bytes.len()));
        let first = &after[..length.min(after.len())];
        let second = &before[..(length - first.len()).min(before.len())];
        [first, second].concat()
    }

    /// The entry at a place, when there is a sound one of this log.
    fn entry(&self, at: usize, id: &Guid, summed: &mut usize) -> Option<Entry> {
        let head = self.slice(at, 64);
        let length = usize::try_from(u32_at(&head, 8)).ok()?;
        let tail = usize::try_from(u32_at(&head, 12)).ok()?;
        let plausible = head.starts_with(b"loge")
            && guid_at(&head, 32) == *id
            && length >= SECTOR
            && length.is_multiple_of(SECTOR)
            && length <= self.bytes.len()
            && tail.is_multiple_of(SECTOR)
            && tail < self.bytes.len();
        if !plausible {
            return None;
        }
        *summed += length;
        let sound = *summed <= MOST_SUMMED && is_sound(&self.slice(at, length));
        sound.then(|| Entry { at, length, tail, sequence: u64_at(&head, 16), flushed: u64_at(&head, 48) })
    }
}

/// Reads the log of a file whose header names one.
pub(super) fn replay(file: &Window, header: &Header) -> Result<Patches, ImageError> {
    if header.log_id == [0; 16] {
        return Ok(Patches::default());
    }
    if header.log_length == 0 || header.log_length > MOST_LOG || !header.log_length.is_multiple_of(1 << 20) {
        let what = format!("a log of {} bytes is impossible", header.log_length);
        return Err(file.damaged(header.log_offset, what).into());
    }
    let length = usize::try_from(header.log_length).unwrap_or(usize::MAX);
    let ring = Ring { bytes: file.read_vec(header.log_offset, length)? };
    let mut summed = 0;
    let entries: BTreeMap<usize, Entry> = (0..length)
        .step_by(SECTOR)
        .filter_map(|at| ring.entry(at, &header.log_id, &mut summed).map(|entry| (at, entry)))
        .collect();
    let sequence = active(&entries, length)
        .ok_or_else(|| file.damaged(header.log_offset, "its log has no complete sequence of entries"))?;
    let mut patches = Patches::default();
    for entry in &sequence {
        if entry.flushed > file.len() {
            let what = format!("its log was written when it had {} bytes; its end is missing", entry.flushed);
            return Err(file.damaged(file.len(), what).into());
        }
        take(&ring.slice(entry.at, entry.length), entry.sequence, &mut patches)
            .map_err(|what| file.damaged(header.log_offset.saturating_add(entry.at as u64), what))?;
    }
    Ok(patches)
}

/// The entries to replay: from the newest entry's tail to it, their numbers without a gap. They lie
/// one behind the other within the ring; hostile ones that overlap would come to more than it holds.
fn active(entries: &BTreeMap<usize, Entry>, ring: usize) -> Option<Vec<&Entry>> {
    let mut heads: Vec<&Entry> = entries.values().collect();
    heads.sort_by_key(|entry| std::cmp::Reverse(entry.sequence));
    heads.into_iter().find_map(|head| {
        let mut found = Vec::new();
        let mut next = entries.get(&head.tail)?;
        let mut room = ring;
        // Numbers grow with each step, so that this ends.
        loop {
            room = room.checked_sub(next.length)?;
            found.push(next);
            if next.at == head.at && next.sequence == head.sequence {
                return Some(found);
            }
            let after = entries.get(&((next.at + next.length) % ring))?;
            if next.sequence.checked_add(1) != Some(after.sequence) {
                return None;
            }
            next = after;
        }
    })
}

/// Takes the changes of one entry: its header and descriptors first, then its sectors of data.
fn take(entry: &[u8], sequence: u64, patches: &mut Patches) -> Result<(), String> {
    let count = usize::try_from(u32_at(entry, 24)).unwrap_or(usize::MAX);
    let described = count.checked_mul(32).and_then(|bytes| bytes.checked_add(64));
    let described = described.map(|bytes| bytes.next_multiple_of(SECTOR)).filter(|end| *end <= entry.len());
    let Some(described) = described else {
        return Err(format!("an entry of {count} changes is impossible"));
    };
    if patches.0.len().saturating_add(count) > MOST_PATCHES {
        return Err("its log has more changes than are supported".to_owned());
    }
    let mut sectors = entry[described..].chunks_exact(SECTOR);
    for descriptor in entry[64..].chunks_exact(32).take(count) {
        let offset = u64_at(descriptor, 16);
        if u64_at(descriptor, 24) != sequence || !offset.is_multiple_of(SECTOR as u64) {
            return Err("a change in its log is damaged".to_owned());
        }
        let patch = match &descriptor[..4] {
            b"zero" => Patch { offset, length: u64_at(descriptor, 8), content: None },
            b"desc" => {
                let sector = sectors.next().ok_or("a change in its log has no data")?;
                let number = u64::from(u32_at(sector, 4)) << 32 | u64::from(u32_at(sector, SECTOR - 4));
                if !sector.starts_with(b"data") || number != sequence {
                    return Err("a change's data in its log is damaged".to_owned());
                }
                // The sector's ends were moved into the descriptor to make room for its number.
                let mut content: Box<[u8]> = sector.into();
                content[..8].copy_from_slice(&descriptor[8..16]);
                content[SECTOR - 4..].copy_from_slice(&descriptor[4..8]);
                Patch { offset, length: SECTOR as u64, content: Some(content) }
            }
            _ => return Err("a change in its log is of an unknown kind".to_owned()),
        };
        patches.0.push(patch);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(entries: &[(usize, usize, usize, u64)], ring: usize) -> Option<Vec<usize>> {
        let entry = |(at, length, tail, sequence)| (at, Entry { at, length, tail, sequence, flushed: 0 });
        let entries = entries.iter().copied().map(entry).collect();
        active(&entries, ring).map(|found| found.iter().map(|entry| entry.at).collect())
    }

    #[test]
    fn entries_to_replay_do_not_overlap() {
        assert_eq!(sequence(&[(8192, 8192, 8192, 7), (0, 4096, 8192, 8)], 16384), Some(vec![8192, 0]));
        // Each begins where the one before ends, round and round the ring: more than it holds.
        assert_eq!(
            sequence(&[(0, 8192, 0, 1), (8192, 8192, 0, 2), (4096, 4096, 0, 3)], 12288),
            Some(vec![0])
        );
        assert_eq!(sequence(&[(0, 8192, 4, 1), (8192, 8192, 4, 2), (4096, 4096, 0, 3)], 12288), None);
    }
}
