//! Opening the files of one image, and collecting what identifies it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::backing::{Backing, Fault, NotOpened, Store};
use super::error::ImageError;
use super::identity::FileIdentity;
use super::local;
#[cfg(feature = "remote")]
use super::remote;
use super::window::Window;
use crate::model::{Digest, Location};

/// One file of an image.
#[derive(Debug)]
pub(super) struct Opened {
    pub path: PathBuf,
    pub identity: FileIdentity,
    backing: Arc<dyn Backing>,
    window: Window,
}

impl Opened {
    /// What of it is different from what it was when it was opened.
    pub(super) fn difference(&self) -> Result<Option<String>, ImageError> {
        let now =
            self.backing.identity(self.identity.name.clone()).map_err(|fault| refused(fault, &self.path))?;
        Ok(self.identity.difference(&now))
    }
}

/// The error of looking at an open file.
fn refused(fault: Fault, path: &Path) -> ImageError {
    match fault {
        Fault::Io(source) => ImageError::Open { file: path.to_owned(), source },
        other => ImageError::Source(other.at(path, 0)),
    }
}

/// Opens the file that the user named, where it lies.
fn open_named(image: &Location) -> Result<(Box<dyn Store>, Arc<dyn Backing>), ImageError> {
    match image {
        Location::Local(path) => local::open(path),
        #[cfg(feature = "remote")]
        Location::S3(_) | Location::Http(_) => remote::open(image),
        #[cfg(not(feature = "remote"))]
        Location::S3(_) | Location::Http(_) => Err(ImageError::NoFeature { file: image.called() }),
        Location::Nbd(_) => Err(ImageError::NoFeature { file: image.called() }),
        Location::Input => Err(ImageError::Input),
    }
}

/// The files of one image as they are opened, the one that was named first.
#[derive(Debug)]
pub(super) struct Opener {
    store: Box<dyn Store>,
    closed: bool,
    depth: usize,
    files: Vec<Opened>,
    metadata: blake3::Hasher,
    ids: BTreeMap<String, String>,
}

impl Opener {
    /// Opens the file that the user named.
    pub(super) fn new(image: &Location) -> Result<(Self, Window), ImageError> {
        let (store, backing) = open_named(image)?;
        let mut opener = Self {
            store,
            closed: false,
            depth: 0,
            files: Vec::new(),
            metadata: blake3::Hasher::new(),
            ids: BTreeMap::new(),
        };
        let name = match image {
            Location::Local(path) => path.file_name().map_or_else(|| path.clone(), PathBuf::from),
            other => PathBuf::from(&*other.file_name()),
        };
        let window = opener.adopt(backing, image.called(), name)?;
        Ok((opener, window))
    }

    /// Opens a file that the image names: only below the image's directory, through no link.
    pub(super) fn beside(&mut self, name: &[u8], by: &Path) -> Result<Window, ImageError> {
        let relative = Path::new(OsStr::from_bytes(name));
        let shown = String::from_utf8_lossy(name).into_owned();
        if self.closed {
            return Err(ImageError::Unsupported {
                file: by.to_owned(),
                what: format!("holds a disk that names another file, `{shown}`"),
                help: "Unpack the appliance, and name the disk in it.".to_owned(),
            });
        }
        let escape = || ImageError::Escape { file: by.to_owned(), name: shown.clone() };
        let plain =
            relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !plain || relative.components().next().is_none() || name.contains(&0) {
            return Err(escape());
        }
        // A name is meant from the directory of the file that it stands in.
        let from = self.files.iter().find(|opened| opened.path == by);
        let from = from.and_then(|opened| opened.identity.name.parent()).unwrap_or(Path::new(""));
        let relative: PathBuf = from
            .components()
            .chain(relative.components())
            .filter(|part| matches!(part, Component::Normal(_)))
            .collect();
        if let Some(opened) = self.files.iter().find(|opened| opened.identity.name == relative) {
            return Ok(opened.window.clone());
        }
        if relative.as_os_str().is_empty() {
            return Err(escape());
        }
        let backing = self.store.open(&relative).map_err(|error| match error {
            NotOpened::Outside => escape(),
            NotOpened::Failed(source) => {
                ImageError::Part { file: by.to_owned(), name: shown.clone(), source }
            }
            NotOpened::Refused(error) => error,
        })?;
        let path = self.store.called(&relative);
        self.adopt(backing, path, relative)
    }

    /// As [`Opener::beside`], of a file that is not one of the image's yet; `None` when it is.
    pub(super) fn beside_new(&mut self, name: &[u8], by: &Path) -> Result<Option<Window>, ImageError> {
        let before = self.files.len();
        let window = self.beside(name, by)?;
        let (known, new) = self.files.split_at(before);
        let is_new = new
            .first()
            .is_some_and(|new| !known.iter().any(|file| file.identity.is_same_file(&new.identity)));
        Ok(is_new.then_some(window))
    }

    /// Counts one more level of files that stand on files.
    pub(super) fn descend(&mut self) -> usize {
        self.depth += 1;
        self.depth
    }

    fn adopt(
        &mut self,
        backing: Arc<dyn Backing>,
        path: PathBuf,
        name: PathBuf,
    ) -> Result<Window, ImageError> {
        let identity = backing.identity_when_opened(name).map_err(|fault| refused(fault, &path))?;
        let number = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
        let window = Window::whole(Arc::clone(&backing), path.clone(), number);
        self.files.push(Opened { path, identity, backing, window: window.clone() });
        Ok(window)
    }

    /// Opens no further files: what is in an archive must not name files beside it.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// Whether the file that the user named is a block device.
    pub(super) fn is_device(&self) -> bool {
        self.files.first().is_some_and(|file| file.backing.is_device())
    }

    /// Takes metadata into the identity.
    pub(super) fn metadata(&mut self, bytes: &[u8]) {
        self.metadata.update(&(bytes.len() as u64).to_le_bytes());
        self.metadata.update(bytes);
    }

    /// Takes one of the format's own ids into the identity.
    pub(super) fn id(&mut self, name: &str, value: impl Into<String>) {
        self.ids.insert(name.to_owned(), value.into());
    }

    /// The files, the ids and the metadata's digest.
    pub(super) fn finish(self) -> (Vec<Opened>, BTreeMap<String, String>, Digest) {
        (self.files, self.ids, Digest(*self.metadata.finalize().as_bytes()))
    }
}
