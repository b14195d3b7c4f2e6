//! The tar file of an OVA: where its members are, nothing unpacked.

use std::cell::Cell;
use std::io::{self, Read, Seek, SeekFrom};

use tar::{Archive, EntryType};

use super::super::error::ImageError;
use super::super::window::Window;

/// Most bytes of headers (and long names) that are read of an archive: thousands of members. A
/// name that claims to be gigabytes long stops here.
const MOST_HEADERS: u64 = 8 << 20;
/// Most members of an appliance.
const MOST_MEMBERS: usize = 4096;

/// A file in an archive.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub name: String,
    pub content: Window,
}

/// Reads an archive's headers; seeks over its members.
struct Headers<'a> {
    file: &'a Window,
    place: u64,
    left: &'a Cell<u64>,
}

impl Read for Headers<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.file.len().saturating_sub(self.place).min(buffer.len() as u64);
        if left == 0 {
            return Ok(0);
        }
        if self.left.get() == 0 {
            return Err(io::Error::other("its headers are too large"));
        }
        let count = left.min(self.left.get());
        let part = &mut buffer[..usize::try_from(count).unwrap_or(usize::MAX)];
        self.file.read_exact_at(self.place, part).map_err(io::Error::other)?;
        self.place += count;
        self.left.set(self.left.get() - count);
        Ok(part.len())
    }
}

impl Seek for Headers<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::Current(by) => self.place.checked_add_signed(by),
            SeekFrom::End(by) => self.file.len().checked_add_signed(by),
        };
        self.place = place.ok_or_else(|| io::Error::other("a member's size is impossible"))?;
        Ok(self.place)
    }
}

/// The members of an archive.
pub(super) fn members(file: &Window) -> Result<Vec<Member>, ImageError> {
    let left = Cell::new(MOST_HEADERS);
    let damaged =
        |at: u64, error: io::Error| ImageError::from(file.damaged(at, format!("as a tar file: {error}")));
    let mut archive = Archive::new(Headers { file, place: 0, left: &left });
    let mut found: Vec<Member> = Vec::new();
    for entry in archive.entries_with_seek().map_err(|error| damaged(0, error))? {
        let last = found.last().map_or(0, |member| member.content.len());
        let entry = entry.map_err(|error| damaged(last, error))?;
        let at = entry.raw_file_position();
        let kind = entry.header().entry_type();
        if kind == EntryType::GNUSparse {
            return Err(file.damaged(at, "an appliance must not have sparse members").into());
        }
        if !matches!(kind, EntryType::Regular | EntryType::Continuous) {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = name.trim_start_matches("./").to_owned();
        let content = file.part(at, entry.size()).ok_or_else(|| {
            file.damaged(
                at,
                format!("the member `{name}` has {} bytes, but the file ends before", entry.size()),
            )
        })?;
        if found.len() == MOST_MEMBERS {
            return Err(file.damaged(at, format!("an appliance has at most {MOST_MEMBERS} members")).into());
        }
        found.push(Member { name, content });
    }
    Ok(found)
}
