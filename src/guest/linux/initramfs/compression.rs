//! Compressions of an initramfs and of modules, recognized and undone as the kernel does:
//! one stream, which ends where its own format says, and the count of bytes it took.

use std::io::{self, BufRead, Read};

use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::Stream;

use super::lzo;

/// Most memory an LZMA decoder may take, in bytes: `xz -9` needs 65 MiB.
const LZMA_MEMORY: u64 = 80 << 20;
/// The base-2 logarithm of the largest zstd window accepted: 64 MiB; `zstd -19` uses 8 MiB.
const ZSTD_WINDOW: u32 = 26;
/// The most that a block of the legacy lz4 format unpacks to (lz4's lz4_Frame_format.md).
const LZ4_BLOCK: usize = 8 << 20;
/// The legacy lz4 format's magic number, little-endian.
const LZ4_MAGIC: u32 = 0x184C_2102;
/// What starts an lzop file.
const LZOP_MAGIC: [u8; 9] = [0x89, b'L', b'Z', b'O', 0, b'\r', b'\n', 0x1a, b'\n'];

/// How something is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Compression {
    /// gzip.
    Gzip,
    /// xz.
    Xz,
    /// The older LZMA file format.
    Lzma,
    /// bzip2.
    Bzip2,
    /// lz4's legacy frame, the only one that the kernel reads.
    Lz4,
    /// Zstandard.
    Zstd,
    /// lzop.
    Lzo,
}

impl Compression {
    /// Recognizes one by its first bytes, as the kernel's `lib/decompress.c` does.
    #[must_use]
    pub fn recognize(start: &[u8]) -> Option<Self> {
        Some(match start {
            [0x1f, 0x8b | 0x9e, ..] => Self::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x5d, 0, 0, ..] => Self::Lzma,
            [b'B', b'Z', b'h', ..] => Self::Bzip2,
            [0x02, 0x21, 0x4c, 0x18, ..] => Self::Lz4,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [0x89, b'L', b'Z', b'O', ..] => Self::Lzo,
            _ => return None,
        })
    }

    /// Its everyday name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Lzma => "lzma",
            Self::Bzip2 => "bzip2",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
            Self::Lzo => "lzo",
        }
    }

    /// A reader of what one stream unpacks to. It takes no byte beyond the stream's end from
    /// `source`.
    ///
    /// # Errors
    /// When the decoder cannot be set up.
    pub fn reader<'r, R: BufRead + 'r>(self, source: R) -> io::Result<Box<dyn Read + 'r>> {
        Ok(match self {
            Self::Gzip => Box::new(GzDecoder::new(source)),
            Self::Xz => Box::new(XzDecoder::new_stream(source, Stream::new_stream_decoder(LZMA_MEMORY, 0)?)),
            Self::Lzma => Box::new(XzDecoder::new_stream(source, Stream::new_lzma_decoder(LZMA_MEMORY)?)),
            Self::Bzip2 => Box::new(BzDecoder::new(source)),
            Self::Lz4 => {
                Box::new(Lz4Legacy { source, block: Vec::new(), position: 0, started: false, done: false })
            }
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?.single_frame();
                decoder.window_log_max(ZSTD_WINDOW)?;
                Box::new(decoder)
            }
            Self::Lzo => Box::new(Lzop { source, block: Vec::new(), position: 0, flags: None, done: false }),
        })
    }
}

fn wrong(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Gives what of `block` has not been read yet.
fn give(block: &[u8], position: &mut usize, buffer: &mut [u8]) -> usize {
    let left = block.get(*position..).unwrap_or_default();
    let count = left.len().min(buffer.len());
    buffer[..count].copy_from_slice(&left[..count]);
    *position += count;
    count
}

/// The legacy lz4 format: the magic, then blocks with a 32-bit length each. It has no end mark:
/// the kernel stops at the buffer's end or, since 5.11, at a length of zero.
struct Lz4Legacy<R> {
    source: R,
    block: Vec<u8>,
    position: usize,
    started: bool,
    done: bool,
}

impl<R: BufRead> Lz4Legacy<R> {
    fn next_block(&mut self) -> io::Result<()> {
        loop {
            let Some(word) = peek_word(&mut self.source)? else {
                self.done = true;
                return Ok(());
            };
            if !self.started && word != LZ4_MAGIC {
                return Err(wrong("no lz4 magic"));
            }
            self.started = true;
            match word {
                0 => {
                    self.done = true;
                    return Ok(());
                }
                LZ4_MAGIC => take_word(&mut self.source)?,
                length => {
                    take_word(&mut self.source)?;
                    return self.unpack(length as usize);
                }
            }
        }
    }

    fn unpack(&mut self, length: usize) -> io::Result<()> {
        // The longest an incompressible block can get (LZ4_COMPRESSBOUND).
        if length > LZ4_BLOCK + LZ4_BLOCK / 255 + 16 {
            return Err(wrong("an lz4 block is too long"));
        }
        let mut packed = Vec::new();
        self.source.by_ref().take(length as u64).read_to_end(&mut packed)?;
        if packed.len() != length {
            return Err(wrong("an lz4 block is cut off"));
        }
        self.block.resize(LZ4_BLOCK, 0);
        let unpacked = lz4_flex::block::decompress_into(&packed, &mut self.block)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.block.truncate(unpacked);
        self.position = 0;
        Ok(())
    }
}

impl<R: BufRead> Read for Lz4Legacy<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.position == self.block.len() && !self.done {
            self.next_block()?;
        }
        Ok(give(&self.block, &mut self.position, buffer))
    }
}

/// Looks at the next four bytes without taking them; `None` at the end. A refill must not lose
/// bytes, so the caller's buffer has to hold at least four when there are as many.
fn peek_word<R: BufRead>(source: &mut R) -> io::Result<Option<u32>> {
    let buffer = source.fill_buf()?;
    Ok(match buffer {
        [a, b, c, d, ..] => Some(u32::from_le_bytes([*a, *b, *c, *d])),
        _ => None,
    })
}

fn take_word<R: BufRead>(source: &mut R) -> io::Result<()> {
    source.consume(4);
    Ok(())
}

/// The lzop format: a header, then blocks of up to 64 MiB, ended by a length of zero. As the
/// kernel's `lib/decompress_unlzo.c`, checksums are passed over.
struct Lzop<R> {
    source: R,
    block: Vec<u8>,
    position: usize,
    flags: Option<u32>,
    done: bool,
}

/// lzop's flags for the checksums that stand before a block (F_ADLER32_D, F_ADLER32_C, F_CRC32_D,
/// F_CRC32_C) and for a header filter.
const LZOP_ADLER_D: u32 = 1;
const LZOP_ADLER_C: u32 = 2;
const LZOP_CRC_D: u32 = 0x100;
const LZOP_CRC_C: u32 = 0x200;
const LZOP_EXTRA: u32 = 0x40;
const LZOP_FILTER: u32 = 0x800;
/// The largest block accepted; lzop itself writes 256 KiB.
const LZOP_BLOCK: usize = 64 << 20;

impl<R: BufRead> Lzop<R> {
    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.source.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn word(&mut self) -> io::Result<u32> {
        self.bytes().map(u32::from_be_bytes)
    }

    fn header(&mut self) -> io::Result<u32> {
        if self.bytes::<9>()? != LZOP_MAGIC {
            return Err(wrong("no lzop magic"));
        }
        let version = u16::from_be_bytes(self.bytes()?);
        self.bytes::<2>()?;
        if version >= 0x940 {
            self.bytes::<2>()?;
        }
        self.bytes::<1>()?;
        if version >= 0x940 {
            self.bytes::<1>()?;
        }
        let flags = self.word()?;
        if flags & LZOP_FILTER != 0 {
            self.word()?;
        }
        self.bytes::<8>()?;
        if version >= 0x940 {
            self.bytes::<4>()?;
        }
        let [name] = self.bytes::<1>()?;
        for _ in 0..name {
            self.bytes::<1>()?;
        }
        self.bytes::<4>()?;
        if flags & LZOP_EXTRA != 0 {
            return Err(wrong("an lzop header with an extra field"));
        }
        Ok(flags)
    }

    fn next_block(&mut self) -> io::Result<()> {
        let flags = match self.flags {
            Some(flags) => flags,
            None => {
                let flags = self.header()?;
                *self.flags.insert(flags)
            }
        };
        let unpacked = self.word()? as usize;
        if unpacked == 0 {
            self.done = true;
            return Ok(());
        }
        let packed = self.word()? as usize;
        if unpacked > LZOP_BLOCK || packed == 0 || packed > unpacked {
            return Err(wrong("an lzop block has an impossible length"));
        }
        let mut sums = [LZOP_ADLER_D, LZOP_CRC_D].into_iter().filter(|sum| flags & sum != 0).count();
        if packed < unpacked {
            sums += [LZOP_ADLER_C, LZOP_CRC_C].into_iter().filter(|sum| flags & sum != 0).count();
        }
        for _ in 0..sums {
            self.word()?;
        }
        let mut content = Vec::new();
        self.source.by_ref().take(packed as u64).read_to_end(&mut content)?;
        if content.len() != packed {
            return Err(wrong("an lzop block is cut off"));
        }
        if packed < unpacked {
            self.block = lzo::unpack(&content, unpacked).ok_or_else(|| wrong("an lzo block is damaged"))?;
        } else {
            self.block = content;
        }
        self.position = 0;
        Ok(())
    }
}

impl<R: BufRead> Read for Lzop<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.position == self.block.len() && !self.done {
            self.next_block()?;
        }
        Ok(give(&self.block, &mut self.position, buffer))
    }
}
