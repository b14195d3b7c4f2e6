//! What servers say, and the texts that name them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use replant::image::nbd::fuzzing::converse;
use replant::model::Location;

use super::memory::bounded;

/// Most bytes that a server says.
const MOST: usize = 32 << 10;

/// An NBD server's words. An input is a list of them, so that magic numbers, lengths and cookies
/// stand where they must:
///
/// | kind | what follows it | what the server says |
/// |---|---|---|
/// | 0 | flags | its greeting |
/// | 1 | option, type (the uppermost bit: an error), length, data | the answer to an option |
/// | 2 | flags, type, piece, request, length, data | a chunk of an answer |
/// | 3 | error, piece, request | a whole answer |
/// | 4 | count | so many times 256 bytes of data |
/// | 5 and more | length, data | just those bytes |
pub fn nbd(input: &[u8]) {
    let mut words = Vec::new();
    let mut rest = input;
    while let Some((kind, after)) = rest.split_first().filter(|_| words.len() < MOST) {
        rest = after;
        let mut byte = || {
            let (first, after) = rest.split_first().unwrap_or((&0, &[]));
            rest = after;
            *first
        };
        match kind % 8 {
            0 => {
                words.extend(b"NBDMAGICIHAVEOPT");
                words.extend([0, byte()]);
            }
            1 => {
                words.extend(0x0003_e889_0455_65a9_u64.to_be_bytes());
                let (option, kind, length) = (byte(), byte(), byte());
                words.extend(u32::from(option).to_be_bytes());
                words.extend([kind & 0x80, 0, 0, kind & 0x7f, 0, 0, 0, length]);
                words.extend(take(&mut rest, length));
            }
            2 => {
                words.extend(0x668e_33ef_u32.to_be_bytes());
                let (flags, kind, piece, request, length) = (byte(), byte(), byte(), byte(), byte());
                words.extend([0, flags, kind & 0x80, kind & 0x7f]);
                words.extend([0, 0, 0, 0, 0, 0, request, piece, 0, 0, 0, length]);
                words.extend(take(&mut rest, length));
            }
            3 => {
                words.extend(0x6744_6698_u32.to_be_bytes());
                let (error, piece, request) = (byte(), byte(), byte());
                words.extend([0, 0, 0, error, 0, 0, 0, 0, 0, 0, request, piece]);
            }
            4 => words.resize(words.len() + usize::from(byte()) * 256, 7),
            _ => {
                let length = byte();
                words.extend(take(&mut rest, length));
            }
        }
    }
    words.truncate(MOST);
    bounded(words.len() as u64, || match converse(&words) {
        Ok(outcome) => {
            assert!(outcome.told <= outcome.asked, "extents beyond what was asked for: {outcome:?}");
            assert_eq!(outcome.told, outcome.extents, "extents without gaps");
        }
        Err(error) => drop((error.to_string(), error.is_retryable())),
    });
}

fn take<'i>(rest: &mut &'i [u8], length: u8) -> &'i [u8] {
    let (taken, after) = rest.split_at(usize::from(length).min(rest.len()));
    *rest = after;
    taken
}

/// The text that names an image's place. What is shown of it names the same place, unless it holds
/// credentials, which are never shown.
pub fn location(input: &[u8]) {
    bounded(input.len() as u64, || {
        let location = match Location::parse(OsStr::from_bytes(input)) {
            Ok(location) => location,
            Err(error) => return drop(error.to_string()),
        };
        let shown = location.to_string();
        let stored = serde_json::to_string(&location);
        if let (Ok(stored), Some(_)) = (&stored, std::str::from_utf8(input).ok()) {
            let again: Location = serde_json::from_str(stored).expect("what was stored can be read");
            assert_eq!(again, location, "a stored place is the same: {shown}");
        }
        let _ = (location.called(), location.file_name(), location.clone().within(Path::new("/a/b")));
    });
}
