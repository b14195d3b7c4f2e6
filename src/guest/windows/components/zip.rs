//! Zip archives (PKWARE's APPNOTE 6.3.10), as far as drivers are packed in them: stored or deflated
//! members, no zip64, no encryption. Nothing is taken at an archive's word: memory is bounded by
//! what is read of it, a member by its caller.

use std::io::{self, Read, Seek, SeekFrom, Take};

use crate::guest::windows::bytes;
use flate2::read::DeflateDecoder;

/// Most bytes of an archive's directory: it is read into memory.
const MOST_DIRECTORY: u32 = 4 << 20;
/// Bytes of the record at an archive's end, without its comment.
const END: usize = 22;
/// Longest comment after it.
const LONGEST_COMMENT: usize = 65_535;
/// Bytes of a member's entry in the directory, without its name.
const ENTRY: usize = 46;
/// Bytes of the header before a member's content, without its name.
const HEADER: usize = 30;
/// In a member's flags: it is encrypted.
const ENCRYPTED: u16 = 1;
/// The system that wrote an entry is a Unix: the entry has a file's mode.
const UNIX: u8 = 3;

/// A member of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name as it stands there, with either separator.
    pub name: String,
    /// Its bytes, unpacked, as the archive says.
    pub size: u64,
    /// Whether its content is encrypted.
    pub encrypted: bool,
    /// Whether it is a symbolic link.
    pub link: bool,
    content: Content,
}

/// Where a member's content is, and what it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    method: u16,
    checksum: u32,
    packed: u64,
    size: u64,
    header: u64,
}

impl Member {
    /// Where its content is.
    pub fn content(&self) -> Content {
        self.content
    }
}

fn wrong(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The members of an archive.
///
/// # Errors
/// It cannot be read, is no archive, or is of a kind that drivers are not packed in.
pub fn members(file: &mut (impl Read + Seek)) -> io::Result<Vec<Member>> {
    let length = file.seek(SeekFrom::End(0))?;
    let tail = length.min((END + LONGEST_COMMENT) as u64);
    file.seek(SeekFrom::Start(length - tail))?;
    let mut end = Vec::new();
    file.by_ref().take(tail).read_to_end(&mut end)?;
    // The record is the last one whose comment reaches to the file's end.
    let place = (0..end.len().saturating_sub(END - 1)).rev().find(|place| {
        let record = &end[*place..];
        record.starts_with(b"PK\x05\x06") && usize::from(u16_at(record, 20)) == record.len() - END
    });
    let place = place.ok_or_else(|| wrong("it is no zip archive"))?;
    let record = &end[place..];
    let (count, size, offset) = (u16_at(record, 10), u32_at(record, 12), u32_at(record, 16));
    if count == u16::MAX || size == u32::MAX || offset == u32::MAX {
        return Err(wrong("it is a zip64 archive, with more than 65,534 files or 4 GiB"));
    }
    if u16_at(record, 4) != 0 || u16_at(record, 6) != 0 {
        return Err(wrong("it is a part of a divided archive"));
    }
    let record_at = length - tail + place as u64;
    if size > MOST_DIRECTORY || u64::from(offset) + u64::from(size) > record_at {
        return Err(wrong("its directory is too large"));
    }
    let mut directory = vec![0; size as usize];
    file.seek(SeekFrom::Start(u64::from(offset)))?;
    file.read_exact(&mut directory)?;
    let mut members = Vec::new();
    let mut rest = directory.as_slice();
    for _ in 0..count {
        let (member, after) = entry(rest).ok_or_else(|| wrong("its directory is damaged"))?;
        members.push(member);
        rest = after;
    }
    Ok(members)
}

/// A member's entry, and what follows it.
fn entry(data: &[u8]) -> Option<(Member, &[u8])> {
    let (fixed, rest) = data.split_at_checked(ENTRY)?;
    if !fixed.starts_with(b"PK\x01\x02") {
        return None;
    }
    let (name, rest) = rest.split_at_checked(usize::from(u16_at(fixed, 28)))?;
    let more = usize::from(u16_at(fixed, 30)) + usize::from(u16_at(fixed, 32));
    let size = u64::from(u32_at(fixed, 24));
    let mode = u32_at(fixed, 38) >> 16;
    let member = Member {
        name: String::from_utf8_lossy(name).into_owned(),
        size,
        encrypted: u16_at(fixed, 8) & ENCRYPTED != 0,
        link: fixed[5] == UNIX && mode & 0o17_0000 == 0o12_0000,
        content: Content {
            method: u16_at(fixed, 10),
            checksum: u32_at(fixed, 16),
            packed: u64::from(u32_at(fixed, 20)),
            size,
            header: u64::from(u32_at(fixed, 42)),
        },
    };
    Some((member, rest.get(more..)?))
}

impl Content {
    /// The content as a stream, unpacked, of this archive.
    ///
    /// # Errors
    /// It cannot be read, is not where the directory says, or is packed in another way.
    pub fn open<R: Read + Seek>(self, mut archive: R) -> io::Result<Unpacked<R>> {
        let mut header = [0; HEADER];
        archive.seek(SeekFrom::Start(self.header))?;
        archive.read_exact(&mut header)?;
        if !header.starts_with(b"PK\x03\x04") {
            return Err(wrong("the archive has no member where its directory says"));
        }
        archive.seek_relative(i64::from(u16_at(&header, 26)) + i64::from(u16_at(&header, 28)))?;
        let packed = archive.take(self.packed);
        let from = match self.method {
            0 => Packed::Stored(packed),
            8 => Packed::Deflated(Box::new(DeflateDecoder::new(packed))),
            _ => return Err(wrong("it is packed in another way than Windows packs")),
        };
        Ok(Unpacked { from, hasher: crc32fast::Hasher::new(), left: self.size, checksum: self.checksum })
    }
}

impl Content {
    /// The whole content, unpacked; `None` when it is more than this.
    ///
    /// # Errors
    /// As [`Self::open`], and what it holds is not what the archive says.
    pub fn read(self, archive: impl Read + Seek, most: u64) -> io::Result<Option<Vec<u8>>> {
        if self.size > most {
            return Ok(None);
        }
        let mut content = Vec::new();
        self.open(archive)?.read_to_end(&mut content)?;
        Ok(Some(content))
    }
}

/// A member's content. It has as many bytes as the archive says, with its checksum; else reading it
/// fails, at the latest instead of giving the last of them.
pub struct Unpacked<R> {
    from: Packed<R>,
    hasher: crc32fast::Hasher,
    left: u64,
    checksum: u32,
}

enum Packed<R> {
    Stored(Take<R>),
    Deflated(Box<DeflateDecoder<Take<R>>>),
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let count = match &mut self.from {
            Packed::Stored(from) => from.read(buffer)?,
            Packed::Deflated(from) => from.read(buffer)?,
        };
        self.hasher.update(&buffer[..count]);
        let left = self.left.checked_sub(count as u64);
        let ends = count == 0 || left == Some(0);
        match left {
            Some(left) if !ends || (left == 0 && self.hasher.clone().finalize() == self.checksum) => {
                self.left = left;
                Ok(count)
            }
            _ => Err(wrong("it is not what the archive's directory says")),
        }
    }
}

/// A number of two bytes; 0 beyond the end.
fn u16_at(data: &[u8], place: usize) -> u16 {
    bytes::u16_at(data, place).unwrap_or_default()
}

/// A number of four bytes; 0 beyond the end.
fn u32_at(data: &[u8], place: usize) -> u32 {
    bytes::u32_at(data, place).unwrap_or_default()
}
