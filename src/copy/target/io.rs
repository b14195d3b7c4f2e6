//! Reading, writing, zeroing and flushing a target that was proven safe.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{Advice, FallocateFlags};

use super::super::block::{ALIGN, BLOCK, Buffer, is_zero};
use super::super::retry;
use super::TargetError;
use super::device;
use crate::model::FileNode;

/// What a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A regular file.
    File,
    /// A block device.
    Device,
}

/// What opening found out.
#[derive(Debug)]
pub(super) struct Parts {
    pub path: PathBuf,
    pub buffered: File,
    pub direct: Option<File>,
    pub kind: Kind,
    pub size: u64,
    pub created: bool,
    pub identity: String,
}

/// A file or device that is proven safe to write, opened and locked. Any number of threads may
/// use it at once on ranges that do not overlap.
///
/// Whole multiples of 4 KiB go past the page cache (`O_DIRECT`) where the system allows it; what
/// is left at the end of an odd-sized disk goes through it.
#[derive(Debug)]
pub struct Target {
    parts: Parts,
    size: AtomicU64,
    punches: AtomicBool,
}

impl Target {
    pub(super) fn new(parts: Parts) -> Self {
        let size = AtomicU64::new(parts.size);
        Self { parts, size, punches: AtomicBool::new(true) }
    }

    /// The path, as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.parts.path
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    /// Whether what was opened is this very file or device.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub(crate) fn is(&self, node: FileNode) -> Result<bool, TargetError> {
        let inspect = |source| TargetError::Inspect { path: self.parts.path.clone(), source };
        for file in [Some(&self.parts.buffered), self.parts.direct.as_ref()].into_iter().flatten() {
            if FileNode::of(&file.metadata().map_err(inspect)?) != node {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Checks that it is still as large as it was when it was opened, and large enough for a disk
    /// of this many bytes.
    ///
    /// # Errors
    /// [`TargetError::TooSmall`], or that it cannot be looked at.
    pub(crate) fn check_size(&self, needed: u64) -> Result<(), TargetError> {
        // By the end of the file description of its own: nothing here moves by it.
        let size = rustix::fs::seek(&self.parts.buffered, rustix::fs::SeekFrom::End(0))
            .map_err(|error| TargetError::Inspect { path: self.parts.path.clone(), source: error.into() })?;
        match size.min(self.size()) {
            size if size < needed => {
                Err(TargetError::TooSmall { path: self.parts.path.clone(), size, needed })
            }
            _ => Ok(()),
        }
    }

    /// Makes a file longer, when it is shorter than `size`; what is new reads as zeros. A device
    /// stays as it is.
    ///
    /// # Errors
    /// When the filesystem refuses.
    pub fn grow(&self, size: u64) -> Result<(), TargetError> {
        if self.parts.kind == Kind::File && size > self.size() {
            let grown = retry::target(|| self.parts.buffered.set_len(size));
            let path = || self.parts.path.clone();
            grown.map_err(|source| TargetError::Resize { path: path(), size, source })?;
            self.size.store(size, Ordering::Relaxed);
        }
        Ok(())
    }

    /// What it is known by when it is opened again.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.parts.identity
    }

    /// Whether opening it made the file.
    #[must_use]
    pub fn is_created(&self) -> bool {
        self.parts.created
    }

    /// Whether it is a block device.
    #[must_use]
    pub fn is_device(&self) -> bool {
        self.parts.kind == Kind::Device
    }

    /// Runs of zeros shorter than this many bytes are cheaper to write than to skip.
    pub(crate) fn gap(&self) -> usize {
        match self.parts.kind {
            Kind::File => 64 << 10,
            Kind::Device => 256 << 10,
        }
    }

    /// Whether part of a block can be left out because [`zero`](Self::zero) is cheap: not on a
    /// device where zeros have to be read back.
    pub(crate) fn skips_parts(&self) -> bool {
        self.parts.kind == Kind::File || self.punches.load(Ordering::Relaxed)
    }

    /// The descriptor that goes past the page cache, when this piece may go that way.
    fn direct_for(&self, offset: u64, bytes: &[u8]) -> Option<&File> {
        let aligned = offset.is_multiple_of(ALIGN as u64) && bytes.as_ptr().addr().is_multiple_of(ALIGN);
        self.parts.direct.as_ref().filter(|_| aligned)
    }

    /// Writes all of `bytes` at `offset`.
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.within(offset, bytes.len() as u64)?;
        let mut head = 0;
        if let Some(direct) = self.direct_for(offset, bytes) {
            head = bytes.len() - bytes.len() % ALIGN;
            retry::target(|| direct.write_all_at(&bytes[..head], offset))?;
        }
        retry::target(|| self.parts.buffered.write_all_at(&bytes[head..], offset + head as u64))
    }

    /// Fills `bytes` from `offset`: from the medium, not from the page cache, where the system
    /// allows it.
    pub(crate) fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.within(offset, bytes.len() as u64)?;
        let mut head = 0;
        if let Some(direct) = self.direct_for(offset, bytes) {
            head = bytes.len() - bytes.len() % ALIGN;
            retry::target(|| direct.read_exact_at(&mut bytes[..head], offset))?;
        }
        let tail = offset + head as u64;
        if head < bytes.len() {
            let length = std::num::NonZeroU64::new((bytes.len() - head) as u64);
            // Only a hint: it frees pages that were flushed, so that they are read again.
            let _ = rustix::fs::fadvise(&self.parts.buffered, tail, length, Advice::DontNeed);
        }
        retry::target(|| self.parts.buffered.read_exact_at(&mut bytes[head..], tail))
    }

    /// Gives up what the page cache holds of it, so that what is read next comes from the medium
    /// even where it cannot be read past the cache. Only a hint: a system that forbids it is no
    /// reason to stop.
    pub(crate) fn drop_cache(&self) {
        match self.parts.kind {
            Kind::Device => device::drop_cache(&self.parts.buffered),
            Kind::File => {
                let _ = rustix::fs::fadvise(&self.parts.buffered, 0, None, Advice::DontNeed);
            }
        }
    }

    /// Makes a range read as zeros; says how many bytes of zeros had to be written for that.
    ///
    /// A hole of a file is left alone. Otherwise the range is deallocated, which Linux does only
    /// when it then reads as zeros; where that cannot be done, it is read back, and what is not
    /// zero is written over. A device is never believed to be zero.
    pub(crate) fn zero(&self, offset: u64, length: u64, scratch: &mut Buffer) -> io::Result<u64> {
        self.within(offset, length)?;
        if length == 0 || self.is_hole(offset, length) {
            return Ok(0);
        }
        let (end, mut at, mut written) = (offset + length, offset, 0);
        // A device deallocates whole sectors only.
        let (first, last) = match self.parts.kind {
            Kind::File => (offset, end),
            Kind::Device => (offset.next_multiple_of(ALIGN as u64), end - end % ALIGN as u64),
        };
        let punched =
            first < last && self.punches.load(Ordering::Relaxed) && self.punch(first, last - first)?;
        while at < end {
            if punched && at == first {
                at = last;
                continue;
            }
            let until = if punched && at < first { first } else { end };
            let piece = (until - at).min(BLOCK);
            let bytes = scratch.bytes_mut(piece as usize);
            self.read(at, bytes)?;
            if !is_zero(bytes) {
                bytes.fill(0);
                self.write(at, bytes)?;
                written += piece;
            }
            at += piece;
        }
        Ok(written)
    }

    /// Deallocates a range so that it reads as zeros. On a device Linux takes this for "write
    /// zeroes, and unmap if you like", and refuses when the device cannot promise zeros.
    fn punch(&self, offset: u64, length: u64) -> io::Result<bool> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let result = retry::target(|| {
            rustix::fs::fallocate(&self.parts.buffered, flags, offset, length).map_err(io::Error::from)
        });
        match result {
            Ok(()) => Ok(true),
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL | libc::ENODEV | libc::EPERM)
                ) =>
            {
                self.punches.store(false, Ordering::Relaxed);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether a range of a file is one hole. Never so on a device.
    pub(crate) fn is_hole(&self, offset: u64, length: u64) -> bool {
        self.parts.kind == Kind::File
            && match rustix::fs::seek(&self.parts.buffered, rustix::fs::SeekFrom::Data(offset)) {
                Ok(data) => data >= offset.saturating_add(length),
                Err(error) => error == rustix::io::Errno::NXIO,
            }
    }

    /// Brings everything written to stable storage.
    pub(crate) fn sync(&self) -> io::Result<()> {
        // No second attempt: after a failed flush the kernel may have dropped what it could not
        // write, and a later success would prove nothing.
        self.parts.buffered.sync_data()
    }

    fn within(&self, offset: u64, length: u64) -> io::Result<()> {
        match offset.checked_add(length) {
            Some(end) if end <= self.size() => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "beyond the target's end")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device that cannot deallocate, played by a file.
    fn device(content: &[u8]) -> (tempfile::NamedTempFile, Target) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        let target = Target {
            parts: Parts {
                path: file.path().to_owned(),
                buffered: file.reopen().unwrap(),
                direct: None,
                kind: Kind::Device,
                size: content.len() as u64,
                created: false,
                identity: String::new(),
            },
            size: AtomicU64::new(content.len() as u64),
            punches: AtomicBool::new(false),
        };
        (file, target)
    }

    #[test]
    fn where_nothing_can_be_deallocated_zeros_are_read_back_and_written_only_where_missing() {
        let mut content = vec![0; 3 * BLOCK as usize + 700];
        content[BLOCK as usize + 5] = 1;
        content[3 * BLOCK as usize + 699] = 1;
        let (file, target) = device(&content);
        let mut scratch = Buffer::new();
        assert_eq!(target.zero(0, BLOCK, &mut scratch).unwrap(), 0);
        assert_eq!(target.zero(0, content.len() as u64, &mut scratch).unwrap(), BLOCK + 700);
        assert!(is_zero(&std::fs::read(file.path()).unwrap()));
        assert_eq!(target.zero(0, content.len() as u64, &mut scratch).unwrap(), 0);
        assert!(!target.skips_parts());
    }

    #[test]
    fn nothing_beyond_the_end_is_touched() {
        let (file, target) = device(&[7; 5000]);
        let mut scratch = Buffer::new();
        assert!(target.write(4999, &[1, 2]).is_err());
        assert!(target.read(5000, &mut [0]).is_err());
        assert!(target.zero(u64::MAX, 2, &mut scratch).is_err());
        assert_eq!(std::fs::read(file.path()).unwrap(), [7; 5000]);
    }
}
