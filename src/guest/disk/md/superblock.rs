//! The superblock of a RAID member (the kernel's `linux/raid/md_p.h`): as much as it takes to know
//! which members belong together. The kernel checks the rest.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::guest::disk::table::{u32_at, u64_at};

const MAGIC: u32 = 0xa92b_4efc;
/// Bytes of a superblock of either version, without the roles of later members.
const LENGTH: usize = 4096;

/// What a member says of its array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// The version of its layout: 0 and 90, or 1 and 0 (at the end), 1 (at the start), 2 (4 KiB
    /// behind the start).
    pub version: (u32, u32),
    /// The array's id.
    pub id: [u8; 16],
    /// The array's name, without the host's: `0`, `boot`; of version 0.90 its number.
    pub name: String,
    /// RAID level; −1 is linear.
    pub level: i32,
    /// How many members the array has when it is whole.
    pub members: u32,
    /// How many changes of the array this member knows.
    pub events: u64,
    /// Its place among the members; `None` for a spare or a failed one.
    pub role: Option<u32>,
}

impl Superblock {
    /// The array's id as mdadm writes it.
    #[must_use]
    pub fn id_text(&self) -> String {
        let words: Vec<String> = self
            .id
            .chunks_exact(4)
            .map(|word| word.iter().map(|byte| format!("{byte:02x}")).collect())
            .collect();
        words.join(":")
    }
}

/// The superblock of the member in these bytes of a disk.
#[must_use]
pub fn read(disk: &File, offset: u64, size: u64) -> Option<Superblock> {
    let old = (size & !0xffff).checked_sub(0x10000);
    let end = size.checked_sub(8192).map(|place| place & !0xfff);
    let places = [(Some(4096), (1, 2)), (Some(0), (1, 1)), (end, (1, 0)), (old, (0, 90))];
    places.into_iter().find_map(|(place, version)| {
        let place = place?;
        let mut bytes = vec![0; LENGTH];
        let within = place.checked_add(LENGTH as u64).is_some_and(|end| end <= size);
        if !within || disk.read_exact_at(&mut bytes, offset.checked_add(place)?).is_err() {
            return None;
        }
        parse(&bytes, version)
    })
}

fn parse(bytes: &[u8], version: (u32, u32)) -> Option<Superblock> {
    if u32_at(bytes, 0) != MAGIC || u32_at(bytes, 4) != version.0 {
        return None;
    }
    if version.0 == 0 { parse_old(bytes, version) } else { parse_new(bytes, version) }
}

fn parse_new(bytes: &[u8], version: (u32, u32)) -> Option<Superblock> {
    let name = bytes.get(32..64)?;
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    let name = String::from_utf8_lossy(&name[..end]).into_owned();
    let own = usize::try_from(u32_at(bytes, 160)).ok()?;
    let role = own.checked_mul(2).and_then(|at| bytes.get(256 + at..256 + at + 2))?;
    let role = u32::from(u16::from_le_bytes([role[0], role[1]]));
    Some(Superblock {
        version,
        id: bytes.get(16..32)?.try_into().ok()?,
        name: name.rsplit(':').next().unwrap_or(&name).to_owned(),
        level: u32_at(bytes, 72).cast_signed(),
        members: u32_at(bytes, 92),
        events: u64_at(bytes, 200),
        // What is above is a spare, failed or a journal.
        role: (role < 0xff00).then_some(role),
    })
}

fn parse_old(bytes: &[u8], version: (u32, u32)) -> Option<Superblock> {
    let word = |index: usize| u32_at(bytes, index * 4);
    let mut id = [0; 16];
    for (part, index) in id.chunks_exact_mut(4).zip([5, 13, 14, 15]) {
        part.copy_from_slice(&word(index).to_be_bytes());
    }
    // `this_disk` at word 992: number, major, minor, place, state.
    let (role, state) = (word(995), word(996));
    let (active, in_sync) = (state & 2 != 0, state & 4 != 0);
    Some(Superblock {
        version,
        id,
        name: word(11).to_string(),
        level: word(7).cast_signed(),
        members: word(10),
        events: u64::from(word(40)) << 32 | u64::from(word(39)),
        role: (active && in_sync).then_some(role),
    })
}
