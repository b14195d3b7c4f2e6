//! A file in memory, of which only the parts that are not zero take room.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes of a part.
const PART: u64 = 4096;

/// A sparse file.
#[derive(Debug, Clone, Default)]
pub struct Sparse {
    size: u64,
    parts: BTreeMap<u64, Box<[u8; PART as usize]>>,
}

impl Sparse {
    /// A file of zeros.
    #[must_use]
    pub fn zeros(size: u64) -> Self {
        Self { size, parts: BTreeMap::new() }
    }

    /// A file of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut file = Self::zeros(bytes.len() as u64);
        file.write(0, bytes);
        file
    }

    /// Its length in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Makes it longer with zeros, or shorter.
    pub fn resize(&mut self, size: u64) {
        if size < self.size {
            let rest = self.parts.split_off(&(size / PART));
            if let Some((index, mut part)) =
                rest.into_iter().next().filter(|(index, _)| *index == size / PART)
            {
                part[usize::try_from(size % PART).unwrap_or(0)..].fill(0);
                self.parts.insert(index, part);
            }
        }
        self.size = size;
    }

    /// Its bytes from `offset` on; zeros behind its end.
    #[must_use]
    pub fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let mut done = 0;
        while done < length {
            let place = offset.saturating_add(done as u64);
            let at = usize::try_from(place % PART).unwrap_or(0);
            let count = (PART as usize - at).min(length - done);
            if let Some(part) = self.parts.get(&(place / PART)) {
                bytes[done..done + count].copy_from_slice(&part[at..at + count]);
            }
            done += count;
        }
        bytes
    }

    /// Puts bytes at a place; what lies behind its end is dropped.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let bytes = &bytes[..bytes.len().min(left)];
        let mut done = 0;
        while done < bytes.len() {
            let place = offset + done as u64;
            let at = usize::try_from(place % PART).unwrap_or(0);
            let count = (PART as usize - at).min(bytes.len() - done);
            let part = self.parts.entry(place / PART).or_insert_with(|| Box::new([0; PART as usize]));
            part[at..at + count].copy_from_slice(&bytes[done..done + count]);
            done += count;
        }
    }

    /// Where its lines of `line` bytes are that hold something, in order.
    #[must_use]
    pub fn lines(&self, line: u64) -> Vec<u64> {
        let size = usize::try_from(line).unwrap_or(1).max(1);
        self.parts
            .iter()
            .flat_map(|(index, part)| {
                let lines = part.chunks(size).enumerate();
                let full = lines.filter(|(_, bytes)| bytes.iter().any(|byte| *byte != 0));
                full.map(move |(number, _)| index * PART + number as u64 * line)
            })
            .collect()
    }

    /// How many bytes of it take room.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.parts.len() as u64 * PART
    }

    /// Puts it in a file, in the place of all that was there.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn store(&self, file: &File) -> io::Result<()> {
        file.set_len(0)?;
        for (index, part) in &self.parts {
            file.write_all_at(&part[..], index * PART)?;
        }
        file.set_len(self.size)
    }
}
