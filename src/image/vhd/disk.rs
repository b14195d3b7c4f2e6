//! A dynamic disk's blocks; a fixed one is raw with a footer.

use std::ops::Range;

use super::super::error::ImageError;
use super::super::extent::{Extent, Layout, Place, push};
use super::super::format::Format;
use super::super::open::Found;
use super::super::opener::Opener;
use super::super::raw::Raw;
use super::super::source::SourceError;
use super::super::window::Window;
use super::footer::{Bad, FOOTER, Footer, HEADER, Header, Kind};

/// The table's entry of a block that is not there.
const ABSENT: u32 = u32::MAX;
/// For the cache of decoded units, which this format does not have.
const NO_UNIT: u64 = 2 << 20;

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
        Kind::Differencing(_) => Err(ImageError::NeedsParent { file: file.path().to_owned(), parent: None }),
        Kind::Dynamic(offset) => {
            let mut bytes = [0; HEADER];
            file.read_exact_at(offset, &mut bytes)?;
            opener.metadata(&bytes);
            let header = Header::parse(&bytes, footer.size).map_err(|bad| damaged(offset, bad))?;
            let length = usize::try_from(header.entries * 4).unwrap_or(usize::MAX);
            let table = file.read_vec(header.table, length)?;
            opener.metadata(&table);
            let blocks = table.as_chunks::<4>().0.iter().map(|four| u32::from_be_bytes(*four)).collect();
            // A bitmap of the block's sectors stands before its data, in whole sectors.
            let bitmap = header.block.div_ceil(512 * 8).next_multiple_of(512);
            Ok(found(
                Box::new(Dynamic { file, size: footer.size, block: header.block, bitmap, blocks }),
                "dynamic",
            ))
        }
    }
}

/// A disk of blocks, each of which may be absent. Sectors that a block's bitmap does not name
/// were never written and are zeros in the block, too.
#[derive(Debug)]
struct Dynamic {
    file: Window,
    size: u64,
    block: u64,
    bitmap: u64,
    blocks: Vec<u32>,
}

impl Layout for Dynamic {
    fn size(&self) -> u64 {
        self.size
    }

    fn extents<'a>(&'a self, range: Range<u64>, found: &mut Vec<Extent<'a>>) -> Result<(), SourceError> {
        let mut from = range.start;
        while from < range.end {
            let index = from / self.block;
            let to = range.end.min((index + 1).saturating_mul(self.block));
            let sector = usize::try_from(index).ok().and_then(|index| self.blocks.get(index)).copied();
            let place = match sector.unwrap_or(ABSENT) {
                ABSENT => Place::Zero,
                sector => Place::Plain(&self.file, u64::from(sector) * 512 + self.bitmap + from % self.block),
            };
            push(found, from..to, place);
            from = to;
        }
        Ok(())
    }
}
