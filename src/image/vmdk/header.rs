//! The binary headers of sparse extents, little-endian: 512 bytes of a hosted one, the part that
//! counts of an ESX host's.

/// Bytes of a sector, the unit of every number in a header.
pub(in super::super) const SECTOR: u64 = 512;
/// Bytes of a header.
pub(in super::super) const HEADER: usize = 512;
/// The directory's offset that stands for "see the footer".
pub(in super::super) const AT_END: u64 = u64::MAX;

/// An entry of one may say that its grain is zero.
const ZEROED_GRAINS: u32 = 1 << 2;
/// Grains are compressed.
const COMPRESSED: u32 = 1 << 16;
/// Markers stand before grains and tables.
const MARKERS: u32 = 1 << 17;
/// The only compression there is.
const DEFLATE: u16 = 1;
/// Most bytes of an uncompressed grain: far above any that is written (64 KiB).
const MOST_GRAIN: u64 = 32 << 20;
/// Most bytes of a compressed grain, since whole ones are held in memory.
const MOST_PACKED_GRAIN: u64 = 2 << 20;
/// Most entries of a grain table. VMware always writes 512.
const MOST_ENTRIES: u32 = 512;

/// The header, checked. Sizes and offsets in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Header {
    /// The extent's size.
    pub capacity: u64,
    /// A grain's size.
    pub grain: u64,
    /// Where the descriptor is; 0: nowhere.
    pub descriptor: u64,
    /// The descriptor's size.
    pub descriptor_size: u64,
    /// Grains of one table.
    pub entries: u64,
    /// Where the directory of tables is, or [`AT_END`].
    pub directory: u64,
    /// Whether a table's entry of 1 stands for a grain of zeros.
    pub zeroed_grains: bool,
    /// Whether grains are compressed.
    pub compressed: bool,
    /// Whether markers stand before grains.
    pub markers: bool,
}

/// Entries of a grain table of an ESX host's extent.
const COWD_ENTRIES: u64 = 4096;
/// Its only version.
const COWD_VERSION: u32 = 1;

/// Why a header cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum HeaderError {
    /// It is damaged at this byte of it.
    Bad(u64, String),
    /// It is of a kind that is not read.
    Unsupported(String),
}

impl Header {
    /// Reads and checks a header.
    pub(in super::super) fn parse(bytes: &[u8; HEADER]) -> Result<Self, HeaderError> {
        let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let u32_at = |at: usize| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        let bad = |at: u64, what: &str| HeaderError::Bad(at, what.to_owned());
        let in_bytes = |at: usize, what: &str| {
            u64_at(at)
                .checked_mul(SECTOR)
                .ok_or_else(|| HeaderError::Bad(at as u64, format!("its {what} is absurdly large")))
        };

        if &bytes[..4] != b"KDMV" {
            return Err(bad(0, "it does not begin as a sparse VMDK extent does"));
        }
        let version = u32_at(4);
        if !(1..=3).contains(&version) {
            return Err(HeaderError::Unsupported(format!("is a VMDK of version {version}")));
        }
        let flags = u32_at(8);
        // A transfer in text mode turns these bytes into others.
        if flags & 1 != 0 && &bytes[73..77] != b"\n \r\n" {
            return Err(bad(73, "its line endings were changed, as a transfer in text mode does"));
        }
        let compressed = flags & COMPRESSED != 0;
        if compressed && u16_at(77) != DEFLATE {
            return Err(HeaderError::Unsupported(format!("is compressed by method {}", u16_at(77))));
        }
        let grain = in_bytes(20, "grain size")?;
        let most = if compressed { MOST_PACKED_GRAIN } else { MOST_GRAIN };
        if !grain.is_power_of_two() || grain > most {
            return Err(HeaderError::Bad(20, format!("a grain of {grain} bytes is impossible")));
        }
        let entries = u32_at(44);
        if entries == 0 || entries > MOST_ENTRIES {
            return Err(HeaderError::Bad(44, format!("a grain table of {entries} entries is impossible")));
        }
        let directory = match u64_at(56) {
            AT_END => AT_END,
            _ => in_bytes(56, "grain directory's offset")?,
        };
        Ok(Self {
            capacity: in_bytes(12, "capacity")?,
            grain,
            descriptor: in_bytes(28, "descriptor's offset")?,
            descriptor_size: in_bytes(36, "descriptor's size")?,
            entries: u64::from(entries),
            directory,
            zeroed_grains: flags & ZEROED_GRAINS != 0,
            compressed,
            markers: flags & MARKERS != 0,
        })
    }
    /// Reads and checks the header of an ESX host's sparse extent, in the shape of the other one.
    pub(super) fn parse_cowd(bytes: &[u8; HEADER]) -> Result<Self, HeaderError> {
        let u32_at = |at: usize| {
            bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |four| u32::from_le_bytes(*four))
        };
        let in_bytes = |at: usize| u64::from(u32_at(at)) * SECTOR;
        if u32_at(4) != COWD_VERSION {
            return Err(HeaderError::Unsupported(format!("is a vmfsSparse extent of version {}", u32_at(4))));
        }
        let grain = in_bytes(16);
        if !grain.is_power_of_two() || grain > MOST_GRAIN {
            return Err(HeaderError::Bad(16, format!("a grain of {grain} bytes is impossible")));
        }
        let capacity = in_bytes(12);
        let tables = u64::from(u32_at(24));
        if capacity.div_ceil(grain * COWD_ENTRIES) > tables {
            let what = format!("a grain directory of {tables} entries is too small for {capacity} bytes");
            return Err(HeaderError::Bad(24, what));
        }
        Ok(Self {
            capacity,
            grain,
            descriptor: 0,
            descriptor_size: 0,
            entries: COWD_ENTRIES,
            directory: in_bytes(20),
            zeroed_grains: false,
            compressed: false,
            markers: false,
        })
    }
}
