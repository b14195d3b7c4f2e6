//! An archive whose members are read in order.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tar::{EntryType, Header};

use super::super::ova::Hasher;
use super::input::{Bytes, fill, only_zeros_left};
use super::{StreamError, Watch};

/// Bytes of a header, and what members are padded to.
const BLOCK: u64 = 512;
/// Most members of an appliance.
const MOST_MEMBERS: usize = 4096;
/// Most bytes of a long name or of extended attributes.
const MOST_EXTENSION: u64 = 1 << 20;

/// A member's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub name: String,
    pub size: u64,
}

/// A member's digest, taken as it went by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MemberDigest {
    pub name: String,
    /// What the algorithm was asked for by.
    pub algorithm: String,
    pub digest: String,
}

/// An archive being read.
pub(super) struct Tar {
    reader: Bytes,
    watch: Arc<Watch>,
    /// Where it stands.
    at: u64,
    /// Bytes left of the member, and of its padding.
    left: u64,
    padding: u64,
    members: usize,
    current: String,
    hashers: Vec<(String, Hasher)>,
    digests: Vec<MemberDigest>,
}

impl Tar {
    pub(super) fn new(reader: Bytes, watch: Arc<Watch>) -> Self {
        Self {
            reader,
            watch,
            at: 0,
            left: 0,
            padding: 0,
            members: 0,
            current: String::new(),
            hashers: Vec::new(),
            digests: Vec::new(),
        }
    }

    fn damaged(&self, at: u64, what: impl Into<String>) -> StreamError {
        StreamError::Damaged { name: self.watch.name().to_owned(), offset: at, what: what.into() }
    }

    fn cut(&self) -> StreamError {
        StreamError::CutShort {
            name: self.watch.name().to_owned(),
            offset: self.watch.bytes_read(),
            what: "its archive has no end".to_owned(),
        }
    }

    /// The digests of the members that were to be digested and have gone by.
    pub(super) fn digests(&self) -> &[MemberDigest] {
        &self.digests
    }

    /// Digests the member that was begun, from its first byte on, with those of these algorithms
    /// that are known.
    pub(super) fn digest_with(&mut self, algorithms: &[&str]) {
        let known = |algorithm: &&str| Some(((*algorithm).to_owned(), Hasher::named(algorithm)?));
        self.hashers = algorithms.iter().filter_map(known).collect();
    }

    /// Reads over what is left of this member, up to the next file. `None` at the archive's end.
    pub(super) fn next(&mut self) -> Result<Option<Member>, StreamError> {
        self.finish_member()?;
        let (mut long_name, mut extended) = (None, Extended::default());
        loop {
            let at = self.at;
            let mut bytes = [0; BLOCK as usize];
            if self.fill(&mut bytes)? < bytes.len() {
                return Err(self.cut());
            }
            if bytes == [0; BLOCK as usize] {
                return Ok(None);
            }
            let header = Header::from_byte_slice(&bytes);
            let sum = checksum(&bytes);
            if header.cksum().ok() != Some(sum) {
                return Err(self.damaged(at, "as a tar file: a header's checksum is wrong"));
            }
            let size =
                header.entry_size().map_err(|error| self.damaged(at, format!("as a tar file: {error}")))?;
            self.members += 1;
            if self.members > MOST_MEMBERS {
                return Err(self.damaged(at, format!("an appliance has at most {MOST_MEMBERS} members")));
            }
            let kind = header.entry_type();
            let size = match kind {
                EntryType::Regular | EntryType::Continuous => extended.size.unwrap_or(size),
                _ => size,
            };
            self.begin(size).ok_or_else(|| self.damaged(at, "a member's size is impossible"))?;
            match kind {
                EntryType::Regular | EntryType::Continuous => {
                    let name =
                        extended.name.or(long_name).unwrap_or_else(|| header.path_bytes().into_owned());
                    let name = String::from_utf8_lossy(&name).trim_start_matches("./").to_owned();
                    self.current.clone_from(&name);
                    return Ok(Some(Member { name, size }));
                }
                EntryType::GNUSparse => {
                    return Err(self.damaged(at, "an appliance must not have sparse members"));
                }
                EntryType::GNULongName => {
                    let mut name = self.small(MOST_EXTENSION, "name")?;
                    name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
                    long_name = Some(name);
                }
                EntryType::XHeader => {
                    let text = self.small(MOST_EXTENSION, "extended header")?;
                    extended = Extended::parse(&text)
                        .ok_or_else(|| self.damaged(at, "as a tar file: an extended header is malformed"))?;
                }
                _ => {}
            }
            self.finish_member()?;
        }
    }

    fn begin(&mut self, size: u64) -> Option<()> {
        self.padding = size.checked_next_multiple_of(BLOCK)? - size;
        self.left = size;
        Some(())
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, StreamError> {
        let count = fill(&mut self.reader, buffer).map_err(|error| self.watch.error(error))?;
        self.at += count as u64;
        Ok(count)
    }

    fn finish_member(&mut self) -> Result<(), StreamError> {
        let mut buffer = vec![0; 64 << 10];
        while self.left > 0 {
            self.read(&mut buffer).map_err(|error| self.watch.error(error))?;
        }
        for (algorithm, hasher) in self.hashers.drain(..) {
            let name = self.current.clone();
            self.digests.push(MemberDigest { name, algorithm, digest: hasher.finish() });
        }
        let mut padding = [0; BLOCK as usize];
        let length = usize::try_from(std::mem::take(&mut self.padding)).unwrap_or(0);
        match self.fill(&mut padding[..length])? == length {
            true => Ok(()),
            false => Err(self.cut()),
        }
    }

    /// Reads what is left of the member; that must be little.
    pub(super) fn small(&mut self, most: u64, what: &str) -> Result<Vec<u8>, StreamError> {
        if self.left > most {
            let what = format!("its {what} has {} bytes, at most {most} are possible", self.left);
            return Err(self.damaged(self.at, what));
        }
        let mut bytes = vec![0; usize::try_from(self.left).unwrap_or(usize::MAX)];
        let mut done = 0;
        while done < bytes.len() {
            done += self.read(&mut bytes[done..]).map_err(|error| self.watch.error(error))?;
        }
        Ok(bytes)
    }

    /// Reads over the rest, which must be padding.
    pub(super) fn finish(&mut self) -> Result<(), StreamError> {
        match only_zeros_left(&mut self.reader).map_err(|error| self.watch.error(error))? {
            true => Ok(()),
            false => Err(self.damaged(self.at, "something follows the archive's end")),
        }
    }
}

/// What is left of the member; an archive that ends within it is an error.
impl Read for Tar {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if room == 0 {
            return Ok(0);
        }
        let count = self.reader.read(&mut buffer[..room])?;
        if count == 0 {
            let error = StreamError::CutShort {
                name: self.watch.name().to_owned(),
                offset: self.watch.bytes_read(),
                what: format!("its member `{}` goes on for {} bytes", self.current, self.left),
            };
            return Err(self.watch.fail(error));
        }
        self.left -= count as u64;
        self.at += count as u64;
        for (_, hasher) in &mut self.hashers {
            hasher.update(&buffer[..count]);
        }
        Ok(count)
    }
}

/// An archive that is read by two: through its current member, and from member to member. Never
/// at the same time; a lock only proves that.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<Tar>>);

impl Shared {
    pub(super) fn new(tar: Tar) -> Self {
        Self(Arc::new(Mutex::new(tar)))
    }

    pub(super) fn tar(&self) -> MutexGuard<'_, Tar> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Read for Shared {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.tar().read(buffer)
    }
}

/// The sum of a header's bytes, its own field as if it were spaces.
fn checksum(bytes: &[u8; BLOCK as usize]) -> u32 {
    let sum = |part: &[u8]| part.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    sum(&bytes[..148]) + 8 * u32::from(b' ') + sum(&bytes[156..])
}

/// What an extended header says of the member after it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Extended {
    name: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Extended {
    /// Reads records of the form `20 path=a/long/name\n`.
    fn parse(mut text: &[u8]) -> Option<Self> {
        let mut found = Self::default();
        while !text.is_empty() {
            let space = text.iter().position(|byte| *byte == b' ')?;
            let length: usize = std::str::from_utf8(&text[..space]).ok()?.parse().ok()?;
            let record = text.get(space + 1..length)?.strip_suffix(b"\n")?;
            let equals = record.iter().position(|byte| *byte == b'=')?;
            let value = &record[equals + 1..];
            match &record[..equals] {
                b"path" => found.name = Some(value.to_vec()),
                b"size" => found.size = Some(std::str::from_utf8(value).ok()?.parse().ok()?),
                _ => {}
            }
            text = text.get(length..)?;
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extended_headers() {
        let parsed = Extended::parse(b"12 path=a b\n20 size=10000000000\n6 x=y\n").unwrap();
        assert_eq!(parsed, Extended { name: Some(b"a b".to_vec()), size: Some(10_000_000_000) });
        for wrong in [&b"11 path=a b\n"[..], b"x path=a\n", b"99 path=a\n", b"3 a\n", b"0 a=b\n"] {
            assert_eq!(Extended::parse(wrong), None);
        }
    }
}
