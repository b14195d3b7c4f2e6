//! An export as a file of an image.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::backing::{Backing, Fault, Named, NotOpened, Store};
use super::super::error::ImageError;
use super::super::identity::FileIdentity;
use super::error::NbdError;
use super::map::Map;
use super::pool::{Failed, Pool};
use super::wire::Limits;
use crate::model::NbdLocation;

/// The metadata context that says what is zero, and the flag that says it. A hole is not zero by
/// itself.
const ALLOCATION: &str = "base:allocation";
const ZERO: u32 = 2;

/// How much of each end of an export goes into its version: partition tables, boot sectors.
const SAMPLE: u64 = 64 << 10;

/// An open export.
#[derive(Debug)]
struct Export {
    pool: Pool,
    zeros: Map,
    /// The server could not be asked what is zero.
    is_unknown: AtomicBool,
}

/// Opens an export.
pub(in crate::image) fn open(location: &NbdLocation) -> Result<Named, ImageError> {
    let pool = Pool::open(location.clone(), ALLOCATION, Limits::USUAL)
        .map_err(|source| ImageError::Nbd { location: location.to_string(), source })?;
    let zeros = Map::new(|flags| flags & ZERO != 0);
    let export = Export { pool, zeros, is_unknown: AtomicBool::new(false) };
    Ok((Box::new(Alone(location.to_string().into())), Arc::new(export)))
}

/// An export has no files beside it.
#[derive(Debug)]
struct Alone(PathBuf);

impl Store for Alone {
    fn open(&self, relative: &Path) -> Result<Arc<dyn Backing>, NotOpened> {
        Err(NotOpened::Refused(ImageError::Unsupported {
            file: self.0.clone(),
            what: format!("holds a disk that names another file, `{}`", relative.display()),
            help: "Let the NBD server put the files together, as qemu-nbd does, and leave the format out."
                .to_owned(),
        }))
    }

    fn called(&self, relative: &Path) -> PathBuf {
        self.0.join(relative)
    }
}

impl From<Failed> for Fault {
    fn from(Failed { attempts, error }: Failed) -> Self {
        match error {
            NbdError::Stalled { seconds, .. } => Self::Stalled { seconds, attempts },
            NbdError::Changed { what } => Self::Changed(what),
            NbdError::Denied { .. } | NbdError::TlsDemanded => Self::Denied(error.to_string()),
            NbdError::UnknownExport { .. } => Self::Gone,
            NbdError::Answer { .. } => Self::Io(std::io::Error::other(error)),
            other => Self::Lost { attempts, source: std::io::Error::other(other) },
        }
    }
}

impl Backing for Export {
    fn len(&self) -> u64 {
        self.pool.export.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Fault> {
        self.pool.read(offset, buffer)?;
        Ok(buffer.len())
    }

    fn next(&self, hole: bool, offset: u64, limit: u64) -> Option<u64> {
        if self.pool.export.context.is_none() || self.is_unknown.load(Ordering::Relaxed) {
            return None;
        }
        let found = self.zeros.next(&self.pool, hole, offset, limit);
        // Trying again for each part of a disk would take for ever; reading gives the error.
        found.inspect_err(|_| self.is_unknown.store(true, Ordering::Relaxed)).ok()
    }

    /// The protocol has no version of an export: what its server says of it and samples of its
    /// content have to do.
    fn identity(&self, name: PathBuf) -> Result<FileIdentity, Fault> {
        let size = self.len();
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(self.pool.export.description.len() as u64).to_le_bytes());
        hasher.update(self.pool.export.description.as_bytes());
        for offset in [0, size.saturating_sub(SAMPLE)] {
            let mut sample = vec![0; SAMPLE.min(size) as usize];
            self.pool.read(offset, &mut sample)?;
            hasher.update(&sample);
        }
        Ok(FileIdentity {
            name,
            size,
            modified_seconds: 0,
            modified_nanoseconds: 0,
            inode: 0,
            device: 0,
            version: Some(hasher.finalize().to_hex().to_string()),
        })
    }

    fn is_device(&self) -> bool {
        true
    }
}
