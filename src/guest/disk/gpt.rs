//! The GUID partition table (UEFI specification, chapter 5): two copies, each with digests.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::table::{Partition, PartitionType, SECTOR, guid_text, read_sectors, u32_at, u64_at};

/// Most entries that are read: eight times what every tool makes.
const MAX_ENTRIES: u32 = 1024;
const MAX_ENTRY: u32 = 4096;

/// A table as it stands on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpt {
    /// The header's bytes, as long as it says it is.
    header: Vec<u8>,
    /// The entries' bytes.
    entries: Vec<u8>,
    entry_size: u32,
}

/// Reads the table: the first copy, else the one at the disk's end.
pub fn read(disk: &File, size: u64, problems: &mut Vec<String>) -> Option<Gpt> {
    if let Some(gpt) = read_copy(disk, size, 1) {
        return Some(gpt);
    }
    let backup = read_copy(disk, size, (size / SECTOR).checked_sub(1)?)?;
    problems.push("the first copy of its GPT is damaged; the backup at its end is used".to_owned());
    Some(backup)
}

fn read_copy(disk: &File, size: u64, place: u64) -> Option<Gpt> {
    let sector = read_sectors(disk, size, place, 1)?;
    let length = usize::try_from(u32_at(&sector, 12)).ok().filter(|length| (92..=512).contains(length))?;
    let mut header = sector.get(..length)?.to_vec();
    if !header.starts_with(b"EFI PART") || u64_at(&header, 24) != place {
        return None;
    }
    let checksum = u32_at(&header, 16);
    header[16..20].fill(0);
    if crc32fast::hash(&header) != checksum {
        return None;
    }
    let (count, entry_size) = (u32_at(&header, 80), u32_at(&header, 84));
    if count > MAX_ENTRIES || !(128..=MAX_ENTRY).contains(&entry_size) || entry_size % 128 != 0 {
        return None;
    }
    let bytes = u64::from(count) * u64::from(entry_size);
    let mut entries = read_sectors(disk, size, u64_at(&header, 72), bytes.div_ceil(SECTOR))?;
    entries.truncate(usize::try_from(bytes).ok()?);
    (crc32fast::hash(&entries) == u32_at(&header, 88)).then_some(Gpt { header, entries, entry_size })
}

impl Gpt {
    /// Its partitions; what reaches beyond the disk is left out and said.
    #[must_use]
    pub fn partitions(&self, size: u64, problems: &mut Vec<String>) -> Vec<Partition> {
        let mut found = Vec::new();
        for (number, entry) in (1..).zip(self.entries.chunks_exact(self.entry_size as usize)) {
            let Some((kind, rest)) = entry.split_first_chunk::<16>() else { continue };
            let Some((id, _)) = rest.split_first_chunk::<16>() else { continue };
            if kind == &[0; 16] {
                continue;
            }
            let (first, last) = (u64_at(entry, 32), u64_at(entry, 40));
            let end = last.checked_add(1).and_then(|end| end.checked_mul(SECTOR));
            let Some(end) = end.filter(|end| first <= last && *end <= size) else {
                problems.push(format!("partition {number} reaches beyond the disk's end"));
                continue;
            };
            let units: Vec<u16> =
                entry[56..128].chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
            let name = String::from_utf16_lossy(&units).trim_end_matches('\0').to_owned();
            found.push(Partition {
                number,
                offset: first * SECTOR,
                size: end - first * SECTOR,
                kind: PartitionType::Guid(*kind),
                id: Some(guid_text(id)),
                name: Some(name).filter(|name| !name.is_empty()),
            });
        }
        found
    }

    /// The byte after the last one that a partition may use on a disk of `size` bytes.
    #[must_use]
    pub fn usable_end(&self, size: u64) -> u64 {
        (size / SECTOR).saturating_sub(1 + self.entry_sectors()) * SECTOR
    }

    fn entry_sectors(&self) -> u64 {
        (self.entries.len() as u64).div_ceil(SECTOR)
    }

    /// Lets a partition end at `end` (bytes, whole sectors).
    pub fn extend(&mut self, number: u32, end: u64) {
        let at = (number as usize).saturating_sub(1).saturating_mul(self.entry_size as usize);
        if let Some(field) = self.entries.get_mut(at + 40..at + 48) {
            field.copy_from_slice(&(end / SECTOR).saturating_sub(1).to_le_bytes());
        }
    }

    /// Puts a partition elsewhere: from `start` to `end` (bytes, whole sectors).
    pub fn relocate(&mut self, number: u32, start: u64, end: u64) {
        let at = (number as usize).saturating_sub(1).saturating_mul(self.entry_size as usize);
        if let Some(field) = self.entries.get_mut(at + 32..at + 40) {
            field.copy_from_slice(&(start / SECTOR).to_le_bytes());
        }
        self.extend(number, end);
    }

    /// Writes both copies to a disk of `size` bytes, the backup at its end, and lets the
    /// protective record cover all of it. The backup goes first, so that at any moment one copy
    /// is sound.
    ///
    /// # Errors
    /// When the disk cannot be read or written.
    pub fn write(&self, disk: &File, size: u64) -> io::Result<()> {
        if u64_at(&self.header, 40) < 2 + self.entry_sectors() {
            return Err(io::Error::other("the GPT leaves no room for its own first copy"));
        }
        let last = size / SECTOR - 1;
        let backup_entries = last - self.entry_sectors();
        disk.write_all_at(&self.padded_entries(), backup_entries * SECTOR)?;
        disk.write_all_at(&self.header_at(last, 1, backup_entries, size), last * SECTOR)?;
        disk.write_all_at(&self.padded_entries(), 2 * SECTOR)?;
        disk.write_all_at(&self.header_at(1, last, 2, size), SECTOR)?;
        let mut record = read_sectors(disk, size, 0, 1)
            .ok_or_else(|| io::Error::other("the first sector cannot be read"))?;
        for index in 0..4 {
            let at = 446 + 16 * index;
            if record[at + 4] == 0xee {
                let covered = u32::try_from(size / SECTOR - u64::from(u32_at(&record, at + 8)));
                record[at + 12..at + 16].copy_from_slice(&covered.unwrap_or(u32::MAX).to_le_bytes());
            }
        }
        disk.write_all_at(&record, 0)
    }

    fn padded_entries(&self) -> Vec<u8> {
        let mut entries = self.entries.clone();
        entries.resize(entries.len().next_multiple_of(SECTOR as usize), 0);
        entries
    }

    fn header_at(&self, own: u64, other: u64, entries: u64, size: u64) -> Vec<u8> {
        let mut header = self.header.clone();
        header[24..32].copy_from_slice(&own.to_le_bytes());
        header[32..40].copy_from_slice(&other.to_le_bytes());
        header[48..56].copy_from_slice(&(self.usable_end(size) / SECTOR - 1).to_le_bytes());
        header[72..80].copy_from_slice(&entries.to_le_bytes());
        header[88..92].copy_from_slice(&crc32fast::hash(&self.entries).to_le_bytes());
        header[16..20].fill(0);
        let checksum = crc32fast::hash(&header);
        header[16..20].copy_from_slice(&checksum.to_le_bytes());
        header.resize(SECTOR as usize, 0);
        header
    }
}
