//! Self-relative security descriptors ([MS-DTYP] 2.4.6): read with distrust, shown as SDDL, and
//! handed down to what is made below ([MS-DTYP] 2.5.3.4).

use std::fmt::Write;

use crate::guest::windows::bytes;

/// Most bytes of a descriptor that are looked at; NTFS's own are a few hundred.
pub const MOST: usize = 64 << 10;
/// Bytes of a descriptor's header, of a list's, and of an entry before its SID.
const HEADER: usize = 20;
const LIST: usize = 8;
const ENTRY: usize = 8;

/// Control bits.
const DACL_PRESENT: u16 = 0x0004;
const DACL_AUTO_INHERITED: u16 = 0x0400;
const DACL_PROTECTED: u16 = 0x1000;
const SELF_RELATIVE: u16 = 0x8000;

/// Flags of an entry.
const OBJECT_INHERIT: u8 = 0x01;
const CONTAINER_INHERIT: u8 = 0x02;
const NO_PROPAGATE: u8 = 0x04;
const INHERIT_ONLY: u8 = 0x08;
const INHERITED: u8 = 0x10;

/// Generic rights, and what they are for files.
const GENERIC: [(u32, u32); 4] = [
    (0x8000_0000, 0x0012_0089),
    (0x4000_0000, 0x0012_0116),
    (0x2000_0000, 0x0012_00a0),
    (0x1000_0000, 0x001f_01ff),
];
/// Everything that can be done with a file.
const FULL: u32 = 0x001f_01ff;

const ADMINISTRATORS: &[u8] = &[1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 32, 2, 0, 0];
const SYSTEM: &[u8] = &[1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0];
const CREATOR_OWNER: &[u8] = &[1, 1, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0];
const CREATOR_GROUP: &[u8] = &[1, 1, 0, 0, 0, 0, 0, 3, 1, 0, 0, 0];

/// SIDs that SDDL has letters for.
const KNOWN: [(&str, &str); 12] = [
    ("S-1-5-18", "SY"),
    ("S-1-5-19", "LS"),
    ("S-1-5-20", "NS"),
    ("S-1-5-32-544", "BA"),
    ("S-1-5-32-545", "BU"),
    ("S-1-5-32-546", "BG"),
    ("S-1-1-0", "WD"),
    ("S-1-3-0", "CO"),
    ("S-1-3-1", "CG"),
    ("S-1-5-11", "AU"),
    ("S-1-5-4", "IU"),
    ("S-1-15-2-1", "AC"),
];

/// An entry of an access list.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ace {
    kind: u8,
    flags: u8,
    mask: u32,
    sid: Vec<u8>,
    /// What follows the SID: the condition of a callback entry.
    more: Vec<u8>,
}

impl Ace {
    fn bytes(&self) -> Vec<u8> {
        let length = ENTRY + self.sid.len() + self.more.len();
        let size = u16::try_from(length).unwrap_or(u16::MAX);
        let mut all = vec![self.kind, self.flags];
        all.extend(size.to_le_bytes());
        all.extend(self.mask.to_le_bytes());
        all.extend_from_slice(&self.sid);
        all.extend_from_slice(&self.more);
        all
    }
}

/// A descriptor whose parts are where its header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    control: u16,
    owner: Vec<u8>,
    group: Vec<u8>,
    /// `None`: there is no list, and everybody may do everything.
    entries: Option<Vec<Ace>>,
    /// Entries of kinds that files do not have; they are not handed down.
    others: usize,
}

fn sid_at(bytes: &[u8], offset: usize) -> Option<Vec<u8>> {
    let count = usize::from(*bytes.get(offset.checked_add(1)?)?);
    let sid = bytes.get(offset..offset.checked_add(8 + 4 * count)?)?;
    (sid.first() == Some(&1) && count <= 15).then(|| sid.to_vec())
}

/// An offset of the header: 0 is "not there".
fn offset(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(bytes::u32_at(bytes, at)?).ok()
}

impl Descriptor {
    /// Reads one; `None` when it is damaged, or names no owner or group.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let control = bytes::u16_at(bytes, 2)?;
        if bytes.len() > MOST || bytes.len() < HEADER || bytes[0] != 1 || control & SELF_RELATIVE == 0 {
            return None;
        }
        let part = |at| offset(bytes, at).filter(|offset| *offset >= HEADER);
        let owner = sid_at(bytes, part(4)?)?;
        let group = sid_at(bytes, part(8)?)?;
        let (mut entries, mut others) = (None, 0);
        if control & DACL_PRESENT != 0 && offset(bytes, 16)? != 0 {
            let list = bytes.get(part(16)?..)?;
            let size = usize::from(bytes::u16_at(list, 2)?);
            let list = list.get(..size)?;
            let count = bytes::u16_at(list, 4)?;
            let mut found = Vec::new();
            let mut rest = list.get(LIST..)?;
            for _ in 0..count {
                let size = usize::from(bytes::u16_at(rest, 2)?);
                let entry = rest.get(..size).filter(|_| size >= ENTRY && size % 4 == 0)?;
                rest = rest.get(size..)?;
                // Allowed and denied, with and without a condition: those that have their SID here.
                if !matches!(entry[0], 0 | 1 | 9 | 10) {
                    others += 1;
                    continue;
                }
                let sid = sid_at(entry, ENTRY)?;
                let more = entry.get(ENTRY + sid.len()..)?.to_vec();
                found.push(Ace {
                    kind: entry[0],
                    flags: entry[1],
                    mask: bytes::u32_at(entry, 4)?,
                    sid,
                    more,
                });
            }
            entries = Some(found);
        }
        Some(Self { control, owner, group, entries, others })
    }

    /// What something that is made in a directory of this descriptor gets: what is handed down, with
    /// the administrators as its owner. Where nothing is, SYSTEM and the administrators may do
    /// everything, as with what a service of Windows makes.
    #[must_use]
    pub fn handed_down(&self, to_directory: bool) -> Vec<u8> {
        let from = self.entries.as_deref().unwrap_or_default();
        let mut entries: Vec<Ace> = from.iter().flat_map(|entry| entry_for(entry, to_directory)).collect();
        if entries.is_empty() {
            let flags = if to_directory { OBJECT_INHERIT | CONTAINER_INHERIT } else { 0 };
            let full = |sid: &[u8]| Ace { kind: 0, flags, mask: FULL, sid: sid.to_vec(), more: Vec::new() };
            entries = vec![full(SYSTEM), full(ADMINISTRATORS)];
        }
        build(&entries)
    }

    /// As people write it ([MS-DTYP] 2.5.1): `O:BAG:SYD:P(A;;FA;;;SY)(A;;FA;;;BA)`.
    #[must_use]
    pub fn sddl(&self) -> String {
        let mut text = format!("O:{}G:{}", sid_text(&self.owner), sid_text(&self.group));
        let Some(entries) = &self.entries else {
            text.push_str("D:NO_ACCESS_CONTROL");
            return text;
        };
        text.push_str("D:");
        if self.control & DACL_PROTECTED != 0 {
            text.push('P');
        }
        if self.control & DACL_AUTO_INHERITED != 0 {
            text.push_str("AI");
        }
        for entry in entries {
            let kind = match entry.kind {
                0 => "A",
                1 => "D",
                9 => "XA",
                _ => "XD",
            };
            let flags: String = [
                (OBJECT_INHERIT, "OI"),
                (CONTAINER_INHERIT, "CI"),
                (NO_PROPAGATE, "NP"),
                (INHERIT_ONLY, "IO"),
                (INHERITED, "ID"),
            ]
            .iter()
            .filter(|(flag, _)| entry.flags & flag != 0)
            .map(|(_, name)| *name)
            .collect();
            let rights = match entry.mask {
                FULL => "FA".to_owned(),
                0x0012_0089 => "FR".to_owned(),
                0x0012_0116 => "FW".to_owned(),
                0x0012_00a0 => "FX".to_owned(),
                0x1000_0000 => "GA".to_owned(),
                mask => format!("{mask:#x}"),
            };
            let condition = if entry.more.is_empty() { "" } else { ";(…)" };
            // Writing to a String does not fail.
            let _written = write!(text, "({kind};{flags};{rights};;;{}{condition})", sid_text(&entry.sid));
        }
        if self.others > 0 {
            let _written = write!(text, "({} others)", self.others);
        }
        text
    }

    /// Whether nobody but SYSTEM and the administrators may do anything.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.others == 0
            && self.entries.as_ref().is_some_and(|entries| {
                entries
                    .iter()
                    .all(|entry| entry.kind == 1 || entry.sid == SYSTEM || entry.sid == ADMINISTRATORS)
            })
    }
}

/// What of an entry something below gets.
fn entry_for(entry: &Ace, to_directory: bool) -> Vec<Ace> {
    let has = |flag| entry.flags & flag != 0;
    let lasting = OBJECT_INHERIT | CONTAINER_INHERIT | NO_PROPAGATE | INHERIT_ONLY;
    let mask = GENERIC
        .iter()
        .filter(|(generic, _)| entry.mask & generic != 0)
        .fold(entry.mask & 0x0fff_ffff, |mask, (_, file)| mask | file);
    let sid = match entry.sid.as_slice() {
        CREATOR_OWNER => ADMINISTRATORS,
        CREATOR_GROUP => SYSTEM,
        sid => sid,
    };
    let mut effective =
        Ace { flags: entry.flags & !lasting | INHERITED, mask, sid: sid.to_vec(), ..entry.clone() };
    if !to_directory {
        return if has(OBJECT_INHERIT) { vec![effective] } else { Vec::new() };
    }
    let handed_on = entry.flags & (OBJECT_INHERIT | CONTAINER_INHERIT);
    match (has(CONTAINER_INHERIT), has(NO_PROPAGATE)) {
        (true, true) => vec![effective],
        (true, false) if effective.mask == entry.mask && effective.sid == entry.sid => {
            effective.flags |= handed_on;
            vec![effective]
        }
        (true, false) => {
            // What stands for whoever makes a thing goes on to stand for that.
            let on = Ace { flags: effective.flags | handed_on | INHERIT_ONLY, ..entry.clone() };
            vec![effective, on]
        }
        (false, false) if has(OBJECT_INHERIT) => {
            vec![Ace { flags: effective.flags | handed_on | INHERIT_ONLY, ..entry.clone() }]
        }
        _ => Vec::new(),
    }
}

/// A descriptor of these entries, owned by the administrators; entries beyond what a list holds
/// (64 KiB) are left out, and there is no descriptor with as many.
fn build(entries: &[Ace]) -> Vec<u8> {
    let mut list = Vec::new();
    let mut count = 0_u16;
    for entry in entries.iter().map(Ace::bytes) {
        if list.len() + entry.len() + LIST > MOST / 2 {
            break;
        }
        list.extend(entry);
        count += 1;
    }
    let size = u16::try_from(LIST + list.len()).unwrap_or(u16::MAX);
    let owner = u32::from(size) + 20;
    let group = owner + 16;
    let mut all = vec![1, 0];
    all.extend((DACL_PRESENT | DACL_AUTO_INHERITED | SELF_RELATIVE).to_le_bytes());
    for offset in [owner, group, 0, 20] {
        all.extend(offset.to_le_bytes());
    }
    all.extend([2, 0]);
    all.extend(size.to_le_bytes());
    all.extend(count.to_le_bytes());
    all.extend([0, 0]);
    all.extend(list);
    all.extend_from_slice(ADMINISTRATORS);
    all.extend_from_slice(SYSTEM);
    all
}

fn sid_text(sid: &[u8]) -> String {
    let authority =
        sid.get(2..8).unwrap_or_default().iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    let mut text = format!("S-1-{authority}");
    for part in sid.get(8..).unwrap_or_default().chunks_exact(4) {
        let _written = write!(text, "-{}", bytes::u32_at(part, 0).unwrap_or_default());
    }
    match KNOWN.iter().find(|(known, _)| *known == text) {
        Some((_, letters)) => (*letters).to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::windows::firstboot::{directory_descriptor, file_descriptor};

    fn ace(flags: u8, mask: u32, sid: &[u8]) -> Ace {
        Ace { kind: 0, flags, mask, sid: sid.to_vec(), more: Vec::new() }
    }

    fn shown(bytes: &[u8]) -> String {
        Descriptor::read(bytes).unwrap().sddl()
    }

    /// `C:\` of Server 2019, as icacls and `(Get-Acl C:\).Sddl` show it.
    fn root() -> Vec<u8> {
        const USERS: &[u8] = &[1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 33, 2, 0, 0];
        let both = OBJECT_INHERIT | CONTAINER_INHERIT;
        build(&[
            ace(both, FULL, SYSTEM),
            ace(both, FULL, ADMINISTRATORS),
            ace(both, 0x0012_00a9, USERS),
            ace(CONTAINER_INHERIT, 0x4, USERS),
            ace(CONTAINER_INHERIT | INHERIT_ONLY, 0x2, USERS),
            ace(both | INHERIT_ONLY, 0x1000_0000, CREATOR_OWNER),
        ])
    }

    #[test]
    fn ours_are_what_they_say() {
        assert_eq!(shown(&file_descriptor()), "O:BAG:SYD:P(A;;FA;;;SY)(A;;FA;;;BA)");
        assert_eq!(shown(&directory_descriptor()), "O:BAG:SYD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)");
        assert!(Descriptor::read(&file_descriptor()).unwrap().is_private());
        assert!(!Descriptor::read(&root()).unwrap().is_private());
    }

    #[test]
    fn what_a_directory_hands_down() {
        let root = Descriptor::read(&root()).unwrap();
        assert_eq!(
            shown(&root.handed_down(false)),
            "O:BAG:SYD:AI(A;ID;FA;;;SY)(A;ID;FA;;;BA)(A;ID;0x1200a9;;;BU)(A;ID;FA;;;BA)"
        );
        assert_eq!(
            shown(&root.handed_down(true)),
            "O:BAG:SYD:AI(A;OICIID;FA;;;SY)(A;OICIID;FA;;;BA)(A;OICIID;0x1200a9;;;BU)(A;CIID;0x4;;;BU)(A;CIID;0x2;;;BU)(A;ID;FA;;;BA)(A;OICIIOID;GA;;;CO)"
        );
        // Only to files: a directory hands it on, and is not touched by it itself.
        let only = |flags| Descriptor::read(&build(&[ace(flags, FULL, SYSTEM)])).unwrap();
        assert_eq!(shown(&only(OBJECT_INHERIT).handed_down(true)), "O:BAG:SYD:AI(A;OIIOID;FA;;;SY)");
        assert_eq!(
            shown(&only(CONTAINER_INHERIT | NO_PROPAGATE).handed_down(true)),
            "O:BAG:SYD:AI(A;ID;FA;;;SY)"
        );
        // Nothing is handed down: whoever makes it owns it.
        assert_eq!(shown(&only(0).handed_down(false)), "O:BAG:SYD:AI(A;;FA;;;SY)(A;;FA;;;BA)");
        assert_eq!(shown(&only(0).handed_down(true)), "O:BAG:SYD:AI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)");
    }

    #[test]
    fn damaged_descriptors_are_refused() {
        let whole = root();
        for length in 0..whole.len() {
            assert!(Descriptor::read(&whole[..length]).is_none(), "{length}");
        }
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                if let Some(read) = Descriptor::read(&bytes) {
                    assert!(Descriptor::read(&read.handed_down(true)).is_some());
                    assert!(!read.sddl().is_empty());
                }
            }
        }
    }
}
