//! Version 1 of the manifest's layout: it is still read, and no longer written.
//!
//! All numbers are little-endian.
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 16 | `replant-manifest` |
//! | 16 | 4 | the version, 1 |
//! | 20 | 4 | bytes of the header's JSON, at most 4,032 |
//! | 24 | 32 | BLAKE3 of the header's JSON |
//! | 56 | … | the header's JSON ([`Header`]), zeros up to 4,096 |
//! | 4,096 | 32 a block | the table: each block's [slot](super::super::block::Content::slot) |
//! | the next multiple of 4,096 | 64 each | the log: records, each with a check of its own |
//!
//! A slot means something only when a `Done` record covers it; that record holds the digest of
//! the slots that it covers. The log ends at the first record whose check fails.

use serde::Deserialize;

use crate::model::Digest;

/// The version that this file describes.
pub const VERSION: u32 = 1;
/// What a manifest begins with.
const MAGIC: &[u8; 16] = b"replant-manifest";
/// Where the table begins, in bytes.
pub const TABLE: u64 = 4096;
/// Bytes of one record.
pub const RECORD: usize = 64;
/// Where the header's JSON begins, in bytes.
const JSON: usize = 56;

/// What a manifest is about.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    /// [`VERSION`].
    pub version: u32,
    /// Bytes of a block.
    pub block_size: u64,
    /// Bytes of the disk.
    pub disk_size: u64,
    /// The identity of the image that it was written from.
    pub image: Digest,
    /// The identity of the target that it was written on.
    pub target: String,
}

/// Why bytes are not a header.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// Another version.
    Version(u32),
    /// Not a header at all, or damaged.
    Damaged(&'static str),
}

/// Reads the first [`TABLE`] bytes of a manifest.
pub(super) fn decode_header(bytes: &[u8; TABLE as usize]) -> Result<Header, HeaderError> {
    if bytes[..16] != *MAGIC {
        return Err(HeaderError::Damaged("it does not begin as one"));
    }
    let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    if number(16) != VERSION {
        return Err(HeaderError::Version(number(16)));
    }
    let end = JSON.saturating_add(number(20) as usize);
    let json = bytes.get(JSON..end).ok_or(HeaderError::Damaged("its header is too long"))?;
    if bytes[24..JSON] != Digest::of(json).0 {
        return Err(HeaderError::Damaged("its header's digest is wrong"));
    }
    let header: Header =
        serde_json::from_slice(json).map_err(|_| HeaderError::Damaged("its header cannot be read"))?;
    if header.block_size != super::super::block::BLOCK || header.disk_size > MAX_DISK {
        return Err(HeaderError::Damaged("its sizes are impossible"));
    }
    Ok(header)
}

/// Larger than any disk of any provider (64 TiB), small enough that no sum below can overflow.
const MAX_DISK: u64 = 1 << 56;

/// One record of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Record {
    /// These blocks are on the target and flushed.
    Done {
        /// The first of them.
        first: u64,
        /// How many.
        count: u64,
        /// Digest of their slots.
        slots: Digest,
    },
    /// The whole disk is on the target and flushed.
    Finished {
        /// Bytes that are data.
        data: u64,
        /// Bytes that are zero.
        zero: u64,
        /// The content's digest.
        content: Digest,
    },
    /// An overlay is being written: from here on the target holds a mixture.
    OverlayBegun {
        /// The overlay's digest.
        overlay: Digest,
    },
    /// The overlay is on the target and flushed.
    OverlayDone {
        /// The overlay's digest.
        overlay: Digest,
    },
    /// The image's own blocks are back in the overlay's places, flushed.
    OverlayUndone {
        /// The overlay's digest.
        overlay: Digest,
    },
}

/// The record in these bytes; `None` at the log's end. `position` is its place in the log, so that
/// one cannot stand for another.
pub(super) fn decode(bytes: &[u8; RECORD], position: u64) -> Option<Record> {
    if bytes[56..] != check(bytes, position) {
        return None;
    }
    let number = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(word)
    };
    let mut digest = [0; 32];
    digest.copy_from_slice(&bytes[24..56]);
    let digest = Digest(digest);
    let (a, b) = (number(8), number(16));
    match number(0) {
        1 => Some(Record::Done { first: a, count: b, slots: digest }),
        2 => Some(Record::Finished { data: a, zero: b, content: digest }),
        3 => Some(Record::OverlayBegun { overlay: digest }),
        4 => Some(Record::OverlayDone { overlay: digest }),
        5 => Some(Record::OverlayUndone { overlay: digest }),
        _ => None,
    }
}

/// The first 8 bytes of BLAKE3 over a record's first 56 bytes and its position.
fn check(bytes: &[u8; RECORD], position: u64) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bytes[..56]).update(&position.to_le_bytes());
    let mut check = [0; 8];
    check.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As version 1 wrote it: a disk of 6 MiB and 700 bytes, its blocks 2 and 4 zero.
    const FROZEN: &[u8] = include_bytes!("../../../tests/it/copy/data/manifest-v1-finished.bin");
    const LOG: usize = 8192;

    fn header() -> [u8; TABLE as usize] {
        FROZEN[..TABLE as usize].try_into().unwrap()
    }

    #[test]
    fn the_header_is_as_version_1_has_always_written_it() {
        let expected = Header {
            version: VERSION,
            block_size: 1 << 20,
            disk_size: (6 << 20) + 700,
            image: Digest::of(b"the image's identity"),
            target: "vol-0123456789abcdef0".to_owned(),
        };
        assert_eq!(decode_header(&header()), Ok(expected));
    }

    #[test]
    fn records_are_known_and_torn_ones_are_not() {
        let mut bytes: [u8; RECORD] = FROZEN[LOG..LOG + RECORD].try_into().unwrap();
        assert!(matches!(decode(&bytes, 0), Some(Record::Done { first: 0, count: 7, .. })));
        assert_eq!(decode(&bytes, 1), None);
        bytes[20] ^= 1;
        assert_eq!(decode(&bytes, 0), None);
        let bytes: [u8; RECORD] = FROZEN[LOG + RECORD..].try_into().unwrap();
        let Some(Record::Finished { data, zero, .. }) = decode(&bytes, 1) else { panic!("{bytes:?}") };
        assert_eq!((data, zero), ((4 << 20) + 700, 2 << 20));
        assert_eq!(decode(&[0; RECORD], 0), None);
    }

    #[test]
    fn damaged_headers_are_refused() {
        assert!(matches!(decode_header(&[0; 4096]), Err(HeaderError::Damaged(_))));
        let mut bytes = header();
        bytes[16] = 9;
        assert_eq!(decode_header(&bytes), Err(HeaderError::Version(9)));
        let mut bytes = header();
        bytes[20..24].copy_from_slice(&[255; 4]);
        assert!(matches!(decode_header(&bytes), Err(HeaderError::Damaged(_))));
    }
}
