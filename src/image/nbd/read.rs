//! The answers to one read.

use std::ops::Range;

use super::chunk;
use super::connection::{ANSWERING, Kind};
use super::error::{NbdError, answer};
use super::wire::Wire;

/// The smallest chunk that a sane server cuts an answer into, on average.
const SMALLEST: usize = 512;
/// How many chunks an answer may have however short it is.
const CHUNKS: usize = 64;

/// One read that was asked for, and what of it has come.
#[derive(Debug)]
pub(super) struct Piece<'a> {
    pub offset: u64,
    buffer: &'a mut [u8],
    structured: bool,
    /// What has come, in order, neighbours joined.
    covered: Vec<Range<usize>>,
    /// How many chunks may still come.
    chunks: usize,
    error: Option<NbdError>,
}

impl<'a> Piece<'a> {
    pub(super) fn new(offset: u64, buffer: &'a mut [u8], structured: bool) -> Self {
        let chunks = CHUNKS + buffer.len() / SMALLEST;
        Self { offset, buffer, structured, covered: Vec::new(), chunks, error: None }
    }

    pub(super) fn length(&self) -> u32 {
        u32::try_from(self.buffer.len()).unwrap_or(u32::MAX)
    }

    /// Takes an answer's head and reads what follows; says whether nothing more comes.
    pub(super) fn take(&mut self, kind: Kind, wire: &Wire) -> Result<bool, NbdError> {
        let (kind, done, length) = match kind {
            Kind::Simple(0) if self.structured => return Err(broken("a read is answered without chunks")),
            Kind::Simple(0) => {
                wire.fill(self.buffer, ANSWERING)?;
                self.covered = std::iter::once(0..self.buffer.len()).collect();
                return Ok(true);
            }
            Kind::Simple(number) => {
                self.error.get_or_insert(answer(number, b""));
                return Ok(true);
            }
            Kind::Chunk { kind, done, length } => (kind, done, length),
        };
        self.chunks = self.chunks.checked_sub(1).ok_or_else(|| broken("an answer has too many chunks"))?;
        match kind {
            chunk::NONE if length == 0 && done => {}
            chunk::OFFSET_DATA if length > 8 => {
                let place = self.place(u64::from_be_bytes(wire.array(ANSWERING)?), length - 8)?;
                wire.fill(&mut self.buffer[place], ANSWERING)?;
            }
            chunk::OFFSET_HOLE if length == 12 => {
                let offset = u64::from_be_bytes(wire.array(ANSWERING)?);
                let place = self.place(offset, u32::from_be_bytes(wire.array(ANSWERING)?))?;
                self.buffer[place].fill(0);
            }
            _ if chunk::is_error(kind) => {
                let error = chunk::error(length, wire)?;
                self.error.get_or_insert(error);
            }
            _ => {
                return Err(NbdError::Protocol {
                    what: format!("a read is answered with a chunk of type {kind} and {length} bytes"),
                });
            }
        }
        Ok(done)
    }

    /// The place in the buffer of what comes for this place of the export, marked as come.
    fn place(&mut self, offset: u64, length: u32) -> Result<Range<usize>, NbdError> {
        let within = offset.checked_sub(self.offset).and_then(|start| {
            let start = usize::try_from(start).ok()?;
            let end = start.checked_add(usize::try_from(length).ok()?)?;
            (start < end && end <= self.buffer.len()).then_some(start..end)
        });
        let place = within.ok_or_else(|| broken("an answer goes beyond what was asked for"))?;
        let at = self.covered.partition_point(|range| range.end < place.start);
        match self.covered.get_mut(at) {
            Some(before) if before.end == place.start => {
                before.end = place.end;
                let overlaps = self.covered.get(at + 1).is_some_and(|next| next.start < place.end);
                if overlaps { Err(broken("an answer's chunks overlap")) } else { Ok(place) }
            }
            Some(next) if next.start < place.end => Err(broken("an answer's chunks overlap")),
            _ => {
                self.covered.insert(at, place.clone());
                Ok(place)
            }
        }
    }

    /// Whether all of it has come.
    pub(super) fn finish(self) -> Result<(), NbdError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let mut end = 0;
        for range in &self.covered {
            if range.start != end {
                break;
            }
            end = range.end;
        }
        if end == self.buffer.len() {
            Ok(())
        } else {
            Err(broken("an answer leaves out a part of what was asked for"))
        }
    }
}

fn broken(what: &str) -> NbdError {
    NbdError::Protocol { what: what.to_owned() }
}
