//! Opening an image, and what it is once it is open.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::chain::Chain;
use super::detect::{detect, detect_named, detect_pinned};
use super::error::ImageError;
use super::extent::Layout;
use super::format::Format;
use super::identity::Identity;
use super::nbd;
use super::opener::{Finished, Opened, Opener};
use super::ova::{self, FileDigest, Listed, ManifestError};
use super::qcow2;
use super::raw::Raw;
use super::read;
use super::source::{BlockSource, Run, SourceError};
use super::vhd;
use super::vhdx;
use super::vmdk;
use super::window::Window;
use crate::model::{Digest, Location};

/// What a user may say of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// Its format; `None`: by its content.
    pub format: Option<Format>,
    /// Which disk of an appliance: its id, its name or its file. `None`: its only one.
    pub member: Option<String>,
    /// Which internal snapshot of a qcow2 image: its id or its name. `None`: what it holds now.
    pub snapshot: Option<String>,
    /// The format that it had before. When none is said and its content shows another one, it is
    /// refused.
    pub pinned: Option<Format>,
}

impl OpenOptions {
    /// Says the format.
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        self.format = Some(format);
        self
    }

    /// Says which disk of an appliance.
    #[must_use]
    pub fn member(mut self, member: impl Into<String>) -> Self {
        self.member = Some(member.into());
        self
    }

    /// Says which internal snapshot.
    #[must_use]
    pub fn snapshot(mut self, snapshot: impl Into<String>) -> Self {
        self.snapshot = Some(snapshot.into());
        self
    }
}

/// A format's layout with what it is called.
pub(super) struct Found {
    pub layout: Box<dyn Layout>,
    pub format: Format,
    /// The sub-format; empty when the format has none.
    pub variant: String,
    /// Bytes of one unit of its data, for the cache of decoded ones.
    pub unit: u64,
}

impl Found {
    /// The format for people.
    pub(super) fn description(&self) -> String {
        if self.variant.is_empty() {
            self.format.to_string()
        } else {
            format!("{} {}", self.format, self.variant)
        }
    }
}

/// An open disk image. All its files are open for reading, so that a process can give up its
/// rights to them; everything is read by position, by any number of threads at once.
pub struct Image {
    location: Location,
    path: PathBuf,
    format: Format,
    chain: Chain,
    files: Vec<Opened>,
    identity: Identity,
    /// The digests of the layers, the top one first.
    layers: Vec<Digest>,
    units: read::Units,
    data: OnceLock<u64>,
    listed: Option<Listed>,
}

/// Opens a disk image.
///
/// # Errors
/// When it cannot be read, is damaged, is of an unknown format, or needs what is not supported;
/// see [`ImageError`].
pub fn open(image: impl Into<Location>, options: &OpenOptions) -> Result<Image, ImageError> {
    let image = image.into();
    let (opener, file) = Opener::new(&image)?;
    open_over(image, opener, file, options)
}

/// Opens a disk image of which the first file is open.
pub(super) fn open_over(
    image: Location,
    mut opener: Opener,
    file: Window,
    options: &OpenOptions,
) -> Result<Image, ImageError> {
    opener.want_snapshot(options.snapshot.clone());
    // An export is the disk itself: what a guest wrote there must not be taken for a format.
    let export = matches!(image, Location::Nbd(_)).then(|| options.pinned.unwrap_or(Format::Raw));
    let said = options.format.or(export);
    let format = match (said, options.pinned) {
        (None, Some(pinned)) => detect_pinned(&file, pinned)?,
        (said, _) => detect(&file, said, opener.is_device())?,
    };
    if matches!(format, Format::Ova | Format::Ovf) {
        return open_member(image, opener, &file, options.member.as_deref());
    }
    if let Some(member) = &options.member {
        return Err(ImageError::NotAnAppliance { file: image.called(), member: member.clone() });
    }
    let found = open_disk(format, &mut opener, file)?;
    Ok(Image::new(image, found, opener, None))
}

/// Opens a disk of an appliance where it lies.
fn open_member(
    image: Location,
    mut opener: Opener,
    file: &Window,
    member: Option<&str>,
) -> Result<Image, ImageError> {
    let container = ova::open_container(&mut opener, file)?;
    let disk = container.appliance.disk(member)?;
    let content = container.disk(&mut opener, disk)?;
    let lines = container.manifest(&mut opener, file)?;
    let listed = Listed::find(&lines, disk.file.as_deref().unwrap_or_default(), &content);
    if container.is_archive() {
        opener.close();
    }
    let name = disk.file.as_deref().unwrap_or(&disk.id);
    let format = detect_named(&content, Path::new(name), None, false)?;
    let found = open_disk(format, &mut opener, content)?;
    Ok(Image { listed, ..Image::new(image, found, opener, Some(disk.id.clone())) })
}

/// Opens the disk that was asked for, in the snapshot that was asked for.
fn open_disk(format: Format, opener: &mut Opener, file: Window) -> Result<Found, ImageError> {
    let path = file.path().to_owned();
    let found = open_as(format, opener, file)?;
    match opener.take_snapshot() {
        // Only qcow2 takes it.
        Some(snapshot) => Err(ImageError::NoSnapshot { file: path, snapshot, known: Vec::new() }),
        None => Ok(found),
    }
}

/// Opens a disk of a known format.
pub(super) fn open_as(format: Format, opener: &mut Opener, file: Window) -> Result<Found, ImageError> {
    match format {
        Format::Raw => raw(opener, file),
        Format::Vmdk => vmdk::open(opener, file),
        Format::Qcow2 => qcow2::open(opener, file),
        Format::Vhd => vhd::open(opener, file),
        Format::Vhdx => vhdx::open(opener, file),
        Format::Ova | Format::Ovf => Err(ImageError::Unsupported {
            file: file.path().to_owned(),
            what: "holds an appliance inside another image".to_owned(),
            help: "Unpack it first, and name the appliance in it.".to_owned(),
        }),
    }
}

/// How much of each end of a raw disk goes into its identity: partition tables, boot sectors.
const RAW_SAMPLE: usize = 64 << 10;

fn raw(opener: &mut Opener, file: Window) -> Result<Found, ImageError> {
    opener.metadata(&file.read_up_to(0, RAW_SAMPLE)?);
    opener.metadata(&file.read_up_to(file.len().saturating_sub(RAW_SAMPLE as u64), RAW_SAMPLE)?);
    Ok(Found {
        layout: Box::new(Raw { file }),
        format: Format::Raw,
        variant: String::new(),
        unit: RAW_SAMPLE as u64,
    })
}

impl Image {
    fn new(location: Location, found: Found, opener: Opener, member: Option<String>) -> Self {
        let Finished { files, identity, below } = opener.finish(&found, member);
        let layers = std::iter::once(identity.digest()).chain(below.iter().map(|layer| layer.digest));
        let layers = layers.collect();
        let unit = below.iter().map(|layer| layer.unit).fold(found.unit, u64::max);
        Self {
            path: location.called(),
            location,
            format: found.format,
            chain: Chain::new(found.layout, below.into_iter().map(|layer| layer.layout)),
            files,
            identity,
            layers,
            units: read::units(unit),
            data: OnceLock::new(),
            listed: None,
        }
    }

    /// Its files, the one that was named first.
    pub(super) fn opened(&self) -> &[Opened] {
        &self.files
    }

    /// Where it is.
    #[must_use]
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// What messages call it: the path it was opened by, or the text that names its place.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The format of the disk (for a disk of an appliance, not the appliance's).
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// The format for people, with its sub-format: `vmdk streamOptimized`.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.identity.format
    }

    /// What tells it from other images.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Every file of this machine that it consists of, the one that was named first.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let files = self.location.local().map(|_| self.files.iter());
        files.into_iter().flatten().map(|file| file.path.as_path())
    }

    /// The line of its appliance's manifest for its file. Nothing is checked by it yet.
    #[must_use]
    pub fn manifest_line(&self) -> Option<&FileDigest> {
        self.listed.as_ref().map(|listed| &listed.line)
    }

    /// Checks its file by its appliance's manifest: a full read of it. Gives whether it was checked:
    /// not when no manifest names it, nor when `stop` ended it.
    ///
    /// # Errors
    /// When the file is not what the manifest says, or cannot be read.
    pub fn check_manifest(&self, stop: &dyn Fn() -> bool) -> Result<bool, ManifestError> {
        self.listed.as_ref().map_or(Ok(false), |listed| listed.check(stop))
    }

    /// How many of its bytes are data, by its metadata (the first call reads all of that, later
    /// ones none).
    ///
    /// # Errors
    /// When its metadata cannot be read or is damaged.
    pub fn data_bytes(&self) -> Result<u64, SourceError> {
        if let Some(bytes) = self.data.get() {
            return Ok(*bytes);
        }
        let bytes = read::data_bytes(&self.chain)?;
        Ok(*self.data.get_or_init(|| bytes))
    }

    /// How many of its bytes are zero, by its metadata.
    ///
    /// # Errors
    /// As [`Image::data_bytes`].
    pub fn zero_bytes(&self) -> Result<u64, SourceError> {
        Ok(self.size().saturating_sub(self.data_bytes()?))
    }

    /// Which parts of the disk are marked in a dirty bitmap that the NBD server of this image keeps
    /// (QEMU's `qemu:dirty-bitmap:NAME`): what was written since that bitmap was begun. In order,
    /// joined, a superset. The server cannot prove it, and it is for its user to know when that was.
    ///
    /// # Errors
    /// When this image is not an NBD export read as it is, or the server has no such bitmap or
    /// fails.
    pub fn dirty(&self, bitmap: &str) -> Result<Vec<Range<u64>>, ImageError> {
        match &self.location {
            Location::Nbd(export) if self.format() == Format::Raw => nbd::dirty(export, bitmap, self.size())
                .map_err(|source| ImageError::Nbd { location: export.to_string(), source }),
            _ => Err(ImageError::Unsupported {
                file: self.location.called(),
                what: "has no dirty bitmap: only an export of an NBD server that is read as it is has any"
                    .to_owned(),
                help: "Leave the bitmap out: without it, all of the image is read and compared.".to_owned(),
            }),
        }
    }

    /// The digests of the identities of the images it consists of, the top one (its own
    /// [`Identity::digest`]) first, then the one that it stands on, and so on. Each is the digest
    /// that the same file has when it is opened alone.
    #[must_use]
    pub fn layers(&self) -> &[Digest] {
        &self.layers
    }

    /// Which parts of `range` may differ from the image of the digest `ancestor`, when that is one
    /// of its [layers](Image::layers): those that the layers above it hold (data, or that there
    /// are zeros), and what lies behind the ancestor's end. In order, joined; a superset of what
    /// differs. `None` when the ancestor is none of its layers. Reads metadata only, piece
    /// by piece; what it gives may have as many ranges as there are grains or clusters in `range`.
    ///
    /// # Errors
    /// When the range is not within the disk, or as [`Image::data_bytes`].
    pub fn changed_since(
        &self,
        ancestor: &Digest,
        range: Range<u64>,
    ) -> Result<Option<Vec<Range<u64>>>, SourceError> {
        let Some(count) = self.layers.iter().position(|layer| layer == ancestor) else { return Ok(None) };
        read::check(&range, self.size())?;
        self.chain.held(count, range).map(Some)
    }

    /// Checks that none of its files changed since it was opened.
    ///
    /// # Errors
    /// [`ImageError::Changed`], or the error of looking.
    pub fn reopen_check(&self) -> Result<(), ImageError> {
        for file in &self.files {
            if let Some(what) = file.difference()? {
                return Err(ImageError::Changed { file: file.path.clone(), what });
            }
        }
        Ok(())
    }

    /// Checks that it is the image of that identity, and did not change since it was opened.
    ///
    /// # Errors
    /// [`ImageError::Changed`], or the error of looking.
    pub fn still_is(&self, identity: &Identity) -> Result<(), ImageError> {
        let changed = |what: String| ImageError::Changed { file: self.path.clone(), what };
        for (then, now) in identity.files.iter().zip(&self.identity.files) {
            if let Some(what) = then.difference(now) {
                return Err(ImageError::Changed {
                    file: self.path.parent().unwrap_or(Path::new("")).join(&now.name),
                    what,
                });
            }
        }
        if identity != &self.identity {
            return Err(changed(format!(
                "it is another image now ({} of {} bytes, then {} of {} bytes)",
                self.identity.format, self.identity.size, identity.format, identity.size
            )));
        }
        self.reopen_check()
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image").field("path", &self.path).field("identity", &self.identity).finish()
    }
}

impl BlockSource for Image {
    fn size(&self) -> u64 {
        self.chain.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), SourceError> {
        read::read_at(&self.chain, &self.units, offset, buffer)
    }

    fn runs(&self, range: Range<u64>) -> Result<Vec<Run>, SourceError> {
        read::runs(&self.chain, range)
    }

    fn changed_since(
        &self,
        image: &Digest,
        range: Range<u64>,
    ) -> Result<Option<Vec<Range<u64>>>, SourceError> {
        match self.is_identified() {
            true => Image::changed_since(self, image, range),
            false => Ok(None),
        }
    }

    fn is_identified(&self) -> bool {
        !self.files.iter().any(|file| file.backing.is_device())
    }

    fn check_unchanged(&self) -> Result<(), SourceError> {
        for file in &self.files {
            let difference = file.difference().map_err(|error| match error {
                ImageError::Source(source) => source,
                other => {
                    let source = std::io::Error::other(other);
                    SourceError::Read { file: file.path.clone(), offset: 0, source }
                }
            })?;
            if let Some(what) = difference {
                return Err(SourceError::Changed { file: file.path.clone(), offset: 0, what });
            }
        }
        Ok(())
    }
}
