//! Regular files as targets.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, StatxFlags};

use super::io::{Kind, Parts, Target};
use super::open::{check_size, open_direct, open_for_writing};
use super::{Existing, TargetError, TargetOptions};
use super::{device, locking};

/// Creates a file. It may hold what a guest keeps secret, so only its owner may read it.
pub(super) fn create(path: &Path, options: &TargetOptions) -> Result<Target, TargetError> {
    let size = options.expected_size.unwrap_or(options.size);
    check_size(path, size, options)?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let available = rustix::fs::statvfs(&directory)
        .map_err(|error| TargetError::Create { path: path.to_owned(), source: error.into() })?;
    check_space(path, available, 0, options)?;
    let buffered = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|source| TargetError::Create { path: path.to_owned(), source })?;
    let made = lock(path, &buffered).and_then(|()| {
        resize(path, &buffered, size)?;
        // The name itself must survive a crash, or the manifest would speak of nothing.
        let synced = buffered.sync_all().and_then(|()| File::open(&directory)?.sync_all());
        synced.map_err(|source| TargetError::Create { path: path.to_owned(), source })?;
        finish(path, &buffered, size, true, options)
    });
    if made.is_err() {
        // The refusal matters more than an empty file that cannot be taken away.
        let _ = fs::remove_file(path);
    }
    made
}

/// Opens a file that exists.
pub(super) fn open(
    path: &Path,
    metadata: &fs::Metadata,
    options: &TargetOptions,
) -> Result<Target, TargetError> {
    let owned = || path.to_owned();
    let inspect = |source| TargetError::Inspect { path: owned(), source };
    for image in &options.image_files {
        if fs::metadata(image).is_ok_and(|file| (file.dev(), file.ino()) == (metadata.dev(), metadata.ino()))
        {
            return Err(TargetError::IsImage { path: owned(), image: image.clone() });
        }
    }
    if device::is_swap_file(metadata).map_err(inspect)? {
        return Err(TargetError::Swap { path: owned(), device: path.display().to_string() });
    }
    if let Some(device) = device::loop_over(metadata).map_err(inspect)? {
        return Err(TargetError::UsedByLoop { path: owned(), device });
    }
    if metadata.permissions().readonly() {
        return Err(TargetError::ReadOnly { path: owned() });
    }
    let buffered = open_for_writing(path, 0)?;
    let opened = buffered.metadata().map_err(inspect)?;
    if (opened.dev(), opened.ino()) != (metadata.dev(), metadata.ino()) {
        return Err(TargetError::Busy { path: owned() });
    }
    lock(path, &buffered)?;

    let blank = first_data(&buffered).map_err(inspect)?.is_none();
    if options.existing == Existing::Replace {
        let space = rustix::fs::fstatvfs(&buffered).map_err(|error| inspect(error.into()))?;
        check_space(path, space, opened.blocks().saturating_mul(512), options)?;
        // A new file, not this one emptied: its identity must not be the old one's. The name is
        // followed, so that a link stays a link.
        let real = fs::canonicalize(path).map_err(inspect)?;
        fs::remove_file(&real).map_err(|source| TargetError::Open { path: owned(), source })?;
        return create(&real, options);
    }
    if options.existing == Existing::Refuse && !blank {
        let what = format!("{} of data", crate::model::Bytes(opened.blocks().saturating_mul(512)));
        return Err(TargetError::HoldsData { path: owned(), what });
    }
    let mut size = opened.len();
    if blank && size < options.size && options.expected_size.is_none() && options.existing != Existing::Keep {
        size = options.size;
    }
    check_size(path, size, options)?;
    let space = rustix::fs::fstatvfs(&buffered).map_err(|error| inspect(error.into()))?;
    check_space(path, space, opened.blocks().saturating_mul(512), options)?;
    if size != opened.len() {
        resize(path, &buffered, size)?;
    }
    finish(path, &buffered, size, false, options)
}

fn finish(
    path: &Path,
    buffered: &File,
    size: u64,
    created: bool,
    options: &TargetOptions,
) -> Result<Target, TargetError> {
    let inspect = |source| TargetError::Inspect { path: path.to_owned(), source };
    let identity = match &options.identity {
        Some(identity) => identity.clone(),
        None => identity(buffered).map_err(inspect)?,
    };
    Ok(Target::new(Parts {
        path: path.to_owned(),
        direct: open_direct(path),
        buffered: buffered.try_clone().map_err(inspect)?,
        kind: Kind::File,
        size,
        created,
        identity,
    }))
}

fn lock(path: &Path, file: &File) -> Result<(), TargetError> {
    match locking::exclusive(file) {
        Ok(true) => Ok(()),
        Ok(false) => Err(TargetError::Locked { path: path.to_owned() }),
        Err(source) => Err(TargetError::Inspect { path: path.to_owned(), source }),
    }
}

fn resize(path: &Path, file: &File, size: u64) -> Result<(), TargetError> {
    file.set_len(size).map_err(|source| TargetError::Resize { path: path.to_owned(), size, source })
}

/// Refuses a filesystem with less room than the data needs beyond what the file already has.
fn check_space(
    path: &Path,
    space: rustix::fs::StatVfs,
    allocated: u64,
    options: &TargetOptions,
) -> Result<(), TargetError> {
    let available = space.f_bavail.saturating_mul(space.f_frsize);
    let needed = options.data.saturating_sub(allocated);
    // A filesystem that does not say how large it is (some FUSE ones) says zero blocks.
    if space.f_blocks > 0 && needed > available {
        return Err(TargetError::NoSpace { path: path.to_owned(), available, needed });
    }
    Ok(())
}

/// Where a file's first data is; `None` when it is all hole.
fn first_data(file: &File) -> std::io::Result<Option<u64>> {
    match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(0)) {
        Ok(offset) => Ok(Some(offset)),
        Err(rustix::io::Errno::NXIO) => Ok(None),
        Err(rustix::io::Errno::INVAL) => Ok((file.metadata()?.len() > 0).then_some(0)),
        Err(error) => Err(error.into()),
    }
}

/// What a file is known by as long as it lives: its inode, and its birth where that is kept
/// (inode numbers are given again).
fn identity(file: &File) -> std::io::Result<String> {
    let facts = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::INO | StatxFlags::BTIME)?;
    let birth = if facts.stx_mask & StatxFlags::BTIME.bits() != 0 {
        format!(" born {}.{:09}", facts.stx_btime.tv_sec, facts.stx_btime.tv_nsec)
    } else {
        String::new()
    };
    Ok(format!("file {}{birth}", facts.stx_ino))
}
