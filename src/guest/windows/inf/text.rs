//! Bytes as text: UTF-16, UTF-8 or the ANSI code page.

use crate::guest::windows::bytes::utf16;

/// The text of a file. Unicode files begin with a byte order mark, or their second byte is zero;
/// what is no UTF-8 is taken for Latin-1: names that Windows compares are ASCII.
pub fn decode(bytes: &[u8]) -> String {
    match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        [1..=0x7f, 0, ..] => utf16(bytes, u16::from_le_bytes),
        _ => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => bytes.iter().copied().map(char::from).collect(),
        },
    }
}

/// A number as setup files write it: decimal, or hexadecimal after `0x`.
pub fn number(text: &str) -> Option<u32> {
    let text = text.trim();
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}
