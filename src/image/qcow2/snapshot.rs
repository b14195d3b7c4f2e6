//! The table of internal snapshots: big-endian entries of different lengths, one after the other.

use super::super::error::ImageError;
use super::super::source::SourceError;
use super::super::window::Window;
use super::header::{Header, MOST_L1};

/// Bytes of an entry before its variable part.
const ENTRY: usize = 40;
/// Most snapshots, QEMU's own limit.
const MOST_SNAPSHOTS: u32 = 65_536;
/// Most bytes of what an entry says beyond the fields of version 2, QEMU's own limit.
const MOST_EXTRA: u32 = 1024;
/// Most bytes of the whole table that are read: thousands of snapshots.
const MOST_TABLE: u64 = 8 << 20;
/// Most snapshots that an error names.
const MOST_NAMED: usize = 20;

/// One snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub id: String,
    pub name: String,
    /// When it was made, in seconds since 1970.
    pub seconds: u32,
    /// Where its L1 table is.
    pub l1_offset: u64,
    /// Entries of that table.
    pub l1_entries: u64,
    /// The disk's size then.
    pub size: u64,
}

/// Reads the table.
pub(super) fn read(file: &Window, header: &Header) -> Result<Vec<Snapshot>, SourceError> {
    if header.snapshots > MOST_SNAPSHOTS {
        let what = format!("{} snapshots, at most {MOST_SNAPSHOTS} are possible", header.snapshots);
        return Err(file.damaged(60, what));
    }
    let mut found = Vec::new();
    let mut at = header.snapshot_table;
    for _ in 0..header.snapshots {
        let (snapshot, length) = entry(file, header, at)?;
        found.push(snapshot);
        at = at.saturating_add(length);
        if at - header.snapshot_table > MOST_TABLE {
            return Err(file.damaged(at, format!("a table of snapshots has at most {MOST_TABLE} bytes")));
        }
    }
    Ok(found)
}

/// Reads one entry; also gives its length.
fn entry(file: &Window, header: &Header, at: u64) -> Result<(Snapshot, u64), SourceError> {
    let mut fixed = [0; ENTRY];
    file.read_exact_at(at, &mut fixed)?;
    let u16_at = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
    let u32_at = |at: usize| u32::from(u16_at(at)) << 16 | u32::from(u16_at(at + 2));
    let u64_at = |at: usize| u64::from(u32_at(at)) << 32 | u64::from(u32_at(at + 4));
    let (id, name, extra) = (usize::from(u16_at(12)), usize::from(u16_at(14)), u32_at(36));
    if extra > MOST_EXTRA {
        let what = format!("an entry with {extra} further bytes, at most {MOST_EXTRA} are possible");
        return Err(file.damaged(at + 36, what));
    }
    let extra = extra as usize;
    let rest = file.read_vec(at + ENTRY as u64, extra + id + name)?;
    let text = |from: usize, length: usize| {
        String::from_utf8_lossy(rest.get(from..from + length).unwrap_or_default()).into_owned()
    };
    // The size of the machine's state comes first; old images do not say the disk's.
    let size = rest.get(8..16).filter(|_| extra >= 16).and_then(|eight| eight.first_chunk());
    let snapshot = Snapshot {
        id: text(extra, id),
        name: text(extra + id, name),
        seconds: u32_at(16),
        l1_offset: u64_at(0),
        l1_entries: u64::from(u32_at(8)),
        size: size.map_or(header.size, |eight| u64::from_be_bytes(*eight)),
    };
    Ok((snapshot, (ENTRY + extra + id + name).next_multiple_of(8) as u64))
}

/// The header with what is different in a snapshot, and that snapshot.
pub(super) fn select(file: &Window, header: &Header, wanted: &str) -> Result<(Header, Snapshot), ImageError> {
    let all = read(file, header)?;
    let by_name: Vec<_> = all.iter().filter(|snapshot| snapshot.name == wanted).collect();
    // As QEMU does: an id comes before a name.
    let found = match (all.iter().find(|snapshot| snapshot.id == wanted), by_name.as_slice()) {
        (Some(found), _) => found,
        (None, [found]) => *found,
        (None, []) => {
            let (file, snapshot) = (file.path().to_owned(), wanted.to_owned());
            return Err(ImageError::NoSnapshot { file, snapshot, known: named(&all) });
        }
        (None, [..]) => {
            let (file, snapshot) = (file.path().to_owned(), wanted.to_owned());
            return Err(ImageError::WhichSnapshot { file, snapshot, known: named(by_name) });
        }
    };
    let needed = header.tables_of(found.size);
    if needed * 8 > MOST_L1 {
        let what = format!("a snapshot of {} bytes is impossible with its cluster size", found.size);
        return Err(file.damaged(header.snapshot_table, what).into());
    }
    let l1_entries = needed.min(found.l1_entries);
    let header = Header { size: found.size, l1_offset: found.l1_offset, l1_entries, ..header.clone() };
    Ok((header, found.clone()))
}

fn named<'a>(snapshots: impl IntoIterator<Item = &'a Snapshot>) -> Vec<String> {
    let mut snapshots = snapshots.into_iter();
    let mut names: Vec<String> = snapshots
        .by_ref()
        .take(MOST_NAMED)
        .map(|snapshot| format!("`{}` (id {})", snapshot.name, snapshot.id))
        .collect();
    if let left @ 1.. = snapshots.count() {
        names.push(format!("and {left} more"));
    }
    names
}
