//! The parent of a differencing disk.

use super::super::error::ImageError;
use super::super::format::Format;
use super::super::opener::Opener;
use super::super::parent::{Parent, open_recorded};
use super::super::window::Window;
use super::footer::{Header, utf16};

/// The platforms of locators, in the order in which their paths are tried: those of Windows that
/// are relative, absolute, and the URLs that XenServer and the Macintosh write.
const PLATFORMS: [&[u8; 4]; 3] = [b"W2ru", b"W2ku", b"MacX"];
/// Most bytes of a path that is looked at.
const MOST_PATH: u32 = 8 << 10;

/// Opens the parent, and checks that it is the disk on which this one was made.
///
/// Only the unique id tells. The time that is recorded, too, is that of the parent's file where the
/// disk was made, which every copy of the file changes.
pub(super) fn open_parent(opener: &mut Opener, file: &Window, header: &Header) -> Result<(), ImageError> {
    let recorded = recorded(file, header)?;
    let Parent { identity, file: parent } = open_recorded(opener, &recorded, Format::Vhd, file)?;
    match identity.ids.get("uuid") {
        Some(found) if *found == header.parent_id => Ok(()),
        found => Err(ImageError::OtherParent {
            file: file.path().to_owned(),
            parent,
            what: format!(
                "it was made on the disk of the unique id {}, but the parent's is {}",
                header.parent_id,
                found.map_or("none", String::as_str)
            ),
            help: None,
        }),
    }
}

/// The paths of the parent that are written in the file, the best first.
fn recorded(file: &Window, header: &Header) -> Result<Vec<Vec<u8>>, ImageError> {
    let mut paths = Vec::new();
    for platform in PLATFORMS {
        for locator in header.locators.iter().filter(|locator| locator.platform == *platform) {
            let end = locator.offset.checked_add(u64::from(locator.length));
            if locator.length > MOST_PATH || end.is_none_or(|end| end > file.len()) {
                let what = format!("the path of its parent, {} bytes, is not within it", locator.length);
                return Err(file.damaged(locator.offset, what).into());
            }
            let length = usize::try_from(locator.length).unwrap_or(usize::MAX);
            let bytes = file.read_vec(locator.offset, length)?;
            paths.push(if platform == b"MacX" { of_url(&bytes) } else { utf16(&bytes, u16::from_le_bytes) });
        }
    }
    paths.push(header.parent_name.clone());
    paths.retain(|path| !path.is_empty());
    Ok(paths)
}

/// The path of a `file:` URL.
fn of_url(url: &[u8]) -> Vec<u8> {
    let url = url.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut rest = url.strip_prefix(b"file://").unwrap_or(url);
    let mut path = Vec::new();
    while let Some((byte, after)) = rest.split_first() {
        let code = (*byte == b'%').then(|| after.get(..2)).flatten();
        let code = code.and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(code) => {
                path.push(code);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                path.push(*byte);
                rest = after;
            }
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_paths() {
        assert_eq!(of_url(b"file://./base%20disk.vhd\0\0"), b"./base disk.vhd");
        assert_eq!(of_url(b"file:///a/b%2Gc%"), b"/a/b%2Gc%");
        assert_eq!(of_url(b"plain"), b"plain");
    }
}
