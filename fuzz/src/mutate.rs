//! New inputs from old ones: changes of bases by whole records and by numbers that are likely to
//! matter, texts by words.

use super::base::Base;
use super::case::RECORD;
use super::numbers::Numbers;

/// Numbers at which something often ends.
const EDGES: [u32; 24] = [
    0,
    1,
    2,
    3,
    7,
    8,
    9,
    16,
    0x7f,
    0xff,
    0x100,
    511,
    512,
    513,
    4096,
    0x7fff,
    0xffff,
    0x1_0000,
    0x10_0000,
    0x20_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fffe,
    u32::MAX,
];

/// A change of a base that may be of interest.
fn record(bases: &[Base], base: u8, numbers: &mut Numbers) -> [u8; RECORD] {
    let base = &bases[usize::from(base) % bases.len()];
    let which = numbers.index(base.files.len());
    let kind = match numbers.below(16) {
        0..=1 => 0,
        2..=3 => 1,
        4..=6 => 2,
        7..=9 => 3,
        10 => 4,
        11..=14 => 5,
        _ => 7,
    };
    let modifiers = u8::try_from(numbers.below(32) << 3).unwrap_or(0);
    // Few changes name a place that holds nothing.
    let modifiers = if numbers.below(8) == 0 { modifiers } else { modifiers & !16 };
    // Most values are not shifted.
    let modifiers =
        if kind == 5 || kind == 7 || numbers.below(3) == 0 { modifiers } else { modifiers & 0x1f };
    let value = match numbers.below(4) {
        0..=1 => EDGES[numbers.index(EDGES.len())],
        2 => u32::try_from(numbers.below(1 << 32) >> numbers.below(32)).unwrap_or(0),
        _ => 1 << numbers.below(32),
    };
    let value = if kind == 5 && numbers.below(2) == 0 { 0u32.wrapping_sub(value) } else { value };
    let mut place = base.files[which].likely(numbers);
    if numbers.below(4) != 0 {
        place &= !3;
    }
    let [p0, p1] = place.to_le_bytes();
    let [v0, v1, v2, v3] = value.to_le_bytes();
    [kind | modifiers, u8::try_from(which).unwrap_or(0), p0, p1, v0, v1, v2, v3]
}

/// Changes an input of bases in its buffer, which has room for `data.len()` bytes; gives its new
/// length.
pub fn records(bases: &[Base], data: &mut [u8], length: usize, numbers: &mut Numbers) -> usize {
    let length = length.min(data.len());
    if data.len() < RECORD * 2 {
        return length;
    }
    if length < RECORD {
        data[..RECORD].fill(0);
        data[0] = u8::try_from(numbers.index(bases.len())).unwrap_or(0);
        return RECORD;
    }
    if usize::from(data[0]) % (bases.len() + 1) == bases.len() {
        return text(&[], data, length, numbers);
    }
    let base = data[0] % u8::try_from(bases.len() + 1).unwrap_or(u8::MAX);
    let count = (length / RECORD).saturating_sub(1);
    let place = |index: usize| RECORD * (index + 1);
    match numbers.below(16) {
        // Another record.
        0..=6 if place(count + 1) <= data.len() => {
            let at = place(numbers.index(count + 1));
            data.copy_within(at..place(count), at + RECORD);
            data[at..at + RECORD].copy_from_slice(&record(bases, base, numbers));
            place(count + 1)
        }
        // Another one in its place, or a part of it.
        7..=11 if count > 0 => {
            let at = place(numbers.index(count));
            let new = record(bases, base, numbers);
            match numbers.below(3) {
                0 => data[at..at + RECORD].copy_from_slice(&new),
                1 => data[at + 4..at + RECORD].copy_from_slice(&new[4..]),
                _ => data[at + 2..at + 4].copy_from_slice(&new[2..4]),
            }
            length
        }
        // One less.
        12 if count > 0 => {
            let at = place(numbers.index(count));
            data.copy_within(at + RECORD..place(count), at);
            place(count - 1)
        }
        13 => {
            data[0] = u8::try_from(numbers.index(bases.len() + 1)).unwrap_or(0);
            length
        }
        14 => {
            data[1] ^= 1 << numbers.below(8);
            length
        }
        _ => {
            data[2..4].copy_from_slice(&numbers.next().to_le_bytes()[..2]);
            length
        }
    }
}

/// Changes a text in its buffer, with the help of words; gives its new length.
pub fn text(words: &[&str], data: &mut [u8], length: usize, numbers: &mut Numbers) -> usize {
    let room = data.len();
    let mut length = length.min(room);
    for _ in 0..=numbers.below(4) {
        let at = numbers.index(length + 1);
        match numbers.below(8) {
            // A word, or a piece of the text itself, put in.
            0..=3 => {
                let piece = match numbers.below(3) {
                    0 if length > 0 => {
                        let from = numbers.index(length);
                        data[from..length.min(from + 1 + numbers.index(32))].to_vec()
                    }
                    1 => vec![u8::try_from(numbers.below(256)).unwrap_or(0); 1 + numbers.index(3)],
                    _ if words.is_empty() => numbers.next().to_le_bytes().to_vec(),
                    _ => words[numbers.index(words.len())].as_bytes().to_vec(),
                };
                let count = piece.len().min(room - length);
                data.copy_within(at..length, at + count);
                data[at..at + count].copy_from_slice(&piece[..count]);
                length += count;
            }
            // A piece taken out.
            4..=5 if at < length => {
                let end = length.min(at + 1 + numbers.index(24));
                data.copy_within(end..length, at);
                length -= end - at;
            }
            _ if at < length => data[at] ^= 1 << numbers.below(8),
            _ => {}
        }
    }
    length
}
