//! General compressors, unpacked in order.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::str::FromStr;

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::GzDecoder;
use liblzma::bufread::XzDecoder;
use lz4_flex::frame::FrameDecoder;

use super::input::Bytes;

/// Bytes read from the stream at a time.
const BUFFER: usize = 256 << 10;
/// The largest window that a Zstandard frame may ask for: 128 MiB, what `zstd --long` makes and
/// every decoder takes by default.
const ZSTD_WINDOW: u32 = 27;
/// Most memory that an xz stream may ask for: twice what `xz -9` makes need.
const XZ_MEMORY: u64 = 128 << 20;

/// A compressor whose output can be unpacked in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// gzip, of any number of members.
    Gzip,
    /// Zstandard, of any number of frames, windows up to 128 MiB.
    Zstd,
    /// xz, of any number of streams and blocks.
    Xz,
    /// bzip2, of any number of streams.
    Bzip2,
    /// lz4, of any number of frames.
    Lz4,
}

impl Compression {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Gzip, Self::Zstd, Self::Xz, Self::Bzip2, Self::Lz4];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
            Self::Lz4 => "lz4",
        }
    }

    /// What its data begins with; more than the signature where more is fixed.
    fn begins(self, head: &[u8]) -> bool {
        match self {
            // Deflate, no reserved flag.
            Self::Gzip => {
                head.starts_with(b"\x1f\x8b\x08") && head.get(3).is_some_and(|flags| flags & 0xe0 == 0)
            }
            // A frame, or one of those to skip that parallel compressors write first.
            Self::Zstd => {
                head.starts_with(b"\x28\xb5\x2f\xfd")
                    || head.first().is_some_and(|byte| byte & 0xf0 == 0x50)
                        && head.get(1..4) == Some(b"\x2a\x4d\x18")
            }
            Self::Xz => head.starts_with(b"\xfd7zXZ\0"),
            Self::Bzip2 => {
                head.starts_with(b"BZh")
                    && head.get(3).is_some_and(|level| matches!(level, b'1'..=b'9'))
                    && matches!(
                        head.get(4..10),
                        Some(b"\x31\x41\x59\x26\x53\x59" | b"\x17\x72\x45\x38\x50\x90")
                    )
            }
            Self::Lz4 => head.starts_with(b"\x04\x22\x4d\x18"),
        }
    }

    /// The one that a stream begins as.
    #[must_use]
    pub fn of_head(head: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|compression| compression.begins(head))
    }

    /// The one that a file's name speaks of, and the name without it.
    #[must_use]
    pub fn of_name(name: &Path) -> Option<(Self, &Path)> {
        let extension = name.extension()?.to_ascii_lowercase();
        let found = match extension.to_str()? {
            "gz" => Self::Gzip,
            "zst" | "zstd" => Self::Zstd,
            "xz" => Self::Xz,
            "bz2" => Self::Bzip2,
            "lz4" => Self::Lz4,
            _ => return None,
        };
        Some((found, Path::new(name.file_stem()?)))
    }

    /// The command that unpacks a file.
    pub(super) fn command(self, file: &Path) -> String {
        let command = match self {
            Self::Gzip => "gunzip --keep",
            Self::Zstd => "unzstd",
            Self::Xz => "unxz --keep",
            Self::Bzip2 => "bunzip2 --keep",
            Self::Lz4 => "unlz4",
        };
        format!("{command} {}", file.display())
    }

    /// A reader of what the compressed bytes hold.
    pub(super) fn unpack(self, packed: Bytes) -> io::Result<Bytes> {
        let packed = BufReader::with_capacity(BUFFER, packed);
        Ok(match self {
            Self::Gzip => Box::new(Gzip { member: Some(GzDecoder::new(packed)), ended: false }),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
                decoder.window_log_max(ZSTD_WINDOW)?;
                Box::new(Ended { reader: decoder, ended: false })
            }
            Self::Xz => {
                let stream =
                    liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)
                        .map_err(io::Error::from)?;
                Box::new(Ended { reader: XzDecoder::new_stream(packed, stream), ended: false })
            }
            Self::Bzip2 => Box::new(Ended { reader: MultiBzDecoder::new(packed), ended: false }),
            Self::Lz4 => {
                Box::new(Lz4 { frame: Some(FrameDecoder::new(Noting { reader: packed, at_end: false })) })
            }
        })
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no compression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no compression: auto, none, gzip, zstd, xz, bzip2 or lz4")]
pub struct ParseCompressionError(pub String);

impl FromStr for Compression {
    type Err = ParseCompressionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|compression| compression.as_str() == text);
        found.ok_or_else(|| ParseCompressionError(text.to_owned()))
    }
}

/// How a stream is to be unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Unpack {
    /// As its beginning shows, where that is not ambiguous.
    #[default]
    Auto,
    /// Not at all: its bytes are what is meant.
    Never,
    /// As it was said.
    With(Compression),
}

impl FromStr for Unpack {
    type Err = ParseCompressionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::Never),
            other => other.parse().map(Self::With),
        }
    }
}

/// A decoder that is not asked again once it has ended.
struct Ended<R> {
    reader: R,
    ended: bool,
}

impl<R: Read> Read for Ended<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended || buffer.is_empty() {
            return Ok(0);
        }
        let count = self.reader.read(buffer)?;
        self.ended = count == 0;
        Ok(count)
    }
}

/// Members one after the other. Zeros may follow the last (tapes and block devices pad with
/// them); anything else is damage.
struct Gzip {
    member: Option<GzDecoder<BufReader<Bytes>>>,
    ended: bool,
}

impl Read for Gzip {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.ended && !buffer.is_empty() {
            let Some(member) = &mut self.member else { break };
            let count = member.read(buffer)?;
            if count > 0 {
                return Ok(count);
            }
            let Some(mut rest) = self.member.take().map(GzDecoder::into_inner) else { break };
            match rest.fill_buf()?.first() {
                None => self.ended = true,
                Some(0) => {
                    if !super::input::only_zeros_left(&mut rest)? {
                        return Err(io::Error::new(io::ErrorKind::InvalidData, "zeros between members"));
                    }
                    self.ended = true;
                }
                Some(_) => self.member = Some(GzDecoder::new(rest)),
            }
        }
        Ok(0)
    }
}

/// A reader that notes when it was asked at its end.
struct Noting<R> {
    reader: R,
    at_end: bool,
}

impl<R: Read> Read for Noting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.at_end |= count == 0 && !buffer.is_empty();
        Ok(count)
    }
}

/// Frames one after the other, each with a decoder of its own. That takes an end of its input
/// between two blocks for the end of the frame, so that it is looked for here.
struct Lz4 {
    frame: Option<FrameDecoder<Noting<BufReader<Bytes>>>>,
}

impl Read for Lz4 {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(frame) = self.frame.as_mut().filter(|_| !buffer.is_empty()) {
            let count = frame.read(buffer)?;
            if count > 0 {
                return Ok(count);
            }
            let input = frame.get_mut();
            if input.at_end {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let ended = input.reader.fill_buf()?.is_empty();
            self.frame =
                self.frame.take().filter(|_| !ended).map(|frame| FrameDecoder::new(frame.into_inner()));
        }
        Ok(0)
    }
}
