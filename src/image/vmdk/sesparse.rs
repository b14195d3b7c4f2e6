//! An seSparse extent, as ESX hosts make them for snapshots since version 6.5 (before that for
//! disks of more than 2 TiB): grains of 4 KiB, entries of 64 bits. VMware does not document it; read
//! is what QEMU's reader has found out and checks, and nothing beyond.

use std::ops::Range;
use std::sync::Arc;

use super::super::error::ImageError;
use super::super::extent::{Extent, Layout, Place, push};
use super::super::source::SourceError;
use super::super::window::Window;
use super::disk::unsupported;
use super::header::{HEADER, SECTOR};
use super::sparse::Tables;

/// What the constant header begins with.
pub(super) const MAGIC: &[u8] = b"\xbe\xba\xfe\xca\0\0\0\0";
/// What the volatile header begins with.
const VOLATILE: u64 = 0xcafe_cafe;
/// The only version: 2.1.
const VERSION: u64 = 0x2_0000_0001;
/// Sectors of a grain.
const GRAIN_SECTORS: u64 = 8;
/// Sectors of a grain table.
const TABLE_SECTORS: u64 = 64;
/// Bytes of a grain.
const GRAIN: u64 = GRAIN_SECTORS * SECTOR;
/// Bytes of a grain table.
pub(super) const TABLE: u64 = TABLE_SECTORS * SECTOR;
/// Bytes of the disk that one table covers.
const COVERED: u64 = TABLE / 8 * GRAIN;
/// The largest disk that ESX makes is of 62 TiB.
const MOST_CAPACITY: u64 = 64 << 40;

/// The upper half of a directory's entry of a table.
const ALLOCATED_TABLE: u64 = 0x1000_0000;

/// An seSparse extent, its directory in memory, its tables read when they are needed.
#[derive(Debug)]
pub(super) struct SeSparse {
    file: Window,
    capacity: u64,
    /// Where the tables begin.
    tables_at: u64,
    /// Where the grains begin.
    grains_at: u64,
    directory: Vec<u64>,
    tables: Arc<Tables>,
    on_parent: bool,
}

fn numbers(bytes: &[u8]) -> Vec<u64> {
    bytes.as_chunks::<8>().0.iter().map(|eight| u64::from_le_bytes(*eight)).collect()
}

/// The numbers of a header at `at`, behind which there are only zeros from the `used`th on.
fn header(file: &Window, at: u64, used: usize) -> Result<(Vec<u64>, Vec<u8>), ImageError> {
    let bytes = file.read_vec(at, HEADER)?;
    let fields = numbers(&bytes);
    if fields.iter().skip(used).any(|number| *number != 0) {
        return Err(unsupported(file, "is an seSparse extent with a header that is not known"));
    }
    Ok((fields, bytes))
}

impl SeSparse {
    /// Opens an extent of a disk with a parent or without. Also gives the bytes of its metadata.
    pub(super) fn open(
        file: Window,
        on_parent: bool,
        tables: &Arc<Tables>,
    ) -> Result<(Self, Vec<u8>), ImageError> {
        if file.read_up_to(0, MAGIC.len())? != MAGIC {
            return Err(file.damaged(0, "it does not begin as an seSparse extent does").into());
        }
        let (fields, mut metadata) = header(&file, 0, 26)?;
        let field = |index: usize| fields.get(index).copied().unwrap_or(0);
        if field(1) != VERSION {
            return Err(unsupported(&file, format!("is an seSparse extent of version {:x}", field(1))));
        }
        if (field(3), field(4)) != (GRAIN_SECTORS, TABLE_SECTORS) {
            let what = format!("grains of {} and tables of {} sectors are not known", field(3), field(4));
            return Err(file.damaged(24, what).into());
        }
        if (5..10).any(|index| field(index) != 0) {
            return Err(unsupported(&file, "is an seSparse extent with features that are not known"));
        }
        let in_bytes = |index: usize, what: &str| {
            let bytes = field(index).checked_mul(SECTOR).filter(|bytes| *bytes <= i64::MAX.unsigned_abs());
            bytes.ok_or_else(|| file.damaged(index as u64 * 8, format!("its {what} is absurdly large")))
        };
        let (volatile, bytes) = header(&file, in_bytes(10, "second header's offset")?, 4)?;
        metadata.extend(bytes);
        if volatile.first() != Some(&VOLATILE) {
            let at = in_bytes(10, "second header's offset")?;
            return Err(file.damaged(at, "its second header is expected here").into());
        }
        if volatile.get(3) != Some(&0) {
            return Err(ImageError::Unsupported {
                file: file.path().to_owned(),
                what: "is an seSparse extent that was not closed: its journal must be replayed first"
                    .to_owned(),
                help:
                    "Let the ESX host do that: start and stop the machine, or consolidate its snapshots; or \
                    take the backup again."
                        .to_owned(),
            });
        }
        let capacity = in_bytes(2, "capacity")?;
        if capacity > MOST_CAPACITY {
            return Err(file.damaged(16, format!("a capacity of {capacity} bytes is not supported")).into());
        }
        let length = capacity.div_ceil(COVERED) * 8;
        if length > in_bytes(17, "grain directory")? {
            let what = format!("its grain directory is too small for {capacity} bytes");
            return Err(file.damaged(17 * 8, what).into());
        }
        let directory = in_bytes(16, "grain directory's offset")?;
        let bytes = file.read_vec(directory, usize::try_from(length).unwrap_or(usize::MAX))?;
        let directory = numbers(&bytes);
        metadata.extend(bytes);
        let (tables_at, grains_at) = (in_bytes(18, "tables' offset")?, in_bytes(24, "grains' offset")?);
        let tables = Arc::clone(tables);
        Ok((Self { file, capacity, tables_at, grains_at, directory, tables, on_parent }, metadata))
    }

    /// What it has where it has no grain.
    fn absent(&self) -> Place<'_> {
        if self.on_parent { Place::Parent } else { Place::Zero }
    }

    /// The table of the directory's `index`th entry; `None` when it has none.
    fn table(&self, index: u64) -> Result<Option<Arc<Vec<u64>>>, SourceError> {
        let entry = usize::try_from(index).ok().and_then(|index| self.directory.get(index)).copied();
        let Some(entry) = entry.filter(|entry| *entry != 0) else { return Ok(None) };
        let number = entry & u64::from(u32::MAX);
        if entry >> 32 != ALLOCATED_TABLE {
            let what = format!("the grain directory's entry {entry:#x} is not known");
            return Err(self.file.damaged(self.tables_at, what));
        }
        let at = self.tables_at.saturating_add(number * TABLE);
        let length = usize::try_from(TABLE).unwrap_or(usize::MAX);
        self.tables.wide.get(self.file.key(at), || Ok(numbers(&self.file.read_vec(at, length)?))).map(Some)
    }

    /// The place of a grain's byte `skip`.
    fn place(&self, entry: u64, skip: u64) -> Result<Place<'_>, SourceError> {
        let bad = || self.file.damaged(self.grains_at, format!("the grain's entry {entry:#x} is not known"));
        match entry >> 60 {
            0 if entry == 0 => Ok(self.absent()),
            // The guest discarded it, or wrote zeros: not the parent's in either case.
            1 | 2 => Ok(Place::Zero),
            3 => {
                // The number's upper 12 bits are its lowest.
                let number = entry >> 48 & 0xfff | (entry & 0xffff_ffff_ffff) << 12;
                let offset = number.checked_mul(GRAIN).and_then(|offset| offset.checked_add(self.grains_at));
                Ok(Place::Plain(&self.file, offset.ok_or_else(bad)?.saturating_add(skip)))
            }
            _ => Err(bad()),
        }
    }
}

impl Layout for SeSparse {
    fn size(&self) -> u64 {
        self.capacity
    }

    fn extents<'a>(&'a self, range: Range<u64>, found: &mut Vec<Extent<'a>>) -> Result<(), SourceError> {
        let mut from = range.start;
        while from < range.end {
            let index = from / COVERED;
            let to = range.end.min((index + 1).saturating_mul(COVERED));
            let Some(table) = self.table(index)? else {
                push(found, from..to, self.absent());
                from = to;
                continue;
            };
            while from < to {
                let number = usize::try_from(from % COVERED / GRAIN).unwrap_or(usize::MAX);
                let end = to.min(from - from % GRAIN + GRAIN);
                push(found, from..end, self.place(table.get(number).copied().unwrap_or(0), from % GRAIN)?);
                from = end;
            }
        }
        Ok(())
    }
}
