//! A plan in a file: its JSON, then the overlays' blocks, then a digest of all that. Mode 0600,
//! since blocks of a guest may hold its secrets.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{Plan, Step, VERSION, lint};
use crate::diagnostic::Diagnostic;
use crate::diagnostic::chain;
use crate::image::Overlay;
use crate::image::overlay::{FileError, FileLimits};
use crate::model::InstanceAddress;

/// The first bytes; the version follows as 4 bytes, little-endian.
const MAGIC: &[u8; 16] = b"replant-plan\n\0\0\0";
/// The most bytes of a plan's JSON that are read: 100,000 nodes have about 100 MB.
const MOST_JSON: u64 = 512 << 20;
/// The most bytes of a plan file that are read.
const MOST: u64 = 8 << 30;

/// Changed blocks by machine and disk, as they travel beside a plan.
pub type Overlays = BTreeMap<(InstanceAddress, String), Overlay>;

/// Why a plan file cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SavedError {
    /// The file could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The plan could not be written as JSON.
    #[error("cannot encode the plan")]
    Encode(#[source] serde_json::Error),
    /// An overlay could not be written or read.
    #[error("the changed blocks in {} cannot be used", path.display())]
    Overlay {
        /// In which file.
        path: PathBuf,
        /// Why.
        source: Box<FileError>,
    },
    /// The file is no plan.
    #[error("{} is no plan of Replant", path.display())]
    NoPlan {
        /// Which.
        path: PathBuf,
    },
    /// The file is of another version.
    #[error("{} is a plan of version {version}", path.display())]
    Version {
        /// Which.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// The file is not as it was written.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

impl SavedError {
    /// Whether the same can succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        false
    }

    /// What a person is told.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let detail = chain(self);
        match self {
            Self::Write { .. } | Self::Encode(_) => Diagnostic::error("plan::save", "The plan cannot be saved")
                .detail(detail)
                .help("name a file in a directory that exists and has room: --out plan.replant"),
            Self::Read { .. } => Diagnostic::error("plan::read", "The plan file cannot be read")
                .detail(detail)
                .help("make one with:\nreplant plan --out plan.replant"),
            Self::NoPlan { .. } => Diagnostic::error("plan::not_a_plan", "A file that is no saved plan")
                .detail(detail)
                .help("`replant apply` takes no file to plan and apply in one go; a saved plan comes from:\nreplant plan --out plan.replant"),
            Self::Version { .. } => Diagnostic::error("plan::version", "A plan of another version of Replant")
                .detail(detail)
                .help("plan again with this version"),
            Self::Overlay { .. } | Self::Damaged { .. } => {
                Diagnostic::error("plan::damaged", "A damaged plan file").detail(detail).help("plan again")
            }
        }
    }
}

/// Writes through to a file and digests what goes by.
struct Digesting<W> {
    inner: W,
    hasher: blake3::Hasher,
    left: u64,
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        let count = self.inner.read(&mut bytes[..most])?;
        self.hasher.update(&bytes[..count]);
        self.left -= count as u64;
        Ok(count)
    }
}

/// Saves a plan; an existing file is replaced as a whole or not at all.
///
/// # Errors
/// When the file cannot be written.
pub fn save(path: &Path, plan: &Plan, overlays: &Overlays) -> Result<(), SavedError> {
    let failed = |source| SavedError::Write { path: path.to_owned(), source };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // tempfile makes its files with mode 0600.
    let file = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
    let mut out =
        Digesting { inner: io::BufWriter::new(file.as_file()), hasher: blake3::Hasher::new(), left: 0 };
    let json = serde_json::to_vec(plan).map_err(SavedError::Encode)?;
    out.write_all(MAGIC).map_err(failed)?;
    out.write_all(&VERSION.to_le_bytes()).map_err(failed)?;
    out.write_all(&(json.len() as u64).to_le_bytes()).map_err(failed)?;
    out.write_all(&json).map_err(failed)?;
    for (machine, disk) in injected(plan) {
        let overlay = overlays.get(&(machine.clone(), disk.clone())).ok_or_else(|| SavedError::Damaged {
            path: path.to_owned(),
            what: format!("the blocks of disk {disk} of {machine} are missing"),
        })?;
        let mut bytes = Vec::new();
        overlay
            .write_to(&mut bytes)
            .map_err(|source| SavedError::Overlay { path: path.to_owned(), source: Box::new(source) })?;
        out.write_all(&(bytes.len() as u64).to_le_bytes()).map_err(failed)?;
        out.write_all(&bytes).map_err(failed)?;
    }
    let digest = out.hasher.finalize();
    out.inner.write_all(digest.as_bytes()).map_err(failed)?;
    out.inner.flush().map_err(failed)?;
    drop(out);
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)
}

/// The disks whose blocks travel with a plan, in its order: all that its writes and injections
/// check or put on.
fn injected(plan: &Plan) -> Vec<(InstanceAddress, String)> {
    plan.nodes
        .iter()
        .filter_map(|node| match &node.step {
            Step::Drivers(drivers) => Some((&node.address.instance, &drivers.overlays)),
            _ => None,
        })
        .flat_map(|(machine, overlays)| {
            overlays.iter().map(|overlay| (machine.clone(), overlay.disk.clone()))
        })
        .collect()
}

/// Reads a saved plan and checks all of it.
///
/// # Errors
/// When it cannot be read, is no plan, of another version, or damaged.
pub fn load(path: &Path) -> Result<(Plan, Overlays), SavedError> {
    let failed = |source| SavedError::Read { path: path.to_owned(), source };
    let damaged = |what: &str| SavedError::Damaged { path: path.to_owned(), what: what.to_owned() };
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let length = metadata.len();
    if !metadata.is_file() || length < 64 {
        return Err(SavedError::NoPlan { path: path.to_owned() });
    }
    if length > MOST {
        return Err(damaged("it is larger than any plan"));
    }
    let mut from =
        Digesting { inner: io::BufReader::new(&file), hasher: blake3::Hasher::new(), left: length - 32 };
    let mut head = [0; 28];
    from.read_exact(&mut head).map_err(failed)?;
    if head[..16] != MAGIC[..] {
        return Err(SavedError::NoPlan { path: path.to_owned() });
    }
    let version = u32::from_le_bytes([head[16], head[17], head[18], head[19]]);
    if version != VERSION {
        return Err(SavedError::Version { path: path.to_owned(), version });
    }
    let json = chunk(&mut from, &head[20..28], MOST_JSON).map_err(|_| damaged("it ends early"))?;
    let plan: Plan = serde_json::from_slice(&json).map_err(|error| damaged(&error.to_string()))?;
    let mut overlays = Overlays::new();
    for key in injected(&plan) {
        let mut size = [0; 8];
        from.read_exact(&mut size).map_err(|_| damaged("it ends early"))?;
        let bytes = chunk(&mut from, &size, MOST).map_err(|_| damaged("it ends early"))?;
        let overlay = Overlay::read_from(bytes.as_slice(), FileLimits::default())
            .map_err(|source| SavedError::Overlay { path: path.to_owned(), source: Box::new(source) })?;
        overlays.insert(key, overlay);
    }
    if from.left != 0 {
        return Err(damaged("something follows its end"));
    }
    let digest = from.hasher.finalize();
    let mut recorded = [0; 32];
    from.inner.read_exact(&mut recorded).map_err(failed)?;
    if digest != blake3::Hash::from_bytes(recorded) {
        return Err(damaged("its digest is of other bytes"));
    }
    match lint::lint(&plan).first() {
        None => Ok((plan, overlays)),
        Some(wrong) => Err(damaged(wrong)),
    }
}

/// Reads a chunk whose length stands before it; never more than there is.
fn chunk(from: &mut Digesting<impl Read>, size: &[u8], most: u64) -> io::Result<Vec<u8>> {
    let size = u64::from_le_bytes(size.try_into().map_err(|_| io::ErrorKind::InvalidData)?);
    if size > most || size > from.left {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut bytes = Vec::new();
    from.take(size).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == size { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
