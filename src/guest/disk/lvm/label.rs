//! A physical volume's label and the areas that hold its group's text (lvm2's
//! `lib/format_text/layout.h` describes both).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::guest::disk::table::{u32_at, u64_at};

const SECTOR: u64 = 512;
const MAGIC: &[u8; 16] = b" LVM2 x[5A%r0N*>";
/// Most bytes of a group's text. LVM's areas have 1 MiB unless somebody asks for more.
pub const MAX_TEXT: u64 = 16 << 20;
/// Most areas of one physical volume; LVM makes one or two.
const MAX_AREAS: usize = 8;
/// Bytes of an area's own header.
const AREA_HEADER: u64 = 512;
/// A text that is not the area's: its place is given up.
const IGNORED: u32 = 1;

/// Why a physical volume cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    /// It cannot be read or written.
    #[error("it cannot be read or written")]
    Io(#[from] io::Error),
    /// The label's digest is wrong, or it points nowhere.
    #[error("its label is damaged")]
    Label,
    /// An area's digest is wrong, or it points nowhere.
    #[error("its metadata area at byte {at} is damaged")]
    Area {
        /// From the physical volume's start.
        at: u64,
    },
    /// The area has no room for another text beside the one it holds.
    #[error("its metadata area is full")]
    Full,
}

/// A physical volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Its id, without dashes.
    pub id: String,
    /// Its size in bytes, as the label says.
    pub size: u64,
    /// Where its metadata areas are: offset and length in bytes.
    pub areas: Vec<(u64, u64)>,
    /// The sector that holds the label, and where in it the id begins.
    sector: u64,
    header: usize,
}

/// LVM's digest of bytes: CRC-32 with a start of its own, without the last inversion.
fn digest(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(!0xf597_a6cf);
    hasher.update(bytes);
    !hasher.finalize()
}

/// Reads the label of the physical volume on a device of `size` bytes.
///
/// # Errors
/// [`LabelError`].
pub fn read(device: &File, size: u64) -> Result<Label, LabelError> {
    for sector in 0..4 {
        let mut bytes = [0; SECTOR as usize];
        device.read_exact_at(&mut bytes, sector * SECTOR)?;
        if bytes.starts_with(b"LABELONE") && bytes[24..32] == *b"LVM2 001" {
            return parse(&bytes, sector, size).ok_or(LabelError::Label);
        }
    }
    Err(LabelError::Label)
}

fn parse(bytes: &[u8], sector: u64, size: u64) -> Option<Label> {
    if digest(bytes.get(20..)?) != u32_at(bytes, 16) || u64_at(bytes, 8) != sector {
        return None;
    }
    let header = usize::try_from(u32_at(bytes, 20)).ok().filter(|at| (32..=512 - 72).contains(at))?;
    let id = std::str::from_utf8(bytes.get(header..header + 32)?).ok()?.to_owned();
    let mut lists = [Vec::new(), Vec::new()];
    let mut at = header + 40;
    // Two lists, each closed by a place of zero: data areas, metadata areas.
    for list in &mut lists {
        loop {
            let entry = bytes.get(at..at + 16)?;
            at += 16;
            let (offset, length) = (u64_at(entry, 0), u64_at(entry, 8));
            if offset == 0 {
                break;
            }
            list.push((offset, length));
        }
    }
    let [_, areas] = lists;
    let sound = |(offset, length): &(u64, u64)| {
        *length > AREA_HEADER && offset.checked_add(*length).is_some_and(|end| end <= size)
    };
    let areas: Vec<(u64, u64)> = areas.into_iter().take(MAX_AREAS).filter(sound).collect();
    Some(Label { id, size: u64_at(bytes, header + 32), areas, sector, header })
}

/// An area's header.
struct Area {
    bytes: Vec<u8>,
    /// Of the text: place from the area's start, length, digest.
    text: (u64, u64, u32),
}

fn area(device: &File, at: u64, length: u64) -> Result<Option<Area>, LabelError> {
    let damaged = LabelError::Area { at };
    let mut bytes = vec![0; AREA_HEADER as usize];
    device.read_exact_at(&mut bytes, at)?;
    let whole = bytes[4..20] == *MAGIC && digest(&bytes[4..]) == u32_at(&bytes, 0);
    if !whole || u64_at(&bytes, 24) != at {
        return Err(damaged);
    }
    let text = (u64_at(&bytes, 40), u64_at(&bytes, 48), u32_at(&bytes, 56));
    if text.0 == 0 || u32_at(&bytes, 60) & IGNORED != 0 {
        return Ok(None);
    }
    if text.0 < AREA_HEADER || text.0 >= length || text.1 > MAX_TEXT.min(length - AREA_HEADER) {
        return Err(damaged);
    }
    Ok(Some(Area { bytes, text }))
}

/// The text in an area, which may go on at the area's start; `None` when the area holds none.
///
/// # Errors
/// [`LabelError`].
pub fn read_text(device: &File, (at, length): (u64, u64)) -> Result<Option<String>, LabelError> {
    let Some(Area { text: (place, size, wanted), .. }) = area(device, at, length)? else { return Ok(None) };
    let first = size.min(length - place);
    let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
    let (head, tail) = bytes.split_at_mut(usize::try_from(first).unwrap_or_default());
    device.read_exact_at(head, at + place)?;
    device.read_exact_at(tail, at + AREA_HEADER)?;
    if digest(&bytes) != wanted {
        return Err(LabelError::Area { at });
    }
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    String::from_utf8(bytes).map(Some).map_err(|_| LabelError::Area { at })
}

/// Puts another text into an area, behind the one it holds, and makes it the valid one. An area
/// that holds none stays so.
///
/// # Errors
/// [`LabelError`].
pub fn write_text(device: &File, (at, length): (u64, u64), text: &str) -> Result<(), LabelError> {
    let Some(Area { mut bytes, text: (place, size, _) }) = area(device, at, length)? else { return Ok(()) };
    let mut new = text.as_bytes().to_vec();
    new.push(0);
    let size_new = new.len() as u64;
    // Texts begin at whole sectors, and follow each other round and round behind the header.
    let room = length - AREA_HEADER;
    let round = |size: u64| size.next_multiple_of(SECTOR);
    if size_new > MAX_TEXT || round(size) + round(size_new) > room {
        return Err(LabelError::Full);
    }
    let start = AREA_HEADER + (round(place - AREA_HEADER + size)) % room;
    let first = size_new.min(length - start);
    let (head, tail) = new.split_at(usize::try_from(first).unwrap_or_default());
    device.write_all_at(head, at + start)?;
    device.write_all_at(tail, at + AREA_HEADER)?;
    bytes[40..48].copy_from_slice(&start.to_le_bytes());
    bytes[48..56].copy_from_slice(&size_new.to_le_bytes());
    bytes[56..60].copy_from_slice(&digest(&new).to_le_bytes());
    let sum = digest(&bytes[4..]);
    bytes[..4].copy_from_slice(&sum.to_le_bytes());
    device.write_all_at(&bytes, at)?;
    Ok(())
}

/// Lets the label say another size.
///
/// # Errors
/// When it cannot be read or written.
pub fn write_size(device: &File, label: &Label, size: u64) -> Result<(), LabelError> {
    let mut bytes = [0; SECTOR as usize];
    device.read_exact_at(&mut bytes, label.sector * SECTOR)?;
    let field = bytes.get_mut(label.header + 32..label.header + 40).ok_or(LabelError::Label)?;
    field.copy_from_slice(&size.to_le_bytes());
    let sum = digest(&bytes[20..]);
    bytes[16..20].copy_from_slice(&sum.to_le_bytes());
    device.write_all_at(&bytes, label.sector * SECTOR)?;
    Ok(())
}
