//! A file on the network as the formats see it, and the files beside it.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use super::super::backing::{Backing, Fault, Named, NotOpened, Store};
use super::super::error::ImageError;
use super::super::identity::FileIdentity;
use super::address::Address;
use super::answer::Version;
use super::blocks::{self, BLOCK, Remote};
use super::client::{Network, network};
use super::fetch::{Fetched, fetch};
use super::trouble::Trouble;
use crate::model::Location;

/// An open file on the network.
struct RemoteFile {
    network: &'static Network,
    remote: Arc<Remote>,
}

impl fmt::Debug for RemoteFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteFile").field("address", &self.remote.address).finish_non_exhaustive()
    }
}

fn identity(name: PathBuf, version: &Version) -> FileIdentity {
    FileIdentity {
        name,
        size: version.size,
        modified_seconds: version.modified_seconds(),
        modified_nanoseconds: 0,
        inode: 0,
        device: 0,
        version: Some(version.text()),
    }
}

impl Backing for RemoteFile {
    fn len(&self) -> u64 {
        self.remote.version.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Fault> {
        blocks::read(self.network, &self.remote, offset, buffer)
            .map_err(|(trouble, attempts)| trouble.fault(attempts))
    }

    fn identity_when_opened(&self, name: PathBuf) -> Result<FileIdentity, Fault> {
        Ok(identity(name, &self.remote.version))
    }

    fn identity(&self, name: PathBuf) -> Result<FileIdentity, Fault> {
        match wait(self.network, self.remote.address.clone(), 0..1) {
            Ok(fetched) => Ok(identity(name, &fetched.version)),
            Err((trouble, attempts)) => Err(trouble.fault(attempts)),
        }
    }
}

impl Drop for RemoteFile {
    fn drop(&mut self) {
        blocks::forget(&self.remote);
    }
}

/// Fetches a range of whatever version there is now. Works from any thread, a runtime's too.
fn wait(network: &'static Network, address: Address, range: Range<u64>) -> Result<Fetched, (Trouble, u32)> {
    let (sender, receiver) = mpsc::sync_channel(1);
    network.runtime.spawn(async move {
        // Nobody is left to be told only when that thread died.
        let _told = sender.send(fetch(network, &address, range, None).await);
    });
    receiver.recv().unwrap_or_else(|_| {
        let text = "the request was given up".to_owned();
        Err((Trouble::Lost(std::io::ErrorKind::Interrupted, text), 1))
    })
}

fn open_at(network: &'static Network, address: Address) -> Result<RemoteFile, (Trouble, u32)> {
    // One request tells size and version, whether the server gives ranges, and brings the headers.
    let Fetched { bytes, version } = wait(network, address.clone(), 0..BLOCK)?;
    let remote = Arc::new(Remote::new(address, version));
    blocks::keep_first(&remote, bytes);
    Ok(RemoteFile { network, remote })
}

/// The place on a server where an image's files lie.
#[derive(Debug)]
struct Prefix {
    network: &'static Network,
    named: Address,
}

impl Prefix {
    /// The address of a file beneath it; `None` for names that no server has.
    fn address(&self, relative: &Path) -> Option<Address> {
        let names: Option<Vec<&str>> = relative.iter().map(|name| name.to_str()).collect();
        names.filter(|names| !names.is_empty()).map(|names| self.named.beside(&names))
    }
}

impl Store for Prefix {
    fn open(&self, relative: &Path) -> Result<Arc<dyn Backing>, NotOpened> {
        let absent = || NotOpened::Failed(std::io::ErrorKind::NotFound.into());
        let address = self.address(relative).ok_or_else(absent)?;
        let called = address.called();
        let is_object = matches!(address, Address::Object(..));
        match open_at(self.network, address) {
            Ok(file) => Ok(Arc::new(file)),
            Err((Trouble::Absent, _)) => Err(absent()),
            // Without `s3:ListBucket` this is how S3 says that an object does not exist; the one
            // that was named could be read.
            Err((Trouble::Denied(said), _)) if is_object => {
                let said = format!("it does not exist, or reading it is denied ({said})");
                Err(NotOpened::Failed(std::io::Error::new(std::io::ErrorKind::NotFound, said)))
            }
            Err((trouble, attempts)) => Err(NotOpened::Refused(trouble.opening(&called, attempts))),
        }
    }

    fn called(&self, relative: &Path) -> PathBuf {
        self.address(relative).map_or_else(|| relative.to_owned(), |address| address.called())
    }
}

/// Opens a file on the network.
pub(in super::super) fn open(location: &Location) -> Result<Named, ImageError> {
    let called = location.called();
    let refused = |trouble: Trouble| trouble.opening(&called, 1);
    // First of all: it also chooses the cryptography that clients of credentials use.
    let network = network().map_err(|text| refused(Trouble::Refused(text)))?;
    let address = Address::of(location).map_err(refused)?;
    let address =
        address.ok_or_else(|| refused(Trouble::Refused("it is not on a server of files".to_owned())))?;
    let file = open_at(network, address.clone())
        .map_err(|(trouble, attempts)| trouble.opening(&called, attempts))?;
    Ok((Box::new(Prefix { network, named: address }), Arc::new(file)))
}
