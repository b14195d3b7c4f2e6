//! streamOptimized VMDKs in order: header, descriptor, grains behind markers, tables, footer.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};
use std::path::PathBuf;
use std::sync::Arc;

use super::super::codec::{Codec, GRAIN_MARKER};
use super::super::error::ImageError;
use super::super::vmdk::{
    AT_END, Descriptor, DescriptorError, HEADER, Header, HeaderError, MOST_BYTES, SECTOR,
};
use super::input::{Bytes, fill};
use super::tables::Tables;
use super::{Compression, PIECE, Packed, Piece, StreamError, Watch};

/// Bytes read from below at a time.
const BUFFER: usize = 256 << 10;
/// Most tables of a disk: 8 TiB of grains of 64 KiB. Some bytes of each are kept.
const MOST_TABLES: u64 = 1 << 18;
/// The sector after which grains begin, in the header: the end of what is fixed.
const OVERHEAD: usize = 64;

/// Kinds of markers.
const END: u32 = 0;
const TABLE: u32 = 1;
const DIRECTORY: u32 = 2;
const FOOTER: u32 = 3;

/// A grain's marker that was read, its data still to come.
#[derive(Debug, Clone, Copy)]
struct Next {
    marker: [u8; GRAIN_MARKER],
    /// The disk's byte that it begins with.
    start: u64,
    /// Bytes of its data.
    length: usize,
    /// Where the marker began in the stream.
    offset: u64,
}

/// A streamOptimized VMDK being read.
pub(super) struct Sparse {
    reader: BufReader<Bytes>,
    watch: Arc<Watch>,
    name: Arc<PathBuf>,
    compression: Option<Compression>,
    header: Header,
    ids: BTreeMap<String, String>,
    metadata: blake3::Hasher,
    variant: String,
    tables: Tables,
    /// Where the stream stands, in bytes of the VMDK.
    at: u64,
    /// Up to where the disk was given out.
    position: u64,
    /// Where the next grain may begin.
    free: u64,
    next: Option<Next>,
    footer: Option<Header>,
    ended: bool,
}

impl Sparse {
    /// Reads all that comes before the grains.
    pub(super) fn open(
        reader: Bytes,
        watch: Arc<Watch>,
        compression: Option<Compression>,
    ) -> Result<Self, StreamError> {
        let mut reader = BufReader::with_capacity(BUFFER, reader);
        let mut bytes = [0; HEADER];
        reader.read_exact(&mut bytes).map_err(|error| watch.error(error))?;
        let header = parse(&watch, &bytes, 0)?;
        let name = Arc::new(watch.name().to_owned());
        if !header.compressed || !header.markers {
            return Err(StreamError::NeedsFile {
                name: name.as_ref().clone(),
                compression,
                what: "is a sparse VMDK whose grains lie anywhere in it (only streamOptimized ones come in order)"
                    .to_owned(),
            });
        }
        let damaged =
            |offset: u64, what: String| StreamError::Damaged { name: name.as_ref().clone(), offset, what };
        if header.grain > PIECE {
            return Err(StreamError::NeedsFile {
                name: name.as_ref().clone(),
                compression,
                what: format!("has grains of {} bytes, which streams never have", header.grain),
            });
        }
        let count = header.capacity.div_ceil(header.grain * header.entries);
        if count > MOST_TABLES {
            return Err(damaged(12, format!("a capacity of {} bytes is not supported", header.capacity)));
        }
        let overhead = u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|at| bytes[OVERHEAD + at]))
            .checked_mul(SECTOR)
            .ok_or_else(|| damaged(OVERHEAD as u64, "its overhead is absurdly large".to_owned()))?;
        // Two copies of directory and tables, the descriptor, and room to align all of them.
        let most = 2 * count * (header.entries * 4 + 2 * SECTOR) + MOST_BYTES + (64 << 20);
        if overhead > most {
            return Err(damaged(OVERHEAD as u64, format!("an overhead of {overhead} bytes is impossible")));
        }
        let mut metadata = blake3::Hasher::new();
        metadata.update(&bytes);
        let tables =
            Tables::new(usize::try_from(count).unwrap_or(usize::MAX), header.entries, header.zeroed_grains);
        let mut sparse = Self {
            reader,
            watch,
            name: Arc::clone(&name),
            compression,
            header,
            ids: BTreeMap::new(),
            metadata,
            variant: String::new(),
            tables,
            at: HEADER as u64,
            position: 0,
            free: 0,
            next: None,
            footer: None,
            ended: false,
        };
        sparse.read_descriptor()?;
        sparse.read_front(overhead)?;
        Ok(sparse)
    }

    pub(super) fn size(&self) -> u64 {
        self.header.capacity
    }

    /// The sub-format, the format's own ids, and the digest of header and descriptor.
    pub(super) fn facts(&self) -> (&str, &BTreeMap<String, String>, [u8; 32]) {
        (&self.variant, &self.ids, *self.metadata.finalize().as_bytes())
    }

    fn damaged(&self, offset: u64, what: impl Into<String>) -> StreamError {
        StreamError::Damaged { name: self.name.as_ref().clone(), offset, what: what.into() }
    }

    fn needs_file(&self, what: impl Into<String>) -> StreamError {
        StreamError::NeedsFile {
            name: self.name.as_ref().clone(),
            compression: self.compression,
            what: what.into(),
        }
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), StreamError> {
        self.reader.read_exact(buffer).map_err(|error| self.watch.error(error))?;
        self.at += buffer.len() as u64;
        Ok(())
    }

    /// Reads over what lies before that place of the VMDK.
    fn skip_to(&mut self, place: u64) -> Result<(), StreamError> {
        let length = place.saturating_sub(self.at);
        let mut between = (&mut self.reader).take(length);
        let skipped = io::copy(&mut between, &mut io::sink()).map_err(|error| self.watch.error(error))?;
        self.at += skipped;
        match skipped == length {
            true => Ok(()),
            false => Err(self.watch.error(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    fn numbers(&mut self, count: usize) -> Result<Vec<u32>, StreamError> {
        let mut bytes = vec![0; count * 4];
        self.read_exact(&mut bytes)?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|four| u32::from_le_bytes(*four)).collect())
    }

    fn read_descriptor(&mut self) -> Result<(), StreamError> {
        let (at, size) = (self.header.descriptor, self.header.descriptor_size);
        if at == 0 {
            return Ok(());
        }
        if size > MOST_BYTES {
            return Err(self
                .damaged(36, format!("its descriptor has {size} bytes, at most {MOST_BYTES} are possible")));
        }
        if at < self.at {
            return Err(self.damaged(28, "its descriptor is said to lie in its header"));
        }
        self.skip_to(at)?;
        let mut text = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
        self.read_exact(&mut text)?;
        self.metadata.update(&text);
        if text.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        let unsupported = |what: String| ImageError::Unsupported {
            file: self.name.as_ref().clone(),
            what,
            help: "Export the machine as an OVA, or clone the disk to a full one.".to_owned(),
        };
        let descriptor = Descriptor::parse(&text).map_err(|error| match error {
            DescriptorError::Bad(what) => self.damaged(at, what),
            DescriptorError::Unsupported(what) => unsupported(what).into(),
        })?;
        if descriptor.extents.len() > 1 {
            return Err(unsupported(
                "has a descriptor of several extents inside the first of them".to_owned(),
            )
            .into());
        }
        if descriptor.parent_id.is_some() {
            let parent = descriptor.parent_name.map(|name| String::from_utf8_lossy(&name).into_owned());
            return Err(ImageError::NeedsParent { file: self.name.as_ref().clone(), parent }.into());
        }
        self.ids.insert("cid".to_owned(), descriptor.content_id);
        if let Some(uuid) = descriptor.uuid {
            self.ids.insert("uuid".to_owned(), uuid);
        }
        self.variant = descriptor.create_type;
        Ok(())
    }

    /// Reads up to where grains begin; what of the directory and its tables lies there is kept.
    fn read_front(&mut self, overhead: u64) -> Result<(), StreamError> {
        let directory = self.header.directory;
        if directory < overhead {
            if directory < self.at {
                return Err(self.needs_file("has its grain directory before its descriptor"));
            }
            let count = self.header.capacity.div_ceil(self.header.grain * self.header.entries);
            self.skip_to(directory)?;
            let tables = self.numbers(usize::try_from(count).unwrap_or(usize::MAX))?;
            for sector in tables.iter().copied().filter(|sector| *sector != 0) {
                let place = u64::from(sector) * SECTOR;
                if place >= overhead {
                    continue;
                }
                if place < self.at {
                    return Err(self.needs_file("has its grain tables in another order than the disk's"));
                }
                self.skip_to(place)?;
                self.read_table(sector)?;
            }
            self.tables.directory(directory / SECTOR, tables);
        }
        self.skip_to(overhead.max(self.at.next_multiple_of(SECTOR)))
    }

    fn read_table(&mut self, sector: u32) -> Result<(), StreamError> {
        let at = self.at;
        let entries = self.numbers(usize::try_from(self.header.entries).unwrap_or(usize::MAX))?;
        match self.tables.table(sector, &entries) {
            true => Ok(()),
            false => Err(self.damaged(at, "it has more grain tables than any disk")),
        }
    }

    /// The next piece; `None` at the disk's end, when all of it was checked.
    pub(super) fn next(&mut self, packed: &mut Packed) -> Result<Option<Piece>, StreamError> {
        packed.begin(&self.name, usize::try_from(self.header.grain).unwrap_or(usize::MAX));
        loop {
            if self.next.is_none() && !self.ended {
                self.next = self.read_marker()?;
                self.ended = self.next.is_none();
            }
            let end = self.header.capacity.min(self.position + PIECE);
            match self.next {
                Some(grain) if grain.start < end => {
                    self.next = None;
                    self.take(grain, packed)?;
                }
                _ if !packed.is_empty() => {
                    let length = usize::try_from(end - self.position).unwrap_or(usize::MAX);
                    self.position = end;
                    return Ok(Some(Piece::Packed { length }));
                }
                Some(grain) => return Ok(Some(self.zero(grain.start - grain.start % PIECE))),
                None if self.position < self.header.capacity => {
                    return Ok(Some(self.zero(self.header.capacity)));
                }
                None => return Ok(None),
            }
        }
    }

    fn zero(&mut self, until: u64) -> Piece {
        let length = until - self.position;
        self.position = until;
        Piece::Zero { length }
    }

    /// Reads a grain's data.
    fn take(&mut self, grain: Next, packed: &mut Packed) -> Result<(), StreamError> {
        let start = usize::try_from(grain.start - self.position).unwrap_or(usize::MAX);
        let codec = Codec::MarkedZlib { sector: grain.start / SECTOR };
        let room = packed.add(start, grain.offset, codec, GRAIN_MARKER + grain.length);
        let (marker, data) = room.split_at_mut(GRAIN_MARKER);
        marker.copy_from_slice(&grain.marker);
        self.read_exact(data)?;
        self.pad()
    }

    /// Reads up to the end of a sector. After the last grain of a file whose tables came first,
    /// that may be missing.
    fn pad(&mut self) -> Result<(), StreamError> {
        let mut padding = [0; SECTOR as usize];
        let missing = usize::try_from(self.at.next_multiple_of(SECTOR) - self.at).unwrap_or(0);
        let got = fill(&mut self.reader, &mut padding[..missing]).map_err(|error| self.watch.error(error))?;
        self.at += got as u64;
        if got < missing && !self.is_complete_without_an_end() {
            return Err(self.watch.error(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(())
    }

    /// Whether its tables came first and tell what must follow, as QEMU writes it: no marker
    /// stands at its end.
    fn is_complete_without_an_end(&self) -> bool {
        self.header.directory != AT_END && self.tables.has_directory(self.header.directory / SECTOR)
    }

    /// Reads markers up to the next grain's; `None` when the end was reached and checked.
    fn read_marker(&mut self) -> Result<Option<Next>, StreamError> {
        loop {
            let offset = self.at;
            let mut bytes = [0; GRAIN_MARKER + 4];
            let got = fill(&mut self.reader, &mut bytes[..GRAIN_MARKER])
                .map_err(|error| self.watch.error(error))?;
            self.at += got as u64;
            if got == 0 && self.is_complete_without_an_end() {
                self.check_tables()?;
                return Ok(None);
            }
            if got < GRAIN_MARKER {
                return Err(StreamError::CutShort {
                    name: self.name.as_ref().clone(),
                    offset: self.watch.bytes_read(),
                    what: "its end marker is missing".to_owned(),
                });
            }
            let [v0, v1, v2, v3, v4, v5, v6, v7, s0, s1, s2, s3, ..] = bytes;
            let value = u64::from_le_bytes([v0, v1, v2, v3, v4, v5, v6, v7]);
            let length = u32::from_le_bytes([s0, s1, s2, s3]);
            if length > 0 {
                let mut marker = [0; GRAIN_MARKER];
                marker.copy_from_slice(&bytes[..GRAIN_MARKER]);
                return self.check_grain(marker, value, length, offset).map(Some);
            }
            let mut kind = [0; 4];
            self.read_exact(&mut kind)?;
            self.pad()?;
            match u32::from_le_bytes(kind) {
                END if value == 0 => {
                    self.check_tables()?;
                    return Ok(None);
                }
                TABLE => {
                    let sector = u32::try_from(self.at / SECTOR)
                        .map_err(|_| self.damaged(offset, "a grain table lies beyond 2 TiB"))?;
                    self.expect_sectors(value, self.header.entries * 4, offset)?;
                    let end = self.at + value * SECTOR;
                    self.read_table(sector)?;
                    self.skip_to(end)?;
                }
                DIRECTORY => {
                    let count = self.header.capacity.div_ceil(self.header.grain * self.header.entries);
                    self.expect_sectors(value, count * 4, offset)?;
                    let (sector, end) = (self.at / SECTOR, self.at + value * SECTOR);
                    let tables = self.numbers(usize::try_from(count).unwrap_or(usize::MAX))?;
                    if !self.tables.directory(sector, tables) {
                        return Err(self.damaged(offset, "it has more grain directories than any disk"));
                    }
                    self.skip_to(end)?;
                }
                FOOTER => {
                    let at = self.at;
                    let mut footer = [0; HEADER];
                    self.read_exact(&mut footer)?;
                    let footer = parse(&self.watch, &footer, at)?;
                    let same = |header: &Header| (header.capacity, header.grain, header.entries);
                    if same(&footer) != same(&self.header) {
                        return Err(self.damaged(at, "its footer speaks of another disk than its header"));
                    }
                    self.footer = Some(footer);
                }
                kind => return Err(self.damaged(offset, format!("a marker of the kind {kind} is not known"))),
            }
        }
    }

    /// A marker says how many sectors follow it: those that are needed, padded to whole ones.
    fn expect_sectors(&self, sectors: u64, bytes: u64, offset: u64) -> Result<(), StreamError> {
        let needed = bytes.div_ceil(SECTOR);
        // A directory may be padded to the grain that follows.
        match (needed..=needed + 128).contains(&sectors) {
            true => Ok(()),
            false => Err(self.damaged(
                offset,
                format!("the marker here speaks of {sectors} sectors where {needed} are expected"),
            )),
        }
    }

    fn check_grain(
        &mut self,
        marker: [u8; GRAIN_MARKER],
        sector: u64,
        length: u32,
        offset: u64,
    ) -> Result<Next, StreamError> {
        let Header { grain, capacity, .. } = self.header;
        let start = sector
            .checked_mul(SECTOR)
            .filter(|start| *start < capacity && start.is_multiple_of(grain))
            .ok_or_else(|| {
                self.damaged(
                    offset,
                    format!("the grain here says that it is of sector {sector}, where none can be"),
                )
            })?;
        // As read from a file: deflate makes the worst data a little longer, never much.
        if u64::from(length) > grain + grain / 8 + 2 * SECTOR {
            return Err(self.damaged(offset, format!("the grain here says that it has {length} bytes")));
        }
        if start < self.free {
            return Err(self.needs_file(format!(
                "has its grains in another order than the disk's (the one at byte {offset} comes too late)"
            )));
        }
        let place = u32::try_from(offset / SECTOR)
            .map_err(|_| self.damaged(offset, "a grain lies beyond 2 TiB, where no table can name it"))?;
        self.tables.grain(start / grain, place);
        self.free = start + grain;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        Ok(Next { marker, start, length, offset })
    }

    /// Holds the grains that came against the tables.
    fn check_tables(&mut self) -> Result<(), StreamError> {
        let mut directory = self.header.directory;
        if directory == AT_END {
            directory = self.footer.as_ref().map_or(AT_END, |footer| footer.directory);
        }
        if directory == AT_END {
            return Err(self.damaged(self.at, "it has no footer that says where its grain directory is"));
        }
        self.tables.check(directory / SECTOR).map_err(|what| self.damaged(self.at, what))
    }

    /// What follows the disk.
    pub(super) fn reader(&mut self) -> &mut BufReader<Bytes> {
        &mut self.reader
    }
}

fn parse(watch: &Watch, bytes: &[u8; HEADER], at: u64) -> Result<Header, StreamError> {
    let name = || watch.name().to_owned();
    Header::parse(bytes).map_err(|error| match error {
        HeaderError::Bad(byte, what) => StreamError::Damaged { name: name(), offset: at + byte, what },
        HeaderError::Unsupported(what) => ImageError::Unsupported {
            file: name(),
            what,
            help: "Export the machine as an OVA, or clone the disk to a full one.".to_owned(),
        }
        .into(),
    })
}
