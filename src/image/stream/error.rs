//! Why a stream cannot be read.

use std::io;
use std::path::{Path, PathBuf};

use super::super::error::ImageError;
use super::super::format::Format;
use super::Compression;
use crate::diagnostic::Diagnostic;
use crate::diagnostic::chain;
use crate::model::Bytes;

/// Why a stream cannot be read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// A person's terminal is on standard input, not a program that sends a disk.
    #[error("standard input is a terminal")]
    Terminal,
    /// It cannot be opened.
    #[error("cannot open {}", name.display())]
    Open {
        /// The stream.
        name: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Reading it failed.
    #[error("cannot read {} after {offset} bytes", name.display())]
    Read {
        /// The stream.
        name: PathBuf,
        /// How many bytes came before.
        offset: u64,
        /// What the system said.
        source: io::Error,
    },
    /// Nothing came for too long.
    #[error("no byte came from {} for {seconds} seconds, after {offset} bytes", name.display())]
    Stalled {
        /// The stream.
        name: PathBuf,
        /// How many bytes came before.
        offset: u64,
        /// How long it was waited for, in seconds.
        seconds: u64,
    },
    /// Someone asked to stop.
    #[error("reading was stopped")]
    Stopped,
    /// It ends before the disk does.
    #[error("{} was cut short after {offset} bytes: {what}", name.display())]
    CutShort {
        /// The stream.
        name: PathBuf,
        /// How many bytes came.
        offset: u64,
        /// What is missing.
        what: String,
    },
    /// What it holds is not what its format demands.
    #[error("{} is damaged at byte {offset}: {what}", name.display())]
    Damaged {
        /// The stream.
        name: PathBuf,
        /// Where: counted in what comes out of its compression and its archive.
        offset: u64,
        /// What is wrong with it.
        what: String,
    },
    /// Its beginning is of no known format.
    #[error("{}{} begins as no image does{}", name.display(), unpacked(*compression), looks.map(|looks| format!("; it {looks}")).unwrap_or_default())]
    Unknown {
        /// The stream.
        name: PathBuf,
        /// What it may be, as the rest of a sentence: a guess.
        looks: Option<&'static str>,
        /// What it was unpacked from.
        compression: Option<Compression>,
    },
    /// It is said to be raw and begins as something compressed: both can be meant.
    #[error("{} is said to be raw, and begins as {compression} data does", name.display())]
    RawOrCompressed {
        /// The stream.
        name: PathBuf,
        /// What it looks like.
        compression: Compression,
    },
    /// It is not compressed as was said.
    #[error("{} is said to be compressed with {said}, but does not begin so", name.display())]
    NotCompressed {
        /// The stream.
        name: PathBuf,
        /// What was said.
        said: Compression,
    },
    /// Its format cannot be read in order.
    #[error("{} {what}", name.display())]
    NeedsFile {
        /// The stream.
        name: PathBuf,
        /// What it is compressed with.
        compression: Option<Compression>,
        /// Why, as the rest of a sentence that begins with its name.
        what: String,
    },
    /// It is not of the format that was said.
    #[error("{} is said to be {said}, but is {found}", name.display())]
    OtherFormat {
        /// The stream.
        name: PathBuf,
        /// What was said.
        said: Format,
        /// What it is: a format's name, or words.
        found: String,
    },
    /// The disk has another size than was said.
    #[error("{} holds a disk of {found} bytes, {said} bytes were said", name.display())]
    OtherSize {
        /// The stream.
        name: PathBuf,
        /// What was said.
        said: u64,
        /// What its header says.
        found: u64,
    },
    /// More bytes come than the disk was said to have.
    #[error("{} goes on after the {said} bytes ({}) that were said", name.display(), Bytes(*said))]
    TooLong {
        /// The stream.
        name: PathBuf,
        /// The size that was said.
        said: u64,
    },
    /// A file of an appliance is not the one of its manifest.
    #[error("`{file}` in {} is not the file that its manifest is of: its {algorithm} is {found}, not {expected}", name.display())]
    Digest {
        /// The stream.
        name: PathBuf,
        /// The file in it.
        file: String,
        /// The digest's algorithm, as the manifest calls it.
        algorithm: String,
        /// The manifest's digest.
        expected: String,
        /// The file's digest.
        found: String,
    },
    /// The disk in it cannot be used.
    #[error(transparent)]
    Image(#[from] ImageError),
}

fn unpacked(compression: Option<Compression>) -> String {
    compression.map(|compression| format!(" (unpacked with {compression})")).unwrap_or_default()
}

/// Whether that is what a stream without a path is called.
fn is_stdin(name: &Path) -> bool {
    name == Path::new(super::open::STDIN)
}

impl StreamError {
    /// Whether trying again can help, with nobody doing anything. Never: the bytes are gone.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        false
    }

    /// What to tell the user.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let error = |code, summary: &str, help: &[&str]| {
            let base = Diagnostic::error(code, summary).detail(chain(self) + ".");
            help.iter().fold(base, |diagnostic, line| diagnostic.help(*line))
        };
        const AGAIN: &str = "Send the stream again: with --manifest, the same command with --resume writes only what is not on the target yet.";
        match self {
            Self::Terminal => error(
                "image::stream_terminal",
                "Nothing is sent to standard input",
                &[
                    "Send a disk to it, for example:",
                    "restic dump latest /backup/disk.vmdk | replant write - TARGET",
                ],
            ),
            Self::Open { .. } => error(
                "image::stream_open",
                "The stream cannot be opened",
                &["Check the path, and the permission to read it."],
            ),
            Self::Read { .. } => error("image::stream_read", "The stream cannot be read", &[AGAIN]),
            Self::Stalled { .. } => error(
                "image::stream_stalled",
                "The stream has stalled",
                &[
                    "See why its sender sends nothing. Where that may take long, allow it with --stall-timeout (in seconds, 0 for any time).",
                    AGAIN,
                ],
            ),
            Self::Stopped => error("image::stream_stopped", "Reading was stopped", &[AGAIN]),
            Self::CutShort { .. } => error(
                "image::stream_cut_short",
                "The stream ends before the disk does",
                &["See what its sender says: it may have failed.", AGAIN],
            ),
            Self::Damaged { .. } => error(
                "image::stream_damaged",
                "The stream is damaged",
                &["Check the backup at its source, and send it again."],
            ),
            Self::Unknown { name, compression, .. } => {
                let mut option = "--format raw".to_owned();
                if let Some(compression) = compression {
                    option.push_str(&format!(" --compression {compression}"));
                }
                let image = if is_stdin(name) { "-".to_owned() } else { name.display().to_string() };
                error(
                    "image::stream_unknown",
                    "The stream's format is unknown",
                    &[
                        "A stream has no name that could say it. If it is a disk's bytes as they are, say so, and how many they are, so that a sender that dies is noticed:",
                        &format!("replant write {image} TARGET {option} --size BYTES"),
                    ],
                )
            }
            Self::RawOrCompressed { compression, .. } => error(
                "image::stream_ambiguous",
                "The stream may be raw or compressed",
                &[
                    "Say which: to unpack it and write the raw disk in it,",
                    &format!("--format raw --compression {compression}"),
                    "or to write its bytes as they are,",
                    "--format raw --compression none",
                ],
            ),
            Self::NotCompressed { .. } => error(
                "image::stream_not_compressed",
                "The stream is not compressed as was said",
                &["Leave --compression out, so that it is found out, or name the right one."],
            ),
            Self::NeedsFile { name, compression, .. } => {
                const WHY: &str = "It can only be read from a file, since it must be read at any place.";
                match compression {
                    Some(compression) if !is_stdin(name) => error(
                        "image::stream_needs_file",
                        "The image cannot be read as a stream",
                        &[WHY, "Unpack it first:", &compression.command(name)],
                    ),
                    _ => error(
                        "image::stream_needs_file",
                        "The image cannot be read as a stream",
                        &[
                            WHY,
                            "Save the stream in a file first, and write that, for example:",
                            "restic dump latest /backup/disk > disk && replant write disk TARGET",
                        ],
                    ),
                }
            }
            Self::OtherFormat { .. } => error(
                "image::stream_other_format",
                "The stream is of another format",
                &["Leave --format out, so that it is found out, or name the right one."],
            ),
            Self::OtherSize { .. } => error(
                "image::stream_other_size",
                "The disk has another size than was said",
                &["Leave --size out: this format says its disk's size itself."],
            ),
            Self::TooLong { .. } => error(
                "image::stream_too_long",
                "The stream is longer than was said",
                &["Check --size against the source disk (blockdev --getsize64 says a device's)."],
            ),
            Self::Digest { .. } => error(
                "image::stream_digest",
                "The appliance does not pass its manifest",
                &[
                    "The appliance was changed or damaged after its export. Take another copy of it; what was written must not be used.",
                ],
            ),
            Self::Image(refused) => refused.diagnostic(),
        }
    }
}
