//! The footer and the header of dynamic disks: big-endian, with a checksum.

/// Bytes of a footer.
pub(super) const FOOTER: usize = 512;
/// Bytes of a dynamic disk's header.
pub(super) const HEADER: usize = 1024;
/// Most entries of the block table: 8 TiB in blocks of 2 MiB, four times what the format allows.
const MOST_BLOCKS: u64 = 1 << 22;
/// Largest block; software writes 512 KiB and 2 MiB.
const MOST_BLOCK: u32 = 256 << 20;
/// The largest geometry, which says nothing of the size.
const MOST_GEOMETRY: u64 = 65_535 * 16 * 255;
/// Software whose guests see the geometry's size, not the one that is recorded.
const BY_GEOMETRY: [&[u8; 4]; 3] = [b"vpc ", b"vs  ", b"qemu"];

/// The kinds of disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Fixed,
    /// With a header at this byte.
    Dynamic(u64),
    /// Only what changed since a parent.
    Differencing(u64),
}

/// A footer, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Footer {
    pub kind: Kind,
    /// The disk's size in bytes.
    pub size: u64,
    pub uuid: String,
}

/// What is wrong, at which byte of the structure.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bad(pub u64, pub String);

/// A dynamic disk's header, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// Where the table of blocks is.
    pub table: u64,
    /// How many entries of it are needed.
    pub entries: u64,
    /// A block's bytes.
    pub block: u64,
    /// The footer's uuid of the disk it was made on (differencing disks).
    pub parent_id: String,
    /// That disk's file, as the header itself names it.
    pub parent_name: Vec<u8>,
    pub locators: Vec<Locator>,
}

/// Where the path of a differencing disk's parent is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Locator {
    /// What kind of path: `W2ru` and others.
    pub platform: [u8; 4],
    /// Where in the file.
    pub offset: u64,
    /// Its bytes.
    pub length: u32,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |four| u32::from_be_bytes(*four))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |eight| u64::from_be_bytes(*eight))
}

/// Checks the sum of all bytes but its own four, complemented.
fn check_sum(bytes: &[u8], at: usize, what: &str) -> Result<(), Bad> {
    let sum = |bytes: &[u8]| bytes.iter().fold(0u32, |sum, byte| sum.wrapping_add(u32::from(*byte)));
    let own = bytes.get(at..at + 4).unwrap_or_default();
    if u32_at(bytes, at) == !sum(bytes).wrapping_sub(sum(own)) {
        Ok(())
    } else {
        Err(Bad(at as u64, format!("the {what}'s checksum is wrong")))
    }
}

impl Footer {
    pub(super) fn parse(bytes: &[u8; FOOTER]) -> Result<Self, Bad> {
        if !bytes.starts_with(b"conectix") {
            return Err(Bad(0, "it has no footer; the end of the file is missing".to_owned()));
        }
        check_sum(bytes, 64, "footer")?;
        let data = u64_at(bytes, 16);
        let kind = match u32_at(bytes, 60) {
            2 => Kind::Fixed,
            3 => Kind::Dynamic(data),
            4 => Kind::Differencing(data),
            other => return Err(Bad(60, format!("there is no disk of the kind {other}"))),
        };
        let (cylinders, heads, sectors) =
            (u32_at(bytes, 56) >> 16, u32_at(bytes, 56) >> 8 & 0xff, u32_at(bytes, 56) & 0xff);
        let geometry = u64::from(cylinders) * u64::from(heads) * u64::from(sectors);
        let by_geometry = BY_GEOMETRY.iter().any(|creator| bytes[28..32] == creator[..]);
        let size = if by_geometry && geometry != MOST_GEOMETRY { geometry * 512 } else { u64_at(bytes, 48) };
        Ok(Self { kind, size, uuid: hex(&bytes[68..84]) })
    }
}

impl Header {
    pub(super) fn parse(bytes: &[u8; HEADER], size: u64) -> Result<Self, Bad> {
        if !bytes.starts_with(b"cxsparse") {
            return Err(Bad(0, "a dynamic disk's header is expected here".to_owned()));
        }
        check_sum(bytes, 36, "header")?;
        let block = u32_at(bytes, 32);
        if !block.is_power_of_two() || !(512..=MOST_BLOCK).contains(&block) {
            return Err(Bad(32, format!("a block of {block} bytes is impossible")));
        }
        let entries = size.div_ceil(u64::from(block));
        if entries > u64::from(u32_at(bytes, 28)) {
            return Err(Bad(28, format!("its table of {} blocks is too small", u32_at(bytes, 28))));
        }
        if entries > MOST_BLOCKS {
            return Err(Bad(32, format!("a disk of {size} bytes in blocks of {block} is not supported")));
        }
        let locators = bytes[576..768].as_chunks::<24>().0.iter().map(|locator| Locator {
            platform: [locator[0], locator[1], locator[2], locator[3]],
            offset: u64_at(locator, 16),
            length: u32_at(locator, 8),
        });
        Ok(Self {
            table: u64_at(bytes, 16),
            entries,
            block: u64::from(block),
            parent_id: hex(&bytes[40..56]),
            parent_name: utf16(&bytes[64..576], u16::from_be_bytes),
            locators: locators.collect(),
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A text of UTF-16 up to its first zero, in UTF-8.
pub(super) fn utf16(bytes: &[u8], number: fn([u8; 2]) -> u16) -> Vec<u8> {
    let units: Vec<u16> =
        bytes.as_chunks::<2>().0.iter().map(|two| number(*two)).take_while(|unit| *unit != 0).collect();
    String::from_utf16_lossy(&units).into_bytes()
}
