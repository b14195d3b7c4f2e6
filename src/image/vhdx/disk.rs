//! The disk's blocks.

use std::ops::Range;

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

/// Opens a VHDX.
pub(in super::super) fn open(opener: &mut Opener, file: Window) -> Result<Found, ImageError> {
    let (header, bytes) = read_header(&file)?;
    opener.metadata(&bytes);
    let patches = replay(&file, &header)?;
    let (blocks, region) = read_regions(&file, &patches)?;
    if let Some(offset) = patches.outside(&[HEADERS, blocks, region]) {
        return Err(file.damaged(offset, "its log changes what is no metadata").into());
    }
    let (metadata, bytes) = read_metadata(&file, region, &patches)?;
    opener.metadata(&bytes);
    opener.id("data", hex(&header.data_id));
    if let Some(id) = &metadata.disk_id {
        opener.id("disk", hex(id));
    }
    let count = metadata.size.div_ceil(metadata.block);
    let entries = count + count.saturating_sub(1) / metadata.chunk;
    if entries * 8 > blocks.length {
        let what = format!("its table of {} bytes is too small for {count} blocks", blocks.length);
        return Err(file.damaged(blocks.offset, what).into());
    }
    let sample = usize::try_from((entries * 8).min(SAMPLE)).unwrap_or(usize::MAX);
    opener.metadata(&file.read_vec(blocks.offset, sample)?);
    let variant = if metadata.fixed { "fixed" } else { "dynamic" };
    let pages = Cache::new(PAGES_KEPT, PAGE);
    Ok(Found {
        layout: Box::new(Blocks { file, metadata, table: blocks, entries, patches, pages }),
        format: Format::Vhdx,
        variant: variant.to_owned(),
        unit: NO_UNIT,
    })
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
}

impl Blocks {
    /// The entry of a block.
    fn entry(&self, block: u64) -> Result<u64, SourceError> {
        let index = block + block / self.metadata.chunk;
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
}

impl Layout for Blocks {
    fn size(&self) -> u64 {
        self.metadata.size
    }

    fn extents<'a>(&'a self, range: Range<u64>, found: &mut Vec<Extent<'a>>) -> Result<(), SourceError> {
        let size = self.metadata.block;
        let mut from = range.start;
        while from < range.end {
            let to = range.end.min((from / size + 1).saturating_mul(size));
            let entry = self.entry(from / size)?;
            // The entry's upper bits count MiB.
            let offset = entry >> 20 << 20;
            let place = match entry & 7 {
                PRESENT => Place::Plain(&self.file, offset.saturating_add(from % size)),
                PARTLY_PRESENT => {
                    return Err(self
                        .file
                        .damaged(offset, "a block is partly its parent's, but it has no parent"));
                }
                // Not present, undefined, zero, unmapped: all read as zeros.
                _ => Place::Zero,
            };
            push(found, from..to, place);
            from = to;
        }
        Ok(())
    }
}
