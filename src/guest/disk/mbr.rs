//! The master boot record and its chain of logical partitions.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::table::{Partition, PartitionType, SECTOR, read_sectors, u32_at};

/// Most logical partitions that are followed: far more than any system makes, and an end to a
/// chain that leads back to itself.
const MAX_LOGICAL: u32 = 128;
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];
const PROTECTIVE: u8 = 0xee;
const ENTRIES: usize = 446;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    kind: u8,
    start: u64,
    sectors: u64,
}

/// The first sector of a disk, when it is a partition table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    entries: [Entry; 4],
    disk_id: u32,
}

impl Record {
    /// Parses the first sector; `None` when it holds no table (a filesystem's boot sector ends
    /// with the same signature).
    #[must_use]
    pub fn parse(sector: &[u8]) -> Option<Self> {
        if sector.get(510..512)? != [0x55, 0xaa] {
            return None;
        }
        let raw = sector.get(ENTRIES..510)?;
        // A boot indicator is 0x80 or 0; a boot sector's code hardly ever looks like four of them.
        if raw.chunks_exact(16).any(|entry| entry[0] & 0x7f != 0) {
            return None;
        }
        let entries = [0, 1, 2, 3].map(|index| parse_entry(raw, index * 16));
        if entries.iter().all(|entry| entry.kind == 0 || entry.sectors == 0) {
            return None;
        }
        Some(Self { entries, disk_id: u32_at(sector, 440) })
    }

    /// Whether it only protects a GPT (or is mixed with one: firmware then takes the GPT).
    #[must_use]
    pub fn is_protective(&self) -> bool {
        self.entries.iter().any(|entry| entry.kind == PROTECTIVE)
    }

    /// All partitions, logical ones from number 5. What reaches beyond the disk is left out and
    /// said.
    #[must_use]
    pub fn partitions(&self, disk: &File, size: u64, problems: &mut Vec<String>) -> Vec<Partition> {
        let mut found = Vec::new();
        let mut extended = None;
        for (number, entry) in (1..).zip(&self.entries) {
            if entry.kind == 0 || entry.sectors == 0 {
                continue;
            }
            if EXTENDED.contains(&entry.kind) {
                extended.get_or_insert(*entry);
            } else {
                self.add(number, *entry, 0, size, &mut found, problems);
            }
        }
        if let Some(extended) = extended {
            self.logical(extended, disk, size, &mut found, problems);
        }
        found
    }

    fn logical(
        &self,
        extended: Entry,
        disk: &File,
        size: u64,
        found: &mut Vec<Partition>,
        problems: &mut Vec<String>,
    ) {
        let mut place = extended.start;
        for number in 5..5 + MAX_LOGICAL {
            let sector = read_sectors(disk, size, place, 1);
            let Some(sector) = sector.filter(|sector| sector[510..] == [0x55, 0xaa]) else {
                problems.push(format!("the extended partition's table at sector {place} cannot be read"));
                return;
            };
            let raw = &sector[ENTRIES..510];
            let (own, next) = (parse_entry(raw, 0), parse_entry(raw, 16));
            if own.kind != 0 && own.sectors != 0 {
                self.add(number, own, place, size, found, problems);
            }
            if !EXTENDED.contains(&next.kind) || next.sectors == 0 {
                return;
            }
            // The next table's place counts from the extended partition's start, and tables only
            // follow each other upwards.
            match extended.start.checked_add(next.start).filter(|next| *next > place) {
                Some(next) => place = next,
                None => {
                    problems.push("the extended partition's tables lead back to themselves".to_owned());
                    return;
                }
            }
        }
        problems.push(format!("there are more than {MAX_LOGICAL} logical partitions"));
    }

    fn add(
        &self,
        number: u32,
        entry: Entry,
        base: u64,
        size: u64,
        found: &mut Vec<Partition>,
        problems: &mut Vec<String>,
    ) {
        let start = base.saturating_add(entry.start);
        let end = start.saturating_add(entry.sectors).saturating_mul(SECTOR);
        if end > size {
            problems.push(format!("partition {number} reaches beyond the disk's end"));
            return;
        }
        found.push(Partition {
            number,
            offset: start * SECTOR,
            size: entry.sectors * SECTOR,
            kind: PartitionType::Byte(entry.kind),
            id: Some(format!("{:08x}-{number:02x}", self.disk_id)),
            name: None,
        });
    }
}

fn parse_entry(raw: &[u8], at: usize) -> Entry {
    Entry {
        kind: raw.get(at + 4).copied().unwrap_or(0),
        start: u64::from(u32_at(raw, at + 8)),
        sectors: u64::from(u32_at(raw, at + 12)),
    }
}

/// Makes a partition end at `end` (in bytes, whole sectors): its own entry, and for a logical one
/// the extended partition around it. The table counts 32 bits of sectors.
///
/// # Errors
/// When the disk cannot be read or written, or the partition is not where it was.
pub fn extend(disk: &File, size: u64, partition: &Partition, end: u64) -> io::Result<()> {
    let damaged = || io::Error::other("the partition table is not what it was");
    let sectors_of = |start: u64| u32::try_from(end / SECTOR - start).map_err(|_| damaged());
    let mut first = read_sectors(disk, size, 0, 1).ok_or_else(damaged)?;
    let record = Record::parse(&first).ok_or_else(damaged)?;
    let start = partition.offset / SECTOR;
    if partition.number <= 4 {
        let at = entry_offset(partition.number - 1);
        first[at + 12..at + 16].copy_from_slice(&sectors_of(start)?.to_le_bytes());
        return disk.write_all_at(&first, 0);
    }
    let place = record.entries.iter().position(|entry| EXTENDED.contains(&entry.kind)).ok_or_else(damaged)?;
    let extended = record.entries[place];
    let mut table = extended.start;
    for _ in 0..MAX_LOGICAL {
        let mut sector = read_sectors(disk, size, table, 1).ok_or_else(damaged)?;
        let (own, next) = (parse_entry(&sector[ENTRIES..], 0), parse_entry(&sector[ENTRIES..], 16));
        if table.checked_add(own.start) == Some(start) {
            let at = entry_offset(0);
            sector[at + 12..at + 16].copy_from_slice(&sectors_of(start)?.to_le_bytes());
            disk.write_all_at(&sector, table * SECTOR)?;
            if table != extended.start {
                link_to(disk, size, extended.start, table, end)?;
            }
            let at = entry_offset(place as u32);
            first[at + 12..at + 16].copy_from_slice(&sectors_of(extended.start)?.to_le_bytes());
            return disk.write_all_at(&first, 0);
        }
        table = extended.start.checked_add(next.start).filter(|next| *next > table).ok_or_else(damaged)?;
    }
    Err(damaged())
}

/// An extended partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extended {
    /// Its number, 1 to 4.
    pub number: u32,
    /// Its first byte, which its first table is in.
    pub start: u64,
}

/// The extended partition around a logical one that is alone in it.
#[must_use]
pub fn only_logical(disk: &File, size: u64, partition: &Partition) -> Option<Extended> {
    let record = Record::parse(&read_sectors(disk, size, 0, 1)?)?;
    let mut all = (1..).zip(&record.entries).filter(|(_, entry)| EXTENDED.contains(&entry.kind));
    let (number, extended) = all.next().filter(|_| all.next().is_none())?;
    let table = read_sectors(disk, size, extended.start, 1)?;
    let (own, next) = (parse_entry(&table[ENTRIES..], 0), parse_entry(&table[ENTRIES..], 16));
    let alone = next.kind == 0 || next.sectors == 0;
    let is_it = extended.start.checked_add(own.start)?.checked_mul(SECTOR)? == partition.offset;
    (alone && is_it).then_some(Extended { number, start: extended.start * SECTOR })
}

/// Puts a partition elsewhere, as long as it was; a logical one, which must be alone, with its
/// extended partition around it.
///
/// # Errors
/// When the disk cannot be read or written, or the table does not allow it.
pub fn relocate(disk: &File, size: u64, partition: &Partition, offset: u64) -> io::Result<()> {
    let damaged = || io::Error::other("the partition table is not what it was");
    let mut first = read_sectors(disk, size, 0, 1).ok_or_else(damaged)?;
    let place = |bytes: u64| u32::try_from(bytes / SECTOR).map_err(|_| damaged());
    if partition.number <= 4 {
        let at = entry_offset(partition.number - 1);
        first[at + 8..at + 12].copy_from_slice(&place(offset)?.to_le_bytes());
        return disk.write_all_at(&first, 0);
    }
    let extended = only_logical(disk, size, partition).ok_or_else(damaged)?;
    let gap = partition.offset - extended.start;
    let table = read_sectors(disk, size, extended.start / SECTOR, 1).ok_or_else(damaged)?;
    let start = offset.checked_sub(gap).ok_or_else(damaged)?;
    disk.write_all_at(&table, start)?;
    let at = entry_offset(extended.number - 1);
    first[at + 8..at + 12].copy_from_slice(&place(start)?.to_le_bytes());
    first[at + 12..at + 16].copy_from_slice(&place(gap + partition.size)?.to_le_bytes());
    disk.write_all_at(&first, 0)
}

/// Lets the table before the one at `wanted` say that what follows it reaches to `end`.
fn link_to(disk: &File, size: u64, base: u64, wanted: u64, end: u64) -> io::Result<()> {
    let damaged = || io::Error::other("the extended partition's tables are not what they were");
    let mut table = base;
    for _ in 0..MAX_LOGICAL {
        let mut sector = read_sectors(disk, size, table, 1).ok_or_else(damaged)?;
        let next = base.checked_add(parse_entry(&sector[ENTRIES..], 16).start).ok_or_else(damaged)?;
        if next == wanted {
            let at = entry_offset(1);
            let sectors = u32::try_from(end / SECTOR - wanted).map_err(|_| damaged())?;
            sector[at + 12..at + 16].copy_from_slice(&sectors.to_le_bytes());
            return disk.write_all_at(&sector, table * SECTOR);
        }
        table = Some(next).filter(|next| *next > table).ok_or_else(damaged)?;
    }
    Err(damaged())
}

fn entry_offset(index: u32) -> usize {
    ENTRIES + 16 * index as usize
}
