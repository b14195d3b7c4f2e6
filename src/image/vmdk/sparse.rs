//! A sparse extent: a directory of grain tables, each entry the place of a grain.

use std::ops::Range;
use std::sync::Arc;

use super::super::cache::Cache;
use super::super::codec::{Codec, GRAIN_MARKER};
use super::super::extent::{Extent, Layout, Packed, Place, push};
use super::super::source::SourceError;
use super::super::window::Window;
use super::header::{AT_END, HEADER, Header, HeaderError, SECTOR};

/// Bytes of tables kept of all extents of a disk, of each of two kinds.
const TABLES_KEPT: u64 = 2 << 20;
/// Bytes of a table that is kept: more than those of VMware's products, less than an ESX host's.
const TABLE: u64 = 4 << 10;
/// Most tables of an extent, in a directory of 4 MiB: 32 TiB of grains of 64 KiB; the 2 TiB that an
/// ESX host's extent can have of grains of 512 bytes.
const MOST_TABLES: u64 = 1 << 20;
/// The markers and the header at the end of a stream: footer marker, footer, end marker.
const FOOTER: u64 = 3 * SECTOR;
/// The kind of marker that stands before a footer.
const FOOTER_MARKER: u32 = 3;
/// What an ESX host's extent begins with.
pub(super) const COWD: &[u8] = b"COWD";
/// The entry that stands for a grain of zeros.
const ZEROED: u32 = 1;

/// The tables of the extents of one disk, by their place in the files.
#[derive(Debug)]
pub(super) struct Tables {
    /// Of entries of 32 bits.
    narrow: Cache<Vec<u32>>,
    /// Of entries of 64 bits.
    pub wide: Cache<Vec<u64>>,
}

impl Default for Tables {
    fn default() -> Self {
        Self { narrow: Cache::new(TABLES_KEPT, TABLE), wide: Cache::new(TABLES_KEPT, super::sesparse::TABLE) }
    }
}

/// A sparse extent, its directory in memory, its tables read when they are needed.
#[derive(Debug)]
pub(super) struct Sparse {
    file: Window,
    header: Header,
    directory: Vec<u32>,
    tables: Arc<Tables>,
    on_parent: bool,
}

/// A sparse extent's header, the last one where there are two.
pub(super) fn read_header(file: &Window) -> Result<Header, OpenError> {
    if file.read_up_to(0, COWD.len())? == COWD {
        return parsed(file, 0, Header::parse_cowd);
    }
    let header = parsed(file, 0, Header::parse)?;
    if header.directory != AT_END {
        return Ok(header);
    }
    let at =
        file.len().checked_sub(FOOTER).ok_or_else(|| file.damaged(0, "it is too short to have a footer"))?;
    let marker = file.read_vec(at, HEADER)?;
    let end = file.read_vec(at + 2 * SECTOR, HEADER)?;
    let kind = |marker: &[u8]| marker[8..16].to_vec();
    let expected = [[0; 4], FOOTER_MARKER.to_le_bytes()].concat();
    if kind(&marker) != expected || end[..16] != [0; 16] {
        return Err(file.damaged(at, "it has no footer; the end of the file is missing").into());
    }
    let mut footer = parsed(file, at + SECTOR, Header::parse)?;
    if footer.descriptor == 0 {
        (footer.descriptor, footer.descriptor_size) = (header.descriptor, header.descriptor_size);
    }
    if footer.directory == AT_END {
        return Err(file.damaged(at + SECTOR, "its footer does not say where the grain directory is").into());
    }
    Ok(footer)
}

/// Why a sparse extent cannot be opened.
#[derive(Debug)]
pub(super) enum OpenError {
    /// It cannot be read or is damaged.
    Source(SourceError),
    /// It is of a kind that is not read.
    Unsupported(String),
}

impl From<SourceError> for OpenError {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

fn parsed(
    file: &Window,
    at: u64,
    parse: fn(&[u8; HEADER]) -> Result<Header, HeaderError>,
) -> Result<Header, OpenError> {
    let mut bytes = [0; HEADER];
    file.read_exact_at(at, &mut bytes)?;
    parse(&bytes).map_err(|error| match error {
        HeaderError::Bad(byte, what) => OpenError::Source(file.damaged(at + byte, what)),
        HeaderError::Unsupported(what) => OpenError::Unsupported(what),
    })
}

impl Sparse {
    /// Opens a sparse extent of that header, of a disk with a parent or without. Also gives the
    /// directory's bytes.
    pub(super) fn open(
        file: Window,
        header: Header,
        on_parent: bool,
        tables: &Arc<Tables>,
    ) -> Result<(Self, Vec<u8>), SourceError> {
        let covered = header.grain * header.entries;
        let count = header.capacity.div_ceil(covered);
        if count > MOST_TABLES {
            return Err(file.damaged(12, format!("a capacity of {} bytes is not supported", header.capacity)));
        }
        let length = usize::try_from(count * 4).unwrap_or(usize::MAX);
        let bytes = file.read_vec(header.directory, length)?;
        let directory = numbers(&bytes);
        Ok((Self { file, header, directory, tables: Arc::clone(tables), on_parent }, bytes))
    }

    /// Its grain's size in bytes.
    pub(super) fn grain(&self) -> u64 {
        self.header.grain
    }

    fn table(&self, sector: u32) -> Result<Arc<Vec<u32>>, SourceError> {
        let at = u64::from(sector) * SECTOR;
        self.tables.narrow.get(self.file.key(at), || {
            let length = usize::try_from(self.header.entries * 4).unwrap_or(usize::MAX);
            let bytes = self.file.read_vec(at, length)?;
            // Large sparse disks have thousands of tables with nothing in them.
            Ok(if bytes.iter().all(|byte| *byte == 0) { Vec::new() } else { numbers(&bytes) })
        })
    }

    /// What it has where it has no grain.
    fn absent(&self) -> Place<'_> {
        if self.on_parent { Place::Parent } else { Place::Zero }
    }

    /// The place of a grain, of which `next` is the table's rest.
    fn place(&self, entry: u32, next: &[u32], grain_start: u64, skip: u64) -> Result<Place<'_>, SourceError> {
        if entry == 0 {
            return Ok(self.absent());
        }
        if entry == ZEROED {
            // Sector 1 is never a grain's: the header and the descriptor come first.
            return if self.header.zeroed_grains {
                Ok(Place::Zero)
            } else {
                Err(self.file.damaged(SECTOR, "a grain table's entry points into the header"))
            };
        }
        let offset = u64::from(entry) * SECTOR;
        if !self.header.compressed {
            return Ok(Place::Plain(&self.file, offset + skip));
        }
        // Deflate makes the worst data longer by 5 bytes in 16 KiB; more is no grain.
        let most = self.header.grain + self.header.grain / 8 + 2 * SECTOR;
        let ahead = next.iter().copied().find(|next| *next > ZEROED);
        let likely = ahead
            .and_then(|next| (u64::from(next) * SECTOR).checked_sub(offset))
            .filter(|length| *length > GRAIN_MARKER as u64 && *length <= most)
            .unwrap_or(self.header.grain);
        Ok(Place::Packed(Packed {
            file: &self.file,
            offset,
            most: most.min(self.file.len().saturating_sub(offset)),
            likely: likely.min(self.file.len().saturating_sub(offset)),
            start: grain_start,
            length: usize::try_from(self.header.grain).unwrap_or(usize::MAX),
            content: usize::try_from(self.header.grain.min(self.header.capacity - grain_start))
                .unwrap_or(usize::MAX),
            codec: if self.header.markers {
                Codec::MarkedZlib { sector: grain_start / SECTOR }
            } else {
                Codec::Zlib
            },
        }))
    }
}

fn numbers(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks::<4>().0.iter().map(|four| u32::from_le_bytes(*four)).collect()
}

impl Layout for Sparse {
    fn size(&self) -> u64 {
        self.header.capacity
    }

    fn extents<'a>(&'a self, range: Range<u64>, found: &mut Vec<Extent<'a>>) -> Result<(), SourceError> {
        let Header { grain, entries, .. } = self.header;
        let covered = grain * entries;
        let mut from = range.start;
        while from < range.end {
            let index = from / covered;
            let to = range.end.min((index + 1).saturating_mul(covered));
            let sector = usize::try_from(index).ok().and_then(|index| self.directory.get(index)).copied();
            let Some(sector) = sector.filter(|sector| *sector != 0) else {
                push(found, from..to, self.absent());
                from = to;
                continue;
            };
            let table = self.table(sector)?;
            if table.is_empty() {
                push(found, from..to, self.absent());
                from = to;
            }
            while from < to {
                let number = usize::try_from(from % covered / grain).unwrap_or(usize::MAX);
                let start = from - from % grain;
                let end = to.min(start + grain);
                let entry = table.get(number).copied().unwrap_or(0);
                let next = table.get(number + 1..).unwrap_or_default();
                push(found, from..end, self.place(entry, next, start, from - start)?);
                from = end;
            }
        }
        Ok(())
    }
}
