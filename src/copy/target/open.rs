//! Proving that a path may be written, in the order that gives the most telling refusal.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::TargetError;
use super::device::Device;
use super::file;
use super::io::{Kind, Parts, Target};
use super::{locking, signature};

/// How often a busy device is tried again, and the pause between.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(50);

/// What to do with what is on the target already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Existing {
    /// Refuse a file that holds data and a device with a known signature on it.
    #[default]
    Refuse,
    /// Write over it in place: the target is known to be ours (journalled, or resumed).
    Keep,
    /// It may be lost: a file is replaced by a new one, a device is written over.
    Replace,
}

/// What is known of the target before it is opened.
#[derive(Debug, Clone, Default)]
pub struct TargetOptions {
    /// Bytes of the disk that it has to hold.
    pub size: u64,
    /// Bytes of data that will be written, for the check of a filesystem's free space.
    pub data: u64,
    /// The exact size of the volume it must be, when that is known.
    pub expected_size: Option<u64>,
    /// The image's own files: none of them may be the target.
    pub image_files: Vec<PathBuf>,
    /// What to do with what is there.
    pub existing: Existing,
    /// Whether a file may be created.
    pub create: bool,
    /// A name that stays with the target (a volume's id). Otherwise one is made of what the
    /// system knows: a file's inode and birth, a device's serial.
    pub identity: Option<String>,
}

impl Target {
    /// Opens a target, or says why it may not be written. Changes nothing that is there, except
    /// that a file that is to be replaced is removed, and one that is too short made longer.
    ///
    /// # Errors
    /// One of the refusals of [`TargetError`].
    pub fn open(path: &Path, options: &TargetOptions) -> Result<Self, TargetError> {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound && options.create => {
                return file::create(path, options);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(TargetError::Missing { path: path.to_owned() });
            }
            Err(source) => return Err(TargetError::Inspect { path: path.to_owned(), source }),
        };
        let kind = metadata.file_type();
        if kind.is_file() {
            file::open(path, &metadata, options)
        } else if kind.is_block_device() {
            open_device(path, &metadata, options)
        } else {
            Err(TargetError::WrongKind { path: path.to_owned() })
        }
    }
}

fn open_device(path: &Path, metadata: &fs::Metadata, options: &TargetOptions) -> Result<Target, TargetError> {
    let owned = || path.to_owned();
    let inspect = |source| TargetError::Inspect { path: owned(), source };
    let device = Device::find(metadata.rdev()).map_err(inspect)?;
    for image in &options.image_files {
        let Ok(of_image) = fs::metadata(image) else { continue };
        let backing = device.backing_file().and_then(|file| fs::metadata(file).ok());
        if of_image.file_type().is_block_device() && of_image.rdev() == metadata.rdev()
            || backing.is_some_and(|file| (file.dev(), file.ino()) == (of_image.dev(), of_image.ino()))
        {
            return Err(TargetError::IsImage { path: owned(), image: image.clone() });
        }
    }
    device.refuse_if_used(path)?;
    if device.is_read_only() {
        return Err(TargetError::ReadOnly { path: owned() });
    }

    let mut buffered = open_alone(path)?;
    if buffered.metadata().map_err(inspect)?.rdev() != metadata.rdev() {
        // The name was given to another device since it was looked at.
        return Err(TargetError::Busy { path: owned() });
    }
    if !locking::exclusive(&buffered).map_err(inspect)? {
        return Err(TargetError::Locked { path: owned() });
    }
    let size = buffered.seek(SeekFrom::End(0)).map_err(inspect)?;
    check_size(path, size, options)?;
    let identity = options.identity.clone().unwrap_or_else(|| match device.serial() {
        Some(serial) => format!("device {serial} of {size} bytes"),
        None => format!("device {} of {size} bytes", device.name()),
    });
    let target = Target::new(Parts {
        path: owned(),
        direct: open_direct(path),
        buffered,
        kind: Kind::Device,
        size,
        created: false,
        identity,
    });
    if options.existing == Existing::Refuse {
        refuse_signatures(&target)?;
    }
    Ok(target)
}

fn refuse_signatures(target: &Target) -> Result<(), TargetError> {
    let inspect = |source| TargetError::Inspect { path: target.path().to_owned(), source };
    let size = usize::try_from(target.size()).unwrap_or(usize::MAX);
    let mut start = vec![0; signature::START.min(size)];
    let mut end = vec![0; signature::END.min(size)];
    target.read(0, &mut start).map_err(inspect)?;
    target.read(target.size() - end.len() as u64, &mut end).map_err(inspect)?;
    match signature::find(&start, &end) {
        Some(what) => Err(TargetError::HoldsData { path: target.path().to_owned(), what: what.to_owned() }),
        None => Ok(()),
    }
}

/// Refuses a target of the wrong size.
pub(super) fn check_size(path: &Path, size: u64, options: &TargetOptions) -> Result<(), TargetError> {
    if let Some(expected) = options.expected_size
        && expected != size
    {
        return Err(TargetError::WrongSize { path: path.to_owned(), size, expected });
    }
    if size < options.size {
        return Err(TargetError::TooSmall { path: path.to_owned(), size, needed: options.size });
    }
    Ok(())
}

/// Opens a device that nothing else holds. A process that this one has forked a moment ago has our
/// last hold on it until it becomes another program: that is waited for.
fn open_alone(path: &Path) -> Result<File, TargetError> {
    for _ in 0..TRIES {
        match open_for_writing(path, libc::O_EXCL) {
            Err(TargetError::Busy { .. }) => std::thread::sleep(PAUSE),
            opened => return opened,
        }
    }
    open_for_writing(path, libc::O_EXCL)
}

/// Opens something that exists, for reading and writing through the page cache.
pub(super) fn open_for_writing(path: &Path, flags: i32) -> Result<File, TargetError> {
    let opened = File::options().read(true).write(true).custom_flags(flags).open(path);
    opened.map_err(|source| match source.raw_os_error() {
        Some(libc::EBUSY) => TargetError::Busy { path: path.to_owned() },
        Some(libc::EROFS | libc::ETXTBSY) => TargetError::ReadOnly { path: path.to_owned() },
        _ => TargetError::Open { path: path.to_owned(), source },
    })
}

/// A second descriptor that goes past the page cache, where the filesystem has such a thing.
pub(super) fn open_direct(path: &Path) -> Option<File> {
    File::options().read(true).write(true).custom_flags(libc::O_DIRECT).open(path).ok()
}
