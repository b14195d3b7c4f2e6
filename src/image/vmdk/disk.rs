//! A disk of one or more extents.

use std::ops::Range;

use super::super::error::ImageError;
use super::super::extent::{Extent, Layout, Place, push};
use super::super::format::Format;
use super::super::open::Found;
use super::super::opener::Opener;
use super::super::raw::{Raw, plain};
use super::super::source::SourceError;
use super::super::window::Window;
use super::descriptor::{Descriptor, DescriptorError, ExtentLine, Kind, MOST_BYTES};
use super::header::{HEADER, Header, SECTOR};
use super::sparse::{OpenError, Sparse, read_header};

/// A grain's size where there are no grains.
const NO_GRAIN: u64 = 64 << 10;

/// Opens a VMDK by its sparse file or its descriptor.
pub(in super::super) fn open(opener: &mut Opener, file: Window) -> Result<Found, ImageError> {
    let magic = file.read_up_to(0, 4)?;
    match magic.as_slice() {
        b"KDMV" => open_single(opener, file),
        b"COWD" => Err(unsupported(&file, "is a vmfsSparse extent, a snapshot of an ESX host")),
        b"\xbe\xba\xfe\xca" => Err(unsupported(&file, "is an seSparse extent, a snapshot of an ESX host")),
        _ => open_descriptor(opener, &file),
    }
}

fn unsupported(file: &Window, what: impl Into<String>) -> ImageError {
    ImageError::Unsupported {
        file: file.path().to_owned(),
        what: what.into(),
        help:
            "Export the machine as an OVA, or clone the disk to a full one, for example with `vmkfstools -i`."
                .to_owned(),
    }
}

fn descriptor_error(file: &Window, offset: u64, error: DescriptorError) -> ImageError {
    match error {
        DescriptorError::Bad(what) => file.damaged(offset, what).into(),
        DescriptorError::Unsupported(what) => unsupported(file, what),
    }
}

fn open_error(file: &Window, error: OpenError) -> ImageError {
    match error {
        OpenError::Source(error) => error.into(),
        OpenError::Unsupported(what) => unsupported(file, what),
    }
}

/// Takes a descriptor into the identity and refuses one that is not complete without a parent.
fn admit(opener: &mut Opener, file: &Window, descriptor: &Descriptor) -> Result<(), ImageError> {
    if descriptor.parent_id.is_some() {
        return Err(ImageError::NeedsParent {
            file: file.path().to_owned(),
            parent: descriptor.parent_name.clone(),
        });
    }
    opener.id("cid", descriptor.content_id.clone());
    if let Some(uuid) = &descriptor.uuid {
        opener.id("uuid", uuid.clone());
    }
    Ok(())
}

/// monolithicSparse and streamOptimized: everything is in one file.
fn open_single(opener: &mut Opener, file: Window) -> Result<Found, ImageError> {
    opener.metadata(&file.read_vec(0, HEADER)?);
    let header = read_header(&file).map_err(|error| open_error(&file, error))?;
    let mut variant = String::new();
    let text = embedded_descriptor(&file, &header)?;
    if text.iter().any(|byte| *byte != 0) {
        opener.metadata(&text);
        let descriptor =
            Descriptor::parse(&text).map_err(|error| descriptor_error(&file, header.descriptor, error))?;
        if descriptor.extents.len() > 1 {
            return Err(unsupported(&file, "has a descriptor of several extents inside the first of them"));
        }
        admit(opener, &file, &descriptor)?;
        variant = descriptor.create_type;
    } else if is_piece(&file) {
        return Err(ImageError::Unsupported {
            file: file.path().to_owned(),
            what: "is one of several files of a disk".to_owned(),
            help: "Name the disk's descriptor instead: the small file without `-s` and a number in its name."
                .to_owned(),
        });
    }
    let (sparse, directory) = Sparse::open(file, header)?;
    opener.metadata(&directory);
    let unit = sparse.grain();
    Ok(Found { layout: Box::new(sparse), format: Format::Vmdk, variant, unit })
}

/// The descriptor inside a sparse extent; empty or zeros when there is none.
fn embedded_descriptor(file: &Window, header: &Header) -> Result<Vec<u8>, ImageError> {
    if header.descriptor == 0 {
        return Ok(Vec::new());
    }
    if header.descriptor_size > MOST_BYTES {
        let what =
            format!("its descriptor has {} bytes, at most {MOST_BYTES} are possible", header.descriptor_size);
        return Err(file.damaged(36, what).into());
    }
    let length = usize::try_from(header.descriptor_size).unwrap_or(usize::MAX);
    Ok(file.read_vec(header.descriptor, length)?)
}

/// Whether a file is named as the pieces of a split disk are: `disk-s001.vmdk`.
fn is_piece(file: &Window) -> bool {
    let name = file.path().file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.rsplit_once("-s")
        .is_some_and(|(_, number)| number.len() >= 3 && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A descriptor of its own, the extents in other files.
fn open_descriptor(opener: &mut Opener, file: &Window) -> Result<Found, ImageError> {
    if file.len() > MOST_BYTES {
        let what = format!("a descriptor has at most {MOST_BYTES} bytes, this has {}", file.len());
        return Err(file.damaged(0, what).into());
    }
    let text = file.read_up_to(0, usize::try_from(MOST_BYTES).unwrap_or(usize::MAX))?;
    opener.metadata(&text);
    let descriptor = Descriptor::parse(&text).map_err(|error| descriptor_error(file, 0, error))?;
    admit(opener, file, &descriptor)?;
    if descriptor.extents.is_empty() {
        return Err(file.damaged(0, "its descriptor names no extents").into());
    }
    let mut disk = Disk { parts: Vec::new(), size: 0 };
    let mut unit = NO_GRAIN;
    for line in &descriptor.extents {
        let length = line.sectors.checked_mul(SECTOR);
        let end = length.and_then(|length| disk.size.checked_add(length));
        let (Some(length), Some(end)) = (length, end) else {
            return Err(file.damaged(0, "its extents are absurdly large").into());
        };
        let content = open_extent(opener, file, line, length)?;
        if let Content::Sparse(sparse) = &content {
            unit = unit.max(sparse.grain());
        }
        disk.parts.push(Part { start: disk.size, content });
        disk.size = end;
    }
    Ok(Found { layout: Box::new(disk), format: Format::Vmdk, variant: descriptor.create_type, unit })
}

fn open_extent(
    opener: &mut Opener,
    descriptor: &Window,
    line: &ExtentLine,
    length: u64,
) -> Result<Content, ImageError> {
    if line.kind == Kind::Zero {
        return Ok(Content::Zero);
    }
    let file = opener.beside(&line.name, descriptor.path())?;
    if line.kind == Kind::Flat {
        let part = line.offset.checked_mul(SECTOR).and_then(|offset| file.part(offset, length));
        let part = part.ok_or_else(|| {
            let what = format!("its extent of {length} bytes from sector {} is not within it", line.offset);
            file.damaged(0, what)
        })?;
        return Ok(Content::Flat(Raw { file: part }));
    }
    opener.metadata(&file.read_up_to(0, HEADER)?);
    let header = read_header(&file).map_err(|error| open_error(&file, error))?;
    if header.capacity < length {
        let what = format!("it has {} bytes where its descriptor says {length}", header.capacity);
        return Err(file.damaged(12, what).into());
    }
    let (sparse, directory) = Sparse::open(file, header)?;
    opener.metadata(&directory);
    Ok(Content::Sparse(sparse))
}

#[derive(Debug)]
enum Content {
    Zero,
    Flat(Raw),
    Sparse(Sparse),
}

/// One extent of a disk, which ends where the next begins.
#[derive(Debug)]
struct Part {
    start: u64,
    content: Content,
}

/// A disk of extents, one after the other.
#[derive(Debug)]
struct Disk {
    parts: Vec<Part>,
    size: u64,
}

impl Layout for Disk {
    fn size(&self) -> u64 {
        self.size
    }

    fn extents<'a>(&'a self, range: Range<u64>, found: &mut Vec<Extent<'a>>) -> Result<(), SourceError> {
        let first = self.parts.partition_point(|part| part.start <= range.start).saturating_sub(1);
        let ends = self.parts.iter().skip(1).map(|part| part.start).chain([self.size]);
        for (part, end) in self.parts.iter().zip(ends).skip(first) {
            let from = range.start.max(part.start);
            let to = range.end.min(end);
            if part.start >= range.end {
                break;
            }
            if from >= to {
                continue;
            }
            let within = from - part.start..to - part.start;
            match &part.content {
                Content::Zero => push(found, from..to, Place::Zero),
                Content::Flat(raw) => plain(&raw.file, within.start, from..to, found),
                Content::Sparse(sparse) => {
                    let mut inner = Vec::new();
                    sparse.extents(within, &mut inner)?;
                    for extent in inner {
                        let range = extent.range.start + part.start..extent.range.end + part.start;
                        push(found, range, extent.place.moved(part.start));
                    }
                }
            }
        }
        Ok(())
    }
}
