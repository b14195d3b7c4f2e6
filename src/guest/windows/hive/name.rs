//! Names of keys and values, and how they are ordered.

use std::cmp::Ordering;

use crate::guest::windows::bytes::utf16;

/// A name of bytes of Latin-1 (`KEY_COMP_NAME`, `VALUE_COMP_NAME`).
pub(super) fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// A name or text of UTF-16LE.
pub(super) fn wide(bytes: &[u8]) -> String {
    utf16(bytes, u16::from_le_bytes)
}

/// Upper case as Windows has it: one UTF-16 unit to one unit.
fn upper(unit: char) -> char {
    let mut upper = unit.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(single), None) if single.len_utf16() == unit.len_utf16() => single,
        _ => unit,
    }
}

/// How keys are ordered and found: by the upper-case UTF-16 units ("Index leaf").
pub(super) fn order(left: &str, right: &str) -> Ordering {
    let units = |name: &str| name.chars().map(upper).collect::<String>().encode_utf16().collect::<Vec<u16>>();
    if left.is_ascii() && right.is_ascii() {
        let upper = |name: &str| name.bytes().map(|byte| byte.to_ascii_uppercase()).collect::<Vec<u8>>();
        return upper(left).cmp(&upper(right));
    }
    units(left).cmp(&units(right))
}

/// Whether two names are one for Windows.
pub(super) fn same(left: &str, right: &str) -> bool {
    left == right || order(left, right) == Ordering::Equal
}
