//! What the block server hands to its parent when the sandbox is gone: the report disk's bytes,
//! each disk's changed blocks and read set. The server has talked to a hostile guest, so the
//! reader trusts nothing: numbers are bounded before memory is taken for them.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::diagnostic::chain;
use crate::image::SourceError;
use crate::image::overlay::{CowError, OVERLAY_BLOCK, Overlay, READ_CHUNK, ReadSet};
use crate::model::Digest;

const MAGIC: &[u8; 8] = b"RPLNTHO1";
/// Most bytes of a failure.
const MAX_FAILURE: u32 = 16 << 10;
/// Most characters of an error's text.
const MAX_TEXT: usize = 1024;

/// Why the server has no result, as it says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// What an image holds is not what its format demands.
    Damaged {
        /// Which file.
        file: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// An image changed while it was read.
    Changed {
        /// Which file.
        file: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// What is different.
        what: String,
    },
    /// Anything else.
    Other(String),
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::Other(text)
    }
}

impl From<&str> for Failure {
    fn from(text: &str) -> Self {
        Self::Other(text.to_owned())
    }
}

impl From<&CowError> for Failure {
    fn from(error: &CowError) -> Self {
        let own = |file: &PathBuf, what: &String| (file.clone(), what.chars().take(MAX_TEXT).collect());
        match error {
            CowError::Source(SourceError::Damaged { file, offset, what }) => {
                let (file, what) = own(file, what);
                Self::Damaged { file, offset: *offset, what }
            }
            CowError::Source(SourceError::Changed { file, offset, what }) => {
                let (file, what) = own(file, what);
                Self::Changed { file, offset: *offset, what }
            }
            other => Self::Other(chain(other)),
        }
    }
}

impl From<Failure> for HandoverError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Damaged { file, offset, what } => {
                Self::Image(SourceError::Damaged { file, offset, what })
            }
            Failure::Changed { file, offset, what } => {
                Self::Image(SourceError::Changed { file, offset, what })
            }
            Failure::Other(text) => Self::Failed(text),
        }
    }
}

/// What came out of the sandbox.
#[derive(Debug, PartialEq, Eq)]
pub struct Handover {
    /// The report disk, as the guest left it.
    pub exchange: Vec<u8>,
    /// Each disk's changes, in the order of the request.
    pub overlays: Vec<Overlay>,
}

/// What the reader expects at most.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Bytes of the report disk.
    pub exchange: u64,
    /// Bytes of changed blocks of all disks together.
    pub overlay_bytes: u64,
    /// How many disks there are.
    pub disks: usize,
}

/// Why a handover is not taken.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The pipe ended or broke.
    #[error("the block server ended before it handed over its result")]
    Cut(#[source] io::Error),
    /// It is not what it must be.
    #[error("the block server's result is not valid: {0}")]
    Invalid(&'static str),
    /// An image is damaged, or changed.
    #[error(transparent)]
    Image(SourceError),
    /// The server says why there is none.
    #[error("{0}")]
    Failed(String),
}

impl From<io::Error> for HandoverError {
    fn from(error: io::Error) -> Self {
        Self::Cut(error)
    }
}

/// Writes why there is no result.
///
/// # Errors
/// When the pipe breaks, or a file's name is no text.
pub fn write_failure(out: &mut impl Write, failure: &Failure) -> io::Result<()> {
    let short = match failure {
        Failure::Other(text) => &Failure::Other(text.chars().take(MAX_TEXT).collect()),
        other => other,
    };
    let bytes = serde_json::to_vec(short)?;
    out.write_all(MAGIC)?;
    out.write_all(&[1])?;
    out.write_all(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes())?;
    out.write_all(&bytes)?;
    out.flush()
}

/// Writes a result.
///
/// # Errors
/// When the pipe breaks.
pub fn write(out: &mut impl Write, handover: &Handover) -> io::Result<()> {
    out.write_all(MAGIC)?;
    out.write_all(&[0])?;
    write_bytes(out, &handover.exchange)?;
    write_number(out, handover.overlays.len() as u64)?;
    for overlay in &handover.overlays {
        write_overlay(out, overlay)?;
    }
    out.write_all(MAGIC)?;
    out.flush()
}

/// Writes one overlay.
///
/// # Errors
/// When the writer fails.
pub fn write_overlay(out: &mut impl Write, overlay: &Overlay) -> io::Result<()> {
    write_number(out, overlay.size)?;
    write_number(out, overlay.blocks.len() as u64)?;
    for (index, data) in &overlay.blocks {
        write_number(out, *index)?;
        out.write_all(data)?;
    }
    write_number(out, overlay.read_set.chunks.len() as u64)?;
    for (index, digest) in &overlay.read_set.chunks {
        write_number(out, *index)?;
        out.write_all(&digest.0)?;
    }
    Ok(())
}

/// Reads a result.
///
/// # Errors
/// When the pipe ends early, the server says that it failed, or the result breaks a bound.
pub fn read(from: &mut impl Read, bounds: &Bounds) -> Result<Handover, HandoverError> {
    let mut start = [0; 9];
    from.read_exact(&mut start)?;
    if &start[..8] != MAGIC {
        return Err(HandoverError::Invalid("it does not begin with its magic"));
    }
    if start[8] != 0 {
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let mut bytes = vec![0; u32::from_le_bytes(length).min(MAX_FAILURE) as usize];
        from.read_exact(&mut bytes)?;
        let failure: Failure = serde_json::from_slice(&bytes)
            .map_err(|_| HandoverError::Invalid("what it says of its failure cannot be read"))?;
        return Err(failure.into());
    }
    let length = read_number(from)?;
    if length > bounds.exchange {
        return Err(HandoverError::Invalid("the report disk is larger than it was"));
    }
    let mut exchange = vec![0; as_length(length)?];
    from.read_exact(&mut exchange)?;
    if read_number(from)? != bounds.disks as u64 {
        return Err(HandoverError::Invalid("the number of disks is not the request's"));
    }
    let mut budget = bounds.overlay_bytes;
    let mut overlays = Vec::with_capacity(bounds.disks);
    for _ in 0..bounds.disks {
        overlays.push(read_overlay(from, &mut budget)?);
    }
    let mut end = [0; 8];
    from.read_exact(&mut end)?;
    if &end != MAGIC {
        return Err(HandoverError::Invalid("it does not end with its magic"));
    }
    Ok(Handover { exchange, overlays })
}

/// Reads one overlay of at most `budget` bytes of changed blocks, which it takes off the budget.
///
/// # Errors
/// As [`read`].
pub fn read_overlay(from: &mut impl Read, budget: &mut u64) -> Result<Overlay, HandoverError> {
    let size = read_number(from)?;
    let mut overlay = Overlay { size, blocks: BTreeMap::new(), read_set: ReadSet::default() };
    let mut last = None;
    for _ in 0..read_number(from)? {
        let index = next_index(from, &mut last)?;
        let start = index.checked_mul(OVERLAY_BLOCK).filter(|start| *start < size);
        let start = start.ok_or(HandoverError::Invalid("a block is outside its disk"))?;
        let length = (size - start).min(OVERLAY_BLOCK);
        *budget =
            budget.checked_sub(length).ok_or(HandoverError::Invalid("more was changed than allowed"))?;
        let mut data = vec![0; as_length(length)?];
        from.read_exact(&mut data)?;
        overlay.blocks.insert(index, data);
    }
    last = None;
    for _ in 0..read_number(from)? {
        let index = next_index(from, &mut last)?;
        if index.checked_mul(READ_CHUNK).is_none_or(|start| start >= size) {
            return Err(HandoverError::Invalid("a chunk is outside its disk"));
        }
        let mut digest = [0; 32];
        from.read_exact(&mut digest)?;
        overlay.read_set.chunks.insert(index, Digest(digest));
    }
    Ok(overlay)
}

fn next_index(from: &mut impl Read, last: &mut Option<u64>) -> Result<u64, HandoverError> {
    let index = read_number(from)?;
    if last.is_some_and(|last| index <= last) {
        return Err(HandoverError::Invalid("indexes do not rise"));
    }
    *last = Some(index);
    Ok(index)
}

fn as_length(number: u64) -> Result<usize, HandoverError> {
    usize::try_from(number).map_err(|_| HandoverError::Invalid("a length does not fit this machine"))
}

fn read_number(from: &mut impl Read) -> Result<u64, HandoverError> {
    let mut bytes = [0; 8];
    from.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

fn write_number(out: &mut impl Write, number: u64) -> io::Result<()> {
    out.write_all(&number.to_le_bytes())
}

fn write_bytes(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    write_number(out, bytes.len() as u64)?;
    out.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Handover {
        let overlay = Overlay {
            size: 10_000,
            blocks: BTreeMap::from([(0, vec![1; 4096]), (2, vec![2; 10_000 - 8192])]),
            read_set: ReadSet { chunks: BTreeMap::from([(0, Digest::of(b"x"))]) },
        };
        Handover { exchange: vec![9; 100], overlays: vec![overlay, Overlay::default()] }
    }

    fn bounds() -> Bounds {
        Bounds { exchange: 100, overlay_bytes: 8192, disks: 2 }
    }

    #[test]
    fn a_result_survives_the_pipe() {
        let mut bytes = Vec::new();
        write(&mut bytes, &sample()).unwrap();
        assert_eq!(read(&mut bytes.as_slice(), &bounds()).unwrap(), sample());
    }

    #[test]
    fn a_cut_result_is_refused_wherever_it_is_cut() {
        let mut bytes = Vec::new();
        write(&mut bytes, &sample()).unwrap();
        for length in 0..bytes.len() {
            assert!(read(&mut &bytes[..length], &bounds()).is_err(), "{length}");
        }
    }

    #[test]
    fn lies_about_sizes_take_no_memory() {
        let mut bytes = Vec::new();
        write(&mut bytes, &sample()).unwrap();
        for place in 9..bytes.len() - 8 {
            let mut lie = bytes.clone();
            lie[place..place + 8].fill(0xff);
            // Whatever comes of it, it is bounded and no panic.
            let _judged = read(&mut lie.as_slice(), &bounds());
        }
        let small = Bounds { overlay_bytes: 4096, ..bounds() };
        assert!(matches!(read(&mut bytes.as_slice(), &small), Err(HandoverError::Invalid(_))));
    }

    #[test]
    fn a_failure_says_why() {
        let mut bytes = Vec::new();
        write_failure(&mut bytes, &"the image is damaged".into()).unwrap();
        let error = read(&mut bytes.as_slice(), &bounds()).unwrap_err();
        assert_eq!(error.to_string(), "the image is damaged");
    }
}
