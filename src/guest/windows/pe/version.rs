//! The file's version, in its resources.

use super::image::Pe;
use crate::guest::windows::bytes::{u16_at, u32_at};

/// The type of version resources.
const VERSION: u32 = 16;
/// What a fixed version begins with.
const SIGNATURE: u32 = 0xfeef_04bd;
/// Most entries of a resource directory that are looked at.
const MOST: usize = 4096;
/// Set where a resource's place is a directory's, or its name a text's.
const HIGH: u32 = 1 << 31;

impl Pe<'_> {
    /// The file's version (`VS_FIXEDFILEINFO`), where it has one.
    #[must_use]
    pub fn file_version(&self) -> Option<[u16; 4]> {
        let resources = self.resources()?;
        // Type, name, language: three levels, of the last two the first.
        let names = entry(resources, 0, Some(VERSION))? & !HIGH;
        let languages = entry(resources, names as usize, None)? & !HIGH;
        let data = entry(resources, languages as usize, None)?;
        let data = data as usize;
        let (address, size) = (u32_at(resources, data)?, u32_at(resources, data + 4)?);
        let content = self.at(address)?;
        let content = content.get(..(size as usize).min(content.len()))?;
        // A length, a value's length, a type, then "VS_VERSION_INFO" in UTF-16, all to a multiple
        // of four.
        let key: Vec<u8> = "VS_VERSION_INFO\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
        if content.get(6..6 + key.len())? != key || usize::from(u16_at(content, 2)?) < 52 {
            return None;
        }
        let fixed = (6 + key.len()).next_multiple_of(4);
        if u32_at(content, fixed)? != SIGNATURE {
            return None;
        }
        let (high, low) = (u32_at(content, fixed + 8)?, u32_at(content, fixed + 12)?);
        let halves = |number: u32| [(number >> 16) as u16, (number & 0xffff) as u16];
        let ([one, two], [three, four]) = (halves(high), halves(low));
        Some([one, two, three, four])
    }
}

/// What an entry of a resource directory points to: that of this number, or the first.
fn entry(resources: &[u8], directory: usize, number: Option<u32>) -> Option<u32> {
    let named = usize::from(u16_at(resources, directory.checked_add(12)?)?);
    let numbered = usize::from(u16_at(resources, directory.checked_add(14)?)?);
    let entries = (named + numbered).min(MOST);
    (0..entries).find_map(|index| {
        let place = directory + 16 + index * 8;
        let own = u32_at(resources, place)?;
        let taken = number.is_none_or(|number| number == own);
        if taken { u32_at(resources, place + 4) } else { None }
    })
}
