//! Which file or device something is, whatever names it has.

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

/// A file by its inode, a device by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileNode {
    /// A block device: major and minor number, as the kernel packs them.
    Device(u64),
    /// Anything else: the filesystem's device number, and the inode's.
    File(u64, u64),
}

impl FileNode {
    /// What was looked at.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        match metadata.file_type().is_block_device() {
            true => Self::Device(metadata.rdev()),
            false => Self::File(metadata.dev(), metadata.ino()),
        }
    }
}
