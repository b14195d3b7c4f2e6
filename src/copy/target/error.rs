//! Why a target may not be written.

use std::io;
use std::path::PathBuf;

use crate::diagnostic::Diagnostic;
use crate::model::Bytes;

/// A refusal, before anything was written.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// There is nothing at the path, and it was not to be created.
    #[error("{} does not exist", path.display())]
    Missing {
        /// The target.
        path: PathBuf,
    },
    /// The path cannot be looked at.
    #[error("cannot look at {}", path.display())]
    Inspect {
        /// The path that was looked at.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The target cannot be opened for writing.
    #[error("cannot open {} for writing", path.display())]
    Open {
        /// The target.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file cannot be created.
    #[error("cannot create {}", path.display())]
    Create {
        /// The target.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file cannot be given its size.
    #[error("cannot make {} {} long", path.display(), Bytes(*size))]
    Resize {
        /// The target.
        path: PathBuf,
        /// The wanted size.
        size: u64,
        /// What the system said.
        source: io::Error,
    },
    /// It is a directory, a character device, a pipe or the like.
    #[error("{} is neither a regular file nor a block device", path.display())]
    WrongKind {
        /// The target.
        path: PathBuf,
    },
    /// It is one of the image's own files, or a loop device over one.
    #[error("{} is the image itself ({})", path.display(), image.display())]
    IsImage {
        /// The target.
        path: PathBuf,
        /// The image's file.
        image: PathBuf,
    },
    /// A filesystem on it is mounted.
    #[error("{device} is mounted at {}", mount_point.display())]
    Mounted {
        /// The target.
        path: PathBuf,
        /// The device that is mounted: the target, a partition of it, or its disk.
        device: String,
        /// Where.
        mount_point: PathBuf,
    },
    /// Another device is built on it.
    #[error("{device} is in use by {holder}")]
    Held {
        /// The target.
        path: PathBuf,
        /// The device that is held: the target, a partition of it, or its disk.
        device: String,
        /// Which device holds it.
        holder: String,
    },
    /// It is swap space.
    #[error("{device} is swap space in use")]
    Swap {
        /// The target.
        path: PathBuf,
        /// The device or file that is swap.
        device: String,
    },
    /// The root filesystem lives on it.
    #[error("the root filesystem of this machine is on {}", path.display())]
    BacksRoot {
        /// The target.
        path: PathBuf,
    },
    /// The kernel refuses to give it exclusively.
    #[error("{} is in use (the kernel refuses exclusive access)", path.display())]
    Busy {
        /// The target.
        path: PathBuf,
    },
    /// Another program has locked it.
    #[error("{} is locked by another program", path.display())]
    Locked {
        /// The target.
        path: PathBuf,
    },
    /// A loop device shows the file.
    #[error("{} is in use by {device}", path.display())]
    UsedByLoop {
        /// The target.
        path: PathBuf,
        /// The loop device.
        device: String,
    },
    /// It cannot be written at all.
    #[error("{} is read-only", path.display())]
    ReadOnly {
        /// The target.
        path: PathBuf,
    },
    /// It does not hold the disk.
    #[error("{} has {}, the disk needs {}", path.display(), Bytes(*size), Bytes(*needed))]
    TooSmall {
        /// The target.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The disk's size in bytes.
        needed: u64,
    },
    /// It is not the size it must have to be the right one.
    #[error("{} has {size} bytes, the volume it should be has {expected}", path.display())]
    WrongSize {
        /// The target.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The size it should have.
        expected: u64,
    },
    /// Its filesystem has too little room.
    #[error("the filesystem of {} has {} free, the data needs {}", path.display(), Bytes(*available), Bytes(*needed))]
    NoSpace {
        /// The target.
        path: PathBuf,
        /// Free bytes.
        available: u64,
        /// Bytes that have to be allocated.
        needed: u64,
    },
    /// There is something on it, and nobody said that it may go.
    #[error("{} holds {what}", path.display())]
    HoldsData {
        /// The target.
        path: PathBuf,
        /// What was found.
        what: String,
    },
}

impl TargetError {
    /// Whether trying again can help, with nobody doing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Locked { .. })
    }

    /// What to tell the user.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let path = |path: &PathBuf| path.display().to_string();
        let (code, summary, help) = match self {
            Self::Missing { .. } => (
                "copy::target_missing",
                "The target does not exist",
                vec!["Check the path; attach the volume, or let Replant create a file.".to_owned()],
            ),
            Self::Inspect { .. } => ("copy::target_inspect", "The target cannot be examined", vec![]),
            Self::Open { .. } => (
                "copy::target_open",
                "The target cannot be opened for writing",
                vec!["Writing to a block device needs root.".to_owned()],
            ),
            Self::Create { .. } => (
                "copy::target_create",
                "The target cannot be created",
                vec!["The directory must exist and be writable.".to_owned()],
            ),
            Self::Resize { .. } => ("copy::target_resize", "The target cannot be given its size", vec![]),
            Self::WrongKind { .. } => (
                "copy::target_kind",
                "The target is not something to write a disk on",
                vec!["Name a regular file or a block device.".to_owned()],
            ),
            Self::IsImage { .. } => (
                "copy::target_is_image",
                "The target is the image itself",
                vec!["An image is only ever read. Name another target.".to_owned()],
            ),
            Self::Mounted { mount_point, .. } => (
                "copy::target_mounted",
                "The target is mounted",
                vec![
                    "Make sure that it is the right device, then unmount it:".to_owned(),
                    format!("umount {}", mount_point.display()),
                ],
            ),
            Self::Held { .. } => (
                "copy::target_held",
                "The target is part of another device",
                vec!["Make sure that it is the right device, then take the device built on it apart (lvchange -an, mdadm --stop, cryptsetup close).".to_owned()],
            ),
            Self::Swap { device, .. } => (
                "copy::target_swap",
                "The target is swap space in use",
                vec![
                    "Make sure that it is the right device, then stop swapping to it:".to_owned(),
                    format!("swapoff {device}"),
                ],
            ),
            Self::BacksRoot { .. } => (
                "copy::target_is_root",
                "The target carries this machine's root filesystem",
                vec!["Replant never writes to the disk that the machine runs from. Name another target.".to_owned()],
            ),
            Self::Busy { path: p } => (
                "copy::target_busy",
                "The target is in use",
                vec!["See what uses it:".to_owned(), format!("lsblk {}", path(p))],
            ),
            Self::Locked { path: p } => (
                "copy::target_locked",
                "The target is locked by another program",
                vec![
                    "A virtual machine or another Replant may be using it; see which:".to_owned(),
                    format!("fuser -v {}", path(p)),
                ],
            ),
            Self::UsedByLoop { device, .. } => (
                "copy::target_loop",
                "The target is shown by a loop device",
                vec![
                    "Write to the loop device, or take it away first:".to_owned(),
                    format!("losetup -d {device}"),
                ],
            ),
            Self::ReadOnly { .. } => (
                "copy::target_read_only",
                "The target is read-only",
                vec!["Attach the volume for writing, or change the file's permissions.".to_owned()],
            ),
            Self::TooSmall { .. } => (
                "copy::target_too_small",
                "The target is smaller than the disk",
                vec!["Use a target at least as large as the disk.".to_owned()],
            ),
            Self::WrongSize { .. } => (
                "copy::target_wrong_size",
                "The target is not the size of the volume it should be",
                vec!["Another device may have taken its name; check which volume is attached there.".to_owned()],
            ),
            Self::NoSpace { .. } => (
                "copy::target_no_space",
                "The target's filesystem has too little room",
                vec!["Free some space, or name a target on another filesystem.".to_owned()],
            ),
            Self::HoldsData { .. } => (
                "copy::target_holds_data",
                "The target holds data",
                vec!["If it may be lost, say so with --force; to go on with an interrupted write, use --manifest and --resume.".to_owned()],
            ),
        };
        let mut detail = format!("{self}.");
        if let Self::Inspect { source, .. }
        | Self::Open { source, .. }
        | Self::Create { source, .. }
        | Self::Resize { source, .. } = self
        {
            detail = format!("{self}: {source}.");
        }
        detail.push_str(" Nothing was written.");
        help.into_iter().fold(Diagnostic::error(code, summary).detail(detail), Diagnostic::help)
    }
}
