//! Bringing a component's files into a folder: downloaded beside it, looked at, then put in place.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::progress::Progress;
use super::trouble::{self, Trouble};
use crate::diagnostic::{Diagnostic, chain};
use crate::guest::windows::components::{FETCHING, Kind, Proof, prove};
use crate::guest::windows::inf::Target;

/// Most bytes of a published file; the largest, an agent's installer, has a tenth of it.
#[cfg(feature = "remote")]
const MOST_BYTES: u64 = 1 << 30;

/// A component that is to be fetched.
pub struct Order<'a> {
    /// Which.
    pub kind: Kind,
    /// For which Windows.
    pub target: &'a Target,
    /// Where each of its files is downloaded.
    pub addresses: &'a [String],
    /// The directory in the folder that they go to.
    pub directory: &'a Path,
}

/// What came of it.
pub struct Fetched {
    /// Bytes of each file.
    pub bytes: Vec<u64>,
    /// What they are.
    pub proof: Proof,
}

/// A folder that is being filled; nobody else does until it is dropped.
pub struct Filling {
    folder: PathBuf,
    /// Where files are until they are known to be right.
    staging: PathBuf,
    /// The lock goes with it.
    _lock: File,
}

impl Filling {
    /// Makes the folder where it is missing, and locks it. What an earlier run left half done goes.
    ///
    /// # Errors
    /// The folder cannot be written, or another run fills it.
    pub fn begin(folder: &Path, shown: &Path) -> Result<Self, Diagnostic> {
        let failed = |error: io::Error| trouble::place(shown, &error);
        fs::create_dir_all(folder).map_err(failed)?;
        let lock = File::open(folder).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(trouble::busy(shown)),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let filling = Self { folder: folder.to_owned(), staging: folder.join(FETCHING), _lock: lock };
        filling.clear().and_then(|()| fs::create_dir(&filling.staging)).map_err(failed)?;
        Ok(filling)
    }

    fn clear(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.staging) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Downloads a component, looks at it, puts it in place.
    ///
    /// # Errors
    /// Why not; then the folder is as it was.
    pub fn fetch(&self, order: &Order<'_>, json: bool) -> Result<Fetched, Trouble> {
        let staged = self.staging.join("component");
        let fetched = self.stage(order, &staged, json);
        // What is wrong is not kept.
        let gone = fs::remove_dir_all(&staged);
        let fetched = fetched?;
        gone.map_err(|error| stored(&error))?;
        Ok(fetched)
    }

    fn stage(&self, order: &Order<'_>, staged: &Path, json: bool) -> Result<Fetched, Trouble> {
        fs::create_dir(staged).map_err(|error| stored(&error))?;
        let mut bytes = Vec::new();
        for (name, address) in order.kind.files().iter().zip(order.addresses) {
            let mut file = File::options()
                .write(true)
                .create_new(true)
                .open(staged.join(name))
                .map_err(|error| stored(&error))?;
            let mut progress = Progress::new(name, json);
            let received = download(address, &mut file, &mut progress);
            progress.end();
            bytes.push(received?);
            file.sync_all().map_err(|error| stored(&error))?;
        }
        let proof = prove(staged, order.kind, order.target).map_err(|error| Trouble {
            code: "components::wrong",
            what: chain(&error),
            ends: false,
        })?;
        let directory = self.folder.join(order.directory);
        fs::create_dir_all(&directory).map_err(|error| stored(&error))?;
        for name in order.kind.files() {
            fs::rename(staged.join(name), directory.join(name)).map_err(|error| stored(&error))?;
        }
        File::open(&directory).and_then(|directory| directory.sync_all()).map_err(|error| stored(&error))?;
        Ok(Fetched { bytes, proof })
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        // The next run clears what this one cannot.
        let _ = self.clear();
    }
}

fn stored(error: &io::Error) -> Trouble {
    Trouble { code: "components::store", what: error.to_string(), ends: true }
}

#[cfg(feature = "remote")]
fn download(address: &str, file: &mut File, progress: &mut Progress) -> Result<u64, Trouble> {
    use crate::image::DownloadError as Error;
    let mut tell = |received, total| progress.tell(received, total);
    crate::image::download(address, file, MOST_BYTES, &mut tell).map_err(|error| Trouble {
        code: match &error {
            Error::Absent => "components::absent",
            Error::Denied(_) => "components::denied",
            Error::Untrusted(_) => "components::untrusted",
            Error::Unreachable { .. } => "components::unreachable",
            Error::TooLarge { .. } => "components::too_large",
            Error::Refused(_) => "components::wrong",
            Error::Write(_) => "components::store",
        },
        ends: error.is_of_the_server(),
        what: chain(&error),
    })
}

#[cfg(not(feature = "remote"))]
fn download(_: &str, _: &mut File, _: &mut Progress) -> Result<u64, Trouble> {
    let what = "this program has no HTTP client".to_owned();
    Err(Trouble { code: "components::no_network", what, ends: true })
}
