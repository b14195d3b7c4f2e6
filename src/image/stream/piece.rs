//! The pieces that a stream is cut into.

use std::path::PathBuf;
use std::sync::Arc;

use super::super::codec::{Codec, DecodeError, decode};
use super::StreamError;

/// Bytes of the disk in one piece; the last may be shorter, and zeros come in longer ones.
pub const PIECE: u64 = 1 << 20;

/// What the next bytes of the disk are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// Zeros: whole pieces, up to the disk's end or the next data.
    Zero {
        /// How many bytes.
        length: u64,
    },
    /// At most one piece, as it is in the buffer that was given.
    Plain {
        /// How many bytes.
        length: usize,
    },
    /// At most one piece, in the [`Packed`] that was given, still compressed.
    Packed {
        /// How many bytes it is once decoded.
        length: usize,
    },
}

/// A compressed unit of a piece.
#[derive(Debug, Clone)]
struct Unit {
    /// Where it begins in the piece.
    start: usize,
    /// Where its bytes begin in what is stored, and how many they are.
    stored: (usize, usize),
    /// Where they began in the stream.
    offset: u64,
    codec: Codec,
}

/// The compressed units of one piece; used again and again, so that its memory is.
#[derive(Debug, Clone, Default)]
pub struct Packed {
    name: Arc<PathBuf>,
    unit: usize,
    stored: Vec<u8>,
    units: Vec<Unit>,
}

impl Packed {
    /// Empties it for units of `unit` bytes of the stream `name`.
    pub(super) fn begin(&mut self, name: &Arc<PathBuf>, unit: usize) {
        if !Arc::ptr_eq(&self.name, name) {
            self.name = Arc::clone(name);
        }
        self.unit = unit;
        self.stored.clear();
        self.units.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// Room for the stored bytes of one more unit, which begins at `start` in the piece and began
    /// at `offset` in the stream.
    pub(super) fn add(&mut self, start: usize, offset: u64, codec: Codec, length: usize) -> &mut [u8] {
        let from = self.stored.len();
        self.stored.resize(from + length, 0);
        self.units.push(Unit { start, stored: (from, length), offset, codec });
        &mut self.stored[from..]
    }

    /// Decodes the piece, whose length `piece` has: what no unit covers is zero.
    ///
    /// # Errors
    /// When a unit is damaged.
    pub fn decode(&self, piece: &mut [u8]) -> Result<(), StreamError> {
        let mut at = 0;
        for unit in &self.units {
            let end = piece.len().min(unit.start + self.unit);
            piece[at..unit.start].fill(0);
            let place = &mut piece[unit.start..end];
            let (from, length) = unit.stored;
            let stored = &self.stored[from..from + length];
            let content = place.len();
            if content == self.unit {
                self.decode_unit(unit, stored, place, content)?;
            } else {
                // The disk ends within its last unit.
                let mut whole = vec![0; self.unit];
                self.decode_unit(unit, stored, &mut whole, content)?;
                place.copy_from_slice(&whole[..content]);
            }
            at = end;
        }
        piece[at..].fill(0);
        Ok(())
    }

    fn decode_unit(
        &self,
        unit: &Unit,
        stored: &[u8],
        place: &mut [u8],
        content: usize,
    ) -> Result<(), StreamError> {
        let what = match decode(unit.codec, stored, place) {
            Ok(held) if held >= content => {
                place[held..].fill(0);
                return Ok(());
            }
            Ok(held) => format!("the unit here holds {held} bytes where {content} are expected"),
            Err(DecodeError::Bad(what)) => what,
            Err(DecodeError::Short(_)) => "the unit here is shorter than it says".to_owned(),
        };
        Err(StreamError::Damaged { name: self.name.as_ref().clone(), offset: unit.offset, what })
    }
}
