//! Version 1: the header's length (4 bytes, little-endian), the header as JSON, then one zstd
//! frame of all blocks, one after the other in the order of the header's list.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use serde::{Deserialize, Serialize};

use super::super::blocks::{OVERLAY_BLOCK, Overlay, block_length};
use super::super::read_set::ReadSet;
use super::error::{FileError, FileLimits};
use crate::model::Digest;

/// This version.
pub(super) const VERSION: u32 = 1;
/// Quick, and within a few percent of slower levels on file system blocks.
const LEVEL: i32 = 3;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    /// The disk's size in bytes.
    size: u64,
    /// The blocks' numbers as runs: first block, how many.
    blocks: Vec<(u64, u64)>,
    /// The chunks that were read: number, digest.
    reads: Vec<(u64, Digest)>,
    /// The digest of the whole overlay.
    digest: Digest,
}

pub(super) fn write(overlay: &Overlay, target: &mut impl Write) -> Result<(), FileError> {
    let mut blocks: Vec<(u64, u64)> = Vec::new();
    for index in overlay.blocks.keys() {
        match blocks.last_mut() {
            Some((first, count)) if *first + *count == *index => *count += 1,
            _ => blocks.push((*index, 1)),
        }
    }
    let header = Header {
        size: overlay.size,
        blocks,
        reads: overlay.read_set.chunks.iter().map(|(index, digest)| (*index, *digest)).collect(),
        digest: overlay.digest(),
    };
    let header = serde_json::to_vec(&header).map_err(FileError::Header)?;
    let length = u32::try_from(header.len()).map_err(|_| FileError::TooLarge {
        what: "header",
        size: header.len() as u64,
        limit: u64::from(u32::MAX),
    })?;
    target.write_all(&length.to_le_bytes()).map_err(FileError::Write)?;
    target.write_all(&header).map_err(FileError::Write)?;
    let mut encoder = zstd::Encoder::new(target, LEVEL).map_err(FileError::Write)?;
    for block in overlay.blocks.values() {
        encoder.write_all(block).map_err(FileError::Write)?;
    }
    encoder.finish().map(|_| ()).map_err(FileError::Write)
}

pub(super) fn read(source: &mut impl Read, limits: FileLimits) -> Result<Overlay, FileError> {
    let mut length = [0; 4];
    source.read_exact(&mut length).map_err(FileError::Read)?;
    let length = u64::from(u32::from_le_bytes(length));
    if length > limits.header {
        return Err(FileError::TooLarge { what: "header", size: length, limit: limits.header });
    }
    let mut text = Vec::new();
    source.by_ref().take(length).read_to_end(&mut text).map_err(FileError::Read)?;
    let header: Header = serde_json::from_slice(&text).map_err(FileError::Header)?;
    let size = block_bytes(&header)?;
    if size > limits.blocks {
        return Err(FileError::TooLarge { what: "content", size, limit: limits.blocks });
    }
    let mut decoder = zstd::Decoder::new(source).map_err(FileError::Read)?.single_frame();
    let mut blocks = BTreeMap::new();
    for (first, count) in &header.blocks {
        for index in *first..first + count {
            let length = block_length(header.size, index)
                .ok_or(FileError::Damaged("a block lies behind the disk's end"))?;
            let mut block = vec![0; length];
            decoder.read_exact(&mut block).map_err(FileError::Read)?;
            blocks.insert(index, block);
        }
    }
    if decoder.read(&mut [0]).map_err(FileError::Read)? != 0 {
        return Err(FileError::Damaged("its blocks are more than its header lists"));
    }
    let mut rest = decoder.finish();
    if rest.read(&mut [0]).map_err(FileError::Read)? != 0 {
        return Err(FileError::Damaged("something follows its end"));
    }
    let chunks: BTreeMap<u64, Digest> = header.reads.iter().copied().collect();
    let overlay = Overlay { size: header.size, blocks, read_set: ReadSet { chunks } };
    if overlay.digest() != header.digest {
        return Err(FileError::Digest);
    }
    Ok(overlay)
}

/// How many bytes the listed blocks have at most, when the list is in order.
fn block_bytes(header: &Header) -> Result<u64, FileError> {
    let mut end = 0;
    let mut sum: u64 = 0;
    for (first, count) in &header.blocks {
        if *first < end || *count == 0 {
            return Err(FileError::Damaged("its blocks are out of order"));
        }
        let overflow = FileError::Damaged("a block lies behind the disk's end");
        end = first.checked_add(*count).ok_or(overflow)?;
        sum = sum.saturating_add(count.saturating_mul(OVERLAY_BLOCK));
    }
    Ok(sum)
}
