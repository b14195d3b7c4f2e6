//! The two headers and the two region tables, of which the newer and a sound one count.

use super::super::error::ImageError;
use super::super::window::Window;
use super::bytes::{Guid, guid, guid_at, is_sound, u16_at, u32_at, u64_at};
use super::log::Patches;

/// Where the headers and the region tables are.
const HEADERS: [u64; 2] = [64 << 10, 128 << 10];
const REGION_TABLES: [u64; 2] = [192 << 10, 256 << 10];
const HEADER_LENGTH: usize = 4 << 10;
const REGION_TABLE_LENGTH: usize = 64 << 10;
/// Most regions of a table.
const MOST_REGIONS: usize = 2047;

const BLOCKS: Guid = guid(0x2dc2_7766, 0xf623, 0x4200, [0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08]);
const METADATA: Guid = guid(0x8b7c_a206, 0x4790, 0x4b9a, [0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e]);

/// The current header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    sequence: u64,
    /// Changes with every change of the disk's content.
    pub data_id: Guid,
    /// The log's entries to replay; zeros when there are none.
    pub log_id: Guid,
    pub log_length: u32,
    pub log_offset: u64,
}

/// A range of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Region {
    pub offset: u64,
    pub length: u64,
}

impl Region {
    pub(super) fn contains(self, offset: u64, length: u64) -> bool {
        let end = offset.checked_add(length);
        offset >= self.offset && end.is_some_and(|end| end - self.offset <= self.length)
    }
}

/// Reads the current header; also gives its bytes.
pub(super) fn read_header(file: &Window) -> Result<(Header, Vec<u8>), ImageError> {
    let mut best: Option<(Header, Vec<u8>)> = None;
    for at in HEADERS {
        let bytes = file.read_vec(at, HEADER_LENGTH)?;
        if !bytes.starts_with(b"head") || !is_sound(&bytes) {
            continue;
        }
        let sequence = u64_at(&bytes, 8);
        // Two headers of the same number are the same header twice.
        if best.as_ref().is_some_and(|(best, _)| best.sequence >= sequence) {
            continue;
        }
        if (u16_at(&bytes, 64), u16_at(&bytes, 66)) != (0, 1) {
            return Err(ImageError::Unsupported {
                file: file.path().to_owned(),
                what: format!(
                    "is a VHDX image of version {} with a log of version {}",
                    u16_at(&bytes, 66),
                    u16_at(&bytes, 64)
                ),
                help: "Convert it first, for example with `Convert-VHD` or `qemu-img convert`.".to_owned(),
            });
        }
        let header = Header {
            sequence,
            data_id: guid_at(&bytes, 32),
            log_id: guid_at(&bytes, 48),
            log_length: u32_at(&bytes, 68),
            log_offset: u64_at(&bytes, 72),
        };
        best = Some((header, bytes));
    }
    best.ok_or_else(|| file.damaged(HEADERS[0], "neither of its headers is sound").into())
}

/// Reads where the table of blocks and the metadata are.
pub(super) fn read_regions(file: &Window, patches: &Patches) -> Result<(Region, Region), ImageError> {
    let mut sound = None;
    for at in REGION_TABLES {
        let mut bytes = vec![0; REGION_TABLE_LENGTH];
        patches.read(file, at, &mut bytes)?;
        if bytes.starts_with(b"regi") && is_sound(&bytes) {
            sound = Some((at, bytes));
            break;
        }
    }
    let (at, bytes) =
        sound.ok_or_else(|| file.damaged(REGION_TABLES[0], "neither of its region tables is sound"))?;
    let count = usize::try_from(u32_at(&bytes, 8)).unwrap_or(usize::MAX);
    if count > MOST_REGIONS {
        return Err(file.damaged(at + 8, format!("{count} regions are impossible")).into());
    }
    let (mut blocks, mut metadata) = (None, None);
    for entry in (0..count).map(|index| 16 + index * 32) {
        let region =
            Region { offset: u64_at(&bytes, entry + 16), length: u64::from(u32_at(&bytes, entry + 24)) };
        match guid_at(&bytes, entry) {
            BLOCKS => blocks = Some(region),
            METADATA => metadata = Some(region),
            _ if u32_at(&bytes, entry + 28) & 1 == 1 => {
                return Err(ImageError::Unsupported {
                    file: file.path().to_owned(),
                    what: "has a region that must be understood, but is not known".to_owned(),
                    help: "Convert it first, for example with `Convert-VHD`.".to_owned(),
                });
            }
            _ => {}
        }
    }
    blocks
        .zip(metadata)
        .ok_or_else(|| file.damaged(at, "its region table lacks the table of blocks or the metadata").into())
}
