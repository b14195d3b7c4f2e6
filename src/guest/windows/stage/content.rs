//! A staged file's bytes, piece by piece.

use std::io::{self, Read, Write};

use super::{StageError, StagedContent};
use crate::guest::tree::{Tree, TreeError};
use crate::guest::windows::components::ComponentError;
use crate::model::Digest;

/// How much is read at a time, in bytes.
const PIECE: usize = 256 << 10;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Bytes.
    pub length: u64,
    /// Their digest.
    pub digest: Digest,
}

/// Takes bytes, adds them up, and hands them on.
struct Counted<W> {
    hasher: blake3::Hasher,
    length: u64,
    to: W,
    /// Why it cannot hand them on: whoever copies would take that for a fault of the source.
    refused: Option<io::Error>,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Err(error) = self.to.write_all(bytes) {
            let kind = error.kind();
            self.refused = Some(error);
            return Err(kind.into());
        }
        self.hasher.update(bytes);
        self.length = self.length.saturating_add(bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Writes what a staged file is to hold.
///
/// # Errors
/// When the source cannot be read or what it is written to refuses.
pub fn copy_to(content: &StagedContent, to: &mut impl Write) -> Result<(), StageError> {
    match content {
        StagedContent::Bytes(bytes) => to.write_all(bytes).map_err(unwritten)?,
        StagedContent::Found(found) => {
            let mut from = found.open()?;
            let mut piece = vec![0; PIECE];
            loop {
                let failed = |source| ComponentError::Read { path: found.path.clone(), source };
                match from.read(&mut piece) {
                    Ok(0) => break,
                    Ok(length) => to.write_all(&piece[..length]).map_err(unwritten)?,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(failed(error).into()),
                }
            }
        }
    }
    Ok(())
}

fn unwritten(source: io::Error) -> StageError {
    StageError::File(TreeError::Write { path: String::new(), source })
}

/// Copies a staged file's content and says what it was; `path` names the file that is written.
///
/// # Errors
/// [`StageError::Component`], [`TreeError::Write`].
pub fn copy(content: &StagedContent, path: &str, to: impl Write) -> Result<Summary, StageError> {
    let mut counted = Counted { hasher: blake3::Hasher::new(), length: 0, to, refused: None };
    let copied = copy_to(content, &mut counted);
    if let Some(source) = counted.refused {
        return Err(StageError::File(TreeError::Write { path: path.to_owned(), source }));
    }
    copied?;
    Ok(Summary { length: counted.length, digest: Digest(*counted.hasher.finalize().as_bytes()) })
}

/// What a staged file is to hold, without putting it anywhere.
///
/// # Errors
/// [`StageError::Component`].
pub fn summary(content: &StagedContent) -> Result<Summary, StageError> {
    copy(content, "", io::sink())
}

/// What a file of the guest holds.
///
/// # Errors
/// When it cannot be read.
pub fn of_file(tree: &Tree, path: &str) -> Result<Summary, TreeError> {
    let mut file = tree.open_file(path)?;
    let mut piece = vec![0; PIECE];
    let mut summary = (blake3::Hasher::new(), 0_u64);
    loop {
        let failed = |source| TreeError::Read { path: path.to_owned(), source };
        match file.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => {
                summary.0.update(&piece[..length]);
                summary.1 = summary.1.saturating_add(length as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(Summary { length: summary.1, digest: Digest(*summary.0.finalize().as_bytes()) })
}
