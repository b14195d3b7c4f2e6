//! What can go wrong in a copy.

use std::io;
use std::path::PathBuf;

use super::{ManifestError, TargetError};
use crate::diagnostic::Diagnostic;
use crate::diagnostic::chain;
use crate::image::{SourceError, StreamError};
use crate::model::{Bytes, Digest};

/// Why a copy stopped. What was flushed before stays, and its manifest says so.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The target was refused.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The manifest cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The image cannot be read.
    #[error("cannot read the image's disk at byte {offset}")]
    Source {
        /// Where on the disk, in bytes.
        offset: u64,
        /// What the image's format or the system said.
        source: SourceError,
    },
    /// The stream cannot be read, or not to its end.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The stream holds more than the target can.
    #[error("the stream holds more than {} has, {}", path.display(), Bytes(*size))]
    StreamTooLong {
        /// The target.
        path: PathBuf,
        /// Its size in bytes: so much of the disk was written to it.
        size: u64,
    },
    /// The stream does not hold what the first one held.
    #[error("the stream is not the one that {} was begun with: it differs at byte {offset}", path.display())]
    OtherStream {
        /// The target.
        path: PathBuf,
        /// Where on the disk the block begins, in bytes.
        offset: u64,
    },
    /// The target cannot be written.
    #[error("cannot write {} at byte {offset}", path.display())]
    Write {
        /// The target.
        path: PathBuf,
        /// Where, in bytes.
        offset: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The target cannot be read back.
    #[error("cannot read {} at byte {offset}", path.display())]
    ReadBack {
        /// The target.
        path: PathBuf,
        /// Where, in bytes.
        offset: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The target cannot be flushed: what was written since the last checkpoint may be lost.
    #[error("cannot flush {}", path.display())]
    Sync {
        /// The target.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The image does not hold what it held when the plan was made.
    #[error("the image has changed at byte {offset} since it was inspected")]
    ImageMoved {
        /// Where the chunk begins, in bytes of the disk.
        offset: u64,
        /// The digest it had.
        expected: Digest,
        /// The digest it has.
        found: Digest,
    },
    /// The target does not hold what its manifest says.
    #[error("{} does not hold at byte {offset} what was written there", path.display())]
    TargetMoved {
        /// The target.
        path: PathBuf,
        /// Where the block begins, in bytes.
        offset: u64,
    },
    /// Reading back found differences.
    #[error("{} differs from what was written in {blocks} blocks, the first at byte {offset}", path.display())]
    Differs {
        /// The target.
        path: PathBuf,
        /// How many blocks of 1 MiB differ.
        blocks: u64,
        /// Where the first of them begins, in bytes.
        offset: u64,
        /// Whether that one should be all zeros.
        zero: bool,
    },
    /// An overlay does not fit the target or the disk.
    #[error("the overlay does not fit: {what}")]
    OverlayMisfit {
        /// In what.
        what: String,
    },
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Thread {
        /// What the system said.
        source: io::Error,
    },
    /// A thread died; a fault of Replant's or of a decoder's.
    #[error("a worker died at its work")]
    WorkerDied,
    /// Someone asked to stop.
    #[error("stopped with {} of {} written", Bytes(*done), Bytes(*total))]
    Cancelled {
        /// Bytes that are flushed and in the manifest.
        done: u64,
        /// The disk's size; of a stream that does not say it, what had come of the disk.
        total: u64,
    },
}

impl CopyError {
    /// Whether trying again can help, with nobody doing anything. What can be retried on the
    /// spot was.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Target(error) => error.is_retryable(),
            Self::Manifest(error) => error.is_retryable(),
            Self::Source { source, .. } => source.is_retryable(),
            Self::Stream(error) => error.is_retryable(),
            Self::Thread { .. } => true,
            _ => false,
        }
    }

    /// Whether what was written until then is right, so that a write with a manifest goes on from
    /// there when the cause is out of the way.
    #[must_use]
    pub fn leaves_a_part(&self) -> bool {
        match self {
            Self::Source { source, .. } => {
                !matches!(source, SourceError::Changed { .. } | SourceError::Gone { .. })
            }
            Self::Write { .. } | Self::Cancelled { .. } | Self::Thread { .. } => true,
            _ => false,
        }
    }

    /// What to tell the user.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let error = |code, summary: &str, help: &str| {
            Diagnostic::error(code, summary).detail(chain(self) + ".").help(help)
        };
        match self {
            Self::Target(refused) => refused.diagnostic(),
            Self::Manifest(refused) => refused.diagnostic(),
            Self::Stream(error) => error.diagnostic(),
            Self::StreamTooLong { .. } => error(
                "copy::stream_too_long",
                "The stream is longer than the target",
                "Use a target at least as large as the disk. What was written to this one is only its beginning.",
            ),
            Self::OtherStream { .. } => error(
                "copy::other_stream",
                "This is not the stream that the write was begun with",
                "Send the same stream again, or begin again without --resume.",
            ),
            Self::Source { source: SourceError::Damaged { .. }, .. } => error(
                "copy::image_damaged",
                "The image is damaged",
                "Copy the image again from its source, or restore from another backup. All that is damaged in it is found by reading it:\nreplant check IMAGE",
            ),
            Self::Source { source: SourceError::Changed { .. } | SourceError::Gone { .. }, .. } => error(
                "copy::image_changed",
                "The image changed while it was read",
                "What is on the target is of no one image. Make sure that nothing replaces the image, then begin again; in S3, name one version of the object: `s3://bucket/key?versionId=…`.",
            ),
            Self::Source { .. } => error(
                "copy::image_read",
                "The image cannot be read",
                "Check the storage that holds the image, and the way to it.",
            ),
            Self::Write { .. } => error(
                "copy::target_write",
                "The target cannot be written",
                "See what the kernel says of the device (dmesg), and whether there is room.",
            ),
            Self::ReadBack { .. } => error(
                "copy::target_read",
                "The target cannot be read back",
                "See what the kernel says of the device (dmesg).",
            ),
            Self::Sync { .. } => error(
                "copy::target_sync",
                "The target cannot be flushed",
                "See what the kernel says of the device (dmesg). What was written since the last checkpoint counts as lost.",
            ),
            Self::ImageMoved { .. } => error(
                "copy::image_moved",
                "The image has changed since it was inspected",
                "Make sure that nothing writes to the image, then plan again.",
            ),
            Self::TargetMoved { .. } => error(
                "copy::target_moved",
                "The target does not hold what its manifest says",
                "Something else wrote to it: the whole disk has to be written again (with --force).",
            ),
            Self::Differs { .. } => error(
                "copy::verify_differs",
                "The target differs from what was written",
                "The medium or something else changed the data. See what the kernel says of the device (dmesg), then write again.",
            ),
            Self::OverlayMisfit { .. } => error(
                "copy::overlay_misfit",
                "The preparation does not fit the target",
                "Plan again with the image and the volume as they are now.",
            ),
            Self::Thread { .. } => error(
                "copy::thread",
                "The system gives no more threads",
                "Raise the limit of processes, or use fewer with --threads.",
            ),
            Self::WorkerDied => error(
                "copy::worker_died",
                "Replant failed at its work",
                "This is a fault in Replant: please report it with the image's format and the output above.",
            ),
            Self::Cancelled { .. } => {
                Diagnostic::error("copy::cancelled", "The write was stopped").detail(chain(self) + ".")
            }
        }
    }
}
