//! One image of a chain: two levels of tables, each entry of the second the place of a cluster.

use std::ops::Range;
use std::sync::Arc;

use super::super::cache::Cache;
use super::super::codec::Codec;
use super::super::extent::{Extent, Layout, Packed, Place, push};
use super::super::source::SourceError;
use super::super::window::Window;
use super::header::{Compression, Header};

/// Bytes of tables kept of an image that was named; those below it share as much again.
const TABLES_KEPT: u64 = 8 << 20;
/// The bits of an entry that are an offset.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// The cluster is compressed.
const COMPRESSED: u64 = 1 << 62;
/// The cluster reads as zeros, whatever it is on the disk (version 3).
const ZERO: u64 = 1;

/// An image, its first table in memory, its second ones read when they are needed.
pub(super) struct Layer {
    file: Window,
    header: Header,
    l1: Vec<u64>,
    tables: Cache<Vec<u64>>,
}

impl Layer {
    /// Reads the first table of an image that `depth` others stand on. Also gives the table's bytes.
    pub(super) fn open(file: Window, header: Header, depth: usize) -> Result<(Self, Vec<u8>), SourceError> {
        let length = usize::try_from(header.l1_entries * 8).unwrap_or(usize::MAX);
        let bytes = if length == 0 { Vec::new() } else { file.read_vec(header.l1_offset, length)? };
        let l1 = numbers(&bytes);
        let tables = Cache::new(TABLES_KEPT >> depth.min(8), 1 << header.cluster_bits);
        Ok((Self { file, header, l1, tables }, bytes))
    }

    fn table(&self, index: u64, entry: u64) -> Result<Arc<Vec<u64>>, SourceError> {
        let offset = self.aligned(entry, "L2 table")?;
        self.tables
            .get((0, index), || Ok(numbers(&self.file.read_vec(offset, 1 << self.header.cluster_bits)?)))
    }

    /// The offset of an entry, which must be a cluster's.
    fn aligned(&self, entry: u64, what: &str) -> Result<u64, SourceError> {
        let offset = entry & OFFSET;
        if !offset.is_multiple_of(1 << self.header.cluster_bits) {
            return Err(self.file.damaged(offset, format!("no {what} can begin here: it is not aligned")));
        }
        Ok(offset)
    }

    /// What it has where it has no cluster.
    fn absent(&self) -> Place<'_> {
        if self.header.backing.is_some() { Place::Parent } else { Place::Zero }
    }

    /// The place of a compressed cluster.
    fn packed(&self, entry: u64, start: u64) -> Place<'_> {
        let cluster = 1u64 << self.header.cluster_bits;
        // The larger the cluster, the more bits the number of its sectors takes from the offset.
        let bits = 62 - (self.header.cluster_bits - 8);
        let offset = entry & ((1 << bits) - 1);
        let sectors = ((entry & (COMPRESSED - 1)) >> bits) + 1;
        let most = (sectors * 512 - offset % 512).min(self.file.len().saturating_sub(offset));
        let content = cluster.min(self.header.size - start);
        Place::Packed(Packed {
            file: &self.file,
            offset,
            most,
            likely: most,
            start,
            length: 1 << self.header.cluster_bits,
            content: usize::try_from(content).unwrap_or(usize::MAX),
            codec: match self.header.compression {
                Compression::Deflate => Codec::Deflate,
                Compression::Zstd => Codec::Zstd,
            },
        })
    }

    fn cluster<'a>(
        &'a self,
        entry: u64,
        start: u64,
        range: Range<u64>,
        found: &mut Vec<Extent<'a>>,
    ) -> Result<(), SourceError> {
        if entry & COMPRESSED != 0 {
            push(found, range, self.packed(entry, start));
            return Ok(());
        }
        if entry & ZERO != 0 {
            if self.header.version < 3 {
                return Err(self.file.damaged(entry & OFFSET, "version 2 has no entries for zeros"));
            }
            push(found, range, Place::Zero);
            return Ok(());
        }
        let offset = self.aligned(entry, "cluster")?;
        if offset == 0 {
            push(found, range, self.absent());
            return Ok(());
        }
        let place = Place::Plain(&self.file, offset + (range.start - start));
        push(found, range, place);
        Ok(())
    }
}

fn numbers(bytes: &[u8]) -> Vec<u64> {
    bytes.as_chunks::<8>().0.iter().map(|eight| u64::from_be_bytes(*eight)).collect()
}

impl Layout for Layer {
    fn size(&self) -> u64 {
        self.header.size
    }

    fn extents<'a>(&'a self, range: Range<u64>, found: &mut Vec<Extent<'a>>) -> Result<(), SourceError> {
        let bits = self.header.cluster_bits;
        let covered = 1u64 << (2 * bits - 3);
        let mut from = range.start;
        while from < range.end {
            let index = from / covered;
            let to = range.end.min((index + 1).saturating_mul(covered));
            let entry = usize::try_from(index).ok().and_then(|index| self.l1.get(index)).copied();
            let Some(entry) = entry.filter(|entry| entry & OFFSET != 0) else {
                push(found, from..to, self.absent());
                from = to;
                continue;
            };
            let table = self.table(index, entry)?;
            while from < to {
                let start = from >> bits << bits;
                let end = to.min(start.saturating_add(1 << bits));
                let number = usize::try_from((from % covered) >> bits).unwrap_or(usize::MAX);
                self.cluster(table.get(number).copied().unwrap_or(0), start, from..end, found)?;
                from = end;
            }
        }
        Ok(())
    }
}
