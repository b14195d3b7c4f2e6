//! The metadata region: what the disk is.

use super::super::error::ImageError;
use super::super::window::Window;
use super::bytes::{Guid, guid, guid_at, u16_at, u32_at, u64_at};
use super::header::Region;
use super::locator::{Locator, MOST_LOCATOR};
use super::log::Patches;

/// Bytes of the region's table.
const TABLE: usize = 64 << 10;
/// Most items of the table.
const MOST_ITEMS: usize = 2047;
/// The largest disk that the format allows: 64 TiB.
const MOST_SIZE: u64 = 64 << 40;

const PARAMETERS: Guid = guid(0xcaa1_6737, 0xfa36, 0x4d43, [0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b]);
const SIZE: Guid = guid(0x2fa5_4224, 0xcd1b, 0x4876, [0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8]);
const DISK_ID: Guid = guid(0xbeca_12ab, 0xb2e6, 0x4523, [0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46]);
const SECTOR: Guid = guid(0x8141_bf1d, 0xa96f, 0x4709, [0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f]);
const PHYSICAL: Guid = guid(0xcda3_48c7, 0x445d, 0x4471, [0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56]);
const PARENT: Guid = guid(0xa8d3_5f2d, 0xb30b, 0x454d, [0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c]);

/// What the disk is, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Metadata {
    pub size: u64,
    pub block: u64,
    /// Bytes of a logical sector.
    pub sector: u64,
    /// Payload entries of the table of blocks before each entry of a bitmap.
    pub chunk: u64,
    /// The disk's own id.
    pub disk_id: Option<Guid>,
    /// Blocks were all allocated when it was made.
    pub fixed: bool,
    /// What it stands on.
    pub parent: Option<Locator>,
}

/// Reads the metadata; also gives its bytes.
pub(super) fn read_metadata(
    file: &Window,
    region: Region,
    patches: &Patches,
) -> Result<(Metadata, Vec<u8>), ImageError> {
    let damaged = |what: &str| ImageError::from(file.damaged(region.offset, what));
    let mut table = vec![0; TABLE];
    patches.read(file, region.offset, &mut table)?;
    if !table.starts_with(b"metadata") {
        return Err(damaged("its metadata is not where it should be"));
    }
    let count = usize::from(u16_at(&table, 10));
    if count > MOST_ITEMS {
        return Err(damaged("it has more metadata than is possible"));
    }
    let item = |offset: u32, length: u32, buffer: &mut [u8]| {
        if u32::try_from(buffer.len()).ok() != Some(length) {
            return Err(damaged("an item of its metadata has another length than it must have"));
        }
        let at =
            region.offset.checked_add(u64::from(offset)).ok_or_else(|| damaged("its metadata is absurd"))?;
        Ok(patches.read(file, at, buffer)?)
    };
    let (mut parameters, mut size, mut sector, mut disk_id) = (None, None, None, None);
    let mut locator = None;
    for entry in (0..count).map(|index| 32 + index * 32) {
        let (offset, length) = (u32_at(&table, entry + 16), u32_at(&table, entry + 20));
        match guid_at(&table, entry) {
            PARAMETERS => {
                let mut bytes = [0; 8];
                item(offset, length, &mut bytes)?;
                parameters = Some((u32_at(&bytes, 0), u32_at(&bytes, 4)));
            }
            SIZE => {
                let mut bytes = [0; 8];
                item(offset, length, &mut bytes)?;
                size = Some(u64_at(&bytes, 0));
            }
            SECTOR => {
                let mut bytes = [0; 4];
                item(offset, length, &mut bytes)?;
                sector = Some(u32_at(&bytes, 0));
            }
            DISK_ID => {
                let mut bytes = [0; 16];
                item(offset, length, &mut bytes)?;
                disk_id = Some(bytes);
            }
            PARENT => {
                if length > MOST_LOCATOR {
                    return Err(damaged("what it says of its parent is absurdly long"));
                }
                let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
                item(offset, length, &mut bytes)?;
                locator = Some(bytes);
            }
            PHYSICAL => {}
            // The third flag: who does not know it must not open the disk.
            _ if u32_at(&table, entry + 24) & 4 != 0 => {
                return Err(ImageError::Unsupported {
                    file: file.path().to_owned(),
                    what: "has metadata that must be understood, but is not known".to_owned(),
                    help: "Convert it first, for example with `Convert-VHD`.".to_owned(),
                });
            }
            _ => {}
        }
    }
    let (Some((block, flags)), Some(size), Some(sector)) = (parameters, size, sector) else {
        return Err(damaged("its metadata lacks the block size, the size or the sector size"));
    };
    let parent = match locator {
        _ if flags & 2 == 0 => None,
        None => return Err(ImageError::NeedsParent { file: file.path().to_owned(), parent: None }),
        Some(bytes) => {
            Some(Locator::parse(&bytes).ok_or_else(|| damaged("what it says of its parent is malformed"))?)
        }
    };
    if !block.is_power_of_two() || !(1 << 20..=256 << 20).contains(&block) {
        return Err(damaged("its block size is impossible"));
    }
    if !matches!(sector, 512 | 4096) {
        return Err(damaged("its sector size is impossible"));
    }
    if size > MOST_SIZE {
        return Err(damaged("its size is impossible"));
    }
    let (block, sector) = (u64::from(block), u64::from(sector));
    let chunk = (sector << 23) / block;
    Ok((Metadata { size, block, sector, chunk, disk_id, fixed: flags & 1 != 0, parent }, table))
}
