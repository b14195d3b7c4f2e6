//! An image and the files it stands on.

use super::super::error::ImageError;
use super::super::extent::Layout;
use super::super::format::Format;
use super::super::open::{Found, open_as};
use super::super::opener::Opener;
use super::super::window::Window;
use super::header::{Backing, Header, HeaderError, MOST_BYTES};
use super::layer::Layer;
use super::snapshot;

/// Most backing files that are followed.
const MOST_DEPTH: usize = 32;

/// Opens an image and its chain of backing files.
pub(in super::super) fn open(opener: &mut Opener, file: Window) -> Result<Found, ImageError> {
    let bytes = file.read_up_to(0, MOST_BYTES)?;
    let header = Header::parse(&bytes).map_err(|error| match error {
        HeaderError::Bad(at, what) => file.damaged(at, what).into(),
        HeaderError::Unsupported(what) => unsupported(&file, what),
    })?;
    opener.metadata(&bytes[..bytes.len().min(1 << header.cluster_bits)]);
    let (header, variant) = choose(opener, &file, header)?;
    let below = match &header.backing {
        Some(backing) => Some(open_backing(opener, &file, backing)?),
        None => None,
    };
    let mut unit = 1 << header.cluster_bits;
    let variant = if below.is_some() { format!("{variant}, on backing files") } else { variant };
    let below = below.map(|below| {
        unit = unit.max(below.unit);
        below.layout
    });
    let (layer, table) = Layer::open(file, header, below)?;
    opener.metadata(&table);
    Ok(Found { layout: Box::new(layer) as Box<dyn Layout>, format: Format::Qcow2, variant, unit })
}

/// The header of what is to be read: the active layer, or the snapshot that is asked for; and what
/// to call it.
fn choose(opener: &mut Opener, file: &Window, header: Header) -> Result<(Header, String), ImageError> {
    if header.snapshots > 0 {
        opener.id("snapshots", header.snapshots.to_string());
    }
    let version = format!("version {}", header.version);
    let Some(wanted) = opener.take_snapshot() else { return Ok((header, version)) };
    let (header, snapshot) = snapshot::select(file, &header, &wanted)?;
    opener.id("snapshot", format!("{} {}, {}", snapshot.id, snapshot.seconds, snapshot.name));
    Ok((header, format!("{version}, snapshot {}", snapshot.name)))
}

fn unsupported(file: &Window, what: impl Into<String>) -> ImageError {
    ImageError::Unsupported {
        file: file.path().to_owned(),
        what: what.into(),
        help: "Convert it to a plain image first, for example with `qemu-img convert -O qcow2`.".to_owned(),
    }
}

/// A format by the name that QEMU has for it.
fn named(format: &str) -> Option<Format> {
    match format {
        "raw" => Some(Format::Raw),
        "qcow2" => Some(Format::Qcow2),
        "vmdk" => Some(Format::Vmdk),
        "vpc" => Some(Format::Vhd),
        "vhdx" => Some(Format::Vhdx),
        _ => None,
    }
}

fn open_backing(opener: &mut Opener, file: &Window, backing: &Backing) -> Result<Found, ImageError> {
    let name = String::from_utf8_lossy(&backing.name).into_owned();
    if name.starts_with("json:") {
        return Err(unsupported(file, "stands on something that is no file"));
    }
    // What a raw disk begins with is the guest's to write: without a word it is not looked at.
    let Some(format) = &backing.format else {
        return Err(ImageError::Unsupported {
            file: file.path().to_owned(),
            what: format!("stands on `{name}`, but does not say of which format that is"),
            help: format!(
                "Record the format, for example:\nqemu-img rebase -u -F qcow2 -b {name} {}",
                file.path().display()
            ),
        });
    };
    let format =
        named(format).ok_or_else(|| unsupported(file, format!("stands on `{name}`, a {format} image")))?;
    let depth = opener.descend();
    if depth > MOST_DEPTH {
        return Err(ImageError::TooDeep { file: file.path().to_owned(), most: MOST_DEPTH });
    }
    let below = opener.beside_new(&backing.name, file.path())?;
    let below = below.ok_or_else(|| ImageError::Cycle { file: file.path().to_owned(), name })?;
    open_as(format, opener, below)
}
