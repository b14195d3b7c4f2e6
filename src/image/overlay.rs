//! Copy-on-write blocks over an image, and the record of what was read to compute them.

use std::collections::BTreeMap;

use crate::model::Digest;

/// Bytes of one overlay block.
pub const OVERLAY_BLOCK: u64 = 4096;
/// Bytes of one chunk of a [`ReadSet`]; divides the copy's block of 1 MiB.
pub const READ_CHUNK: u64 = 65536;

/// Which chunks of a disk were read, and what they held: the proof that an overlay still fits.
///
/// The last chunk of a disk may be short; its digest is of the bytes that exist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadSet {
    /// Chunk index (offset / [`READ_CHUNK`]) to the digest of the chunk.
    pub chunks: BTreeMap<u64, Digest>,
}

/// Changed blocks of one disk: what preparation makes of an image.
///
/// The disk may have grown: `size` is what the volume must at least have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overlay {
    /// The size of the disk with the overlay on, in bytes.
    pub size: u64,
    /// Block index (offset / [`OVERLAY_BLOCK`]) to the new content, always whole blocks; the
    /// last block of a disk may be short.
    pub blocks: BTreeMap<u64, Vec<u8>>,
    /// What was read from the image below to compute it.
    pub read_set: ReadSet,
}
