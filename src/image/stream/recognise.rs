//! What a stream is by its first bytes.

use super::super::detect::{is_descriptor, is_ovf};
use super::super::foreign::SIGNATURES;
use super::super::format::Format;

/// How much of a stream's beginning is looked at: as far as a CD's signature.
pub(super) const HEAD: usize = 36 << 10;

/// What a stream's beginning shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A VMDK with a binary header: streamOptimized, or one that is not to be had in order.
    Vmdk,
    /// A tar file.
    Ova,
    /// A format that is not to be had in order: which, and why in the rest of a sentence.
    NotInOrder(Format, &'static str),
    /// A format that is known and not read at all: which, as the rest of a sentence.
    NotRead(&'static str),
}

impl Shape {
    /// The format that it is of.
    pub(super) fn format(self) -> Option<Format> {
        match self {
            Self::Vmdk => Some(Format::Vmdk),
            Self::Ova => Some(Format::Ova),
            Self::NotInOrder(format, _) => Some(format),
            Self::NotRead(_) => None,
        }
    }
}

/// What a stream that begins so is; `None` when it shows nothing.
pub(super) fn recognise(head: &[u8]) -> Option<Shape> {
    let tables = |format, what| Some(Shape::NotInOrder(format, what));
    if let Some((_, _, what)) =
        SIGNATURES.iter().find(|(at, magic, _)| head.get(*at..at + magic.len()) == Some(*magic))
    {
        return Some(Shape::NotRead(what));
    }
    if head.starts_with(b"KDMV") {
        return Some(Shape::Vmdk);
    }
    if head.starts_with(b"COWD") || head.starts_with(b"\xbe\xba\xfe\xca\0\0\0\0") {
        return tables(Format::Vmdk, "is a VMDK of an ESX host's snapshot, whose grains lie anywhere in it");
    }
    if head.starts_with(b"QFI\xfb") {
        return tables(Format::Qcow2, "is a qcow2 image, whose clusters lie anywhere in it");
    }
    if head.starts_with(b"vhdxfile") {
        return tables(Format::Vhdx, "is a VHDX image, whose blocks lie anywhere in it");
    }
    if head.starts_with(b"conectix") {
        return tables(Format::Vhd, "is a dynamic VHD image, whose blocks lie anywhere in it");
    }
    if head.get(257..262) == Some(b"ustar") {
        return Some(Shape::Ova);
    }
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let text = &text[..text.len().min(4096)];
    if is_descriptor(text) {
        return tables(Format::Vmdk, "is a VMDK's descriptor, whose data is in other files");
    }
    if is_ovf(text) {
        return tables(Format::Ovf, "is an appliance's description, whose disks are in other files");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings() {
        for (head, format) in [
            (&b"KDMV\x03\0\0\0"[..], Some(Format::Vmdk)),
            (b"QFI\xfb\0\0\0\x03", Some(Format::Qcow2)),
            (b"vhdxfile", Some(Format::Vhdx)),
            (b"conectix", Some(Format::Vhd)),
            (b"COWD", Some(Format::Vmdk)),
            (b"# Disk DescriptorFile\nversion=1\n", Some(Format::Vmdk)),
            (b"<?xml version=\"1.0\"?>\n<Envelope/>", Some(Format::Ovf)),
        ] {
            assert_eq!(recognise(head).and_then(Shape::format), format);
        }
        assert_eq!(recognise(b""), None);
        assert_eq!(recognise(&[0; HEAD]), None);
        assert!(matches!(recognise(b"QED\0"), Some(Shape::NotRead(_))));
    }
}
