//! What an input means: a base, and changes of it. So the fuzzer keeps what is sound of an image,
//! and its inputs stay small.
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 1 | which base; one more than there are: the rest is the first file's content |
//! | 1 | 1 | options ([`Case::sealed`] and others) |
//! | 2 | 2 | the seed of the reads |
//! | 4 | 4 | unused |
//! | 8 | 8 each | changes |
//!
//! A change: the operation (1 byte: 3 bits kind, 1 big-endian, 1 by place instead of by line, 3
//! how many bytes the value is shifted by), which file (1), where (2, in lines or in units of 64
//! bytes), the value (4). All little-endian.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::base::{Base, LINE};
use super::sparse::Sparse;

/// Bytes of the head and of each change.
pub const RECORD: usize = 8;
/// Most changes of an input that count.
const MOST_CHANGES: usize = 64;
/// The longest that a change makes a file.
const LONGEST: u64 = 1 << 40;

/// An input as files.
#[derive(Debug, Clone)]
pub struct Case {
    /// Which base it comes from.
    pub base: usize,
    /// Its first bit: checksums stay as the changes left them.
    pub options: u8,
    /// For what is read.
    pub seed: u64,
    /// The files, the one that is opened first.
    pub files: Vec<(String, Sparse)>,
}

impl Case {
    /// Reads an input; `None` when it is too short.
    #[must_use]
    pub fn decode(bases: &[Base], input: &[u8]) -> Option<Self> {
        let (head, rest) = input.split_first_chunk::<RECORD>()?;
        let index = usize::from(head[0]) % (bases.len() + 1);
        let is_raw = index == bases.len();
        let base = bases.get(if is_raw { 0 } else { index })?;
        let mut files: Vec<(String, Sparse)> =
            base.files.iter().map(|file| (file.name.clone(), file.content.clone())).collect();
        if is_raw {
            files[0].1 = Sparse::of(rest);
        } else {
            let mut records = rest.as_chunks::<RECORD>().0.iter().take(MOST_CHANGES);
            while let Some(record) = records.next() {
                change(base, &mut files, record, &mut records);
            }
        }
        let seed = u64::from(u16::from_le_bytes([head[2], head[3]]));
        Some(Self { base: index, options: head[1], seed, files })
    }

    /// Whether checksums are to be made right after the changes.
    #[must_use]
    pub fn sealed(&self) -> bool {
        self.options & 1 == 0
    }

    /// How many bytes its files take.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.files.iter().map(|(_, file)| file.stored()).sum()
    }

    /// Writes its files below a directory; gives the first one's path.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn store(&self, directory: &Path) -> io::Result<PathBuf> {
        for (name, content) in &self.files {
            let path = directory.join(name);
            let file = match File::create(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    fs::create_dir_all(path.parent().unwrap_or(directory))?;
                    File::create(&path)?
                }
                Err(error) => return Err(error),
            };
            content.store(&file)?;
        }
        Ok(directory.join(&self.files[0].0))
    }
}

/// Makes one change; some take the records behind theirs.
fn change<'r>(
    base: &Base,
    files: &mut [(String, Sparse)],
    record: &[u8; RECORD],
    more: &mut impl Iterator<Item = &'r [u8; RECORD]>,
) {
    let [operation, which, p0, p1, v0, v1, v2, v3] = *record;
    let which = usize::from(which) % files.len();
    let (original, file) = (&base.files[which], &mut files[which].1);
    let at = u16::from_le_bytes([p0, p1]);
    let place = if operation & 16 == 0 { original.place(at) } else { u64::from(at) * LINE };
    let value = u32::from_le_bytes([v0, v1, v2, v3]);
    let shift = u32::from(operation >> 5) * 8;
    let shifted = u64::from(value).checked_shl(shift).unwrap_or(0);
    let is_big = operation & 8 != 0;
    let mut put = |number: u64, width: usize| {
        let bytes = if is_big { number.to_be_bytes() } else { number.to_le_bytes() };
        file.write(place, if is_big { &bytes[8 - width..] } else { &bytes[..width] });
    };
    match operation & 7 {
        0 => put(shifted, 1),
        1 => put(shifted, 2),
        2 => put(shifted, 4),
        3 => put(shifted, 8),
        4 => put(!shifted, 8),
        // A number a little larger or smaller than it was.
        5 => {
            let width = 1 << (operation >> 6);
            let mut bytes = [0; 8];
            let old = file.read(place, width);
            let number = if is_big {
                bytes[8 - width..].copy_from_slice(&old);
                u64::from_be_bytes(bytes)
            } else {
                bytes[..width].copy_from_slice(&old);
                u64::from_le_bytes(bytes)
            };
            let number = number.wrapping_add_signed(i64::from(value.cast_signed()));
            let bytes = if is_big { number.to_be_bytes() } else { number.to_le_bytes() };
            file.write(place, if is_big { &bytes[8 - width..] } else { &bytes[..width] });
        }
        // Bytes as they are, those of the records that follow.
        6 => {
            let count = usize::from(v0).min(256);
            let bytes: Vec<u8> = more.take(count.div_ceil(RECORD)).flatten().copied().collect();
            file.write(place, &bytes[..count.min(bytes.len())]);
        }
        // Another length, or a part of the file copied to another place of it.
        _ if operation & 32 == 0 => {
            let size = if operation & 64 == 0 { u64::from(value) } else { file.size() + u64::from(value) };
            file.resize(size.min(LONGEST));
        }
        _ => {
            let from = original.place(u16::from_le_bytes([v0, v1]));
            let bytes = file.read(from, usize::from(v2) + 1);
            file.write(place, &bytes);
        }
    }
}
