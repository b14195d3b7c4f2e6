//! The header: big-endian, 72 bytes in version 2, more in version 3, extensions behind it.

use std::collections::BTreeMap;

/// Bytes of a version 2 header.
const VERSION_2: u64 = 72;
/// Bytes that a version 3 header has at least.
const VERSION_3: u64 = 104;
/// How much of a file is looked at for the header and its extensions: the smallest that QEMU
/// allows for the first cluster is less.
pub(super) const MOST_BYTES: usize = 64 << 10;
/// Most bytes of the L1 table, QEMU's own limit.
pub(super) const MOST_L1: u64 = 32 << 20;
/// Most bytes of a backing file's name.
const MOST_NAME: u64 = 1023;

const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const EXTENDED_L2: u64 = 1 << 4;
/// Dirty (only the counts of references are), corrupt, external data, compression type, extended L2.
const KNOWN: u64 = 0b1_1111;

const END: u32 = 0;
const BACKING_FORMAT: u32 = 0xe279_2aca;
const FEATURE_NAMES: u32 = 0x6803_f857;

/// How compressed clusters are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Deflate,
    Zstd,
}

/// What is read of a header, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub version: u32,
    pub size: u64,
    pub cluster_bits: u32,
    pub l1_offset: u64,
    /// Entries of the L1 table.
    pub l1_entries: u64,
    pub compression: Compression,
    pub backing: Option<Backing>,
    /// How many internal snapshots there are.
    pub snapshots: u32,
    /// Where their table is.
    pub snapshot_table: u64,
}

/// What the image stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Backing {
    pub name: Vec<u8>,
    pub format: Option<String>,
}

/// Why a header cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// It is damaged at this byte.
    Bad(u64, String),
    /// It needs what is not done.
    Unsupported(String),
}

/// The header's bytes, read without going beyond them.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn array<const N: usize>(&self, at: u64) -> Result<[u8; N], HeaderError> {
        usize::try_from(at)
            .ok()
            .and_then(|at| self.0.get(at..))
            .and_then(|rest| rest.first_chunk::<N>())
            .copied()
            .ok_or_else(|| HeaderError::Bad(at, "its header is not complete".to_owned()))
    }

    fn u32(&self, at: u64) -> Result<u32, HeaderError> {
        self.array(at).map(u32::from_be_bytes)
    }

    fn u64(&self, at: u64) -> Result<u64, HeaderError> {
        self.array(at).map(u64::from_be_bytes)
    }

    fn slice(&self, at: u64, length: u64) -> Result<&[u8], HeaderError> {
        let end = at.saturating_add(length);
        let range = usize::try_from(at).unwrap_or(usize::MAX)..usize::try_from(end).unwrap_or(usize::MAX);
        self.0.get(range).ok_or_else(|| HeaderError::Bad(at, "its header is not complete".to_owned()))
    }
}

impl Header {
    /// Reads and checks a header from a file's first bytes (all of them that there are, up to
    /// [`MOST_BYTES`]).
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        let bytes = Bytes(bytes);
        let bad = |at: u64, what: String| Err(HeaderError::Bad(at, what));
        if &bytes.array::<4>(0)? != b"QFI\xfb" {
            return bad(0, "it does not begin as a qcow2 image does".to_owned());
        }
        let version = bytes.u32(4)?;
        if !(2..=3).contains(&version) {
            return Err(HeaderError::Unsupported(format!("is a qcow2 image of version {version}")));
        }
        let length = if version == 2 { VERSION_2 } else { u64::from(bytes.u32(100)?) };
        if version == 3 && (length < VERSION_3 || length > MOST_BYTES as u64) {
            return bad(100, format!("a header of {length} bytes is impossible"));
        }
        let extensions = Extensions::parse(&bytes, length)?;
        let incompatible = if version == 2 { 0 } else { bytes.u64(72)? };
        refuse_features(incompatible, &extensions)?;
        match bytes.u32(32)? {
            0 => {}
            _ => return Err(HeaderError::Unsupported("is encrypted".to_owned())),
        }
        let cluster_bits = bytes.u32(20)?;
        if !(9..=21).contains(&cluster_bits) {
            return bad(20, format!("clusters of 2^{cluster_bits} bytes are impossible"));
        }
        let size = bytes.u64(24)?;
        let l1_entries = u64::from(bytes.u32(36)?);
        let needed = tables(size, cluster_bits);
        if l1_entries < needed {
            let what = format!("its L1 table of {l1_entries} entries is too small for {size} bytes");
            return bad(36, what);
        }
        if needed * 8 > MOST_L1 {
            return Err(HeaderError::Unsupported(format!("has {size} bytes, too many for its cluster size")));
        }
        let compression = match if length > VERSION_3 { bytes.array::<1>(104)?[0] } else { 0 } {
            0 => Compression::Deflate,
            1 => Compression::Zstd,
            other => return Err(HeaderError::Unsupported(format!("is compressed by method {other}"))),
        };
        Ok(Self {
            version,
            size,
            cluster_bits,
            l1_offset: bytes.u64(40)?,
            l1_entries: needed,
            compression,
            backing: backing(&bytes, extensions.backing_format)?,
            snapshots: bytes.u32(60)?,
            snapshot_table: bytes.u64(64)?,
        })
    }

    /// How many tables of the second level a disk of that size needs.
    pub(super) fn tables_of(&self, size: u64) -> u64 {
        tables(size, self.cluster_bits)
    }
}

/// A table of one cluster has an eighth as many entries as a cluster has bytes.
fn tables(size: u64, cluster_bits: u32) -> u64 {
    size.div_ceil(1 << (2 * cluster_bits - 3))
}

fn backing(bytes: &Bytes<'_>, format: Option<String>) -> Result<Option<Backing>, HeaderError> {
    let offset = bytes.u64(8)?;
    if offset == 0 {
        return Ok(None);
    }
    let length = u64::from(bytes.u32(16)?);
    if length == 0 || length > MOST_NAME {
        return Err(HeaderError::Bad(16, format!("a backing file's name of {length} bytes is impossible")));
    }
    Ok(Some(Backing { name: bytes.slice(offset, length)?.to_vec(), format }))
}

fn refuse_features(incompatible: u64, extensions: &Extensions) -> Result<(), HeaderError> {
    if incompatible & CORRUPT != 0 {
        return Err(HeaderError::Bad(72, "it is marked as corrupt by QEMU".to_owned()));
    }
    if incompatible & EXTERNAL_DATA != 0 {
        return Err(HeaderError::Unsupported(
            "keeps its data in another file (external data file)".to_owned(),
        ));
    }
    if incompatible & EXTENDED_L2 != 0 {
        return Err(HeaderError::Unsupported("has subclusters (extended L2 entries)".to_owned()));
    }
    let unknown = incompatible & !KNOWN;
    if unknown != 0 {
        let bit = unknown.trailing_zeros();
        let name = u8::try_from(bit).ok().and_then(|bit| extensions.features.get(&bit));
        let name = name.map(|name| format!(" ({name})")).unwrap_or_default();
        return Err(HeaderError::Unsupported(format!("has the unknown feature {bit}{name}")));
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Extensions {
    backing_format: Option<String>,
    /// Incompatible features' bits and names.
    features: BTreeMap<u8, String>,
}

impl Extensions {
    fn parse(bytes: &Bytes<'_>, from: u64) -> Result<Self, HeaderError> {
        let mut extensions = Self::default();
        let mut at = from;
        // A version 2 image may have no extensions, and something else or nothing there.
        while let (Ok(kind), Ok(length)) = (bytes.u32(at), bytes.u32(at + 4)) {
            if kind == END {
                break;
            }
            let content = bytes.slice(at + 8, u64::from(length))?;
            match kind {
                BACKING_FORMAT => {
                    extensions.backing_format = Some(String::from_utf8_lossy(content).into_owned())
                }
                FEATURE_NAMES => {
                    for feature in content.as_chunks::<48>().0.iter().filter(|feature| feature[0] == 0) {
                        let name = feature[2..].split(|byte| *byte == 0).next().unwrap_or_default();
                        extensions.features.insert(feature[1], String::from_utf8_lossy(name).into_owned());
                    }
                }
                _ => {}
            }
            at += 8 + u64::from(length).next_multiple_of(8);
        }
        Ok(extensions)
    }
}
