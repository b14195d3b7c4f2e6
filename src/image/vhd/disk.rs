//! A dynamic or differencing disk's blocks; a fixed one is raw with a footer.

use std::ops::Range;

use super::super::bitmap::{Order, SECTOR, runs};
use super::super::cache::Cache;
use super::super::error::ImageError;
use super::super::extent::{Extent, Layout, Place, push};
use super::super::format::Format;
use super::super::open::Found;
use super::super::opener::Opener;
use super::super::raw::Raw;
use super::super::source::SourceError;
use super::super::window::Window;
use super::footer::{Bad, FOOTER, Footer, HEADER, Header, Kind};
use super::parent::open_parent;

/// The table's entry of a block that is not there.
const ABSENT: u32 = u32::MAX;
/// For the cache of decoded units, which this format does not have.
const NO_UNIT: u64 = 2 << 20;
/// Bytes of bitmaps kept.
const BITMAPS_KEPT: u64 = 2 << 20;

/// Opens a VHD.
pub(in super::super) fn open(opener: &mut Opener, file: Window) -> Result<Found, ImageError> {
    let at = file.len().saturating_sub(FOOTER as u64);
    let mut bytes = [0; FOOTER];
    file.read_exact_at(at, &mut bytes)?;
    opener.metadata(&bytes);
    let damaged = |from: u64, Bad(byte, what): Bad| ImageError::from(file.damaged(from + byte, what));
    let footer = Footer::parse(&bytes).map_err(|bad| damaged(at, bad))?;
    opener.id("uuid", footer.uuid.clone());
    let found = |layout: Box<dyn Layout>, variant: &str| Found {
        layout,
        format: Format::Vhd,
        variant: variant.to_owned(),
        unit: NO_UNIT,
    };
    match footer.kind {
        Kind::Fixed => {
            let content =
                file.part(0, footer.size).filter(|content| content.len() <= at).ok_or_else(|| {
                    file.damaged(at, format!("a disk of {} bytes is not within the file", footer.size))
                })?;
            Ok(found(Box::new(Raw { file: content }), "fixed"))
        }
        Kind::Dynamic(offset) | Kind::Differencing(offset) => {
            let mut bytes = [0; HEADER];
            file.read_exact_at(offset, &mut bytes)?;
            opener.metadata(&bytes);
            let header = Header::parse(&bytes, footer.size).map_err(|bad| damaged(offset, bad))?;
            let on_parent = matches!(footer.kind, Kind::Differencing(_));
            if on_parent {
                open_parent(opener, &file, &header)?;
            }
            let length = usize::try_from(header.entries * 4).unwrap_or(usize::MAX);
            let table = file.read_vec(header.table, length)?;
            opener.metadata(&table);
            let blocks = table.as_chunks::<4>().0.iter().map(|four| u32::from_be_bytes(*four)).collect();
            // A bitmap of the block's sectors stands before its data, in whole sectors.
            let bitmap = header.block.div_ceil(SECTOR * 8).next_multiple_of(SECTOR);
            let bitmaps = on_parent.then(|| Cache::new(BITMAPS_KEPT, bitmap));
            let disk = Blocks { file, size: footer.size, block: header.block, bitmap, blocks, bitmaps };
            Ok(found(Box::new(disk), if on_parent { "differencing" } else { "dynamic" }))
        }
    }
}

/// A disk of blocks, each of which may be absent. In a dynamic disk, sectors that a block's bitmap
/// does not name were never written and are zeros in the block, too; in a differencing disk they
/// are the parent's.
#[derive(Debug)]
struct Blocks {
    file: Window,
    size: u64,
    block: u64,
    bitmap: u64,
    blocks: Vec<u32>,
    /// The bitmaps of a differencing disk's blocks.
    bitmaps: Option<Cache<Vec<u8>>>,
}

impl Layout for Blocks {
    fn size(&self) -> u64 {
        self.size
    }

    fn extents<'a>(&'a self, range: Range<u64>, found: &mut Vec<Extent<'a>>) -> Result<(), SourceError> {
        let mut from = range.start;
        while from < range.end {
            let index = from / self.block;
            let to = range.end.min((index + 1).saturating_mul(self.block));
            let sector = usize::try_from(index).ok().and_then(|index| self.blocks.get(index)).copied();
            let within = from - index * self.block..to - index * self.block;
            match (sector.unwrap_or(ABSENT), &self.bitmaps) {
                (ABSENT, None) => push(found, from..to, Place::Zero),
                (ABSENT, Some(_)) => push(found, from..to, Place::Parent),
                (sector, None) => {
                    let data = u64::from(sector) * SECTOR + self.bitmap;
                    push(found, from..to, Place::Plain(&self.file, data + within.start));
                }
                (sector, Some(bitmaps)) => {
                    let at = u64::from(sector) * SECTOR;
                    let length = usize::try_from(self.bitmap).unwrap_or(usize::MAX);
                    let bits = bitmaps.get((0, at), || self.file.read_vec(at, length))?;
                    let sectors = within.start / SECTOR..within.end.div_ceil(SECTOR);
                    runs(&bits, Order::HighFirst, sectors, |sectors, own| {
                        let start = (sectors.start * SECTOR).max(within.start);
                        let end = (sectors.end * SECTOR).min(within.end);
                        let place = match own {
                            true => Place::Plain(&self.file, at + self.bitmap + start),
                            false => Place::Parent,
                        };
                        push(found, index * self.block + start..index * self.block + end, place);
                    });
                }
            }
            from = to;
        }
        Ok(())
    }
}
