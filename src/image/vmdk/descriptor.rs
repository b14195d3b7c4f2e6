//! The descriptor: a text that says which files a disk consists of.

use std::str::FromStr;

/// Most bytes that a descriptor may have: room for more extents than can be opened.
pub(in super::super) const MOST_BYTES: u64 = 1 << 20;
/// Most extents that are opened: 8 TiB in pieces of 2 GiB.
pub(in super::super) const MOST_EXTENTS: usize = 4096;
/// The content id that stands for "no parent".
const NO_PARENT: u32 = u32::MAX;
/// Types of disks whose data is on a device, not in files.
const ON_DEVICES: [&str; 7] = [
    "fullDevice",
    "partitionedDevice",
    "vmfsRaw",
    "vmfsRDM",
    "vmfsRDMP",
    "vmfsRawDeviceMap",
    "vmfsPassthroughRawDeviceMap",
];

/// What kind of file an extent is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Kind {
    /// Bytes as they are (`FLAT`, and `VMFS` as ESX calls it).
    Flat,
    /// Grains behind a header of its own (`SPARSE`, and `VMFSSPARSE` of ESX's snapshots).
    Sparse,
    /// ESX's later snapshots, of small grains (`SESPARSE`).
    SeSparse,
    /// No file: zeros.
    Zero,
}

/// One extent's line: `RW 4192256 SPARSE "disk-s001.vmdk"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct ExtentLine {
    pub sectors: u64,
    pub kind: Kind,
    /// The file's name, in the descriptor's own encoding.
    pub name: Vec<u8>,
    /// The first sector within the file (flat ones).
    pub offset: u64,
}

/// What is read of a descriptor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in super::super) struct Descriptor {
    pub content_id: String,
    /// The parent's content id, when there is a parent.
    pub parent_id: Option<String>,
    /// The parent's path where the disk was made.
    pub parent_name: Option<Vec<u8>>,
    pub create_type: String,
    pub uuid: Option<String>,
    pub extents: Vec<ExtentLine>,
}

/// Why a descriptor cannot be used: a sentence's rest, and whether it is damage.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum DescriptorError {
    /// It is not what a descriptor may be.
    Bad(String),
    /// It is, but of a kind that is not read: what, and what to do.
    Unsupported(String),
}

impl Descriptor {
    /// Reads a descriptor. Zero bytes end it (an embedded one is padded with them).
    pub(in super::super) fn parse(text: &[u8]) -> Result<Self, DescriptorError> {
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        let mut descriptor = Self::default();
        for line in text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii) {
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            if let Some(extent) = extent(line)? {
                if descriptor.extents.len() == MOST_EXTENTS {
                    return Err(DescriptorError::Bad(format!("it has more than {MOST_EXTENTS} extents")));
                }
                descriptor.extents.push(extent);
            } else if let Some(at) = line.iter().position(|byte| *byte == b'=') {
                descriptor.set(line[..at].trim_ascii(), unquoted(line[at + 1..].trim_ascii()));
            }
        }
        if descriptor.create_type.is_empty() {
            return Err(DescriptorError::Bad("its descriptor has no `createType`".to_owned()));
        }
        if ON_DEVICES.iter().any(|kind| kind.eq_ignore_ascii_case(&descriptor.create_type)) {
            return Err(on_device(&descriptor.create_type));
        }
        Ok(descriptor)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        let text = || String::from_utf8_lossy(value).into_owned();
        match key.to_ascii_lowercase().as_slice() {
            b"cid" => self.content_id = text().to_ascii_lowercase(),
            b"parentcid" => {
                self.parent_id = Some(text().to_ascii_lowercase()).filter(|id| number(id) != Some(NO_PARENT));
            }
            b"parentfilenamehint" => self.parent_name = Some(value.to_vec()).filter(|name| !name.is_empty()),
            b"createtype" => self.create_type = text(),
            b"ddb.uuid" => self.uuid = Some(text()),
            _ => {}
        }
    }
}

fn on_device(kind: &str) -> DescriptorError {
    DescriptorError::Unsupported(format!("maps a raw device (`{kind}`), whose data is in no file"))
}

/// A content id as a number; software writes it with zeros in front or without.
fn number(id: &str) -> Option<u32> {
    u32::from_str_radix(id, 16).ok()
}

/// Whether two content ids are the same.
pub(super) fn same_id(one: &str, other: &str) -> bool {
    number(one).is_some_and(|one| number(other) == Some(one))
}

fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}

/// Reads a line as an extent, or gives `None` when it is none.
fn extent(line: &[u8]) -> Result<Option<ExtentLine>, DescriptorError> {
    let mut words = Words { rest: line };
    match words.next().map(<[u8]>::to_ascii_uppercase).as_deref() {
        Some(b"RW" | b"RDONLY") => {}
        Some(b"NOACCESS") => {
            return Err(DescriptorError::Unsupported("has an extent that must not be accessed".to_owned()));
        }
        _ => return Ok(None),
    }
    let bad =
        || DescriptorError::Bad(format!("its extent line is malformed: {}", String::from_utf8_lossy(line)));
    let sectors = words.number().ok_or_else(bad)?;
    let word = words.next().map(<[u8]>::to_ascii_uppercase).ok_or_else(bad)?;
    let kind = match word.as_slice() {
        b"FLAT" | b"VMFS" => Kind::Flat,
        b"SPARSE" | b"VMFSSPARSE" => Kind::Sparse,
        b"SESPARSE" => Kind::SeSparse,
        b"ZERO" => Kind::Zero,
        b"VMFSRDM" | b"VMFSRAW" => return Err(on_device(&String::from_utf8_lossy(&word))),
        other => {
            let other = String::from_utf8_lossy(other);
            return Err(DescriptorError::Unsupported(format!("has an extent of the kind {other}")));
        }
    };
    if kind == Kind::Zero {
        return Ok(Some(ExtentLine { sectors, kind, name: Vec::new(), offset: 0 }));
    }
    let name = words.quoted().ok_or_else(bad)?.to_vec();
    let offset = if words.rest.trim_ascii().is_empty() { 0 } else { words.number().ok_or_else(bad)? };
    Ok(Some(ExtentLine { sectors, kind, name, offset }))
}

/// The words of a line, and a quoted name among them.
struct Words<'a> {
    rest: &'a [u8],
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        let text = self.rest.trim_ascii_start();
        let end = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    fn number(&mut self) -> Option<u64> {
        self.next().and_then(|word| std::str::from_utf8(word).ok()).and_then(|word| u64::from_str(word).ok())
    }

    fn quoted(&mut self) -> Option<&'a [u8]> {
        let text = self.rest.trim_ascii_start().strip_prefix(b"\"")?;
        let end = text.iter().position(|byte| *byte == b'"')?;
        self.rest = &text[end + 1..];
        Some(&text[..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_of_every_kind_of_line() {
        let text = b"# Disk DescriptorFile\r\nversion=1\r\nCID=AB12cd34\r\nparentCID=ffffffff\r\n\
            createType = \"twoGbMaxExtentSparse\"\r\n\r\n# Extent description\r\n\
            RW 4192256 SPARSE \"a disk-s001.vmdk\"\r\nRW 100 FLAT \"f.vmdk\" 63\r\nRDONLY 5 ZERO\r\n\
            rw 7 VMFS \"x-flat.vmdk\"\r\n# The Disk Data Base\r\nddb.uuid = \"60 00 C2\"\r\n\0\0RW 1 FLAT";
        let parsed = Descriptor::parse(text);
        let line =
            |sectors, kind, name: &[u8], offset| ExtentLine { sectors, kind, name: name.to_vec(), offset };
        assert_eq!(
            parsed,
            Ok(Descriptor {
                content_id: "ab12cd34".to_owned(),
                parent_id: None,
                parent_name: None,
                create_type: "twoGbMaxExtentSparse".to_owned(),
                uuid: Some("60 00 C2".to_owned()),
                extents: vec![
                    line(4_192_256, Kind::Sparse, b"a disk-s001.vmdk", 0),
                    line(100, Kind::Flat, b"f.vmdk", 63),
                    line(5, Kind::Zero, b"", 0),
                    line(7, Kind::Flat, b"x-flat.vmdk", 0),
                ],
            })
        );
    }

    #[test]
    fn malformed_lines_are_named() {
        for line in ["RW x FLAT \"a\" 0", "RW 1", "RW 1 FLAT a 0", "RW 1 FLAT \"a", "RW 1 FLAT \"a\" x"] {
            let parsed = Descriptor::parse(format!("createType=\"x\"\n{line}\n").as_bytes());
            assert!(matches!(&parsed, Err(DescriptorError::Bad(what)) if what.contains(line)), "{parsed:?}");
        }
        for line in ["NOACCESS 1 ZERO", "RW 1 VMFSRDM \"a\"", "RW 1 VMFSRAW \"a\"", "RW 1 NEW \"a\""] {
            let parsed = Descriptor::parse(format!("createType=\"x\"\n{line}\n").as_bytes());
            assert!(matches!(parsed, Err(DescriptorError::Unsupported(_))), "{line}");
        }
        assert!(matches!(Descriptor::parse(b""), Err(DescriptorError::Bad(_))));
    }

    #[test]
    fn a_parent_is_seen() {
        let parsed =
            Descriptor::parse(b"createType=\"x\"\nparentCID=12345678\nparentFileNameHint=\"../base.vmdk\"\n");
        let parsed = parsed.unwrap();
        assert_eq!(parsed.parent_id.as_deref(), Some("12345678"));
        assert_eq!(parsed.parent_name.as_deref(), Some(&b"../base.vmdk"[..]));
        for none in ["ffffffff", "FFFFFFFF"] {
            let parsed = Descriptor::parse(format!("createType=\"x\"\nparentCID={none}\n").as_bytes());
            assert_eq!(parsed.unwrap().parent_id, None);
        }
        assert!(same_id("0ab", "AB") && !same_id("ab", "ac") && !same_id("", "") && !same_id("x", "x"));
    }

    #[test]
    fn devices_are_refused() {
        for kind in ["fullDevice", "partitionedDevice", "vmfsRDM", "vmfsRDMP", "vmfsPassthroughRawDeviceMap"]
        {
            let text = format!("createType=\"{kind}\"\nRW 8 FLAT \"/dev/sda\" 0\n");
            let parsed = Descriptor::parse(text.as_bytes());
            assert!(
                matches!(&parsed, Err(DescriptorError::Unsupported(what)) if what.contains("raw device"))
            );
        }
    }
}
