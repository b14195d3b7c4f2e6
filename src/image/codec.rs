//! Decoding compressed units, with buffers and decoders of fixed size, one set a thread.

use std::cell::RefCell;

use libdeflater::{DecompressionError, Decompressor};
use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, ResetDirective, get_error_name};

/// Bytes before the data of a marked VMDK grain: its sector (8) and the data's length (4).
pub(super) const GRAIN_MARKER: usize = 12;

/// How a unit is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    /// A VMDK grain behind its marker, which names this sector: a zlib stream of a known length.
    MarkedZlib {
        /// The extent's sector that the grain begins with.
        sector: u64,
    },
    /// A zlib stream of unknown length.
    Zlib,
    /// A deflate stream of unknown length.
    Deflate,
    /// Zstandard frames of unknown length, which end with the unit.
    Zstd,
}

/// What is wrong with a unit, or how much more of it must be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DecodeError {
    /// That many bytes from the unit's start are needed.
    Short(u64),
    /// It cannot be decoded.
    Bad(String),
}

/// The largest window that a Zstandard frame may ask for (8 MiB): above what any level uses for
/// units of at most 2 MiB.
const ZSTD_WINDOW: u32 = 23;

thread_local! {
    static UNZSTD: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
    static INFLATE: RefCell<Decompressor> = RefCell::new(Decompressor::new());
}

/// Decodes one unit into `unit`; gives the number of bytes it held. Never writes beyond `unit`, and more content than that is an error.
pub(super) fn decode(codec: Codec, stored: &[u8], unit: &mut [u8]) -> Result<usize, DecodeError> {
    match codec {
        Codec::MarkedZlib { sector: expected } => {
            let Some((marker, rest)) = stored.split_first_chunk::<GRAIN_MARKER>() else {
                return Err(DecodeError::Short(GRAIN_MARKER as u64));
            };
            let [s0, s1, s2, s3, s4, s5, s6, s7, l0, l1, l2, l3] = *marker;
            let sector = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
            let length = u32::from_le_bytes([l0, l1, l2, l3]);
            if sector != expected {
                return Err(DecodeError::Bad(format!(
                    "the grain here says that it is of sector {sector}, the grain table of {expected}"
                )));
            }
            match rest.get(..length as usize) {
                Some(data) => inflate(data, unit, Decompressor::zlib_decompress),
                None => Err(DecodeError::Short(GRAIN_MARKER as u64 + u64::from(length))),
            }
        }
        Codec::Zlib => inflate(stored, unit, Decompressor::zlib_decompress),
        Codec::Deflate => inflate(stored, unit, Decompressor::deflate_decompress),
        Codec::Zstd => unzstd(stored, unit),
    }
}

/// One of libdeflate's functions: data, room for what it holds, how much that was.
type Inflate = fn(&mut Decompressor, &[u8], &mut [u8]) -> Result<usize, DecompressionError>;

fn inflate(data: &[u8], unit: &mut [u8], with: Inflate) -> Result<usize, DecodeError> {
    INFLATE.with_borrow_mut(|decompressor| with(decompressor, data, unit)).map_err(|error| {
        DecodeError::Bad(match error {
            DecompressionError::BadData => "its compressed data is damaged".to_owned(),
            DecompressionError::InsufficientSpace => {
                format!("its compressed data holds more than the {} bytes it may", unit.len())
            }
        })
    })
}

/// Decodes frames until the unit is full or they end; what lies behind them is not looked at.
fn unzstd(stored: &[u8], unit: &mut [u8]) -> Result<usize, DecodeError> {
    let bad = |what: &str| DecodeError::Bad(format!("its compressed data is damaged: {what}"));
    let failed = |code: usize| bad(get_error_name(code));
    UNZSTD.with_borrow_mut(|context| {
        let context = match context {
            Some(context) => context,
            None => {
                let mut new = DCtx::try_create().ok_or_else(|| bad("no memory to decode it"))?;
                new.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW)).map_err(failed)?;
                context.insert(new)
            }
        };
        context.reset(ResetDirective::SessionOnly).map_err(failed)?;
        let room = unit.len();
        let mut input = InBuffer::around(stored);
        let mut output = OutBuffer::around(unit);
        while output.pos() < room {
            let before = (input.pos(), output.pos());
            context.decompress_stream(&mut output, &mut input).map_err(failed)?;
            if (input.pos(), output.pos()) == before {
                break;
            }
        }
        Ok(output.pos())
    })
}
