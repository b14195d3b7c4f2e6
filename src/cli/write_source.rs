//! What `replant write` reads: an image, or a disk that comes as a stream.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::image_arguments::ImageArguments;
use super::meter::Meter;
use crate::copy::{self, Cancel, CopyError, Target, WriteOptions, WriteOutcome};
use crate::diagnostic::Diagnostic;
use crate::image::stream::{Unpack, is_for_stream};
use crate::image::{self, BlockSource, Image, ImageError, Stream, StreamOptions};
use crate::model::{Digest, Location};

/// How a stream is read.
#[derive(Debug, Args)]
pub struct StreamArguments {
    /// How a stream or a file is compressed as a whole: auto, none, gzip, zstd, xz, bzip2 or lz4.
    #[arg(long, value_name = "COMPRESSION", default_value = "auto")]
    pub compression: Unpack,

    /// The disk's size in bytes (with K, M, G or T for KiB and so on). A raw stream does not say
    /// its size itself: with this, one that is cut short is noticed.
    #[arg(long, value_name = "BYTES", value_parser = size)]
    pub size: Option<u64>,

    /// How many seconds a stream may send nothing; 0 for any time.
    #[arg(long, value_name = "SECONDS", default_value = "300")]
    pub stall_timeout: u64,
}

fn size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.char_indices().last() {
        Some((at, 'K' | 'k')) => (&text[..at], 10),
        Some((at, 'M' | 'm')) => (&text[..at], 20),
        Some((at, 'G' | 'g')) => (&text[..at], 30),
        Some((at, 'T' | 't')) => (&text[..at], 40),
        _ => (text, 0),
    };
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    bytes.filter(|bytes| *bytes > 0).ok_or_else(|| "a number of bytes, as in 10737418240 or 10G".to_owned())
}

/// What is read.
pub enum Source {
    /// An image, at any place.
    Image(Box<Image>),
    /// A disk, once, from front to back.
    Stream(Box<Stream>),
}

impl Source {
    /// Opens an image, or begins to read a stream: standard input (`-`), a pipe, a disk that is
    /// compressed as a whole.
    ///
    /// # Errors
    /// When it cannot be opened or is not a disk that can be read.
    pub fn open(
        directory: &Path,
        image: Location,
        reading: &ImageArguments,
        stream: &StreamArguments,
    ) -> Result<Self, Diagnostic> {
        let said = reading.options();
        let options = StreamOptions {
            format: said.format,
            member: said.member.clone(),
            unpack: stream.compression,
            size: stream.size,
            stall: (stream.stall_timeout > 0).then(|| Duration::from_secs(stream.stall_timeout)),
        };
        let image = image.within(directory);
        let _watch = super::waiting::Watch::begin();
        let streamed = match &image {
            Location::Input => Some(Stream::stdin(&options)),
            Location::Local(path) if is_for_stream(path, &options) => Some(Stream::path(path, &options)),
            _ => None,
        };
        if let Some(stream) = streamed {
            if let Some(snapshot) = said.snapshot {
                let file = image.called();
                return Err(ImageError::NoSnapshot { file, snapshot, known: Vec::new() }.diagnostic());
            }
            return stream.map(Box::new).map(Self::Stream).map_err(|error| error.diagnostic());
        }
        let image = image::open(&image, &said).map_err(|error| error.diagnostic())?;
        if let Some(said) = stream.size.filter(|said| *said != image.size()) {
            let error =
                image::StreamError::OtherSize { name: image.path().to_owned(), said, found: image.size() };
            return Err(error.diagnostic());
        }
        Ok(Self::Image(Box::new(image)))
    }

    /// The disk's size; 0 for a stream that does not say it.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::Image(image) => image.size(),
            Self::Stream(stream) => stream.size().unwrap_or(0),
        }
    }

    /// How much of the disk is data, as far as that is known.
    ///
    /// # Errors
    /// When an image's metadata cannot be read.
    pub fn data_bytes(&self) -> Result<u64, CopyError> {
        match self {
            Self::Image(image) => {
                image.data_bytes().map_err(|source| CopyError::Source { offset: 0, source })
            }
            Self::Stream(_) => Ok(0),
        }
    }

    /// Checks an image by its appliance's manifest. A stream's is checked at its end.
    ///
    /// # Errors
    /// When the image is not what the manifest says, or cannot be read.
    pub fn check_manifest(&self, stop: &dyn Fn() -> bool) -> Result<(), image::ova::ManifestError> {
        match self {
            Self::Image(image) => image.check_manifest(stop).map(drop),
            Self::Stream(_) => Ok(()),
        }
    }

    /// The files that must not be the target.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::Image(image) => image.files().map(Path::to_owned).collect(),
            Self::Stream(stream) => stream.paths().to_vec(),
        }
    }

    /// Which parts of an NBD export's disk are marked in a dirty bitmap.
    ///
    /// # Errors
    /// As [`Image::dirty`]; a stream has none.
    pub fn dirty(&self, bitmap: &str) -> Result<Vec<Range<u64>>, ImageError> {
        match self {
            Self::Image(image) => image.dirty(bitmap),
            Self::Stream(stream) => Err(ImageError::Unsupported {
                file: stream.paths().first().cloned().unwrap_or_else(|| PathBuf::from("-")),
                what: "has no dirty bitmap: it is a stream".to_owned(),
                help: "Leave the bitmap out: a stream is always read to its end.".to_owned(),
            }),
        }
    }

    /// What it is called in a receipt: its format for people, and its identity.
    #[must_use]
    pub fn facts(&self) -> (String, Digest) {
        match self {
            Self::Image(image) => (image.description().to_owned(), image.identity().digest()),
            Self::Stream(stream) => (format!("{}, as a stream", stream.description()), stream.identity()),
        }
    }

    /// What shows the progress of reading it.
    #[must_use]
    pub fn meter(&self, json: bool) -> Meter {
        match self {
            Self::Image(_) => Meter::new(json),
            Self::Stream(_) => Meter::of_stream(json),
        }
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// As [`copy::write`] and [`copy::write_stream`].
    pub fn write(
        self,
        target: &Target,
        options: &WriteOptions,
        meter: &Meter,
        cancel: &Cancel,
    ) -> Result<WriteOutcome, CopyError> {
        match self {
            Self::Image(image) => copy::write(&*image, target, options, meter, cancel),
            Self::Stream(stream) => copy::write_stream(*stream, target, options, meter, cancel),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("10G"), Ok(10 << 30));
        assert_eq!(size("2t"), Ok(2 << 40));
        assert_eq!(size("7"), Ok(7));
        for wrong in ["", "0", "G", "-1", "1.5G", "99999999999999T"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
