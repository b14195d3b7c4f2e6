//! A disk of one or more extents.

use std::ops::Range;
use std::sync::Arc;

use super::super::error::ImageError;
use super::super::extent::{Extent, Layout, Place, push};
use super::super::format::Format;
use super::super::open::Found;
use super::super::opener::Opener;
use super::super::parent::open_recorded;
use super::super::raw::{Raw, plain};
use super::super::source::SourceError;
use super::super::window::Window;
use super::descriptor::{Descriptor, DescriptorError, ExtentLine, Kind, MOST_BYTES, same_id};
use super::header::{HEADER, Header, SECTOR};
use super::sesparse::{MAGIC, SeSparse};
use super::sparse::{COWD, OpenError, Sparse, Tables, read_header};

/// A grain's size where there are no grains.
const NO_GRAIN: u64 = 64 << 10;
/// Most bytes of the directories of all extents: 64 TiB of seSparse need 32 MiB.
const MOST_DIRECTORIES: usize = 48 << 20;

/// Opens a VMDK by its sparse file or its descriptor.
pub(in super::super) fn open(opener: &mut Opener, file: Window) -> Result<Found, ImageError> {
    let begin = file.read_up_to(0, MAGIC.len())?;
    if begin.starts_with(b"KDMV") {
        open_single(opener, file)
    } else if begin.starts_with(COWD) || begin.starts_with(MAGIC) {
        Err(ImageError::Unsupported {
            file: file.path().to_owned(),
            what: "is an extent of a snapshot of an ESX host, not a disk by itself".to_owned(),
            help: "Name the disk's descriptor instead: the small file beside it without `-delta`, `-sesparse` or \
                the like in its name."
                .to_owned(),
        })
    } else {
        open_descriptor(opener, &file)
    }
}

pub(super) fn unsupported(file: &Window, what: impl Into<String>) -> ImageError {
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

/// Takes a descriptor into the identity, and opens the parent when there is one. Gives whether
/// there is.
fn admit(opener: &mut Opener, file: &Window, descriptor: &Descriptor) -> Result<bool, ImageError> {
    opener.id("cid", descriptor.content_id.clone());
    if let Some(uuid) = &descriptor.uuid {
        opener.id("uuid", uuid.clone());
    }
    let Some(expected) = &descriptor.parent_id else {
        return match &descriptor.parent_name {
            None => Ok(false),
            Some(name) => Err(ImageError::OtherParent {
                file: file.path().to_owned(),
                parent: String::from_utf8_lossy(name).into_owned(),
                what: "its descriptor names this parent, but its `parentCID` says that it has none"
                    .to_owned(),
                help: None,
            }),
        };
    };
    let recorded: Vec<Vec<u8>> = descriptor.parent_name.iter().cloned().collect();
    let parent = open_recorded(opener, &recorded, Format::Vmdk, file)?;
    let found = parent.identity.ids.get("cid").map(String::as_str).unwrap_or_default();
    if !same_id(found, expected) {
        return Err(ImageError::OtherParent {
            file: file.path().to_owned(),
            what: if found.is_empty() {
                format!("it was made on the content {expected}, but the parent has no content id")
            } else {
                format!("it was made on the content {expected}, but the parent's is {found}")
            },
            help: (!found.is_empty()).then(|| {
                let file = file.path().display();
                [
                    format!(
                        "If the parent is known not to have been written to since the snapshot, say so in the \
                         descriptor of a copy of {file}:"
                    ),
                    format!("parentCID={found}"),
                ]
            }),
            parent: parent.file,
        });
    }
    Ok(true)
}

/// monolithicSparse and streamOptimized: everything is in one file.
fn open_single(opener: &mut Opener, file: Window) -> Result<Found, ImageError> {
    opener.metadata(&file.read_vec(0, HEADER)?);
    let header = read_header(&file).map_err(|error| open_error(&file, error))?;
    let mut variant = String::new();
    let mut on_parent = false;
    let text = embedded_descriptor(&file, &header)?;
    if text.iter().any(|byte| *byte != 0) {
        opener.metadata(&text);
        let descriptor =
            Descriptor::parse(&text).map_err(|error| descriptor_error(&file, header.descriptor, error))?;
        if descriptor.extents.len() > 1 {
            return Err(unsupported(&file, "has a descriptor of several extents inside the first of them"));
        }
        on_parent = admit(opener, &file, &descriptor)?;
        variant = descriptor.create_type;
    } else if is_piece(&file) {
        return Err(ImageError::Unsupported {
            file: file.path().to_owned(),
            what: "is one of several files of a disk".to_owned(),
            help: "Name the disk's descriptor instead: the small file without `-s` and a number in its name."
                .to_owned(),
        });
    }
    let (sparse, directory) = Sparse::open(file, header, on_parent, &Arc::default())?;
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
    let name = file.name().file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
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
    let on_parent = admit(opener, file, &descriptor)?;
    if descriptor.extents.is_empty() {
        return Err(file.damaged(0, "its descriptor names no extents").into());
    }
    let mut disk = Disk { parts: Vec::new(), size: 0 };
    let mut unit = NO_GRAIN;
    let tables = Arc::default();
    let mut left = MOST_DIRECTORIES;
    for line in &descriptor.extents {
        let length = line.sectors.checked_mul(SECTOR);
        let end = length.and_then(|length| disk.size.checked_add(length));
        let (Some(length), Some(end)) = (length, end) else {
            return Err(file.damaged(0, "its extents are absurdly large").into());
        };
        let (content, metadata) = open_extent(opener, file, line, length, on_parent, &tables)?;
        if !metadata.is_empty() {
            opener.metadata(&metadata);
        }
        left = left
            .checked_sub(metadata.len())
            .ok_or_else(|| file.damaged(0, "its extents have absurdly large directories"))?;
        if let Content::Sparse(sparse) = &content {
            unit = unit.max(sparse.grain());
        }
        disk.parts.push(Part { start: disk.size, content });
        disk.size = end;
    }
    Ok(Found { layout: Box::new(disk), format: Format::Vmdk, variant: descriptor.create_type, unit })
}

/// Opens one extent. Also gives the bytes of its metadata.
fn open_extent(
    opener: &mut Opener,
    descriptor: &Window,
    line: &ExtentLine,
    length: u64,
    on_parent: bool,
    tables: &Arc<Tables>,
) -> Result<(Content, Vec<u8>), ImageError> {
    if line.kind == Kind::Zero {
        return Ok((Content::Zero, Vec::new()));
    }
    let file = opener.beside(&line.name, descriptor.path())?;
    if line.kind == Kind::Flat {
        let part = line.offset.checked_mul(SECTOR).and_then(|offset| file.part(offset, length));
        let part = part.ok_or_else(|| {
            let what = format!("its extent of {length} bytes from sector {} is not within it", line.offset);
            file.damaged(0, what)
        })?;
        return Ok((Content::Flat(Raw { file: part }), Vec::new()));
    }
    let (content, capacity, metadata) = if line.kind == Kind::SeSparse {
        let (sparse, metadata) = SeSparse::open(file.clone(), on_parent, tables)?;
        let capacity = sparse.size();
        (Content::SeSparse(sparse), capacity, metadata)
    } else {
        opener.metadata(&file.read_up_to(0, HEADER)?);
        let header = read_header(&file).map_err(|error| open_error(&file, error))?;
        let capacity = header.capacity;
        let (sparse, directory) = Sparse::open(file.clone(), header, on_parent, tables)?;
        (Content::Sparse(sparse), capacity, directory)
    };
    if capacity < length {
        let what = format!("it has {capacity} bytes where its descriptor says {length}");
        return Err(file.damaged(12, what).into());
    }
    Ok((content, metadata))
}

#[derive(Debug)]
enum Content {
    Zero,
    Flat(Raw),
    Sparse(Sparse),
    SeSparse(SeSparse),
}

impl Content {
    /// The extents of what has its own directory; `None` for what has none.
    fn layout(&self) -> Option<&dyn Layout> {
        match self {
            Self::Zero | Self::Flat(_) => None,
            Self::Sparse(sparse) => Some(sparse),
            Self::SeSparse(sparse) => Some(sparse),
        }
    }
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
                content => {
                    let mut inner = Vec::new();
                    content.layout().map_or(Ok(()), |layout| layout.extents(within, &mut inner))?;
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
