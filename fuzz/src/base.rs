//! Sound files that inputs are changes of: small ones that real programs made, packed by
//! `fuzz/bases/make`.

use super::numbers::Numbers;
use super::sparse::Sparse;

/// Bytes of a line, the unit in which a file's content is told from its zeros.
pub const LINE: u64 = 64;
/// Most lines of a file that inputs can name by their number.
const MOST_LINES: usize = 1024;

/// A file of a base.
#[derive(Debug, Clone)]
pub struct BaseFile {
    /// Its name below the base's directory.
    pub name: String,
    /// Its content.
    pub content: Sparse,
    /// Where its lines are that hold something.
    pub lines: Vec<u64>,
}

/// Files that belong together; the first is the one that is opened.
#[derive(Debug, Clone)]
pub struct Base {
    /// What it is, for people.
    pub name: String,
    /// Its files.
    pub files: Vec<BaseFile>,
}

/// The next number of a pack.
fn number(pack: &mut &[u8]) -> u64 {
    let (bytes, rest) = pack.split_first_chunk::<8>().expect("a pack ends early");
    *pack = rest;
    u64::from_le_bytes(*bytes)
}

/// The next bytes of a pack.
fn bytes<'p>(pack: &mut &'p [u8]) -> &'p [u8] {
    let length = usize::try_from(number(pack)).expect("a pack's length");
    let (bytes, rest) = pack.split_at_checked(length).expect("a pack ends early");
    *pack = rest;
    bytes
}

fn text(pack: &mut &[u8]) -> String {
    String::from_utf8(bytes(pack).to_vec()).expect("a pack's name")
}

/// Reads a pack: numbers of 8 bytes, little-endian; texts and bytes behind their length. Bases:
/// how many; each its name and how many files; each its name, size, how many chunks; each its
/// place and bytes.
///
/// # Panics
/// When it is no pack: it is a part of this program.
#[must_use]
pub fn unpack(compressed: &[u8]) -> Vec<Base> {
    let pack = zstd::decode_all(compressed).expect("a pack is compressed");
    let pack = &mut pack.as_slice();
    (0..number(pack))
        .map(|_| {
            let name = text(pack);
            let files = (0..number(pack)).map(|_| file(pack)).collect();
            Base { name, files }
        })
        .collect()
}

fn file(pack: &mut &[u8]) -> BaseFile {
    let name = text(pack);
    let mut content = Sparse::zeros(number(pack));
    for _ in 0..number(pack) {
        let place = number(pack);
        content.write(place, bytes(pack));
    }
    let mut lines = content.lines(LINE);
    lines.truncate(MOST_LINES);
    BaseFile { name, content, lines }
}

impl BaseFile {
    /// A place in it by the number of a byte in its lines.
    #[must_use]
    pub fn place(&self, byte: u16) -> u64 {
        let byte = u64::from(byte);
        let index = usize::try_from(byte / LINE).unwrap_or(0);
        match self.lines.len() {
            0 => byte,
            count => self.lines[index % count] + byte % LINE,
        }
    }

    /// The number of a byte in its lines, a likely one for a field: of the first lines more often.
    pub fn likely(&self, numbers: &mut Numbers) -> u16 {
        let count = self.lines.len().max(1);
        let count = if numbers.below(2) == 0 { count.min(24) } else { count };
        let byte = numbers.index(count) * LINE as usize + numbers.index(LINE as usize);
        u16::try_from(byte).unwrap_or(u16::MAX)
    }
}
