//! Version 2 of the manifest's layout: one that is kept up to date, image after image.
//!
//! All numbers are little-endian.
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 16 | `replant-manifest` |
//! | 16 | 4 | the version, 2 |
//! | 20 | 4 | bytes of the header's JSON, at most 4,032 |
//! | 24 | 32 | BLAKE3 of the header's JSON |
//! | 56 | … | the header's JSON ([`Header`]), zeros up to 4,096 |
//! | 4,096 | 32 a block | the table: each block's [slot](super::super::block::Content::slot) |
//! | the next multiple of 4,096 | 64 each | the log: records, each with a check of its own |
//!
//! The first write fills the table in; a slot there means something only when a `Done` record
//! covers it, which holds the digest of the slots that it covers. From then on the table is never
//! written again: what an update changes is appended to the log, where a `Put` record is followed
//! by the slots (zeros up to a multiple of 64 bytes), and the newest counts. A block counts as on
//! the target from its `Done`, `Put` or `Kept` record on, until a `Doubtful` record names it and an
//! `Updating` record follows. The
//! log ends at the first record whose check fails, or the digest of the slots that follow it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::v1::{self, HeaderError};
use crate::model::Digest;

/// The version that this file describes.
pub const VERSION: u32 = 2;
/// What a manifest begins with.
pub const MAGIC: &[u8; 16] = b"replant-manifest";
/// Where the table begins, in bytes.
pub const TABLE: u64 = 4096;
/// Bytes of one slot.
pub const SLOT: u64 = 32;
/// Bytes of one record.
pub const RECORD: usize = 64;
/// Larger than any disk of any provider (64 TiB), small enough that no sum below can overflow.
pub const MAX_DISK: u64 = 1 << 56;
/// Where the header's JSON begins, in bytes.
const JSON: usize = 56;

/// What a manifest is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Header {
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

impl From<v1::Header> for Header {
    fn from(old: v1::Header) -> Self {
        let v1::Header { version: _, block_size, disk_size, image, target } = old;
        Self { version: VERSION, block_size, disk_size, image, target }
    }
}

/// The first [`TABLE`] bytes of a manifest; `None` when the header is too long for them.
pub(super) fn encode_header(header: &Header) -> Option<Vec<u8>> {
    let json = serde_json::to_vec(header).ok()?;
    let mut bytes = Vec::with_capacity(TABLE as usize);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(json.len()).ok()?.to_le_bytes());
    bytes.extend_from_slice(&Digest::of(&json).0);
    bytes.extend_from_slice(&json);
    if bytes.len() > TABLE as usize {
        return None;
    }
    bytes.resize(TABLE as usize, 0);
    Some(bytes)
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

/// Where the log begins for a table of `blocks` blocks.
pub(super) fn log_offset(blocks: u64) -> u64 {
    (TABLE + blocks * SLOT).next_multiple_of(4096)
}

/// Bytes that `count` slots take in the log.
pub(super) fn slots_in_log(count: u64) -> u64 {
    (count * SLOT).next_multiple_of(RECORD as u64)
}

/// One record of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Record {
    /// These blocks are on the target and flushed, their slots are in the table.
    Done {
        /// The first of them.
        first: u64,
        /// How many.
        count: u64,
        /// Digest of their slots.
        slots: Digest,
    },
    /// The whole disk is on the target and flushed, and nothing else where the image is not.
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
    /// The target is being brought up to another image; what was doubtful for that was said
    /// before. Blocks that the two disks do not have both, or not in the same length, are in doubt
    /// too.
    Updating {
        /// The image's identity.
        image: Digest,
        /// Bytes of its disk.
        size: u64,
    },
    /// From the next `Updating` on these blocks may hold anything. Without one, nothing was written.
    Doubtful {
        /// The first of them.
        first: u64,
        /// How many.
        count: u64,
    },
    /// These blocks hold, flushed, what was last recorded of them.
    Kept {
        /// The first of them.
        first: u64,
        /// How many.
        count: u64,
    },
    /// These blocks are on the target and flushed, their slots follow.
    Put {
        /// The first of them.
        first: u64,
        /// How many.
        count: u64,
        /// Digest of their slots.
        slots: Digest,
    },
    /// The target may hold something else here than an image: an overlay, or the end of a larger
    /// disk. Until the overlay is undone or an update has finished.
    Stray {
        /// The first of them.
        first: u64,
        /// How many.
        count: u64,
    },
}

impl Record {
    /// Bytes that it takes in the log, with the slots that follow it.
    pub(super) fn length(&self) -> u64 {
        RECORD as u64
            + match self {
                Self::Put { count, .. } => slots_in_log(*count),
                _ => 0,
            }
    }
}

impl From<v1::Record> for Record {
    fn from(old: v1::Record) -> Self {
        match old {
            v1::Record::Done { first, count, slots } => Self::Done { first, count, slots },
            v1::Record::Finished { data, zero, content } => Self::Finished { data, zero, content },
            v1::Record::OverlayBegun { overlay } => Self::OverlayBegun { overlay },
            v1::Record::OverlayDone { overlay } => Self::OverlayDone { overlay },
            v1::Record::OverlayUndone { overlay } => Self::OverlayUndone { overlay },
        }
    }
}

/// What a record's check is of, beside the record: so that one cannot stand for another, and what
/// a crash left behind the log's end cannot become part of it when the log grows again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Where in the log it is, in units of [`RECORD`] bytes.
    pub position: u64,
    /// The check of the record before it.
    pub before: [u8; 8],
}

/// A record's bytes, and the check that the next one's place needs.
pub(super) fn encode(record: Record, place: Place) -> ([u8; RECORD], [u8; 8]) {
    const NONE: Digest = Digest([0; 32]);
    let (kind, a, b, digest) = match record {
        Record::Done { first, count, slots } => (1u64, first, count, slots),
        Record::Finished { data, zero, content } => (2, data, zero, content),
        Record::OverlayBegun { overlay } => (3, 0, 0, overlay),
        Record::OverlayDone { overlay } => (4, 0, 0, overlay),
        Record::OverlayUndone { overlay } => (5, 0, 0, overlay),
        Record::Updating { image, size } => (6, size, 0, image),
        Record::Doubtful { first, count } => (7, first, count, NONE),
        Record::Kept { first, count } => (8, first, count, NONE),
        Record::Put { first, count, slots } => (9, first, count, slots),
        Record::Stray { first, count } => (10, first, count, NONE),
    };
    let mut bytes = [0; RECORD];
    bytes[..8].copy_from_slice(&kind.to_le_bytes());
    bytes[8..16].copy_from_slice(&a.to_le_bytes());
    bytes[16..24].copy_from_slice(&b.to_le_bytes());
    bytes[24..56].copy_from_slice(&digest.0);
    let check = check(&bytes, place);
    bytes[56..].copy_from_slice(&check);
    (bytes, check)
}

/// The record in these bytes; `None` at the log's end.
pub(super) fn decode(bytes: &[u8; RECORD], place: Place) -> Option<Record> {
    if bytes[56..] != check(bytes, place) {
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
        6 => Some(Record::Updating { image: digest, size: a }),
        7 => Some(Record::Doubtful { first: a, count: b }),
        8 => Some(Record::Kept { first: a, count: b }),
        9 => Some(Record::Put { first: a, count: b, slots: digest }),
        10 => Some(Record::Stray { first: a, count: b }),
        _ => None,
    }
}

/// The first 8 bytes of BLAKE3 over a record's first 56 bytes, its position and the check of the
/// one before it (zeros for the first).
fn check(bytes: &[u8; RECORD], place: Place) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bytes[..56]).update(&place.position.to_le_bytes()).update(&place.before);
    let mut check = [0; 8];
    check.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_and_torn_ones_do_not() {
        let digest = Digest::of(b"x");
        for record in [
            Record::Done { first: 3, count: 9, slots: digest },
            Record::Finished { data: 1, zero: 2, content: digest },
            Record::OverlayBegun { overlay: digest },
            Record::OverlayDone { overlay: digest },
            Record::OverlayUndone { overlay: digest },
            Record::Updating { image: digest, size: 77 },
            Record::Doubtful { first: 1, count: 2 },
            Record::Kept { first: 3, count: 4 },
            Record::Put { first: 5, count: 6, slots: digest },
            Record::Stray { first: 7, count: 8 },
        ] {
            let place = Place { position: 7, before: [1; 8] };
            let (bytes, check) = encode(record, place);
            assert_eq!(decode(&bytes, place), Some(record));
            assert_eq!(check, bytes[56..]);
            assert_eq!(decode(&bytes, Place { position: 8, ..place }), None);
            assert_eq!(decode(&bytes, Place { before: [2; 8], ..place }), None);
            let mut torn = bytes;
            torn[20] ^= 1;
            assert_eq!(decode(&torn, place), None);
        }
        assert_eq!(decode(&[0; RECORD], Place::default()), None);
    }

    #[test]
    fn the_header_is_as_version_2_has_always_written_it() {
        let header = Header {
            version: VERSION,
            block_size: 1 << 20,
            disk_size: 5,
            image: Digest([7; 32]),
            target: "vol-0123456789abcdef0".to_owned(),
        };
        let bytes = encode_header(&header).unwrap();
        let expected = format!(
            r#"{{"version":2,"block_size":1048576,"disk_size":5,"image":"blake3:{}","target":"vol-0123456789abcdef0"}}"#,
            "07".repeat(32)
        );
        assert_eq!(&bytes[JSON..JSON + expected.len()], expected.as_bytes());
        let array: [u8; TABLE as usize] = bytes.try_into().unwrap();
        assert_eq!(decode_header(&array), Ok(header));
    }

    #[test]
    fn damaged_headers_are_refused() {
        assert!(matches!(decode_header(&[0; 4096]), Err(HeaderError::Damaged(_))));
        let mut bytes = [0; 4096];
        bytes[..16].copy_from_slice(MAGIC);
        bytes[16] = 9;
        assert_eq!(decode_header(&bytes), Err(HeaderError::Version(9)));
        bytes[16] = 2;
        bytes[20..24].copy_from_slice(&[255; 4]);
        assert!(matches!(decode_header(&bytes), Err(HeaderError::Damaged(_))));
    }
}
