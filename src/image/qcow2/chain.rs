//! An image and the files it stands on.

use super::super::error::ImageError;
use super::super::format::Format;
use super::super::open::Found;
use super::super::opener::Opener;
use super::super::parent::open_named;
use super::super::window::Window;
use super::header::{Backing, Header, HeaderError, MOST_BYTES};
use super::layer::Layer;
use super::snapshot;

/// Opens an image and its chain of backing files.
pub(in super::super) fn open(opener: &mut Opener, file: Window) -> Result<Found, ImageError> {
    let bytes = file.read_up_to(0, MOST_BYTES)?;
    let header = Header::parse(&bytes).map_err(|error| match error {
        HeaderError::Bad(at, what) => file.damaged(at, what).into(),
        HeaderError::Unsupported(what) => unsupported(&file, what),
    })?;
    opener.metadata(&bytes[..bytes.len().min(1 << header.cluster_bits)]);
    let unit = 1 << header.cluster_bits;
    let (header, mut variant) = choose(opener, &file, header)?;
    if let Some(backing) = &header.backing {
        open_backing(opener, &file, backing)?;
        variant.push_str(", on backing files");
    }
    let (layer, table) = Layer::open(file, header, opener.depth())?;
    opener.metadata(&table);
    Ok(Found { layout: Box::new(layer), format: Format::Qcow2, variant, unit })
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

fn open_backing(opener: &mut Opener, file: &Window, backing: &Backing) -> Result<(), ImageError> {
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
    let format = match format.as_str() {
        // QEMU's word for a VHD.
        "vpc" => Some(Format::Vhd),
        other => {
            other.parse().ok().filter(|format| !matches!(format, Format::Ova | Format::Ovf | Format::Vhd))
        }
    }
    .ok_or_else(|| unsupported(file, format!("stands on `{name}`, a {format} image")))?;
    open_named(opener, &backing.name, format, file)?;
    Ok(())
}
