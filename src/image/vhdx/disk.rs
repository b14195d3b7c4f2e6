//! The disk's blocks.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::super::bitmap::{Order, runs};
use super::super::cache::Cache;
use super::super::error::ImageError;
use super::super::extent::{Extent, Layout, Place, push};
use super::super::format::Format;
use super::super::open::Found;
use super::super::opener::Opener;
use super::super::source::SourceError;
use super::super::window::Window;
use super::bytes::Guid;
use super::header::{Region, read_header, read_regions};
use super::log::{Patches, replay};
use super::metadata::{Metadata, read_metadata};

/// Bytes of the table of blocks that are read at once.
const PAGE: u64 = 64 << 10;
/// Bytes of it that are kept.
const PAGES_KEPT: u64 = 2 << 20;
/// Bytes of it that go into the identity.
const SAMPLE: u64 = 1 << 20;
/// For the cache of decoded units, which this format does not have.
const NO_UNIT: u64 = 2 << 20;
/// The part of the file that holds headers and region tables.
const HEADERS: Region = Region { offset: 0, length: 1 << 20 };

/// An entry's state: the block is all in the file.
const PRESENT: u64 = 6;
/// An entry's state: parts of the block are the parent's.
const PARTLY_PRESENT: u64 = 7;
/// An entry's state: the block is not in the file, but the parent's, if there is one.
const ABSENT: u64 = 0;

/// Opens a VHDX.
pub(in super::super) fn open(opener: &mut Opener, file: Window) -> Result<Found, ImageError> {
    let (header, bytes) = read_header(&file)?;
    opener.metadata(&bytes);
    let patches = replay(&file, &header)?;
    let (table, region) = read_regions(&file, &patches)?;
    let (metadata, bytes) = read_metadata(&file, region, &patches)?;
    opener.metadata(&bytes);
    opener.id("data", hex(&header.data_id));
    if let Some(id) = &metadata.disk_id {
        opener.id("disk", hex(id));
    }
    if let Some(parent) = &metadata.parent {
        parent.open(opener, &file)?;
    }
    let count = metadata.size.div_ceil(metadata.block);
    let entries = match metadata.parent {
        // Every chunk has its bitmap, the last one, too.
        Some(_) => count.div_ceil(metadata.chunk) * (metadata.chunk + 1),
        None => count + count.saturating_sub(1) / metadata.chunk,
    };
    if entries * 8 > table.length {
        let what = format!("its table of {} bytes is too small for {count} blocks", table.length);
        return Err(file.damaged(table.offset, what).into());
    }
    let sample = usize::try_from((entries * 8).min(SAMPLE)).unwrap_or(usize::MAX);
    opener.metadata(&file.read_vec(table.offset, sample)?);
    let variant = match &metadata {
        Metadata { parent: Some(_), .. } => "differencing",
        Metadata { fixed: true, .. } => "fixed",
        _ => "dynamic",
    };
    let (pages, bitmaps) = (Cache::new(PAGES_KEPT, PAGE), Cache::new(PAGES_KEPT, PAGE));
    let blocks = Blocks { file, metadata, table, entries, patches, pages, bitmaps };
    let bitmaps = blocks.bitmap_blocks()?;
    if let Some(offset) = blocks.patches.outside(&[HEADERS, table, region], &bitmaps) {
        return Err(blocks.file.damaged(offset, "its log changes what is no metadata").into());
    }
    Ok(Found { layout: Box::new(blocks), format: Format::Vhdx, variant: variant.to_owned(), unit: NO_UNIT })
}

fn hex(id: &Guid) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A disk of blocks, its table read page by page.
struct Blocks {
    file: Window,
    metadata: Metadata,
    table: Region,
    /// How many entries the table has.
    entries: u64,
    patches: Patches,
    pages: Cache<Vec<u64>>,
    /// Of the bitmaps of blocks that are partly the parent's.
    bitmaps: Cache<Vec<u8>>,
}

impl Blocks {
    /// The `index`th entry of the table.
    fn entry(&self, index: u64) -> Result<u64, SourceError> {
        let page = index * 8 / PAGE;
        let entries = self.pages.get((0, page), || {
            let left = (self.entries * 8).saturating_sub(page * PAGE).min(PAGE);
            let mut bytes = vec![0; usize::try_from(left).unwrap_or(0)];
            self.patches.read(&self.file, self.table.offset.saturating_add(page * PAGE), &mut bytes)?;
            Ok(bytes.as_chunks::<8>().0.iter().map(|eight| u64::from_le_bytes(*eight)).collect())
        })?;
        let within = usize::try_from(index % (PAGE / 8)).unwrap_or(usize::MAX);
        Ok(entries.get(within).copied().unwrap_or(0))
    }

    /// The entry of a block.
    fn block_entry(&self, block: u64) -> Result<u64, SourceError> {
        self.entry(block + block / self.metadata.chunk)
    }

    /// The entry of a chunk's bitmap, which stands behind those of the chunk's blocks.
    fn bitmap_entry(&self, chunk: u64) -> Result<u64, SourceError> {
        self.entry((chunk + 1) * self.metadata.chunk + chunk)
    }

    /// Where the bitmaps are that a log may change.
    fn bitmap_blocks(&self) -> Result<BTreeSet<u64>, SourceError> {
        let mut blocks = BTreeSet::new();
        if self.metadata.parent.is_some() && !self.patches.is_empty() {
            for chunk in 0..self.entries / (self.metadata.chunk + 1) {
                let entry = self.bitmap_entry(chunk)?;
                if entry & 7 == PRESENT {
                    blocks.insert(offset(entry));
                }
            }
        }
        Ok(blocks)
    }

    /// The part of the bitmaps that a block's bitmap is in, and its first bit in there.
    fn bitmap(&self, block: u64) -> Result<(Arc<Vec<u8>>, u64), SourceError> {
        let Metadata { chunk, block: size, sector, .. } = self.metadata;
        let entry = self.bitmap_entry(block / chunk)?;
        if entry & 7 != PRESENT {
            let what = "a block is partly its parent's, but which parts is not in the file";
            return Err(self.file.damaged(self.table.offset, what));
        }
        let bit = block % chunk * (size / sector);
        let at = offset(entry).saturating_add(bit / 8 / PAGE * PAGE);
        let bits = self.bitmaps.get((0, at), || {
            let mut bytes = vec![0; usize::try_from(PAGE).unwrap_or(0)];
            self.patches.read(&self.file, at, &mut bytes)?;
            Ok(bytes)
        })?;
        Ok((bits, bit % (PAGE * 8)))
    }
}

/// Where in the file an entry leads: its upper bits count MiB.
fn offset(entry: u64) -> u64 {
    entry >> 20 << 20
}

impl Layout for Blocks {
    fn size(&self) -> u64 {
        self.metadata.size
    }

    fn extents<'a>(&'a self, range: Range<u64>, found: &mut Vec<Extent<'a>>) -> Result<(), SourceError> {
        let Metadata { block: size, sector, .. } = self.metadata;
        let mut from = range.start;
        while from < range.end {
            let block = from / size;
            let to = range.end.min((block + 1).saturating_mul(size));
            let entry = self.block_entry(block)?;
            let data = offset(entry);
            match entry & 7 {
                PRESENT => push(found, from..to, Place::Plain(&self.file, data.saturating_add(from % size))),
                ABSENT if self.metadata.parent.is_some() => push(found, from..to, Place::Parent),
                PARTLY_PRESENT if self.metadata.parent.is_none() => {
                    let what = "a block is partly its parent's, but it has no parent";
                    return Err(self.file.damaged(data, what));
                }
                PARTLY_PRESENT => {
                    let (bits, first) = self.bitmap(block)?;
                    let start = block * size;
                    let sectors = first + (from - start) / sector..first + (to - start).div_ceil(sector);
                    runs(&bits, Order::LowFirst, sectors, |sectors, own| {
                        let begin = (start + (sectors.start - first) * sector).max(from);
                        let end = (start + (sectors.end - first) * sector).min(to);
                        let place = match own {
                            true => Place::Plain(&self.file, data.saturating_add(begin - start)),
                            false => Place::Parent,
                        };
                        push(found, begin..end, place);
                    });
                }
                // Absent without a parent, undefined, zero, unmapped: all read as zeros.
                _ => push(found, from..to, Place::Zero),
            }
            from = to;
        }
        Ok(())
    }
}
