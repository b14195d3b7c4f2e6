//! Opening a stream: what it is, and the disk in it.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{IsTerminal, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::super::detect::is_raw_name;
use super::super::error::ImageError;
use super::super::foreign;
use super::super::format::Format;
use super::appliance::Appliance;
use super::compression::Unpack;
use super::input::{Bytes, Foreign, Input, Peeked, only_zeros_left};
use super::raw::Raw;
use super::recognise::{HEAD, Shape, looks, recognise};
use super::sparse::Sparse;
use super::tar::Tar;
use super::{Compression, Packed, Piece, StreamError, Watch};
use crate::model::Digest;

/// What the stream on standard input is called.
pub(super) const STDIN: &str = "standard input";

/// What a user may say of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamOptions {
    /// Its format; `None`: by its beginning. A raw disk has to be said, unless a file's name does.
    pub format: Option<Format>,
    /// Which disk of an appliance: its id, its name or its file. `None`: its only one.
    pub member: Option<String>,
    /// How it is compressed.
    pub unpack: Unpack,
    /// The disk's size in bytes: what comes must be that long.
    pub size: Option<u64>,
    /// How long it may send nothing; `None`: for ever.
    pub stall: Option<Duration>,
}

/// The disk in a stream.
enum Disk {
    Raw(Raw),
    Sparse(Box<Sparse>),
}

/// A disk that is read once, from front to back. Nothing of it is known before it comes; that all
/// of it came is known at its end.
pub struct Stream {
    watch: Arc<Watch>,
    disk: Disk,
    appliance: Option<Appliance>,
    /// A regular file and what was known of it at first.
    file: Option<(File, Metadata)>,
    paths: Vec<PathBuf>,
    description: String,
    identity: Digest,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    Finished,
    Failed,
}

/// Whether a file can only be read as a stream, or is best read so: a pipe, or a disk that is
/// compressed as a whole.
#[must_use]
pub fn is_for_stream(path: &Path, options: &StreamOptions) -> bool {
    let Ok(metadata) = std::fs::metadata(path) else { return false };
    if metadata.file_type().is_fifo() {
        return true;
    }
    if !metadata.is_file() || options.unpack == Unpack::Never {
        return false;
    }
    if matches!(options.unpack, Unpack::With(_)) {
        return true;
    }
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(16).read_to_end(&mut head));
    let looks = read.ok().and_then(|_| Compression::of_head(&head));
    let named = Compression::of_name(path).map(|(compression, _)| compression);
    looks.is_some() && (looks == named || options.format != Some(Format::Raw) && !is_raw_name(path))
}

impl Stream {
    /// The disk that is sent to standard input.
    ///
    /// # Errors
    /// When standard input is a terminal, or what comes is not a disk that can be read in order.
    pub fn stdin(options: &StreamOptions) -> Result<Self, StreamError> {
        let stdin = std::io::stdin();
        if stdin.is_terminal() {
            return Err(StreamError::Terminal);
        }
        let name = PathBuf::from(STDIN);
        let file = stdin.as_fd().try_clone_to_owned().map(File::from);
        let file = file.map_err(|source| StreamError::Open { name: name.clone(), source })?;
        // It may be redirected from a file, which must not be the target.
        Self::of_file(file, name, PathBuf::from("/dev/stdin"), None, options)
    }

    /// The disk in a pipe or a compressed file.
    ///
    /// # Errors
    /// When it cannot be opened, or does not hold a disk that can be read in order.
    pub fn path(path: &Path, options: &StreamOptions) -> Result<Self, StreamError> {
        let file = File::open(path).map_err(|source| StreamError::Open { name: path.to_owned(), source })?;
        Self::of_file(file, path.to_owned(), path.to_owned(), Some(path), options)
    }

    /// The disk that a reader gives, which messages call `name`. A wait for its bytes cannot be
    /// interrupted.
    ///
    /// # Errors
    /// When it does not hold a disk that can be read in order.
    pub fn reader(
        reader: impl Read + Send + 'static,
        name: &str,
        options: &StreamOptions,
    ) -> Result<Self, StreamError> {
        let watch = Watch::new(PathBuf::from(name));
        let bytes = Box::new(Foreign { reader, watch: Arc::clone(&watch) });
        Self::open(bytes, watch, None, options)
    }

    fn of_file(
        file: File,
        name: PathBuf,
        path: PathBuf,
        named: Option<&Path>,
        options: &StreamOptions,
    ) -> Result<Self, StreamError> {
        let open = |source| StreamError::Open { name: name.clone(), source };
        let metadata = file.metadata().map_err(open)?;
        let regular = metadata.is_file();
        let again = file.try_clone().map_err(open)?;
        let watch = Watch::new(name);
        let input = Box::new(Input::new(file, Arc::clone(&watch), options.stall));
        let mut stream = Self::open(input, watch, named, options)?;
        if regular || metadata.file_type().is_block_device() {
            stream.paths.push(path);
        }
        stream.file = regular.then_some((again, metadata));
        Ok(stream)
    }

    fn open(
        bytes: Bytes,
        watch: Arc<Watch>,
        named: Option<&Path>,
        options: &StreamOptions,
    ) -> Result<Self, StreamError> {
        let bytes = peek(bytes, &watch)?;
        let name_says = named.and_then(Compression::of_name);
        let compression = match (options.unpack, Compression::of_head(bytes.head())) {
            (Unpack::Never, _) => None,
            (Unpack::With(said), looks) if looks != Some(said) => {
                return Err(StreamError::NotCompressed { name: watch.name().to_owned(), said });
            }
            (Unpack::Auto, Some(looks))
                if options.format == Some(Format::Raw) && name_says.is_none_or(|(says, _)| says != looks) =>
            {
                let name = watch.name().to_owned();
                return Err(StreamError::RawOrCompressed { name, compression: looks });
            }
            (_, looks) => looks,
        };
        let inner_name = match (compression, name_says) {
            (Some(_), Some((_, inner))) => Some(inner),
            _ => named,
        };
        let bytes = match compression {
            Some(compression) => unpack(compression, bytes, &watch)?,
            None => bytes,
        };
        let shape = decide(&bytes, &watch, compression, inner_name, options.format)?;
        let mut opening = Opening { watch: &watch, compression, options, identity: Facts::default() };
        let (disk, appliance) = match shape {
            Some(Shape::Ova) => opening.appliance(bytes)?,
            _ if options.member.is_some() => {
                let member = options.member.clone().unwrap_or_default();
                return Err(ImageError::NotAnAppliance { file: watch.name().to_owned(), member }.into());
            }
            shape => (opening.disk(bytes, shape, options.size)?, None),
        };
        let Facts { format, member, hasher } = opening.identity;
        let mut description = format;
        if member.is_some() {
            description.push_str(" in an appliance");
        }
        if let Some(compression) = compression {
            description.push_str(&format!(", {compression}"));
        }
        Ok(Self {
            disk,
            appliance,
            file: None,
            paths: Vec::new(),
            description,
            identity: Digest(*hasher.finalize().as_bytes()),
            state: State::Reading,
            watch,
        })
    }

    /// The disk's size in bytes: from its header, as it was said, or known at its end.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        match &self.disk {
            Disk::Raw(raw) => raw.size(),
            Disk::Sparse(sparse) => Some(sparse.size()),
        }
    }

    /// What is known of the stream from its beginning: format, size, ids, its header's digest.
    /// Two streams that differ only further on have the same.
    #[must_use]
    pub fn identity(&self) -> Digest {
        self.identity
    }

    /// The format for people, with what it is wrapped in: `vmdk streamOptimized, gzip`.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// The files or devices that it is read from, where there are some.
    #[must_use]
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// What watches its bytes, and can stop a wait for them.
    #[must_use]
    pub fn watch(&self) -> Arc<Watch> {
        Arc::clone(&self.watch)
    }

    /// Whether the disk was compared with an appliance's manifest; known at its end.
    #[must_use]
    pub fn is_checked_by_manifest(&self) -> bool {
        self.state == State::Finished && self.appliance.as_ref().is_some_and(Appliance::is_checked)
    }

    /// The next piece of the disk: in `buffer` (whose length must be [`PIECE`](super::PIECE)), in
    /// `packed`, or zeros. `None` at the end, once all that can be checked was: that the stream is
    /// whole, its checksums, its tables, an appliance's manifest.
    ///
    /// # Errors
    /// When the stream cannot be read, stalls, is cut short or is damaged; nothing can be read
    /// after that.
    pub fn next(&mut self, buffer: &mut [u8], packed: &mut Packed) -> Result<Option<Piece>, StreamError> {
        match self.state {
            State::Finished => return Ok(None),
            State::Failed => return Err(StreamError::Stopped),
            State::Reading => {}
        }
        let piece = match &mut self.disk {
            Disk::Raw(raw) => raw.next(buffer),
            Disk::Sparse(sparse) => sparse.next(packed),
        };
        let piece = match piece {
            Ok(None) => self.finish().map(|()| None),
            other => other,
        };
        self.state = match &piece {
            Ok(Some(_)) => State::Reading,
            Ok(None) => State::Finished,
            Err(_) => State::Failed,
        };
        piece
    }

    /// Reads what follows the disk, up to the stream's end: a sender must not find its pipe
    /// closed, and a compressor's checksum comes last.
    fn finish(&mut self) -> Result<(), StreamError> {
        let clean = match &mut self.disk {
            Disk::Raw(raw) => only_zeros_left(raw.reader()),
            Disk::Sparse(sparse) => only_zeros_left(sparse.reader()),
        };
        if !clean.map_err(|error| self.watch.error(error))? {
            return Err(StreamError::Damaged {
                name: self.watch.name().to_owned(),
                offset: self.watch.bytes_read(),
                what: "something follows the disk's end".to_owned(),
            });
        }
        if let Some(appliance) = &mut self.appliance {
            appliance.finish()?;
        }
        let Some((file, then)) = &self.file else { return Ok(()) };
        let name = self.watch.name().to_owned();
        let now = file.metadata().map_err(|source| StreamError::Open { name: name.clone(), source })?;
        let facts = |metadata: &Metadata| (metadata.size(), metadata.mtime(), metadata.mtime_nsec());
        match facts(&now) == facts(then) {
            true => Ok(()),
            false => Err(ImageError::Changed { file: name, what: "it was written to".to_owned() }.into()),
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("watch", &self.watch).field("description", &self.description).finish()
    }
}

/// Looks at the beginning.
fn peek(bytes: Bytes, watch: &Watch) -> Result<Peeked, StreamError> {
    let bytes = Peeked::new(bytes, HEAD).map_err(|error| watch.error(error))?;
    if bytes.head().is_empty() {
        return Err(StreamError::CutShort {
            name: watch.name().to_owned(),
            offset: watch.bytes_read(),
            what: "not a byte of a disk is in it".to_owned(),
        });
    }
    Ok(bytes)
}

fn unpack(compression: Compression, bytes: Peeked, watch: &Watch) -> Result<Peeked, StreamError> {
    let bytes = compression.unpack(Box::new(bytes)).map_err(|error| watch.error(error))?;
    peek(bytes, watch)
}

/// Decides what a stream is: what was said, else what it begins as, else raw when its name says
/// so. `None`: raw.
fn decide(
    bytes: &Peeked,
    watch: &Watch,
    compression: Option<Compression>,
    named: Option<&Path>,
    said: Option<Format>,
) -> Result<Option<Shape>, StreamError> {
    let name = || watch.name().to_owned();
    if said == Some(Format::Raw) {
        return Ok(None);
    }
    let shape = recognise(bytes.head());
    if let Some(twice) = Compression::of_head(bytes.head()) {
        let what = format!("is compressed twice, with {twice} inside");
        let help = "Unpack one of the two before it is sent.".to_owned();
        return Err(ImageError::Unsupported { file: name(), what, help }.into());
    }
    if let Some(Shape::NotRead(what)) = shape {
        let help = match named {
            Some(file) => foreign::help(what, file),
            None => format!("Save it in a file first. {}", foreign::help(what, Path::new("disk"))),
        };
        return Err(ImageError::Unsupported { file: name(), what: what.to_owned(), help }.into());
    }
    let found = shape.and_then(Shape::format);
    if let Some(said) = said.filter(|said| found != Some(*said)) {
        let found = found
            .map_or("of no format that Replant knows by its beginning".to_owned(), |found| found.to_string());
        return Err(StreamError::OtherFormat { name: name(), said, found });
    }
    let named_raw = named.is_some_and(is_raw_name);
    match (shape, found) {
        // A guest can write such a beginning on its raw disk.
        (Some(_), Some(found)) if named_raw => {
            Err(ImageError::AmbiguousFormat { file: name(), found }.into())
        }
        (Some(Shape::NotInOrder(_, what)), _) => {
            Err(StreamError::NeedsFile { name: name(), compression, what: what.to_owned() })
        }
        (Some(shape), _) => Ok(Some(shape)),
        (None, _) if named_raw => Ok(None),
        (None, _) => Err(StreamError::Unknown { name: name(), compression, looks: looks(bytes.head()) }),
    }
}

/// What is learned of a stream at its beginning.
struct Facts {
    format: String,
    member: Option<String>,
    hasher: blake3::Hasher,
}

impl Default for Facts {
    fn default() -> Self {
        let hasher = blake3::Hasher::new_derive_key("replant stream identity 1");
        Self { format: String::new(), member: None, hasher }
    }
}

impl Facts {
    fn add(&mut self, bytes: &[u8]) {
        self.hasher.update(&(bytes.len() as u64).to_le_bytes());
        self.hasher.update(bytes);
    }
}

struct Opening<'a> {
    watch: &'a Arc<Watch>,
    compression: Option<Compression>,
    options: &'a StreamOptions,
    identity: Facts,
}

impl Opening<'_> {
    /// The disk of that shape; `size`: what is known of a raw one.
    fn disk(&mut self, bytes: Peeked, shape: Option<Shape>, size: Option<u64>) -> Result<Disk, StreamError> {
        let watch = Arc::clone(self.watch);
        if shape.is_none() {
            self.identity.format = Format::Raw.to_string();
            self.identity.add(b"raw");
            self.identity.add(&size.map_or([0xff; 8], u64::to_le_bytes));
            self.identity.add(bytes.head());
            return Ok(Disk::Raw(Raw::new(Box::new(bytes), watch, size)));
        }
        let sparse = Sparse::open(Box::new(bytes), watch, self.compression)?;
        let found = sparse.size();
        if let Some(said) = size.filter(|said| *said != found) {
            return Err(StreamError::OtherSize { name: self.watch.name().to_owned(), said, found });
        }
        let (variant, ids, metadata) = sparse.facts();
        self.identity.format = format!("{} {variant}", Format::Vmdk).trim_end().to_owned();
        self.identity.add(b"vmdk");
        for (key, value) in ids {
            self.identity.add(key.as_bytes());
            self.identity.add(value.as_bytes());
        }
        self.identity.add(&metadata);
        Ok(Disk::Sparse(Box::new(sparse)))
    }

    /// The chosen disk of an appliance.
    fn appliance(&mut self, bytes: Peeked) -> Result<(Disk, Option<Appliance>), StreamError> {
        let tar = Tar::new(Box::new(bytes), Arc::clone(self.watch));
        let member = self.options.member.as_deref();
        let appliance = Appliance::open(tar, self.watch, self.compression, member)?;
        self.identity.add(b"ova");
        self.identity.add(&appliance.metadata);
        self.identity.add(appliance.disk.as_bytes());
        let file = PathBuf::from(&appliance.file);
        let mut bytes = peek(Box::new(appliance.content()), self.watch)?;
        let (mut named, mut size) = (file.as_path(), Some(appliance.size));
        if let Some(compression) = Compression::of_head(bytes.head()) {
            bytes = unpack(compression, bytes, self.watch)?;
            named = Compression::of_name(named).map_or(named, |(_, inner)| inner);
            size = None;
        }
        let shape = decide(&bytes, self.watch, self.compression, Some(named), None)?;
        if shape == Some(Shape::Ova) {
            return Err(ImageError::Unsupported {
                file: self.watch.name().to_owned(),
                what: "holds an appliance inside another".to_owned(),
                help: "Unpack it first, and name the appliance in it.".to_owned(),
            }
            .into());
        }
        let said = self.options.size;
        let size = match shape {
            None => size,
            Some(_) => said,
        };
        if let (Some(found), Some(said)) = (size, said)
            && found != said
        {
            return Err(StreamError::OtherSize { name: self.watch.name().to_owned(), said, found });
        }
        let disk = self.disk(bytes, shape, size.or(said))?;
        self.identity.member = Some(appliance.disk.clone());
        Ok((disk, Some(appliance)))
    }
}
