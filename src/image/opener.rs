//! Opening the files of one image, and collecting what identifies it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::backing::{Backing, Fault, Named, NotOpened, Store};
use super::error::ImageError;
use super::extent::Layout;
use super::identity::{FileIdentity, Identity};
use super::local;
use super::nbd;
use super::open::Found;
#[cfg(feature = "remote")]
use super::remote;
use super::window::Window;
use crate::model::{Digest, Location};

/// One file of an image.
#[derive(Debug)]
pub(super) struct Opened {
    pub path: PathBuf,
    pub identity: FileIdentity,
    pub(super) backing: Arc<dyn Backing>,
    window: Window,
}

impl Opened {
    pub(super) fn backing(&self) -> &dyn Backing {
        &*self.backing
    }

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
fn open_named(image: &Location) -> Result<Named, ImageError> {
    match image {
        Location::Local(path) => local::open(path),
        #[cfg(feature = "remote")]
        Location::S3(_) | Location::Http(_) => remote::open(image),
        #[cfg(not(feature = "remote"))]
        Location::S3(_) | Location::Http(_) => Err(ImageError::NoFeature { file: image.called() }),
        Location::Nbd(export) => nbd::open(export),
        Location::Input => Err(ImageError::Input),
    }
}

/// Most images that an image stands on.
const MOST_PARENTS: usize = 32;

/// The files of one image of a chain as they are opened, and what identifies it. Names are as they
/// would be if the image were opened alone, so that its identity is the same one.
#[derive(Debug, Default)]
struct Frame {
    /// The directory of its first file, from the directory of the file that the user named on.
    directory: PathBuf,
    /// Its own files, the first one first.
    files: Vec<Opened>,
    /// The files of the images it stands on.
    below: Vec<Opened>,
    metadata: blake3::Hasher,
    ids: BTreeMap<String, String>,
}

impl Frame {
    fn identity(&self, found: &Found, member: Option<String>) -> Identity {
        Identity {
            format: found.description(),
            size: found.layout.size(),
            member,
            files: self.files.iter().chain(&self.below).map(|file| file.identity.clone()).collect(),
            ids: self.ids.clone(),
            metadata: Digest(*self.metadata.finalize().as_bytes()),
        }
    }
}

/// One layer of a chain below the top.
pub(super) struct Layer {
    /// The digest of its identity: that of the same file when it is opened alone.
    pub digest: Digest,
    pub layout: Box<dyn Layout>,
    /// Bytes of one unit of its data.
    pub unit: u64,
}

/// What all the opening of an image came to.
pub(super) struct Finished {
    /// Every file, the one that was named first.
    pub files: Vec<Opened>,
    pub identity: Identity,
    /// The layers it stands on, its parent first.
    pub below: Vec<Layer>,
}

/// The files of one image as they are opened, and of the images that it stands on.
pub(super) struct Opener {
    store: Box<dyn Store>,
    closed: bool,
    snapshot: Option<String>,
    /// How many files were opened.
    count: u32,
    /// The image that is being opened.
    frame: Frame,
    /// Those that stand on it, and wait for it; the top one first.
    waiting: Vec<Frame>,
    /// Layers that are open, the lowest first.
    layers: Vec<Layer>,
}

impl Opener {
    /// Opens the file that the user named.
    pub(super) fn new(image: &Location) -> Result<(Self, Window), ImageError> {
        let (store, backing) = open_named(image)?;
        let name = match image {
            Location::Local(path) => path.file_name().map_or_else(|| path.clone(), PathBuf::from),
            // An export has no file name; where it is served is what tells it from others.
            Location::Nbd(_) => image.called(),
            other => PathBuf::from(&*other.file_name()),
        };
        Self::over(store, backing, image.called(), name)
    }

    /// Begins with an open file, which messages call `path`.
    pub(super) fn over(
        store: Box<dyn Store>,
        backing: Arc<dyn Backing>,
        path: PathBuf,
        name: PathBuf,
    ) -> Result<(Self, Window), ImageError> {
        let mut opener = Self {
            store,
            closed: false,
            snapshot: None,
            count: 0,
            frame: Frame::default(),
            waiting: Vec::new(),
            layers: Vec::new(),
        };
        let window = opener.adopt(backing, path, name)?;
        Ok((opener, window))
    }

    /// Opens a file that the image names: only below the image's directory, through no link.
    pub(super) fn beside(&mut self, name: &[u8], by: &Path) -> Result<Window, ImageError> {
        let relative = self.relative(name, by)?;
        if let Some(opened) = self.frame.files.iter().find(|opened| opened.identity.name == relative) {
            return Ok(opened.window.clone());
        }
        let (backing, path) = self.look_up(&relative, name, by)?;
        self.adopt(backing, path, relative)
    }

    /// Opens the first file of the image that this one stands on, under the rules of
    /// [`Opener::beside`]. What is opened until [`Opener::ascend`] belongs to that image.
    pub(super) fn descend(&mut self, name: &[u8], by: &Path) -> Result<Window, ImageError> {
        if self.waiting.len() == MOST_PARENTS {
            return Err(ImageError::TooDeep { file: by.to_owned(), most: MOST_PARENTS });
        }
        let relative = self.relative(name, by)?;
        let (backing, path) = self.look_up(&relative, name, by)?;
        let first = relative.file_name().map(PathBuf::from).unwrap_or_default();
        let identity = backing.identity_when_opened(first.clone()).map_err(|fault| refused(fault, &path))?;
        let same = |file: &Opened| file.path == path || file.identity.is_same_file(&identity);
        if self.waiting.iter().chain([&self.frame]).any(|frame| frame.files.iter().any(same)) {
            let name = String::from_utf8_lossy(name).into_owned();
            return Err(ImageError::Cycle { file: by.to_owned(), name });
        }
        let directory = self.frame.directory.join(relative.parent().unwrap_or(Path::new("")));
        let child = std::mem::replace(&mut self.frame, Frame { directory, ..Frame::default() });
        self.waiting.push(child);
        self.adopt(backing, path, first)
    }

    /// How many images stand on the one that is being opened.
    pub(super) fn depth(&self) -> usize {
        self.waiting.len()
    }

    /// Remembers which internal snapshot is asked for.
    pub(super) fn want_snapshot(&mut self, snapshot: Option<String>) {
        self.snapshot = snapshot;
    }

    /// The snapshot that is asked for: of the image that was named, so that the first to be opened
    /// takes it, and no image below that one sees it.
    pub(super) fn take_snapshot(&mut self) -> Option<String> {
        self.snapshot.take()
    }

    /// Ends the image that the last [`Opener::descend`] began: it is a layer now. Gives its
    /// identity.
    pub(super) fn ascend(&mut self, found: Found) -> Identity {
        let identity = self.frame.identity(&found, None);
        let digest = identity.digest();
        if let Some(child) = self.waiting.pop() {
            let mut parent = std::mem::replace(&mut self.frame, child);
            let directory = parent.directory.strip_prefix(&self.frame.directory).unwrap_or(Path::new(""));
            for mut file in parent.files.drain(..).chain(parent.below.drain(..)) {
                file.identity.name = directory.join(&file.identity.name);
                self.frame.below.push(file);
            }
            self.id("parent", digest.to_string());
        }
        self.layers.push(Layer { digest, layout: found.layout, unit: found.unit });
        identity
    }

    /// Where a name in the file `by` leads, from the directory of the image's first file on.
    fn relative(&self, name: &[u8], by: &Path) -> Result<PathBuf, ImageError> {
        let relative = Path::new(OsStr::from_bytes(name));
        let shown = || String::from_utf8_lossy(name).into_owned();
        if self.closed {
            return Err(ImageError::Unsupported {
                file: by.to_owned(),
                what: format!("holds a disk that names another file, `{}`", shown()),
                help: "Unpack the appliance, and name the disk in it.".to_owned(),
            });
        }
        let plain =
            relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !plain || relative.components().next().is_none() || name.contains(&0) {
            return Err(ImageError::Escape { file: by.to_owned(), name: shown() });
        }
        // A name is meant from the directory of the file that it stands in.
        let from = self.frame.files.iter().find(|opened| opened.path == by);
        let from = from.and_then(|opened| opened.identity.name.parent()).unwrap_or(Path::new(""));
        Ok(from
            .components()
            .chain(relative.components())
            .filter(|part| matches!(part, Component::Normal(_)))
            .collect())
    }

    /// Opens a file below the image's directory, through no link. Also gives its path.
    fn look_up(
        &mut self,
        relative: &Path,
        name: &[u8],
        by: &Path,
    ) -> Result<(Arc<dyn Backing>, PathBuf), ImageError> {
        let shown = || String::from_utf8_lossy(name).into_owned();
        let relative = self.frame.directory.join(relative);
        let outside = || ImageError::Escape { file: by.to_owned(), name: shown() };
        if relative.as_os_str().is_empty() {
            return Err(outside());
        }
        let backing = self.store.open(&relative).map_err(|error| match error {
            NotOpened::Outside => outside(),
            NotOpened::Failed(source) => ImageError::Part { file: by.to_owned(), name: shown(), source },
            NotOpened::Refused(error) => error,
        })?;
        Ok((backing, self.store.called(&relative)))
    }

    fn adopt(
        &mut self,
        backing: Arc<dyn Backing>,
        path: PathBuf,
        name: PathBuf,
    ) -> Result<Window, ImageError> {
        let identity = backing.identity_when_opened(name).map_err(|fault| refused(fault, &path))?;
        let number = self.count;
        self.count = self.count.saturating_add(1);
        let own = identity.name.file_name().map(PathBuf::from).unwrap_or_default();
        let window = Window::whole(Arc::clone(&backing), path.clone(), own, number);
        self.frame.files.push(Opened { path, identity, backing, window: window.clone() });
        Ok(window)
    }

    /// Opens no further files: what is in an archive must not name files beside it.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// Whether the file that the user named is a block device.
    pub(super) fn is_device(&self) -> bool {
        self.frame.files.first().is_some_and(|file| file.backing.is_device())
    }

    /// Takes metadata into the identity.
    pub(super) fn metadata(&mut self, bytes: &[u8]) {
        self.frame.metadata.update(&(bytes.len() as u64).to_le_bytes());
        self.frame.metadata.update(bytes);
    }

    /// Takes one of the format's own ids into the identity.
    pub(super) fn id(&mut self, name: &str, value: impl Into<String>) {
        self.frame.ids.insert(name.to_owned(), value.into());
    }

    /// Ends the opening.
    pub(super) fn finish(mut self, found: &Found, member: Option<String>) -> Finished {
        let identity = self.frame.identity(found, member);
        self.frame.files.append(&mut self.frame.below);
        self.layers.reverse();
        Finished { files: self.frame.files, identity, below: self.layers }
    }
}
