//! The job disk, by which host and `replant-guest` talk: a job at its start, a report behind it,
//! each framed by a magic, its length and its BLAKE3 digest.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes of a report's place.
const REPORT_PLACE: u64 = 23 << 20;
/// Most bytes of a report's JSON: a diff of every file that a recipe changes fits many times.
pub const MAX_REPORT: u64 = REPORT_PLACE - FRAME as u64;
/// Most bytes of a job's JSON: 16 MiB of the user's files in base64, and room for the rest.
pub const MAX_JOB: u64 = (24 << 20) - FRAME as u64;

/// Bytes of a frame before its content.
pub const FRAME: usize = 48;
const MAGIC: &[u8; 8] = b"RPLNTXC1";

/// Why there is no message in a frame.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// Nothing was written.
    #[error("there is no message")]
    Missing,
    /// It is longer than its place.
    #[error("the message of {length} bytes is longer than the {limit} that it may have")]
    TooLong {
        /// What it has, in bytes.
        length: u64,
        /// What it may have, in bytes.
        limit: u64,
    },
    /// Its digest does not fit.
    #[error("the message was cut or changed on its way")]
    Damaged,
    /// It is not the JSON that belongs there.
    #[error("the message is not what belongs there")]
    Json(#[from] serde_json::Error),
}

/// Where the report begins, in bytes, behind a job of so many bytes with its frame: at the next MiB.
#[must_use]
pub fn report_offset(job: u64) -> u64 {
    job.next_multiple_of(1 << 20)
}

/// Bytes of the whole job disk for a job of so many bytes with its frame.
#[must_use]
pub fn exchange_size(job: u64) -> u64 {
    report_offset(job).saturating_add(REPORT_PLACE)
}

/// Frames a message of at most `limit` bytes.
///
/// # Errors
/// When it cannot be written as JSON or is too long.
pub fn encode<T: Serialize>(message: &T, limit: u64) -> Result<Vec<u8>, ExchangeError> {
    let content = serde_json::to_vec(message)?;
    let length = content.len() as u64;
    if length > limit {
        return Err(ExchangeError::TooLong { length, limit });
    }
    let mut frame = Vec::with_capacity(FRAME + content.len());
    frame.extend(MAGIC);
    frame.extend(length.to_le_bytes());
    frame.extend(blake3::hash(&content).as_bytes());
    frame.extend(content);
    Ok(frame)
}

/// The length in bytes that a frame's first [`FRAME`] bytes announce.
///
/// # Errors
/// When there is no frame, or it announces more than `limit`.
pub fn announced(frame: &[u8], limit: u64) -> Result<u64, ExchangeError> {
    let (magic, rest) = frame.split_first_chunk::<8>().ok_or(ExchangeError::Missing)?;
    let (length, _) = rest.split_first_chunk::<8>().ok_or(ExchangeError::Missing)?;
    if magic != MAGIC {
        return Err(ExchangeError::Missing);
    }
    let length = u64::from_le_bytes(*length);
    if length > limit { Err(ExchangeError::TooLong { length, limit }) } else { Ok(length) }
}

/// Reads the message of a frame; what follows it is ignored.
///
/// # Errors
/// When there is none, it is too long, damaged, or not what belongs there.
pub fn decode<T: DeserializeOwned>(frame: &[u8], limit: u64) -> Result<T, ExchangeError> {
    let length = usize::try_from(announced(frame, limit)?).map_err(|_| ExchangeError::Damaged)?;
    let digest = frame.get(16..FRAME).ok_or(ExchangeError::Damaged)?;
    let end = FRAME.checked_add(length).ok_or(ExchangeError::Damaged)?;
    let content = frame.get(FRAME..end).ok_or(ExchangeError::Damaged)?;
    if blake3::hash(content).as_bytes() != digest {
        return Err(ExchangeError::Damaged);
    }
    Ok(serde_json::from_slice(content)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives() {
        let frame = encode(&vec!["a", "b"], 100).unwrap();
        assert_eq!(decode::<Vec<String>>(&frame, 100).unwrap(), ["a", "b"]);
    }

    #[test]
    fn anything_else_is_refused() {
        let frame = encode(&vec!["a", "b"], 100).unwrap();
        assert!(matches!(decode::<Vec<String>>(&[0; 100], 100), Err(ExchangeError::Missing)));
        assert!(matches!(decode::<Vec<String>>(&frame, 3), Err(ExchangeError::TooLong { .. })));
        assert!(encode(&vec!["a", "b"], 3).is_err());
        assert!(matches!(decode::<u32>(&frame, 100), Err(ExchangeError::Json(_))));
        for length in 0..frame.len() {
            assert!(decode::<Vec<String>>(&frame[..length], 100).is_err());
        }
        let mut changed = frame;
        *changed.last_mut().unwrap() ^= 1;
        assert!(matches!(decode::<Vec<String>>(&changed, 100), Err(ExchangeError::Damaged)));
    }
}
