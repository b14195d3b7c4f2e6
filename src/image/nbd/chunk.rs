//! What all structured answers have in common.

use super::connection::ANSWERING;
use super::error::{NbdError, answer};
use super::wire::Wire;

/// Nothing; only as the last.
pub(super) const NONE: u16 = 0;
/// An offset and data.
pub(super) const OFFSET_DATA: u16 = 1;
/// An offset and a number of zeros.
pub(super) const OFFSET_HOLE: u16 = 2;
/// A context's id and extents.
pub(super) const BLOCK_STATUS: u16 = 5;

/// The most bytes of an error: a number, a text of at most 64 KiB, an offset.
const LONGEST_ERROR: u32 = 4 + 2 + 0xffff + 8;

/// Whether a chunk of this type is an error, known or not.
pub(super) fn is_error(kind: u16) -> bool {
    kind & (1 << 15) != 0
}

/// Reads an error of this many bytes.
pub(super) fn error(length: u32, wire: &Wire) -> Result<NbdError, NbdError> {
    let broken = || NbdError::Protocol { what: format!("an error has {length} bytes") };
    if !(6..=LONGEST_ERROR).contains(&length) {
        return Err(broken());
    }
    let mut bytes = vec![0; length as usize];
    wire.fill(&mut bytes, ANSWERING)?;
    let (number, rest) = bytes.split_first_chunk().ok_or_else(broken)?;
    let (text, rest) = rest.split_first_chunk().ok_or_else(broken)?;
    let text = rest.get(..usize::from(u16::from_be_bytes(*text))).ok_or_else(broken)?;
    match u32::from_be_bytes(*number) {
        0 => Err(NbdError::Protocol { what: "it sends an error that is none".to_owned() }),
        number => Ok(answer(number, text)),
    }
}
