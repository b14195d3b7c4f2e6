//! Reads an initramfs as the kernel unpacks it (`init/initramfs.c`), strictly: alignment, magic
//! numbers, compressed streams one after another, zero padding between. What the kernel would
//! silently stop at is an error here.

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use super::archive::{Archive, Member, Segment, parts};
use super::compression::Compression;
use super::newc::{self, HEADER, Header, TRAILER};
use crate::model::Digest;

/// Most bytes that all segments together may unpack to: twice the largest initramfs seen in the
/// field (a rescue image with all firmware, about 500 MB).
pub const MOST_UNPACKED: u64 = 1 << 30;
/// Most members that all segments together may hold.
pub const MOST_MEMBERS: usize = 100_000;
/// Most bytes of one member whose content is kept.
pub const MOST_KEPT: u32 = 16 << 20;
/// Most bytes of all kept contents together.
const MOST_KEPT_TOTAL: usize = 32 << 20;
/// Most bytes of all names together; an initramfs of 5,000 members has about 300 KB.
const MOST_NAMES: usize = 16 << 20;
/// `PATH_MAX`: longer names are passed over by the kernel.
const PATH_MAX: u32 = 4096;
/// The reading buffer in bytes.
const BUFFER: usize = 256 << 10;
/// How many bytes a reader of compressed data can look at before taking them.
const LOOK_AHEAD: usize = 16;

/// Why an initramfs cannot be read as the kernel reads it. Offsets are bytes from the file's start.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The file cannot be read.
    #[error("it cannot be read at byte {offset}")]
    Read {
        /// Where.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// Neither a cpio header at a multiple of four nor a known compression.
    #[error("byte {offset} starts neither an archive nor a known compression")]
    BadMagic {
        /// Where.
        offset: u64,
    },
    /// What follows a plain archive does not start at a multiple of four.
    #[error("what starts at byte {offset}, behind a plain archive, is at no multiple of four")]
    Misaligned {
        /// Where.
        offset: u64,
    },
    /// A compressed segment is damaged.
    #[error("the {compression} segment at byte {offset} is damaged")]
    Damaged {
        /// Where it starts.
        offset: u64,
        /// Its compression.
        compression: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The cpio stream is broken.
    #[error("the archive in the segment at byte {offset} is broken: {what}")]
    Broken {
        /// Where the segment starts.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// It unpacks to more than is looked at.
    #[error("it unpacks to more than {limit} {unit}")]
    TooLarge {
        /// The limit.
        limit: u64,
        /// Of what.
        unit: &'static str,
    },
}

/// Reads an initramfs, keeping the content of the members that `keep` names.
///
/// # Errors
/// [`UnpackError`]: what the kernel would stop at, or one of the limits above.
pub fn unpack(source: impl Read, keep: &dyn Fn(&str) -> bool) -> Result<Archive, UnpackError> {
    go_on(Archive::default(), source, keep)
}

/// Reads what was put behind an archive that is closed ([`Archive::is_closed`]), as the kernel goes
/// on from there; what `before` kept is not kept again. The digest is that of what was read.
///
/// # Errors
/// [`UnpackError`], as for the whole file.
pub fn unpack_behind(before: &Archive, source: impl Read) -> Result<Archive, UnpackError> {
    let Archive { segments, members, length, .. } = before.clone();
    go_on(Archive { segments, members, length, ..Archive::default() }, source, &|_| false)
}

fn go_on(archive: Archive, source: impl Read, keep: &dyn Fn(&str) -> bool) -> Result<Archive, UnpackError> {
    let taken = Rc::new(Cell::new(archive.length));
    let source = Hashed { inner: source, hasher: blake3::Hasher::new() };
    let buffer = vec![0; BUFFER];
    let mut source =
        Counted { inner: source, buffer, start: 0, end: 0, ended: false, taken: Rc::clone(&taken) };
    // Behind a plain archive the kernel's state machine is still at work, and wants everything at
    // a multiple of four; behind a compressed one only the next plain archive.
    let mut behind_plain = archive.segments.last().is_some_and(|segment| segment.compression.is_none());
    let mut unpacker = Unpacker {
        archive,
        keep,
        unpacked: 0,
        kept: 0,
        names: 0,
        links: HashMap::new(),
        directory: (String::new(), String::new()),
    };
    loop {
        let offset = taken.get();
        let start = peek(&mut source, 9).map_err(|source| UnpackError::Read { offset, source })?;
        match start.first() {
            None => break,
            Some(0) => source.consume(1),
            Some(_) if behind_plain && !offset.is_multiple_of(4) => {
                return Err(UnpackError::Misaligned { offset });
            }
            Some(b'0') if offset.is_multiple_of(4) => {
                unpacker.plain(&mut source, offset)?;
                behind_plain = true;
            }
            Some(_) => {
                behind_plain = false;
                let compression = Compression::recognize(&start).ok_or(UnpackError::BadMagic { offset })?;
                unpacker.compressed(&mut source, offset, compression)?;
            }
        }
    }
    unpacker.archive.length = taken.get();
    unpacker.archive.digest = Digest(*source.inner.hasher.finalize().as_bytes());
    Ok(unpacker.archive)
}

/// The next bytes without taking them: `count` unless the file ends before.
fn peek<R: Read>(source: &mut Counted<R>, count: usize) -> io::Result<Vec<u8>> {
    let bytes = source.fill_buf()?;
    Ok(bytes.get(..count).unwrap_or(bytes).to_vec())
}

/// A reader that digests what it gives.
struct Hashed<R> {
    inner: R,
    hasher: blake3::Hasher,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

/// A buffered reader that counts what was taken from it, and shows at least [`LOOK_AHEAD`] bytes
/// unless the file ends before.
struct Counted<R> {
    inner: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
    taken: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl<R: Read> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.end - self.start < LOOK_AHEAD && !self.ended {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            match self.inner.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.ended = true,
                Ok(count) => self.end += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, count: usize) {
        let count = count.min(self.end - self.start);
        self.start += count;
        self.taken.set(self.taken.get() + count as u64);
    }
}

struct Unpacker<'k> {
    archive: Archive,
    keep: &'k dyn Fn(&str) -> bool,
    unpacked: u64,
    kept: usize,
    names: usize,
    /// Inode and device → the names that the file has in the archive at hand.
    links: HashMap<(u32, u32, u32), Links>,
    /// The directory of the last member, as named and as it really is.
    directory: (String, String),
}

impl Unpacker<'_> {
    /// One uncompressed archive, up to and with its trailer.
    fn plain<R: Read>(&mut self, source: &mut Counted<R>, offset: u64) -> Result<(), UnpackError> {
        let mut stream = Stream { source: &mut *source, position: 0, offset, compression: None };
        let counts = self.archive(&mut stream)?;
        self.archive.segments.push(Segment {
            offset,
            end: source.taken.get(),
            compression: None,
            members: counts.members,
            early: counts.members > 0 && counts.outside_kernel == 0,
        });
        Ok(())
    }

    /// One compressed stream: archives and zero padding, to the stream's end.
    fn compressed<R: Read>(
        &mut self,
        source: &mut Counted<R>,
        offset: u64,
        compression: Compression,
    ) -> Result<(), UnpackError> {
        let damaged = |source| UnpackError::Damaged { offset, compression: compression.name(), source };
        let taken = Rc::clone(&source.taken);
        let reader = compression.reader(&mut *source).map_err(damaged)?;
        let mut stream = Stream {
            source: BufReader::with_capacity(BUFFER, reader),
            position: 0,
            offset,
            compression: Some(compression),
        };
        let mut total = Counts::default();
        while let Some(next) = stream.next_byte()? {
            match next {
                0 => stream.skip(1)?,
                b'0' if stream.position.is_multiple_of(4) => {
                    let counts = self.archive(&mut stream)?;
                    total.members += counts.members;
                    total.outside_kernel += counts.outside_kernel;
                }
                b'0' => return Err(stream.broken("its padding is no multiple of four")),
                _ => return Err(stream.broken("there is something else between its archives")),
            }
            self.unpacked_so_far(stream.position)?;
        }
        self.unpacked = self.unpacked.saturating_add(stream.position);
        drop(stream);
        self.archive.segments.push(Segment {
            offset,
            end: taken.get(),
            compression: Some(compression),
            members: total.members,
            early: false,
        });
        Ok(())
    }

    fn unpacked_so_far(&self, position: u64) -> Result<(), UnpackError> {
        if self.unpacked.saturating_add(position) > MOST_UNPACKED {
            return Err(UnpackError::TooLarge { limit: MOST_UNPACKED, unit: "bytes" });
        }
        Ok(())
    }

    /// Members up to and with the trailer. The kernel also accepts an archive that ends without.
    fn archive<R: BufRead>(&mut self, stream: &mut Stream<R>) -> Result<Counts, UnpackError> {
        let mut counts = Counts::default();
        loop {
            let mut header = [0; HEADER];
            stream.exact(&mut header)?;
            let header = Header::parse(&header).ok_or_else(|| stream.broken("a header has no newc magic"))?;
            if header.name_length == 0 || header.name_length > PATH_MAX {
                return Err(stream.broken("a name has an impossible length"));
            }
            let mut name = vec![0; header.name_length as usize];
            stream.exact(&mut name)?;
            stream.align()?;
            if name.pop() != Some(0) || name.contains(&0) {
                return Err(stream.broken("a name does not end with its NUL"));
            }
            if name == TRAILER.as_bytes() {
                self.links.clear();
                stream.skip(u64::from(header.body_length))?;
                stream.align()?;
                return Ok(counts);
            }
            counts.members += 1;
            if self.archive.members.len() >= MOST_MEMBERS {
                return Err(UnpackError::TooLarge { limit: MOST_MEMBERS as u64, unit: "members" });
            }
            self.unpacked_so_far(stream.position.saturating_add(u64::from(header.body_length)))?;
            self.names += name.len();
            if self.names > MOST_NAMES {
                return Err(UnpackError::TooLarge { limit: MOST_NAMES as u64, unit: "bytes of names" });
            }
            let name = String::from_utf8_lossy(&name);
            let path = self.real(&parts(&name).collect::<Vec<_>>().join("/"));
            let early = matches!(path.as_str(), "" | "kernel" | "early_cpio") || path.starts_with("kernel/");
            if !early {
                counts.outside_kernel += 1;
            }
            self.member(stream, path, header)?;
            stream.align()?;
            match stream.next_byte()? {
                Some(b'0') => {}
                // Padding or the end instead of a trailer: the kernel goes on with what follows.
                _ => return Ok(counts),
            }
        }
    }

    fn member<R: BufRead>(
        &mut self,
        stream: &mut Stream<R>,
        path: String,
        header: Header,
    ) -> Result<(), UnpackError> {
        let body = header.body_length;
        let member = match header.mode & newc::TYPE_MASK {
            newc::TYPE_FILE => Member::File(body),
            newc::TYPE_DIRECTORY => Member::Directory,
            newc::TYPE_SYMLINK => {
                if body > PATH_MAX {
                    return Err(stream.broken("a symbolic link is too long"));
                }
                let mut target = vec![0; body as usize];
                stream.exact(&mut target)?;
                let target = String::from_utf8_lossy(&target).trim_end_matches('\0').to_owned();
                self.directory = (String::new(), String::new());
                self.insert(path, Member::Symlink(target), None);
                return Ok(());
            }
            _ => Member::Other,
        };
        let is_file = matches!(member, Member::File(_));
        let other_names = self.links.get(&header.identity).filter(|_| header.links > 1);
        let other_wanted =
            other_names.is_some_and(|links| links.without.iter().any(|name| (self.keep)(name)));
        let wanted = is_file && body <= MOST_KEPT && ((self.keep)(&path) || other_wanted);
        let wanted = wanted && self.kept.saturating_add(body as usize) <= MOST_KEPT_TOTAL;
        let mut content = None;
        let mut sum = 0_u32;
        if wanted {
            let mut bytes = vec![0; body as usize];
            stream.exact(&mut bytes)?;
            sum = add(0, &bytes);
            content = Some(bytes);
        } else if header.checksum.is_some() && is_file {
            stream.each(u64::from(body), |bytes| sum = add(sum, bytes))?;
        } else {
            stream.skip(u64::from(body))?;
        }
        if is_file && header.checksum.is_some_and(|checksum| checksum != sum) {
            return Err(stream.broken("a member does not have its checksum"));
        }
        if path.is_empty() {
            return Ok(());
        }
        if is_file && header.links > 1 {
            self.link(path, body, content, header.identity);
        } else {
            self.insert(path, member, content);
        }
        Ok(())
    }

    /// One of several names of a file: the data stands with one of them, mostly the last.
    fn link(&mut self, path: String, body: u32, content: Option<Vec<u8>>, identity: (u32, u32, u32)) {
        let links = self.links.entry(identity).or_default();
        if body > 0 {
            links.data = Some(path.clone());
            for name in std::mem::take(&mut links.without) {
                let kept = self.kept.saturating_add(body as usize);
                let content = content.clone().filter(|_| kept <= MOST_KEPT_TOTAL && (self.keep)(&name));
                self.insert(name, Member::File(body), content);
            }
            self.insert(path, Member::File(body), content);
        } else if let Some(data) = links.data.clone() {
            let member = self.archive.members.get(&data).cloned().unwrap_or(Member::File(0));
            let kept = self.archive.kept.get(&data).filter(|content| {
                self.kept.saturating_add(content.len()) <= MOST_KEPT_TOTAL && (self.keep)(&path)
            });
            let content = kept.cloned();
            self.insert(path, member, content);
        } else {
            links.without.push(path.clone());
            self.insert(path, Member::File(0), content);
        }
    }

    fn insert(&mut self, path: String, member: Member, content: Option<Vec<u8>>) {
        let old = match content {
            Some(content) => {
                self.kept += content.len();
                self.archive.kept.insert(path.clone(), content)
            }
            None => self.archive.kept.remove(&path),
        };
        self.kept -= old.map_or(0, |old| old.len());
        self.archive.members.insert(path, member);
    }

    /// Where a member really goes: its directory's links followed, as the kernel does when it
    /// makes the file. The last part is what is made, and not followed.
    fn real(&mut self, path: &str) -> String {
        let Some((directory, name)) = path.rsplit_once('/') else { return path.to_owned() };
        if self.directory.0 != directory {
            let real = self.archive.resolve(directory).unwrap_or_else(|| directory.to_owned());
            self.directory = (directory.to_owned(), real);
        }
        let real = &self.directory.1;
        if real.is_empty() { name.to_owned() } else { format!("{real}/{name}") }
    }
}

/// The checksum of the `070702` variant: the bytes' sum.
fn add(sum: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(sum, |sum, byte| sum.wrapping_add(u32::from(*byte)))
}

/// The names of one file that has several.
#[derive(Default)]
struct Links {
    /// Those that came before the data.
    without: Vec<String>,
    /// The one that the data stood with.
    data: Option<String>,
}

#[derive(Default)]
struct Counts {
    members: usize,
    outside_kernel: usize,
}

/// A cpio stream and the position in it, by which the kernel aligns.
struct Stream<R> {
    source: R,
    position: u64,
    offset: u64,
    compression: Option<Compression>,
}

impl<R: BufRead> Stream<R> {
    fn broken(&self, what: &'static str) -> UnpackError {
        UnpackError::Broken { offset: self.offset, what }
    }

    fn failed(&self, source: io::Error) -> UnpackError {
        match self.compression {
            Some(compression) => {
                UnpackError::Damaged { offset: self.offset, compression: compression.name(), source }
            }
            None if source.kind() == io::ErrorKind::UnexpectedEof => self.broken("it is cut off"),
            None => UnpackError::Read { offset: self.offset + self.position, source },
        }
    }

    fn next_byte(&mut self) -> Result<Option<u8>, UnpackError> {
        match self.source.fill_buf() {
            Ok(bytes) => Ok(bytes.first().copied()),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn exact(&mut self, buffer: &mut [u8]) -> Result<(), UnpackError> {
        self.source.read_exact(buffer).map_err(|error| self.failed(error))?;
        self.position += buffer.len() as u64;
        Ok(())
    }

    fn skip(&mut self, count: u64) -> Result<(), UnpackError> {
        self.each(count, |_| {})
    }

    /// Shows the next bytes piece by piece.
    fn each(&mut self, count: u64, mut show: impl FnMut(&[u8])) -> Result<(), UnpackError> {
        let mut left = count;
        while left > 0 {
            let step = match self.source.fill_buf() {
                Ok([]) => return Err(self.failed(io::ErrorKind::UnexpectedEof.into())),
                Ok(bytes) => {
                    let step = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    show(&bytes[..step]);
                    step
                }
                Err(error) => return Err(self.failed(error)),
            };
            self.source.consume(step);
            left -= step as u64;
        }
        self.position += count;
        Ok(())
    }

    /// Moves on to a multiple of four. The end of the stream may cut the last padding off.
    fn align(&mut self) -> Result<(), UnpackError> {
        while !self.position.is_multiple_of(4) && self.next_byte()?.is_some() {
            self.skip(1)?;
        }
        Ok(())
    }
}
