//! Keys and their values, followed from the root.

use std::borrow::Cow;

use super::HiveError;
use super::base::{BASE_BLOCK, BaseBlock};
use super::cell::{Cells, NONE, damaged};
use super::name;
use super::value::Value;
use crate::guest::windows::bytes::{u16_at, u32_at, u64_at};

/// The deepest key that Windows makes ("Registry Element Size Limits", Microsoft).
const MOST_LEVELS: usize = 512;
/// A value of more is refused: it is no setting.
const MOST_DATA: u32 = 64 << 20;
/// The most that one cell holds of a value; more is in segments ("Big data").
const SEGMENT: usize = 16_344;

/// A hive that is whole and up to date.
#[derive(Debug)]
pub struct Hive<'h> {
    cells: Cells<'h>,
    base: BaseBlock,
}

/// What [`Hive::verify`] has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Keys, the root included.
    pub keys: u64,
    /// Values.
    pub values: u64,
}

impl<'h> Hive<'h> {
    /// Reads a hive's frame: its header and every cell's bounds, in one pass.
    ///
    /// # Errors
    /// When it is no hive, damaged, or was caught while Windows wrote it ([`super::replay`] first).
    pub fn read(bytes: &'h [u8]) -> Result<Self, HiveError> {
        let base = BaseBlock::read(bytes)?;
        if !base.is_sound {
            return Err(HiveError::Checksum);
        }
        if base.file_type != 0 {
            return Err(HiveError::NotAHive("it is a log"));
        }
        if base.is_dirty() {
            return Err(HiveError::Unrecoverable("its logs were not applied"));
        }
        Ok(Self { cells: Cells::read(bytes, &base)?, base })
    }

    /// Its cells.
    pub(super) fn cells(&self) -> &Cells<'h> {
        &self.cells
    }

    /// The root key.
    ///
    /// # Errors
    /// When there is none.
    pub fn root(&self) -> Result<Key<'_>, HiveError> {
        Key::read(self, self.base.root, 0)
    }

    /// The key at a path from the root, `\` between names; `None` when there is none.
    ///
    /// # Errors
    /// When the hive is damaged on the way.
    pub fn key(&self, path: &str) -> Result<Option<Key<'_>>, HiveError> {
        let mut key = self.root()?;
        for name in path.split('\\').filter(|name| !name.is_empty()) {
            match key.subkey(name)? {
                Some(next) => key = next,
                None => return Ok(None),
            }
        }
        Ok(Some(key))
    }

    /// Follows everything that can be reached: each key once, below its parent, in order; each value's
    /// data.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn verify(&self) -> Result<Statistics, HiveError> {
        let mut seen = vec![0_u64; self.cells.len().div_ceil(8 * 64)];
        let mut statistics = Statistics::default();
        let mut rest = vec![self.root()?];
        while let Some(key) = rest.pop() {
            let (word, bit) = (key.offset as usize / 512, 1_u64 << (key.offset / 8 % 64));
            if seen[word] & bit != 0 {
                return Err(damaged(key.offset, "a key is reached twice"));
            }
            seen[word] |= bit;
            statistics.keys += 1;
            for value in key.values()? {
                value?;
                statistics.values += 1;
            }
            key.security()?;
            let subkeys = key.subkeys()?;
            let mut before: Option<String> = None;
            for subkey in &subkeys {
                if subkey.parent() != key.offset {
                    return Err(damaged(subkey.offset, "a key names another parent"));
                }
                let name = subkey.name();
                if before.is_some_and(|before| name::order(&before, &name).is_ge()) {
                    return Err(damaged(subkey.offset, "a key is out of order"));
                }
                before = Some(name);
            }
            rest.extend(subkeys);
        }
        Ok(statistics)
    }
}

/// A key.
#[derive(Debug, Clone, Copy)]
pub struct Key<'h> {
    hive: &'h Hive<'h>,
    offset: u32,
    cell: &'h [u8],
    depth: usize,
}

impl<'h> Key<'h> {
    fn read(hive: &'h Hive<'h>, offset: u32, depth: usize) -> Result<Self, HiveError> {
        let cell = hive.cells.cell(offset)?;
        let key = Self { hive, offset, cell, depth };
        if !cell.starts_with(b"nk") || cell.len() < 76 + key.short(72) as usize {
            return Err(damaged(offset, "a key is no key"));
        }
        if depth > MOST_LEVELS {
            return Err(damaged(offset, "keys lie deeper than Windows makes them"));
        }
        Ok(key)
    }

    /// Where its cell is in the file.
    pub(super) fn place(&self) -> usize {
        self.offset as usize + BASE_BLOCK
    }

    /// The same from the first bin.
    pub(super) fn offset(&self) -> u32 {
        self.offset
    }

    fn short(&self, at: usize) -> u16 {
        u16_at(self.cell, at).unwrap_or_default()
    }

    /// A number of its cell.
    pub(super) fn word(&self, at: usize) -> u32 {
        u32_at(self.cell, at).unwrap_or_default()
    }

    fn parent(&self) -> u32 {
        self.word(16)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> String {
        let bytes = self.cell.get(76..76 + self.short(72) as usize).unwrap_or_default();
        if self.short(2) & 0x20 != 0 { name::latin(bytes) } else { name::wide(bytes) }
    }

    /// FILETIME of its last change: units of 100 ns since 1601.
    #[must_use]
    pub fn last_written(&self) -> u64 {
        u64_at(self.cell, 4).unwrap_or_default()
    }

    /// Its class, which few keys have.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn class(&self) -> Result<Option<String>, HiveError> {
        let (offset, length) = (self.word(48), self.short(74) as usize);
        if offset == NONE || length == 0 {
            return Ok(None);
        }
        Ok(Some(name::wide(self.hive.cells.part(offset, length)?)))
    }

    /// Its security descriptor, self-relative.
    ///
    /// # Errors
    /// When it is damaged or there is none.
    pub fn security(&self) -> Result<&'h [u8], HiveError> {
        let offset = self.word(44);
        let cell = self.hive.cells.part(offset, 20)?;
        if !cell.starts_with(b"sk") {
            return Err(damaged(offset, "a key's security is none"));
        }
        let length = u32_at(cell, 16).unwrap_or_default() as usize;
        let end =
            length.checked_add(20).ok_or_else(|| damaged(offset, "a security descriptor is too long"))?;
        Ok(&self.hive.cells.part(offset, end)?[20..])
    }

    /// Its subkeys, in the order of the hive.
    ///
    /// # Errors
    /// When a list is damaged or does not have as many as the key says.
    pub fn subkeys(&self) -> Result<Vec<Self>, HiveError> {
        let (count, offset) = (self.word(20) as usize, self.word(28));
        if count == 0 {
            return Ok(Vec::new());
        }
        // Each has a cell of its own: no more than what the hive can hold.
        if count > self.hive.cells.len() / 80 {
            return Err(damaged(self.offset, "a key says that it has more subkeys than there can be"));
        }
        let mut subkeys = Vec::with_capacity(count.min(4096));
        let cell = self.hive.cells.cell(offset)?;
        if cell.starts_with(b"ri") {
            for list in elements(cell, 4).map_err(|what| damaged(offset, what))? {
                self.leaf(list, count, &mut subkeys)?;
            }
        } else {
            self.leaf(offset, count, &mut subkeys)?;
        }
        if subkeys.len() != count {
            return Err(damaged(self.offset, "a key says that it has more subkeys than its list"));
        }
        Ok(subkeys)
    }

    fn leaf(&self, offset: u32, most: usize, subkeys: &mut Vec<Self>) -> Result<(), HiveError> {
        let cell = self.hive.cells.cell(offset)?;
        let width = match cell.first_chunk::<2>() {
            Some(b"li") => 4,
            Some(b"lf" | b"lh") => 8,
            _ => return Err(damaged(offset, "a list of subkeys is none")),
        };
        for element in elements(cell, width).map_err(|what| damaged(offset, what))? {
            if subkeys.len() == most {
                return Err(damaged(self.offset, "a key says that it has fewer subkeys than its list"));
            }
            subkeys.push(Key::read(self.hive, element, self.depth + 1)?);
        }
        Ok(())
    }

    /// The subkey of that name, whatever its case.
    ///
    /// # Errors
    /// When the list is damaged.
    pub fn subkey(&self, name: &str) -> Result<Option<Self>, HiveError> {
        Ok(self.subkeys()?.into_iter().find(|key| name::same(&key.name(), name)))
    }

    /// Its values, read one by one as they are asked for.
    ///
    /// # Errors
    /// When their list is damaged; each value's own damage is that item's.
    pub fn values(&self) -> Result<impl Iterator<Item = Result<Value, HiveError>> + use<'h>, HiveError> {
        let (count, list) = (self.word(36) as usize, self.word(40));
        let offsets = if count == 0 {
            &[][..]
        } else {
            let bytes =
                count.checked_mul(4).ok_or_else(|| damaged(self.offset, "a key has too many values"))?;
            self.hive.cells.part(list, bytes)?
        };
        let hive = self.hive;
        let (offsets, _) = offsets.as_chunks::<4>();
        Ok(offsets.iter().map(move |offset| hive.value(u32::from_le_bytes(*offset))))
    }

    /// The value of that name, whatever its case; the default value's is empty.
    ///
    /// # Errors
    /// When the list or a value before it is damaged.
    pub fn value(&self, name: &str) -> Result<Option<Value>, HiveError> {
        for value in self.values()? {
            let value = value?;
            if name::same(&value.name, name) {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }
}

/// The offsets that a list of subkeys holds.
fn elements(cell: &[u8], width: usize) -> Result<impl Iterator<Item = u32>, &'static str> {
    let count = usize::from(u16_at(cell, 2).unwrap_or_default());
    let bytes = cell.get(4..4 + count * width).ok_or("a list of subkeys is longer than its cell")?;
    Ok(bytes.chunks_exact(width).map(|element| u32_at(element, 0).unwrap_or(NONE)))
}

impl Hive<'_> {
    fn value(&self, offset: u32) -> Result<Value, HiveError> {
        let cell = self.cells.part(offset, 20)?;
        if !cell.starts_with(b"vk") {
            return Err(damaged(offset, "a value is no value"));
        }
        let length = usize::from(u16_at(cell, 2).unwrap_or_default());
        let name = &self.cells.part(offset, 20 + length)?[20..];
        let is_latin = u16_at(cell, 16).unwrap_or_default() & 1 != 0;
        let size = u32_at(cell, 4).unwrap_or_default();
        let data = u32_at(cell, 8).unwrap_or_default();
        let bytes = match size & 0x8000_0000 != 0 {
            true => {
                let length = (size & 0x7fff_ffff) as usize;
                let inline = data.to_le_bytes();
                let inline = inline.get(..length);
                Cow::Owned(
                    inline
                        .ok_or_else(|| damaged(offset, "a value of more than 4 bytes has no cell"))?
                        .to_vec(),
                )
            }
            false if size == 0 => Cow::Borrowed(&[][..]),
            false => self.data(offset, data, size)?,
        };
        Ok(Value {
            name: if is_latin { name::latin(name) } else { name::wide(name) },
            kind: u32_at(cell, 12).unwrap_or_default(),
            bytes: bytes.into_owned(),
        })
    }

    fn data(&self, value: u32, offset: u32, size: u32) -> Result<Cow<'_, [u8]>, HiveError> {
        if size > MOST_DATA {
            return Err(damaged(value, "a value is larger than 64 MiB"));
        }
        let size = size as usize;
        if size <= SEGMENT || self.base.minor < 4 {
            return self.cells.part(offset, size).map(Cow::Borrowed);
        }
        let header = self.cells.part(offset, 8)?;
        if !header.starts_with(b"db") {
            // Windows reads what is in one large cell too, which older versions wrote.
            return self.cells.part(offset, size).map(Cow::Borrowed);
        }
        let count = usize::from(u16_at(header, 2).unwrap_or_default());
        if count != size.div_ceil(SEGMENT) {
            return Err(damaged(offset, "a large value does not have the segments of its size"));
        }
        let list = self.cells.part(u32_at(header, 4).unwrap_or(NONE), count * 4)?;
        let mut bytes = Vec::with_capacity(size);
        for segment in list.chunks_exact(4) {
            let left = (size - bytes.len()).min(SEGMENT);
            bytes.extend_from_slice(self.cells.part(u32_at(segment, 0).unwrap_or(NONE), left)?);
        }
        Ok(Cow::Owned(bytes))
    }
}
