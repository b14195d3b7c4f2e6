//! The answer to one question of block status.

use std::time::{Duration, Instant};

use super::chunk;
use super::connection::{ANSWERING, Kind};
use super::error::{NbdError, answer};
use super::wire::Wire;

/// The most extents of one answer: what the most generous server sends.
const MOST_EXTENTS: u32 = 1 << 20;
/// Extents that are read at a time.
const BATCH: usize = 512;
/// The most chunks of one answer.
const CHUNKS: u32 = 16;
/// The most time that the extents of one answer may take.
const MOST_TIME: Duration = Duration::from_secs(60);

/// What has come of an answer.
#[derive(Debug)]
pub(super) struct Answer {
    start: u64,
    length: u64,
    context: u32,
    /// How much of the range the extents cover.
    covered: u64,
    chunks: u32,
    error: Option<NbdError>,
}

impl Answer {
    pub(super) fn new(start: u64, length: u64, context: u32) -> Self {
        Self { start, length, context, covered: 0, chunks: CHUNKS, error: None }
    }

    /// Takes an answer's head and reads what follows; says whether nothing more comes.
    pub(super) fn take(
        &mut self,
        kind: Kind,
        wire: &Wire,
        found: &mut dyn FnMut(u64, u32),
    ) -> Result<bool, NbdError> {
        let broken = |what: String| NbdError::Protocol { what };
        let (kind, done, length) = match kind {
            Kind::Simple(0) => return Err(broken("block status is answered without extents".to_owned())),
            Kind::Simple(number) => {
                self.error.get_or_insert(answer(number, b""));
                return Ok(true);
            }
            Kind::Chunk { kind, done, length } => (kind, done, length),
        };
        self.chunks =
            self.chunks.checked_sub(1).ok_or_else(|| broken("an answer has too many chunks".to_owned()))?;
        match kind {
            chunk::NONE if length == 0 && done => {}
            chunk::BLOCK_STATUS
                if length >= 12 && (length - 4) % 8 == 0 && (length - 4) / 8 <= MOST_EXTENTS =>
            {
                if u32::from_be_bytes(wire.array(ANSWERING)?) != self.context || self.covered > 0 {
                    return Err(broken("block status is told of what was not asked".to_owned()));
                }
                self.extents((length as usize - 4) / 8, wire, found)?;
            }
            _ if chunk::is_error(kind) => {
                let error = chunk::error(length, wire)?;
                self.error.get_or_insert(error);
            }
            _ => {
                return Err(broken(format!(
                    "block status is answered with a chunk of type {kind} and {length} bytes"
                )));
            }
        }
        Ok(done)
    }

    fn extents(
        &mut self,
        count: usize,
        wire: &Wire,
        found: &mut dyn FnMut(u64, u32),
    ) -> Result<(), NbdError> {
        let mut bytes = [0; BATCH * 8];
        let mut left = count;
        let begun = Instant::now();
        while left > 0 {
            if begun.elapsed() > MOST_TIME {
                return Err(NbdError::Stalled { doing: ANSWERING, seconds: MOST_TIME.as_secs() });
            }
            let batch = &mut bytes[..left.min(BATCH) * 8];
            wire.fill(batch, ANSWERING)?;
            left -= batch.len() / 8;
            for extent in batch.chunks_exact(8) {
                let length = u64::from(u32::from_be_bytes([extent[0], extent[1], extent[2], extent[3]]));
                let flags = u32::from_be_bytes([extent[4], extent[5], extent[6], extent[7]]);
                if length == 0 || self.covered == self.length {
                    let what = "block status has an extent of no bytes, or one too many".to_owned();
                    return Err(NbdError::Protocol { what });
                }
                // The last one may go on behind what was asked for.
                let length = length.min(self.length - self.covered);
                found(length, flags);
                self.covered += length;
            }
        }
        Ok(())
    }

    /// Where the extents end.
    pub(super) fn finish(self) -> Result<u64, NbdError> {
        match self.error {
            Some(error) => Err(error),
            None if self.covered == 0 => {
                Err(NbdError::Protocol { what: "block status is answered without extents".to_owned() })
            }
            None => Ok(self.start + self.covered),
        }
    }
}
