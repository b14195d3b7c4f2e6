//! Headers, directories and sections.

use crate::guest::windows::bytes::{u16_at, u32_at};

/// Most sections that Windows loads.
const MOST_SECTIONS: usize = 96;
/// The directory of resources.
const RESOURCES: usize = 2;
/// The directory of certificates, the only one that is a place in the file.
const CERTIFICATES: usize = 4;

/// A file is no program, or its signature is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeError {
    /// No program at all, or its headers end early.
    #[error("it is no Windows program: {what}")]
    Headers {
        /// What is wrong.
        what: &'static str,
    },
    /// A signature is there, but damaged.
    #[error("its signature is damaged: {what}")]
    Signature {
        /// What is wrong.
        what: &'static str,
    },
    /// A signature is there, under a digest that Windows does not take for drivers.
    #[error("its signature has an unknown digest algorithm")]
    Digest,
}

/// A processor architecture of programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Machine {
    /// 32-bit x86.
    I386,
    /// 64-bit x86.
    Amd64,
    /// 64-bit ARM.
    Arm64,
    /// Another, by its number.
    Other(u16),
}

/// A part of the file and where it is in memory.
struct Section {
    address: u32,
    memory: u32,
    offset: u32,
    size: u32,
}

/// A program or driver that was read.
pub struct Pe<'a> {
    pub(super) data: &'a [u8],
    machine: Machine,
    /// Where the checksum stands.
    pub(super) checksum: usize,
    /// Where the certificates' directory entry stands, and what it says: offset and size.
    pub(super) certificates: Option<(usize, u32, u32)>,
    resources: Option<(u32, u32)>,
    sections: Vec<Section>,
}

impl<'a> Pe<'a> {
    /// Reads a file's headers.
    ///
    /// # Errors
    /// It is no Windows program.
    pub fn read(data: &'a [u8]) -> Result<Self, PeError> {
        let wrong = |what| PeError::Headers { what };
        if data.get(..2) != Some(b"MZ".as_slice()) {
            return Err(wrong("it does not begin with MZ"));
        }
        let header = u32_at(data, 0x3c).ok_or(wrong("it ends in its first header"))? as usize;
        let signature = header.checked_add(4).and_then(|end| data.get(header..end));
        if signature != Some(b"PE\0\0".as_slice()) {
            return Err(wrong("it has no PE header"));
        }
        let early = || wrong("it ends in its headers");
        let coff = header + 4;
        let machine = match u16_at(data, coff).ok_or_else(early)? {
            0x14c => Machine::I386,
            0x8664 => Machine::Amd64,
            0xaa64 => Machine::Arm64,
            other => Machine::Other(other),
        };
        let count = usize::from(u16_at(data, coff + 2).ok_or_else(early)?);
        let length = usize::from(u16_at(data, coff + 16).ok_or_else(early)?);
        let optional = coff + 20;
        let directories = match u16_at(data, optional).ok_or_else(early)? {
            0x10b => optional + 96,
            0x20b => optional + 112,
            _ => return Err(wrong("its optional header is of an unknown kind")),
        };
        let entries = u32_at(data, directories - 4).ok_or_else(early)? as usize;
        let directory = |index: usize| {
            let place = directories + index * 8;
            let there = index < entries && place + 8 <= optional + length;
            let pair = (u32_at(data, place)?, u32_at(data, place + 4)?);
            (there && pair != (0, 0)).then_some((place, pair.0, pair.1))
        };
        if count > MOST_SECTIONS {
            return Err(wrong("it has more sections than Windows loads"));
        }
        let sections = (0..count).map(|index| {
            let place = optional + length + index * 40;
            Some(Section {
                memory: u32_at(data, place + 8)?,
                address: u32_at(data, place + 12)?,
                size: u32_at(data, place + 16)?,
                offset: u32_at(data, place + 20)?,
            })
        });
        Ok(Self {
            data,
            machine,
            checksum: optional + 64,
            certificates: directory(CERTIFICATES),
            resources: directory(RESOURCES).map(|(_, address, size)| (address, size)),
            sections: sections.collect::<Option<_>>().ok_or_else(early)?,
        })
    }

    /// The processor it is for.
    #[must_use]
    pub fn machine(&self) -> Machine {
        self.machine
    }

    /// What is loaded at an address, up to its section's end in the file.
    pub(super) fn at(&self, address: u32) -> Option<&'a [u8]> {
        self.sections.iter().find_map(|section| {
            let into = address.checked_sub(section.address)?;
            let length = if section.memory == 0 { section.size } else { section.memory.min(section.size) };
            if into >= length {
                return None;
            }
            let begin = section.offset.checked_add(into)? as usize;
            let end = section.offset.checked_add(length)? as usize;
            self.data.get(begin..end.min(self.data.len()))
        })
    }

    /// The resources: their directory's content, from its address to its section's end.
    pub(super) fn resources(&self) -> Option<&'a [u8]> {
        self.at(self.resources?.0)
    }
}
