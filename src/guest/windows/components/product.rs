//! The version of what a Windows Installer package installs: the row `ProductVersion` of the table
//! `Property` in its database (Windows Installer SDK, "Property Table"). A table is a stream of
//! columns, one after the other, of numbers of strings; the strings are in `_StringData`, their lengths
//! in `_StringPool`.

use super::compound::{Compound, CompoundError, wrong};
use crate::guest::windows::bytes::{u16_at, u32_at};

/// What stands before a table's name, and where pairs and single characters of a name begin.
const TABLE: char = '\u{4840}';
const PAIRS: u32 = 0x3800;
const SINGLES: u32 = 0x4800;
/// The flag of the string pool's header that numbers of strings have three bytes.
const LONG_NUMBERS: u32 = 0x8000_0000;

/// The version that a package says of its product, where it says one.
///
/// # Errors
/// It is no package, holds no database, or is damaged.
pub(super) fn version(data: &[u8]) -> Result<Option<[u16; 4]>, CompoundError> {
    let package = Compound::read(data)?;
    let needed = |name| package.stream_named(&packed(name))?.ok_or(wrong("it holds no database"));
    let (pool, text) = (needed("_StringPool")?, needed("_StringData")?);
    let header = u32_at(&pool, 0).ok_or(wrong("its strings are not all there"))?;
    let width = if header & LONG_NUMBERS == 0 { 2 } else { 3 };
    let Some(table) = package.stream_named(&packed("Property"))? else { return Ok(None) };
    let (names, values) = table.split_at(table.len() / 2);
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte));
    // Numbers of strings begin with one.
    let name = strings(&pool, &text).position(|string| string == b"ProductVersion");
    let Some(name) = name.map(|place| place + 1) else { return Ok(None) };
    let mut rows = names.chunks_exact(width).zip(values.chunks_exact(width));
    let row = rows.find(|(own, _)| number(own) == name);
    let value = row.and_then(|(_, value)| strings(&pool, &text).nth(number(value).checked_sub(1)?));
    Ok(value.and_then(|value| dotted(std::str::from_utf8(value).ok()?)))
}

/// A version as people write it: two to four numbers.
pub(super) fn dotted(text: &str) -> Option<[u16; 4]> {
    let mut version = [0; 4];
    let mut count = 0;
    for part in text.trim().split('.') {
        *version.get_mut(count)? = part.parse().ok()?;
        count += 1;
    }
    (count >= 2).then_some(version)
}

/// A table's name as its stream has it: two characters of 64 in one of UTF-16.
fn packed(name: &str) -> String {
    const ORDER: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._";
    let digits: Vec<u32> = name.chars().filter_map(|one| ORDER.find(one)).map(|at| at as u32).collect();
    let one = |digits: &[u32]| match digits {
        [first, second, ..] => PAIRS + (second << 6) + first,
        [single] => SINGLES + single,
        [] => 0,
    };
    std::iter::once(TABLE).chain(digits.chunks(2).map(one).filter_map(char::from_u32)).collect()
}

/// The strings of a database in the order of their numbers.
fn strings<'a>(pool: &'a [u8], text: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let (mut at, mut begin) = (4, 0_usize);
    std::iter::from_fn(move || {
        let (short, uses) = (u16_at(pool, at)?, u16_at(pool, at + 2)?);
        at += 4;
        let mut length = usize::from(short);
        if short == 0 && uses != 0 {
            // One of 64 KiB and more: these were the upper bits of its length.
            length = usize::from(uses) << 16 | usize::from(u16_at(pool, at)?);
            at += 4;
        }
        let string = text.get(begin..begin.checked_add(length)?)?;
        begin += length;
        Some(string)
    })
}
