//! Windows Installer packages: compound files ([MS-CFB]), as far as it takes to say that all of one
//! is there and who signed it. What is signed is the content of all streams, in the order of their
//! names, each storage's class behind it.

use crate::guest::windows::bytes::{u16_at, u32_at, u64_at};
use crate::guest::windows::pe::{PeError, Signature, detached};

/// The largest number of a sector; those above say something else ([MS-CFB] 2.1).
const LAST_SECTOR: u32 = 0xffff_fffa;
const END: u32 = 0xffff_fffe;
/// No entry.
const NONE: u32 = 0xffff_ffff;
/// Bytes of a directory entry.
const ENTRY: usize = 128;
/// Most entries of a package; the largest have some hundred.
const MOST_ENTRIES: usize = 65_536;
/// The streams that hold the signature.
const SIGNATURE: &str = "\u{5}DigitalSignature";
const SIGNATURE_EX: &str = "\u{5}MsiDigitalSignatureEx";

/// A file is no Windows Installer package, or a damaged one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompoundError {
    /// It is none, or ends early.
    #[error("it is no Windows Installer package: {what}")]
    Damaged {
        /// What is wrong.
        what: &'static str,
    },
    /// Its signature is none.
    #[error(transparent)]
    Signature(#[from] PeError),
}

pub(super) fn wrong(what: &'static str) -> CompoundError {
    CompoundError::Damaged { what }
}

struct Entry {
    /// The name's UTF-16 as it stands there: names are sorted by these bytes.
    name: Vec<u8>,
    kind: u8,
    left: u32,
    right: u32,
    child: u32,
    class: [u8; 16],
    start: u32,
    size: u64,
}

/// A compound file.
pub(super) struct Compound<'a> {
    data: &'a [u8],
    sector: usize,
    mini_sector: usize,
    cutoff: u64,
    table: Vec<u32>,
    mini_table: Vec<u32>,
    /// The content of small streams, one after the other.
    mini: Vec<u8>,
    entries: Vec<Entry>,
}

/// The signatures of a package, none for one that is not signed. All of its streams were read.
///
/// # Errors
/// It is no package, damaged, or its signature is.
pub fn signatures(data: &[u8]) -> Result<Vec<Signature>, CompoundError> {
    let compound = Compound::read(data)?;
    let mut content = Vec::new();
    let mut visited = 0;
    compound.content(0, 0, &mut visited, &mut content)?;
    let Some(signature) = compound.stream_named(SIGNATURE)? else { return Ok(Vec::new()) };
    let extended = compound.stream_named(SIGNATURE_EX)?.unwrap_or_default();
    Ok(detached(&signature, &[&extended, &content])?)
}

impl<'a> Compound<'a> {
    /// Its directory and tables.
    pub(super) fn read(data: &'a [u8]) -> Result<Self, CompoundError> {
        if !data.starts_with(&[0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1]) {
            return Err(wrong("it does not begin as one"));
        }
        let early = || wrong("it ends in its header");
        let number = |at| u32_at(data, at).ok_or_else(early);
        let shift = u16_at(data, 30).ok_or_else(early)?;
        let mini_shift = u16_at(data, 32).ok_or_else(early)?;
        if !matches!(shift, 9 | 12) || mini_shift != 6 || data.len() < 512 {
            return Err(wrong("its sectors have another size than any"));
        }
        let sector = 1 << shift;
        let mut compound = Self {
            data,
            sector,
            mini_sector: 64,
            cutoff: u64::from(number(56)?),
            table: Vec::new(),
            mini_table: Vec::new(),
            mini: Vec::new(),
            entries: Vec::new(),
        };
        compound.table = compound.allocation(number(44)?, number(68)?, number(72)?)?;
        let directory = compound.chain(number(48)?)?;
        compound.entries = directory.chunks_exact(ENTRY).take(MOST_ENTRIES + 1).filter_map(entry).collect();
        if compound.entries.len() > MOST_ENTRIES {
            return Err(wrong("it holds too many streams"));
        }
        compound.mini_table = words(&compound.chain(number(60)?)?);
        let root = compound.entries.first().filter(|root| root.kind == 5).ok_or(wrong("it has no root"))?;
        let mut mini = compound.chain(root.start)?;
        let size = usize::try_from(root.size).unwrap_or(usize::MAX);
        if mini.len() < size {
            return Err(wrong("its small streams are not all there"));
        }
        mini.truncate(size);
        compound.mini = mini;
        Ok(compound)
    }

    fn sector(&self, number: u32) -> Result<&'a [u8], CompoundError> {
        let begin = (number as usize).checked_add(1).and_then(|number| number.checked_mul(self.sector));
        let end = begin.and_then(|begin| begin.checked_add(self.sector));
        // The last one may be cut off at its content's end.
        let found = begin.zip(end).and_then(|(begin, end)| self.data.get(begin..end.min(self.data.len())));
        found.filter(|found| !found.is_empty()).ok_or(wrong("it is shorter than it says"))
    }

    /// The table of sectors: its own sectors are named in the header, and in further sectors.
    fn allocation(&self, count: u32, next: u32, more: u32) -> Result<Vec<u32>, CompoundError> {
        let most = self.data.len() / self.sector;
        if count as usize > most || more as usize > most {
            return Err(wrong("it is shorter than it says"));
        }
        let mut numbers = words(self.data.get(76..512).unwrap_or_default());
        let mut next = next;
        for _ in 0..more {
            let mut listed = words(self.sector(next)?);
            next = listed.pop().unwrap_or(END);
            numbers.extend(listed);
        }
        let mut table = Vec::new();
        for number in numbers.into_iter().filter(|number| *number <= LAST_SECTOR).take(count as usize) {
            table.extend(words(self.sector(number)?));
        }
        Ok(table)
    }

    /// The content of a chain of sectors.
    fn chain(&self, start: u32) -> Result<Vec<u8>, CompoundError> {
        let mut content = Vec::new();
        let mut next = start;
        while next != END && next != NONE {
            if content.len() > self.data.len() {
                return Err(wrong("its sectors go round in a circle"));
            }
            content.extend_from_slice(self.sector(next)?);
            next = *self.table.get(next as usize).ok_or(wrong("it names sectors that it has not"))?;
        }
        Ok(content)
    }

    fn stream(&self, entry: &Entry) -> Result<Vec<u8>, CompoundError> {
        let size = usize::try_from(entry.size).unwrap_or(usize::MAX);
        if size > self.data.len() {
            return Err(wrong("it is shorter than it says"));
        }
        if size == 0 {
            return Ok(Vec::new());
        }
        let mut content = Vec::new();
        if entry.size >= self.cutoff {
            content = self.chain(entry.start)?;
        } else {
            let mut next = entry.start;
            while next != END && content.len() < size {
                let begin = (next as usize).saturating_mul(self.mini_sector);
                let piece = self.mini.get(begin..).filter(|piece| !piece.is_empty());
                let piece = piece.ok_or(wrong("its small streams are not all there"))?;
                content.extend_from_slice(&piece[..piece.len().min(self.mini_sector)]);
                next =
                    *self.mini_table.get(next as usize).ok_or(wrong("it names sectors that it has not"))?;
            }
        }
        if content.len() < size {
            return Err(wrong("a stream of it ends early"));
        }
        content.truncate(size);
        Ok(content)
    }

    /// What a storage holds, sorted by name. `visited` counts entries: a tree has each once.
    fn children(&self, storage: usize, visited: &mut usize) -> Result<Vec<usize>, CompoundError> {
        let mut open = vec![self.entries[storage].child];
        let mut found = Vec::new();
        while let Some(number) = open.pop() {
            if number == NONE {
                continue;
            }
            *visited += 1;
            let entry = self.entries.get(number as usize).filter(|_| *visited <= self.entries.len());
            let entry = entry.ok_or(wrong("its directory is no tree"))?;
            found.push(number as usize);
            open.extend([entry.left, entry.right]);
        }
        found.sort_by(|one, other| self.entries[*one].name.cmp(&self.entries[*other].name));
        Ok(found)
    }

    /// What is signed of a storage.
    fn content(
        &self,
        storage: usize,
        depth: usize,
        visited: &mut usize,
        content: &mut Vec<u8>,
    ) -> Result<(), CompoundError> {
        if depth > 16 {
            return Err(wrong("its directory is too deep"));
        }
        for number in self.children(storage, visited)? {
            let entry = &self.entries[number];
            let own = depth == 0 && [SIGNATURE, SIGNATURE_EX].iter().any(|name| entry.name == wide(name));
            match entry.kind {
                1 => self.content(number, depth + 1, visited, content)?,
                2 if !own => {
                    content.extend(self.stream(entry)?);
                    // Streams that share their sectors would make more of it than it is.
                    if content.len() > self.data.len() {
                        return Err(wrong("its streams overlap"));
                    }
                }
                _ => {}
            }
        }
        content.extend_from_slice(&self.entries[storage].class);
        Ok(())
    }

    /// A stream of the root.
    pub(super) fn stream_named(&self, name: &str) -> Result<Option<Vec<u8>>, CompoundError> {
        let name = wide(name);
        let found = self.children(0, &mut 0)?.into_iter().map(|number| &self.entries[number]);
        found
            .filter(|entry| entry.kind == 2 && entry.name == name)
            .map(|entry| self.stream(entry))
            .next()
            .transpose()
    }
}

fn wide(name: &str) -> Vec<u8> {
    name.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
}

fn entry(bytes: &[u8]) -> Option<Entry> {
    // With its final NUL.
    let length = usize::from(u16_at(bytes, 64)?).min(64).saturating_sub(2);
    Some(Entry {
        name: bytes.get(..length)?.to_vec(),
        kind: *bytes.get(66)?,
        left: u32_at(bytes, 68)?,
        right: u32_at(bytes, 72)?,
        child: u32_at(bytes, 76)?,
        class: *bytes.get(80..)?.first_chunk()?,
        start: u32_at(bytes, 116)?,
        // Files with small sectors have no more than 2 GiB, and garbage in the upper half.
        size: u64_at(bytes, 120)? & 0x7fff_ffff,
    })
}
