//! Which format a file is of, by its content.

use std::path::Path;

use super::error::ImageError;
use super::foreign;
use super::format::Format;
use super::source::SourceError;
use super::window::Window;

/// How much of a file's beginning is looked at.
const HEAD: usize = 4096;
/// Names that say a file is a disk's bytes as they are.
const RAW_NAMES: [&str; 5] = ["raw", "img", "dd", "bin", "ima"];

/// Compressors by the bytes a file of theirs begins with, and the command that unpacks it.
const COMPRESSORS: [(&[u8], &str, &str); 8] = [
    (b"\x1f\x8b", "gzip", "gunzip --keep"),
    (b"\xfd7zXZ\0", "xz", "unxz --keep"),
    (b"\x28\xb5\x2f\xfd", "zstd", "unzstd"),
    (b"BZh", "bzip2", "bunzip2 --keep"),
    (b"\x04\x22\x4d\x18", "lz4", "unlz4"),
    (b"\x89LZO", "lzop", "lzop --decompress"),
    (b"PK\x03\x04", "zip", "unzip"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip", "7z x"),
];

/// The format that a file's content shows, or `None` when it shows none.
fn by_content(file: &Window) -> Result<Option<Format>, ImageError> {
    let head = file.read_up_to(0, HEAD)?;
    for (magic, compressor, command) in COMPRESSORS {
        if head.starts_with(magic) {
            return Err(ImageError::Compressed {
                file: file.path().to_owned(),
                compressor,
                command: format!("{command} {}", file.path().display()),
            });
        }
    }
    if let Some(what) = signature(file, &foreign::SIGNATURES)? {
        return Err(unsupported(file, what));
    }
    if head.starts_with(b"KDMV") || head.starts_with(b"COWD") || head.starts_with(b"\xbe\xba\xfe\xca\0\0\0\0")
    {
        return Ok(Some(Format::Vmdk));
    }
    if head.starts_with(b"QFI\xfb") {
        return Ok(Some(Format::Qcow2));
    }
    if head.starts_with(b"vhdxfile") {
        return Ok(Some(Format::Vhdx));
    }
    if head.starts_with(b"conectix") || has_vhd_footer(file)? {
        return Ok(Some(Format::Vhd));
    }
    if head.get(257..262) == Some(b"ustar") {
        return Ok(Some(Format::Ova));
    }
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&head).trim_ascii_start();
    if is_descriptor(text) {
        return Ok(Some(Format::Vmdk));
    }
    if is_ovf(text) {
        return Ok(Some(Format::Ovf));
    }
    Ok(None)
}

/// What the first signature that a file has says of it.
fn signature(file: &Window, of: &[foreign::Signature]) -> Result<Option<&'static str>, SourceError> {
    for (offset, magic, what) in of {
        if file.read_up_to(*offset as u64, magic.len())? == *magic {
            return Ok(Some(what));
        }
    }
    Ok(None)
}

fn unsupported(file: &Window, what: &str) -> ImageError {
    ImageError::Unsupported {
        file: file.path().to_owned(),
        what: what.to_owned(),
        help: foreign::help(what, file.path()),
    }
}

/// What is to be said of a file that nothing says the format of: what it may be, at least.
fn unknown(file: &Window, name: &Path) -> Result<ImageError, SourceError> {
    let (trailer, dmg) = foreign::DMG_TRAILER;
    let at = file.len().saturating_sub(512);
    if file.read_up_to(at, trailer.len())? == trailer {
        return Ok(unsupported(file, dmg));
    }
    if let Some(what) = foreign::by_name(name) {
        return Ok(unsupported(file, what));
    }
    let looks = if file.len() == 0 { Some(foreign::EMPTY) } else { signature(file, &foreign::CONTENTS)? };
    Ok(ImageError::UnknownFormat { file: file.path().to_owned(), looks })
}

/// A fixed VHD has nothing but a footer in its last 512 bytes (511 in very old ones).
fn has_vhd_footer(file: &Window) -> Result<bool, SourceError> {
    match file.len().checked_sub(512) {
        Some(at) => Ok(file.read_vec(at, 8)? == b"conectix"),
        None => Ok(false),
    }
}

/// Comments and empty lines may stand before the line that says what it is; it is a comment too.
pub(super) fn is_descriptor(text: &[u8]) -> bool {
    text.split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .take_while(|line| line.is_empty() || line.starts_with(b"#"))
        .any(|line| line.eq_ignore_ascii_case(b"# Disk DescriptorFile"))
}

/// Whether a text begins as an appliance's description does.
pub(super) fn is_ovf(text: &[u8]) -> bool {
    text.starts_with(b"<") && text.windows(8).any(|part| part == b"Envelope")
}

/// Whether a file's name says that it is a disk's bytes as they are.
pub(super) fn is_raw_name(name: &Path) -> bool {
    let extension = name.extension().map(|extension| extension.to_ascii_lowercase());
    extension.is_some_and(|extension| RAW_NAMES.iter().any(|name| extension == *name))
}

/// Decides the format of a file: what was said, else what its content shows, else raw when its
/// name says so or it is a block device.
pub(super) fn detect(file: &Window, said: Option<Format>, is_device: bool) -> Result<Format, ImageError> {
    detect_named(file, file.name(), said, is_device)
}

/// The format of a file that was of another time: that it was of then, unless its content shows
/// another one.
pub(super) fn detect_pinned(file: &Window, pinned: Format) -> Result<Format, ImageError> {
    let moved = |found: String| ImageError::FormatMoved { file: file.path().to_owned(), pinned, found };
    match by_content(file)? {
        Some(found) if found == pinned => Ok(pinned),
        Some(found) => Err(moved(found.to_string())),
        None if pinned == Format::Raw => Ok(pinned),
        None => Err(moved("of no format that Replant knows".to_owned())),
    }
}

/// As [`detect`], of a file that has another name (in an appliance).
pub(super) fn detect_named(
    file: &Window,
    name: &Path,
    said: Option<Format>,
    is_device: bool,
) -> Result<Format, ImageError> {
    if said == Some(Format::Raw) {
        return Ok(Format::Raw);
    }
    let found = by_content(file)?;
    let other = |found: &str, said: Format| ImageError::OtherFormat {
        file: file.path().to_owned(),
        said,
        found: found.to_owned(),
    };
    if let Some(said) = said {
        return match found {
            Some(found) if found == said => Ok(said),
            Some(found) => Err(other(found.as_str(), said)),
            None => Err(other("of no format that Replant knows", said)),
        };
    }
    let named_raw = is_device || is_raw_name(name);
    match found {
        // A guest can write a qcow2 header on its raw disk, to make the host read other files.
        Some(found) if named_raw => Err(ImageError::AmbiguousFormat { file: file.path().to_owned(), found }),
        Some(found) => Ok(found),
        None if named_raw => Ok(Format::Raw),
        None => Err(unknown(file, name)?),
    }
}
