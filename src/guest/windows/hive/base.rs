//! The base block: the first 4,096 bytes of a hive, and the first sector of its logs.

use super::HiveError;
use crate::guest::windows::bytes::{u32_at, u64_at};

/// Bytes before the hive bins.
pub(super) const BASE_BLOCK: usize = 4096;
/// A page of hive bins, and the unit that bins are sized in.
pub(super) const PAGE: usize = 4096;
/// The part of the base block that is checked, and copied to the logs.
pub(super) const SECTOR: usize = 512;
/// The most that Windows puts into one hive: offsets have 31 bits.
const MOST_BYTES: u32 = 0x7fff_f000;

/// What a base block says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseBlock {
    /// Counted up when writing begins.
    pub primary_sequence: u32,
    /// Counted up when writing has ended.
    pub secondary_sequence: u32,
    /// FILETIME of the last writing (up to Windows 8).
    pub last_written: u64,
    /// The minor version, 3 to 6.
    pub minor: u32,
    /// 0: a hive, 1 and 2: a log of dirty pages, 6: a log of entries.
    pub file_type: u32,
    /// Where the root key is, from the first bin.
    pub root: u32,
    /// How many bytes all bins have.
    pub bins_size: u32,
    /// Whether its checksum is right.
    pub is_sound: bool,
}

/// The XOR of the first 508 bytes ("Base block", note 2).
pub(super) fn checksum(sector: &[u8]) -> u32 {
    let (words, _) = sector[..508].as_chunks::<4>();
    match words.iter().fold(0, |sum, word| sum ^ u32::from_le_bytes(*word)) {
        0 => 1,
        u32::MAX => u32::MAX - 1,
        sum => sum,
    }
}

impl BaseBlock {
    /// Reads a base block, of a hive or of a log.
    ///
    /// # Errors
    /// When it is none. A wrong checksum is no error here.
    pub fn read(bytes: &[u8]) -> Result<Self, HiveError> {
        let short = || HiveError::NotAHive("it is shorter than a header");
        let sector = bytes.get(..SECTOR).ok_or_else(short)?;
        if !sector.starts_with(b"regf") {
            return Err(HiveError::NotAHive("it does not begin with \"regf\""));
        }
        let field = |offset| u32_at(sector, offset).ok_or_else(short);
        let (major, minor) = (field(20)?, field(24)?);
        if major != 1 || !(3..=6).contains(&minor) {
            return Err(HiveError::Version { major, minor });
        }
        let bins_size = field(40)?;
        if bins_size > MOST_BYTES || !(bins_size as usize).is_multiple_of(PAGE) {
            return Err(HiveError::Damaged {
                offset: 40,
                what: "the size of its bins is no number of pages",
            });
        }
        Ok(Self {
            primary_sequence: field(4)?,
            secondary_sequence: field(8)?,
            last_written: u64_at(sector, 12).ok_or_else(short)?,
            minor,
            file_type: field(28)?,
            root: field(36)?,
            bins_size,
            is_sound: field(508)? == checksum(sector),
        })
    }

    /// Whether Windows was caught while it wrote ("Dirty state of a hive").
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        !self.is_sound || self.primary_sequence != self.secondary_sequence
    }
}
