//! What a differencing disk says of its parent: texts by name, in UTF-16.

use super::super::error::ImageError;
use super::super::format::Format;
use super::super::opener::Opener;
use super::super::parent::{Parent, open_recorded};
use super::super::window::Window;
use super::bytes::{Guid, guid, guid_at, u16_at, u32_at};

/// Most bytes of the item: far above what paths need.
pub(super) const MOST_LOCATOR: u32 = 64 << 10;
/// Bytes before the entries.
const HEADER: usize = 20;
/// Bytes of an entry.
const ENTRY: usize = 12;
/// The kind of locator that leads to another VHDX.
const VHDX: Guid = guid(0xb04a_efb7, 0xd19e, 0x4a81, [0xb7, 0x89, 0x25, 0xb8, 0xe9, 0x44, 0x59, 0x13]);
/// The names of paths, in the order in which they are tried.
const PATHS: [&str; 3] = ["relative_path", "volume_path", "absolute_win32_path"];
/// The names of the parent's id; a second one may be right, too.
const LINKAGES: [&str; 2] = ["parent_linkage", "parent_linkage2"];

/// What a differencing disk says of its parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Locator {
    /// Its names and values, as they stand.
    entries: Vec<(String, String)>,
}

impl Locator {
    /// Reads the item; `None` when it is malformed.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < HEADER || guid_at(bytes, 0) != VHDX {
            return None;
        }
        let text = |offset: u32, length: u16| {
            let at = usize::try_from(offset).ok()?;
            let bytes = bytes.get(at..at.checked_add(usize::from(length))?)?;
            let units: Vec<u16> =
                bytes.as_chunks::<2>().0.iter().map(|two| u16::from_le_bytes(*two)).collect();
            Some(String::from_utf16_lossy(&units))
        };
        let count = usize::from(u16_at(bytes, 18));
        let entries = (0..count).map(|index| {
            let entry = bytes.get(HEADER + index * ENTRY..HEADER + (index + 1) * ENTRY)?;
            let name = text(u32_at(entry, 0), u16_at(entry, 8))?;
            Some((name, text(u32_at(entry, 4), u16_at(entry, 10))?))
        });
        // Hostile entries all point to the same long text: only the first few are of use.
        Some(Self { entries: entries.take(MOST_ENTRIES).collect::<Option<_>>()? })
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.entries.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Opens the parent, and checks that its content is the one on which this disk was made.
    pub(super) fn open(&self, opener: &mut Opener, file: &Window) -> Result<(), ImageError> {
        let recorded: Vec<Vec<u8>> =
            PATHS.iter().filter_map(|name| self.value(name)).map(|path| path.as_bytes().to_vec()).collect();
        let Parent { identity, file: parent } = open_recorded(opener, &recorded, Format::Vhdx, file)?;
        let found = identity.ids.get("data").map(String::as_str).unwrap_or_default();
        let mut linkages = LINKAGES.iter().filter_map(|name| self.value(name));
        if linkages.clone().filter_map(stored).any(|linkage| linkage == found) {
            return Ok(());
        }
        Err(ImageError::OtherParent {
            file: file.path().to_owned(),
            what: match linkages.next() {
                Some(linkage) => format!(
                    "it was made on the content {linkage}, but the parent's is another (as stored: {found})"
                ),
                None => "it does not say on which content it was made".to_owned(),
            },
            help: Some([
                "If the parent is known not to have been written to since, say so on a Hyper-V host, to a copy:"
                    .to_owned(),
                format!(
                    "Set-VHD -Path '{}' -ParentPath '{parent}' -IgnoreIdMismatch",
                    file.path().display()
                ),
            ]),
            parent,
        })
    }
}

/// Most entries that are looked at; there are five.
const MOST_ENTRIES: usize = 32;

/// The hexadecimal digits of a GUID's stored bytes, of its text: `{b04aefb7-d19e-…}`.
fn stored(text: &str) -> Option<String> {
    let digits: String = text.chars().filter(|digit| !matches!(digit, '{' | '}' | '-')).collect();
    let number = u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32)?;
    let [a, b, c, d, e, f, g, h, rest @ ..] = number.to_be_bytes();
    let stored =
        guid(u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([e, f]), u16::from_be_bytes([g, h]), rest);
    Some(stored.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_a_guid_is_its_stored_bytes() {
        let stored = stored("{B04aefb7-d19e-4a81-b789-25b8e9445913}");
        assert_eq!(stored.as_deref(), Some("b7ef4ab09ed1814ab78925b8e9445913"));
        assert_eq!(super::stored("{b04aefb7}"), None);
        assert_eq!(super::stored("x"), None);
    }

    #[test]
    fn malformed_locators_are_none() {
        let mut bytes = VHDX.to_vec();
        assert_eq!(Locator::parse(&bytes), None);
        bytes.extend([0, 0, 1, 0]);
        assert_eq!(Locator::parse(&bytes), None);
        bytes.extend([32, 0, 0, 0, 34, 0, 0, 0, 2, 0, 4, 0]);
        assert_eq!(Locator::parse(&bytes), None);
        bytes.extend([b'k', 0, b'v', 0, b'w', 0]);
        let expected = vec![("k".to_owned(), "vw".to_owned())];
        assert_eq!(Locator::parse(&bytes).map(|locator| locator.entries), Some(expected));
        bytes[20..24].fill(0xff);
        assert_eq!(Locator::parse(&bytes), None);
    }
}
