//! Path-safe access to a guest's mounted root.
//!
//! Every path is resolved by the kernel with `openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)`:
//! a guest's symbolic link, absolute or with `..`, resolves inside the guest and can never leave
//! it. Reads are bounded, only regular files are opened (a FIFO or device node is refused before
//! it is opened), and names that are not UTF-8 or hold control characters are counted, not shown.

mod place;
mod put;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid, XattrFlags, fchmod, fchown,
    fgetxattr, fsetxattr, fstat, fstatvfs, ftruncate, mkdirat, openat2, readlinkat, renameat, unlinkat,
};
use rustix::io::Errno;

use super::locks::Unlocked;

/// The longest path accepted, in bytes (`PATH_MAX` of Linux).
const PATH_MAX: usize = 4096;
/// How many entries of one directory are looked at; the rest is counted as skipped.
const DIRECTORY_MAX: usize = 65_536;
/// Most listings of directories beyond that which are kept (a few MiB each).
const MOST_CUT: usize = 8;
/// How often an interrupted or raced resolution is tried again (openat2(2) names EAGAIN and EINTR).
const RESOLVE_TRIES: u32 = 16;
/// SELinux's extended attribute.
const SELINUX: &str = "security.selinux";

/// What can go wrong in a guest's tree.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The root itself cannot be opened.
    #[error("the guest's root {path} cannot be opened")]
    OpenRoot {
        /// The path on this machine.
        path: String,
        /// Why.
        source: Errno,
    },
    /// The path is empty, not absolute, too long, or ends in `..`.
    #[error("{path:?} is no path inside a guest")]
    BadPath {
        /// The path.
        path: String,
    },
    /// A file or directory cannot be looked up.
    #[error("{path} cannot be looked up")]
    Look {
        /// The path from the guest's root.
        path: String,
        /// Why.
        source: Errno,
    },
    /// The path names no regular file.
    #[error("{path} is no regular file")]
    NotAFile {
        /// The path from the guest's root.
        path: String,
    },
    /// The file is longer than what is read at most.
    #[error("{path} holds {length} bytes, more than the {limit} that are read")]
    TooLarge {
        /// The path from the guest's root.
        path: String,
        /// Its length in bytes.
        length: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A file cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// The path from the guest's root.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A directory cannot be listed.
    #[error("{path} cannot be listed")]
    List {
        /// The path from the guest's root.
        path: String,
        /// Why.
        source: Errno,
    },
    /// A file or directory cannot be created.
    #[error("{path} cannot be created")]
    Create {
        /// The path from the guest's root.
        path: String,
        /// Why.
        source: Errno,
    },
    /// A file cannot be written.
    #[error("{path} cannot be written")]
    Write {
        /// The path from the guest's root.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A file cannot be renamed.
    #[error("{path} cannot be renamed to {to}")]
    Rename {
        /// The path from the guest's root.
        path: String,
        /// The new path.
        to: String,
        /// Why.
        source: Errno,
    },
    /// A file cannot be removed.
    #[error("{path} cannot be removed")]
    Remove {
        /// The path from the guest's root.
        path: String,
        /// Why.
        source: Errno,
    },
    /// The filesystem's free space cannot be learned.
    #[error("the free space at {path} cannot be learned")]
    Space {
        /// The path from the guest's root.
        path: String,
        /// Why.
        source: Errno,
    },
}

/// What kind of file something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device node, FIFO or socket.
    Other,
}

/// What is known of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// Its kind.
    pub kind: Kind,
    /// Its length in bytes.
    pub length: u64,
    /// Its permission bits.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its inode number.
    pub inode: u64,
    /// The device of its filesystem: two files with one number share their free space.
    pub device: u64,
    /// Its modification time, in seconds since 1970.
    pub modified: i64,
    /// How many names it has (hard links).
    pub names: u64,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its name: UTF-8, no control characters, no slash.
    pub name: String,
}

/// A directory's names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The usable names, sorted.
    pub entries: Vec<Entry>,
    /// How many were passed over: not UTF-8, with control characters, or beyond 65,536.
    pub skipped: u64,
}

/// A filesystem's free space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that root can still write.
    pub free: u64,
    /// The size of a block in bytes.
    pub block: u64,
    /// Inodes for new files; `None` where the filesystem makes them as it needs them (btrfs, FAT).
    pub inodes: Option<u64>,
    /// Mounted read-only.
    pub read_only: bool,
}

/// A guest's root, with everything that the guest mounts below it.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
    /// Directories that were listed in part only, and what was seen of them: such a one is not read
    /// again for every question.
    cut: RefCell<BTreeMap<String, Listing>>,
}

impl Tree {
    /// Opens the directory under which the guest's filesystems are mounted.
    ///
    /// # Errors
    /// [`TreeError::OpenRoot`].
    pub fn open(root: &Path) -> Result<Self, TreeError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(root, flags, Mode::empty())
            .map_err(|source| TreeError::OpenRoot { path: root.display().to_string(), source })?;
        Ok(Self { root, cut: RefCell::default() })
    }

    /// What a path names, symbolic links followed inside the guest; `None` when it names nothing.
    ///
    /// # Errors
    /// [`TreeError::BadPath`], [`TreeError::Look`].
    pub fn metadata(&self, path: &str) -> Result<Option<Metadata>, TreeError> {
        match self.resolve(path, OFlags::PATH) {
            Ok(fd) => fstat(&fd).map(|stat| Some(metadata(&stat))).map_err(look(path)),
            Err(error) => absent(error),
        }
    }

    /// What a path names, its last part not followed; `None` when it names nothing.
    ///
    /// # Errors
    /// [`TreeError::BadPath`], [`TreeError::Look`].
    pub fn symlink_metadata(&self, path: &str) -> Result<Option<Metadata>, TreeError> {
        match self.resolve(path, OFlags::PATH | OFlags::NOFOLLOW) {
            Ok(fd) => fstat(&fd).map(|stat| Some(metadata(&stat))).map_err(look(path)),
            Err(error) => absent(error),
        }
    }

    /// Where a symbolic link points, as it stands in the guest; `None` when it is no link.
    ///
    /// # Errors
    /// [`TreeError::BadPath`], [`TreeError::Look`].
    pub fn read_link(&self, path: &str) -> Result<Option<String>, TreeError> {
        let fd = match self.resolve(path, OFlags::PATH | OFlags::NOFOLLOW) {
            Ok(fd) => fd,
            Err(error) => return absent(error),
        };
        if metadata(&fstat(&fd).map_err(look(path))?).kind != Kind::Symlink {
            return Ok(None);
        }
        let target = readlinkat(&fd, "", Vec::new()).map_err(look(path))?;
        Ok(Some(target.to_string_lossy().into_owned()))
    }

    /// Whether a path names something, links followed. What cannot be looked up is not there.
    #[must_use]
    pub fn exists(&self, path: &str) -> bool {
        matches!(self.metadata(path), Ok(Some(_)))
    }

    /// Whether a path names a regular file, links followed.
    #[must_use]
    pub fn is_file(&self, path: &str) -> bool {
        matches!(self.metadata(path), Ok(Some(found)) if found.kind == Kind::File)
    }

    /// Whether a path names a directory, links followed.
    #[must_use]
    pub fn is_directory(&self, path: &str) -> bool {
        matches!(self.metadata(path), Ok(Some(found)) if found.kind == Kind::Directory)
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// [`TreeError::NotAFile`], [`TreeError::BadPath`], [`TreeError::Look`] (also when absent).
    pub fn open_file(&self, path: &str) -> Result<File, TreeError> {
        self.regular(path)?;
        // The mount belongs to us alone, so what was a regular file a moment ago still is one;
        // NONBLOCK is a second belt.
        self.resolve(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY).map(File::from)
    }

    /// Reads a whole regular file of at most `limit` bytes.
    ///
    /// # Errors
    /// [`TreeError::TooLarge`], [`TreeError::Read`] and those of [`Tree::open_file`].
    pub fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, TreeError> {
        let file = self.open_file(path)?;
        let length = self.regular(path)?.length;
        if length > limit {
            return Err(TreeError::TooLarge { path: path.to_owned(), length, limit });
        }
        let mut content = Vec::new();
        file.take(limit.saturating_add(1))
            .read_to_end(&mut content)
            .map_err(|source| TreeError::Read { path: path.to_owned(), source })?;
        if content.len() as u64 > limit {
            let length = content.len() as u64;
            return Err(TreeError::TooLarge { path: path.to_owned(), length, limit });
        }
        Ok(content)
    }

    /// As [`Tree::read`]; `None` when the path names nothing.
    ///
    /// # Errors
    /// Those of [`Tree::read`], except for a missing file.
    pub fn read_if_there(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, TreeError> {
        match self.read(path, limit) {
            Ok(content) => Ok(Some(content)),
            Err(error) => absent(error),
        }
    }

    /// Reads `length` bytes (fewer at the file's end) from an offset.
    ///
    /// # Errors
    /// [`TreeError::Read`] and those of [`Tree::open_file`].
    pub fn read_at(&self, path: &str, offset: u64, length: u64) -> Result<Vec<u8>, TreeError> {
        let mut file = self.open_file(path)?;
        let mut content = Vec::new();
        file.seek(SeekFrom::Start(offset))
            .and_then(|_| file.take(length).read_to_end(&mut content))
            .map_err(|source| TreeError::Read { path: path.to_owned(), source })?;
        Ok(content)
    }

    /// The names in a directory; none when it does not exist.
    ///
    /// # Errors
    /// [`TreeError::BadPath`], [`TreeError::Look`], [`TreeError::List`].
    pub fn list(&self, path: &str) -> Result<Listing, TreeError> {
        if let Some(known) = self.cut.borrow().get(path) {
            return Ok(known.clone());
        }
        let listing = self.names(path)?;
        let mut cut = self.cut.borrow_mut();
        if listing.entries.len() >= DIRECTORY_MAX && listing.skipped > 0 && cut.len() < MOST_CUT {
            cut.insert(path.to_owned(), listing.clone());
        }
        Ok(listing)
    }

    /// Directories of which [`Tree::list`] has not given all names.
    #[must_use]
    pub fn listed_in_part(&self) -> Vec<String> {
        self.cut.borrow().keys().cloned().collect()
    }

    fn names(&self, path: &str) -> Result<Listing, TreeError> {
        let fd = match self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(fd) => fd,
            Err(TreeError::Look { source: Errno::NOENT | Errno::NOTDIR, .. }) => {
                return Ok(Listing::default());
            }
            Err(error) => return Err(error),
        };
        let failed = |source| TreeError::List { path: path.to_owned(), source };
        let mut listing = Listing::default();
        for entry in Dir::read_from(&fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            match entry.file_name().to_str() {
                Ok("." | "..") => {}
                Ok(name) if listing.entries.len() < DIRECTORY_MAX && !name.chars().any(char::is_control) => {
                    listing.entries.push(Entry { name: name.to_owned() });
                }
                _ => listing.skipped += 1,
            }
            if listing.skipped > DIRECTORY_MAX as u64 {
                break;
            }
        }
        listing.entries.sort();
        Ok(listing)
    }

    /// Replaces a file's content in place (same inode: owner, mode, extended attributes and with
    /// them the SELinux label stay), or creates it: owner root, the given mode, the label of a
    /// neighbour. A symbolic link is followed inside the guest. Missing directories are made.
    ///
    /// # Errors
    /// [`TreeError::Create`], [`TreeError::Write`], [`TreeError::NotAFile`], [`TreeError::BadPath`].
    pub fn write(&self, path: &str, content: &[u8], mode: u32) -> Result<(), TreeError> {
        let _unlocked = self.unlock(path);
        let mut file = if self.metadata(path)?.is_some() {
            self.regular(path)?;
            File::from(self.resolve(path, OFlags::WRONLY | OFlags::TRUNC)?)
        } else {
            File::from(self.create(path, mode)?)
        };
        file.write_all(content).map_err(|source| TreeError::Write { path: path.to_owned(), source })
    }

    /// Adds bytes to the end of a file. When they do not fit, the file has its old length again.
    ///
    /// # Errors
    /// [`TreeError::Write`] and those of [`Tree::open_file`].
    pub fn append(&self, path: &str, content: &[u8]) -> Result<(), TreeError> {
        let old = self.regular(path)?.length;
        let _unlocked = self.unlock(path);
        let mut file = File::from(self.resolve(path, OFlags::WRONLY)?);
        let failed = |source| TreeError::Write { path: path.to_owned(), source };
        file.seek(SeekFrom::Start(old)).map_err(failed)?;
        // Delayed allocation reports a full filesystem only when the data is flushed.
        if let Err(source) = file.write_all(content).and_then(|()| file.sync_all()) {
            ftruncate(&file, old).map_err(|errno| failed(errno.into()))?;
            return Err(failed(source));
        }
        Ok(())
    }

    /// Replaces bytes of a file at an offset; its length stays.
    ///
    /// # Errors
    /// [`TreeError::Write`] and those of [`Tree::open_file`].
    pub fn overwrite(&self, path: &str, offset: u64, content: &[u8]) -> Result<(), TreeError> {
        self.regular(path)?;
        let file = File::from(self.resolve(path, OFlags::WRONLY)?);
        let failed = |source| TreeError::Write { path: path.to_owned(), source };
        std::os::unix::fs::FileExt::write_all_at(&file, content, offset).map_err(failed)
    }

    /// Puts bytes into a file at an offset; what follows moves back.
    ///
    /// # Errors
    /// [`TreeError::TooLarge`] when more than `limit` bytes would move, [`TreeError::Write`] and
    /// those of [`Tree::read_at`].
    pub fn insert(&self, path: &str, offset: u64, content: &[u8], limit: u64) -> Result<(), TreeError> {
        let length = self.regular(path)?.length;
        let moved = length.saturating_sub(offset);
        if moved > limit {
            return Err(TreeError::TooLarge { path: path.to_owned(), length, limit });
        }
        let tail = self.read_at(path, offset, moved)?;
        let _unlocked = self.unlock(path);
        let mut file = File::from(self.resolve(path, OFlags::WRONLY)?);
        let failed = |source| TreeError::Write { path: path.to_owned(), source };
        let write = |file: &mut File| {
            // The end first: a full filesystem shows before anything was overwritten.
            file.seek(SeekFrom::Start(offset.saturating_add(content.len() as u64)))?;
            file.write_all(&tail)?;
            file.sync_all()?;
            file.seek(SeekFrom::Start(offset))?;
            file.write_all(content)?;
            file.sync_all()
        };
        if let Err(source) = write(&mut file) {
            let restore = file.seek(SeekFrom::Start(offset)).and_then(|_| file.write_all(&tail));
            restore.and_then(|()| Ok(ftruncate(&file, length)?)).map_err(failed)?;
            return Err(failed(source));
        }
        Ok(())
    }

    /// Renames a file within the guest; the last parts are not followed.
    ///
    /// # Errors
    /// [`TreeError::Rename`], [`TreeError::BadPath`], [`TreeError::Look`].
    pub fn rename(&self, path: &str, to: &str) -> Result<(), TreeError> {
        let _unlocked = self.unlock(path);
        let (from_directory, from_name) = self.parent(path)?;
        let (to_directory, to_name) = self.parent(to)?;
        renameat(&from_directory, from_name, &to_directory, to_name).map_err(|source| TreeError::Rename {
            path: path.to_owned(),
            to: to.to_owned(),
            source,
        })
    }

    /// Removes a file or symbolic link (the link itself).
    ///
    /// # Errors
    /// [`TreeError::Remove`], [`TreeError::BadPath`], [`TreeError::Look`].
    pub fn remove(&self, path: &str) -> Result<(), TreeError> {
        let _unlocked = self.unlock(path);
        let (directory, name) = self.parent(path)?;
        unlinkat(&directory, name, AtFlags::empty())
            .map_err(|source| TreeError::Remove { path: path.to_owned(), source })
    }

    /// Free space of the filesystem that holds a path (or, when it is not there, its directory).
    ///
    /// # Errors
    /// [`TreeError::Space`], [`TreeError::BadPath`], [`TreeError::Look`].
    pub fn space(&self, path: &str) -> Result<Space, TreeError> {
        let fd = match self.resolve(path, OFlags::PATH) {
            Ok(fd) => fd,
            Err(TreeError::Look { source: Errno::NOENT, .. }) => self.parent(path)?.0,
            Err(error) => return Err(error),
        };
        let found = fstatvfs(&fd).map_err(|source| TreeError::Space { path: path.to_owned(), source })?;
        Ok(Space {
            free: found.f_bavail.saturating_mul(found.f_frsize),
            block: found.f_frsize.max(1),
            inodes: (found.f_files > 0).then_some(found.f_favail),
            read_only: found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY),
        })
    }

    /// The SELinux label of a file, when it has one.
    #[must_use]
    pub fn selinux_label(&self, path: &str) -> Option<Vec<u8>> {
        // Extended attributes need a real descriptor; only files and directories are opened.
        let found = self.metadata(path).ok()??;
        if !matches!(found.kind, Kind::File | Kind::Directory) {
            return None;
        }
        let fd = self.resolve(path, OFlags::RDONLY | OFlags::NONBLOCK).ok()?;
        label(&fd)
    }

    /// Takes `chattr +i` and `+a` off a file and its directory until the guards are dropped.
    fn unlock(&self, path: &str) -> Vec<Unlocked> {
        let directory = path.rsplit_once('/').map_or("/", |(directory, _)| directory);
        let paths = [if directory.is_empty() { "/" } else { directory }, path];
        let lockable = |path: &&str| self.is_file(path) || self.is_directory(path);
        let open = |path| self.resolve(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY).ok();
        paths.into_iter().filter(lockable).filter_map(open).filter_map(Unlocked::new).collect()
    }

    /// Opens a path with these flags, confined to the root.
    fn resolve(&self, path: &str, flags: OFlags) -> Result<OwnedFd, TreeError> {
        self.resolve_with(path, flags, Mode::empty()).map_err(|source| match source {
            Errno::INVAL => TreeError::BadPath { path: path.to_owned() },
            source => TreeError::Look { path: path.to_owned(), source },
        })
    }

    fn resolve_with(&self, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        if !path.starts_with('/') || path.len() >= PATH_MAX || path.contains('\0') {
            return Err(Errno::INVAL);
        }
        let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let mut tries = 0;
        loop {
            match openat2(&self.root, path, flags | OFlags::CLOEXEC, mode, how) {
                Err(Errno::AGAIN | Errno::INTR) if tries < RESOLVE_TRIES => tries += 1,
                result => return result,
            }
        }
    }

    /// The file's metadata when it is a regular file.
    fn regular(&self, path: &str) -> Result<Metadata, TreeError> {
        let fd = self.resolve(path, OFlags::PATH)?;
        let found = metadata(&fstat(&fd).map_err(look(path))?);
        if found.kind == Kind::File { Ok(found) } else { Err(TreeError::NotAFile { path: path.to_owned() }) }
    }

    /// The directory that holds a path, and the path's last part.
    fn parent<'p>(&self, path: &'p str) -> Result<(OwnedFd, &'p str), TreeError> {
        let bad = || TreeError::BadPath { path: path.to_owned() };
        let (directory, name) = path.rsplit_once('/').ok_or_else(bad)?;
        if name.is_empty() || name == "." || name == ".." {
            return Err(bad());
        }
        let directory = if directory.is_empty() { "/" } else { directory };
        Ok((self.resolve(directory, OFlags::PATH | OFlags::DIRECTORY)?, name))
    }

    /// Makes a directory and those above it, owner root, mode 0755, labelled as their parent.
    fn make_directory(&self, path: &str) -> Result<(), TreeError> {
        if path.is_empty() || self.is_directory(path) {
            return Ok(());
        }
        let above = path.rsplit_once('/').map_or("", |(above, _)| above);
        self.make_directory(above)?;
        let (directory, name) = self.parent(path)?;
        let failed = |source| TreeError::Create { path: path.to_owned(), source };
        mkdirat(&directory, name, Mode::from_raw_mode(0o755)).map_err(failed)?;
        let made = self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        fchmod(&made, Mode::from_raw_mode(0o755)).map_err(failed)?;
        self.adopt(&made, path, if above.is_empty() { "/" } else { above })
    }

    fn create(&self, path: &str, mode: u32) -> Result<OwnedFd, TreeError> {
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        self.make_directory(directory)?;
        let failed = |source| TreeError::Create { path: path.to_owned(), source };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mode = Mode::from_raw_mode(mode & 0o7777);
        let file = self.resolve_with(path, flags, mode).map_err(failed)?;
        fchmod(&file, mode).map_err(failed)?;
        self.adopt(&file, path, if directory.is_empty() { "/" } else { directory })?;
        Ok(file)
    }

    /// Gives a new file to root, with the SELinux label of a neighbour of its kind in
    /// `directory`, else the directory's own.
    fn adopt(&self, file: &OwnedFd, path: &str, directory: &str) -> Result<(), TreeError> {
        let failed = |source| TreeError::Create { path: path.to_owned(), source };
        let kind = metadata(&fstat(file).map_err(failed)?).kind;
        fchown(file, Some(Uid::ROOT), Some(Gid::ROOT)).map_err(failed)?;
        let Some(of_directory) = self.selinux_label(directory) else { return Ok(()) };
        let prefix = if directory == "/" { "" } else { directory };
        let sibling = self
            .names(directory)?
            .entries
            .iter()
            .map(|entry| format!("{prefix}/{}", entry.name))
            .filter(|sibling| sibling != path)
            .filter(|sibling| matches!(self.symlink_metadata(sibling), Ok(Some(found)) if found.kind == kind))
            .find_map(|sibling| self.selinux_label(&sibling));
        let label = sibling.unwrap_or(of_directory);
        fsetxattr(file, SELINUX, &label, XattrFlags::empty()).map_err(failed)
    }
}

/// The label on an open file.
fn label<F: AsFd>(fd: F) -> Option<Vec<u8>> {
    let mut value = vec![0_u8; 1024];
    let length = fgetxattr(fd, SELINUX, value.as_mut_slice()).ok()?;
    value.truncate(length);
    Some(value)
}

fn metadata(stat: &Stat) -> Metadata {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        _ => Kind::Other,
    };
    Metadata {
        kind,
        length: u64::try_from(stat.st_size).unwrap_or(0),
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        inode: stat.st_ino,
        device: stat.st_dev,
        modified: stat.st_mtime,
        names: stat.st_nlink,
    }
}

fn look(path: &str) -> impl Fn(Errno) -> TreeError + '_ {
    move |source| TreeError::Look { path: path.to_owned(), source }
}

/// A path that leads nowhere is an answer, not a failure.
fn absent<T>(error: TreeError) -> Result<Option<T>, TreeError> {
    match error {
        TreeError::Look { source: Errno::NOENT | Errno::NOTDIR | Errno::LOOP, .. } => Ok(None),
        error => Err(error),
    }
}

#[cfg(test)]
mod tests;
