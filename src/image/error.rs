//! Why an image cannot be opened.

use std::path::PathBuf;

use super::foreign;
use super::format::Format;
use super::nbd::NbdError;
use super::parent;
use super::source::SourceError;
use crate::diagnostic::Diagnostic;

/// Why an image cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The file cannot be opened.
    #[error("cannot open {}", file.display())]
    Open {
        /// Which file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is a directory, a pipe or the like.
    #[error("{} is neither a file nor a block device", file.display())]
    NotAFile {
        /// Which file.
        file: PathBuf,
    },
    /// Nothing says what its format is.
    #[error("{} {}", file.display(), of_no_format(*looks))]
    UnknownFormat {
        /// Which file.
        file: PathBuf,
        /// What it may be, as the rest of a sentence.
        looks: Option<&'static str>,
    },
    /// Its name says raw, its content says something else; a guest can write such content.
    #[error("{} is named like a raw disk, but begins like a {found} image", file.display())]
    AmbiguousFormat {
        /// Which file.
        file: PathBuf,
        /// What its content looks like.
        found: Format,
    },
    /// It is not of the format that was said.
    #[error("{} is said to be {said}, but is {found}", file.display())]
    OtherFormat {
        /// Which file.
        file: PathBuf,
        /// What was said.
        said: Format,
        /// What it is: a format's name, or words.
        found: String,
    },
    /// It is packed by a general compressor, which cannot be read by position.
    #[error("{} is compressed with {compressor} as a whole", file.display())]
    Compressed {
        /// Which file.
        file: PathBuf,
        /// Which compressor.
        compressor: &'static str,
        /// A command that unpacks it.
        command: String,
    },
    /// It is sound but needs something that Replant does not do.
    #[error("{} {what}", file.display())]
    Unsupported {
        /// Which file.
        file: PathBuf,
        /// What it needs, as the rest of a sentence that begins with the file.
        what: String,
        /// What to do instead.
        help: String,
    },
    /// It holds only the difference to another image.
    #[error("{} holds only what changed since its parent{}", file.display(), parent.as_ref().map(|parent| format!(" `{parent}`")).unwrap_or_default())]
    NeedsParent {
        /// Which file.
        file: PathBuf,
        /// The parent's name, when it is said.
        parent: Option<String>,
    },
    /// What it stands on is not the image that it was made on, or was written to since.
    #[error("{} does not fit on {parent}: {what}", file.display())]
    OtherParent {
        /// Which file.
        file: PathBuf,
        /// The parent's file.
        parent: String,
        /// What does not fit, in words.
        what: String,
        /// What to do when it is known to be right: words, then what to copy.
        help: Option<[String; 2]>,
    },
    /// It names a file outside its own directory.
    #[error("{} names `{name}`, which is not below its own directory", file.display())]
    Escape {
        /// Which file.
        file: PathBuf,
        /// The name in it.
        name: String,
    },
    /// A file that it names cannot be opened.
    #[error("{} names `{name}`, which cannot be opened", file.display())]
    Part {
        /// Which file.
        file: PathBuf,
        /// The name in it.
        name: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Its chain of parents comes back to itself.
    #[error("the parents of {} come back to `{name}`", file.display())]
    Cycle {
        /// Which file.
        file: PathBuf,
        /// The name that was seen before.
        name: String,
    },
    /// Its chain of parents is too long.
    #[error("{} is at the end of more than {most} images that stand on each other", file.display())]
    TooDeep {
        /// Which file.
        file: PathBuf,
        /// The most that are followed.
        most: usize,
    },
    /// An appliance has no such disk.
    #[error("{} has no disk `{member}`; its disks: {}", file.display(), disks.join(", "))]
    NoMember {
        /// The appliance.
        file: PathBuf,
        /// What was asked for.
        member: String,
        /// What there is.
        disks: Vec<String>,
    },
    /// An appliance has several disks, or none, and none was named.
    #[error("{} is an appliance of {} disks{}", file.display(), disks.len(), if disks.is_empty() { String::new() } else { format!(": {}", disks.join(", ")) })]
    WhichMember {
        /// The appliance.
        file: PathBuf,
        /// What there is.
        disks: Vec<String>,
    },
    /// A disk was named in a file that is no appliance.
    #[error("{} is no appliance, so that it has no disk `{member}` to choose", file.display())]
    NotAnAppliance {
        /// Which file.
        file: PathBuf,
        /// What was asked for.
        member: String,
    },
    /// It has no such internal snapshot.
    #[error("{} has no snapshot `{snapshot}`{}", file.display(), listed(known))]
    NoSnapshot {
        /// Which file.
        file: PathBuf,
        /// What was asked for.
        snapshot: String,
        /// The ids and names of some of those that there are.
        known: Vec<String>,
    },
    /// Several of its internal snapshots have that name.
    #[error("{} has several snapshots named `{snapshot}`{}", file.display(), listed(known))]
    WhichSnapshot {
        /// Which file.
        file: PathBuf,
        /// What was asked for.
        snapshot: String,
        /// The ids and names of those that have it.
        known: Vec<String>,
    },
    /// Its content is of another format than that it was written with before.
    #[error("{} was restored as {pinned} before, but is {found} now", file.display())]
    FormatMoved {
        /// Which file.
        file: PathBuf,
        /// The format that is pinned.
        pinned: Format,
        /// What it is: a format's name, or words.
        found: String,
    },
    /// A file changed since it was opened or since it was planned with.
    #[error("{} changed: {what}", file.display())]
    Changed {
        /// Which file.
        file: PathBuf,
        /// What is different.
        what: String,
    },
    /// Its server has no such file.
    #[error("there is no {}", file.display())]
    Absent {
        /// Which file.
        file: PathBuf,
    },
    /// Its server gives whole files only.
    #[error("the server of {} gives whole files only, and an image is read in ranges", file.display())]
    NoRanges {
        /// Which file.
        file: PathBuf,
    },
    /// Its server answers what cannot be used.
    #[error("the server of {} cannot be used: {what}", file.display())]
    BadAnswer {
        /// Which file.
        file: PathBuf,
        /// What is wrong with its answer.
        what: String,
    },
    /// An export of an NBD server cannot be opened.
    #[error("cannot open {location}")]
    Nbd {
        /// Which server and export.
        location: String,
        /// Why.
        source: NbdError,
    },
    /// This Replant was built without what reads from such places.
    #[error("{} is on the network, and this Replant was built without the feature `remote`", file.display())]
    NoFeature {
        /// Which file.
        file: PathBuf,
    },
    /// Standard input was named where an image is read by position.
    #[error("standard input can only be read once, from its beginning to its end")]
    Input,
    /// What a file holds is not what its format demands, or it cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// What is said of a file of no known format.
fn of_no_format(looks: Option<&str>) -> String {
    match looks {
        Some(empty) if empty == foreign::EMPTY => empty.to_owned(),
        looks => {
            let looks = looks.map(|looks| format!("; it {looks}")).unwrap_or_default();
            format!(
                "has no format that Replant knows, and its name does not say that it is a raw disk{looks}"
            )
        }
    }
}

impl ImageError {
    /// Whether trying again can help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Source(source) => source.is_retryable(),
            Self::Nbd { source, .. } => source.is_retryable(),
            Self::Open { source, .. } | Self::Part { source, .. } => matches!(
                source.kind(),
                std::io::ErrorKind::Interrupted
                    | std::io::ErrorKind::TimedOut
                    | std::io::ErrorKind::WouldBlock
            ),
            _ => false,
        }
    }

    /// A stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Open { .. } => "image::open",
            Self::NotAFile { .. } => "image::not_a_file",
            Self::UnknownFormat { .. } => "image::unknown_format",
            Self::AmbiguousFormat { .. } => "image::ambiguous_format",
            Self::OtherFormat { .. } => "image::other_format",
            Self::Compressed { .. } => "image::compressed",
            Self::Unsupported { .. } => "image::unsupported",
            Self::NeedsParent { .. } => "image::needs_parent",
            Self::OtherParent { .. } => "image::other_parent",
            Self::Escape { .. } => "image::escape",
            Self::Part { .. } => "image::part_missing",
            Self::Cycle { .. } => "image::cycle",
            Self::TooDeep { .. } => "image::too_deep",
            Self::NoMember { .. } => "image::no_member",
            Self::WhichMember { .. } => "image::which_member",
            Self::NotAnAppliance { .. } => "image::not_an_appliance",
            Self::NoSnapshot { .. } => "image::no_snapshot",
            Self::WhichSnapshot { .. } => "image::which_snapshot",
            Self::FormatMoved { .. } => "image::format_moved",
            Self::Changed { .. } => "image::changed",
            Self::Absent { .. } => "image::not_found",
            Self::NoRanges { .. } => "image::no_ranges",
            Self::BadAnswer { .. } => "image::bad_answer",
            Self::Nbd { source, .. } => source.code(),
            Self::NoFeature { .. } => "image::no_feature",
            Self::Input => "image::input",
            Self::Source(SourceError::Damaged { .. }) => "image::damaged",
            Self::Source(SourceError::Changed { .. }) => "image::changed",
            Self::Source(SourceError::Gone { .. }) => "image::gone",
            Self::Source(SourceError::Denied { .. }) => "image::denied",
            Self::Source(SourceError::Stalled { .. }) => "image::stalled",
            Self::Source(SourceError::Lost { .. }) => "image::unreachable",
            Self::Source(_) => "image::read",
        }
    }

    fn summary(&self) -> &'static str {
        match self {
            Self::Open { .. } => "the image cannot be opened",
            Self::NotAFile { .. } => "the image is not a file",
            Self::UnknownFormat { .. } => "the image's format is unknown",
            Self::AmbiguousFormat { .. } => "the image's name and content disagree on its format",
            Self::OtherFormat { .. } => "the image is of another format",
            Self::Compressed { .. } => "the image is compressed as a whole",
            Self::Unsupported { .. } => "the image needs what Replant does not do",
            Self::NeedsParent { .. } => "the image is not complete without its parent",
            Self::OtherParent { .. } => "the image was not made on this parent",
            Self::Escape { .. } => "the image names a file outside its directory",
            Self::Part { .. } => "a file of the image cannot be opened",
            Self::Cycle { .. } => "the image's parents form a circle",
            Self::TooDeep { .. } => "the image has too many parents",
            Self::NoMember { .. } => "the appliance has no such disk",
            Self::WhichMember { .. } => "the appliance does not have exactly one disk",
            Self::NotAnAppliance { .. } => "the image has no disks to choose from",
            Self::NoSnapshot { .. } => "the image has no such snapshot",
            Self::WhichSnapshot { .. } => "the image has several snapshots of that name",
            Self::FormatMoved { .. } => "the image is of another format than before",
            Self::Changed { .. } => "the image changed",
            Self::Absent { .. } => "the image does not exist",
            Self::NoRanges { .. } => "the image's server gives no ranges",
            Self::BadAnswer { .. } => "the image's server cannot be used",
            Self::Nbd { source, .. } => source.summary(),
            Self::NoFeature { .. } => "this Replant reads no images from the network",
            Self::Input => "the image cannot be read from standard input here",
            Self::Source(SourceError::Damaged { .. }) => "the image is damaged",
            Self::Source(SourceError::Changed { .. }) => "the image changed",
            Self::Source(SourceError::Gone { .. }) => "the image is gone",
            Self::Source(SourceError::Denied { .. }) => "the image may not be read",
            Self::Source(SourceError::Stalled { .. }) => "the image's server does not answer",
            Self::Source(SourceError::Lost { .. }) => "the image's server cannot be reached",
            Self::Source(_) => "the image cannot be read",
        }
    }

    fn help(&self) -> Vec<String> {
        let one = |text: &str| vec![text.to_owned()];
        match self {
            Self::Open { .. } => one("Check the path and the permissions of the file and its directories."),
            Self::NotAFile { .. } => one("Name the disk image itself."),
            Self::UnknownFormat { file, looks } => vec![foreign::help(looks.unwrap_or_default(), file)],
            Self::AmbiguousFormat { found, .. } => vec![
                format!("If it is a {found} image, say `format = \"{found}\"`."),
                "If it is a raw disk (whose guest wrote these bytes), say `format = \"raw\"`.".to_owned(),
            ],
            Self::OtherFormat { .. } => {
                one("Leave the format out, so that it is detected, or name the right one.")
            }
            Self::Compressed { command, .. } => vec!["Unpack it first:".to_owned(), command.clone()],
            Self::Unsupported { help, .. } => one(help),
            Self::NeedsParent { file, parent } => parent::advice(file, parent.as_deref()),
            Self::OtherParent { help, .. } => {
                let first = "Put the parent that it was made on into the directory, as it was at the time of the backup.";
                std::iter::once(first.to_owned()).chain(help.iter().flatten().cloned()).collect()
            }
            Self::Escape { .. } => one(
                "Put all files of the image into one directory. Replant follows no absolute path, no `..` and no symbolic link that an image names.",
            ),
            Self::Part { .. } => {
                one("Copy all files of the image into one directory, under their own names.")
            }
            Self::Cycle { .. } => one("The chain is broken; restore it from its source."),
            Self::TooDeep { .. } => one("Flatten the chain first, for example with `qemu-img convert`."),
            Self::NoMember { disks, .. } | Self::WhichMember { disks, .. } if !disks.is_empty() => {
                vec![format!("Name one of: {}.", disks.join(", "))]
            }
            Self::NoMember { .. } | Self::WhichMember { .. } => {
                one("An appliance without disks has nothing to restore.")
            }
            Self::NotAnAppliance { .. } => one("Leave the disk's name out."),
            Self::NoSnapshot { known, .. } if known.is_empty() => one(
                "Leave the snapshot out: only qcow2 images have internal snapshots, and this one has none.",
            ),
            Self::NoSnapshot { .. } => one("Name one of them, by its name or its id."),
            Self::WhichSnapshot { .. } => one("Name it by its id."),
            Self::FormatMoved { pinned, found, .. } => vec![
                "A guest can write such content on a raw disk, to make the host read other files. Make sure that the file was replaced by whoever makes the backups.".to_owned(),
                match found.parse::<Format>() {
                    Ok(found) => format!("To accept it, say the format in the configuration: `format = \"{found}\"` (`image_format` beside an instance's `image`)."),
                    Err(_) => "If it is a raw disk now, say so in the configuration: `format = \"raw\"` (`image_format` beside an instance's `image`).".to_owned(),
                },
                format!("To read it as before whatever it looks like, say `format = \"{pinned}\"`."),
            ],
            Self::Nbd { source, .. } => source.help(),
            Self::Changed { .. } => one("Plan again, so that the plan is of what the image holds now."),
            Self::Source(SourceError::Damaged { .. }) => {
                vec![
                    "Copy the image again from its source, and compare its checksum.".to_owned(),
                    "See whether all of it can be read:\nreplant check IMAGE".to_owned(),
                ]
            }
            Self::Absent { .. } => one(
                "Check bucket, key or URL, and where they are looked for: AWS_REGION, and AWS_ENDPOINT_URL_S3 for a server of your own.",
            ),
            Self::NoRanges { .. } => vec![
                "Download the image first, and name the file.".to_owned(),
                "Or write it as it comes:\ncurl --fail --location URL | replant write - TARGET".to_owned(),
            ],
            Self::BadAnswer { .. } => one("Check that the URL is the image's own, and not a page about it."),
            Self::NoFeature { .. } => vec![
                "Build it with the feature:\ncargo build --release --features remote".to_owned(),
                "Or copy the image to this machine first.".to_owned(),
            ],
            Self::Input => vec![
                "Standard input is only written to a volume as it comes:\nreplant write - TARGET".to_owned(),
                "Elsewhere, put it into a file first.".to_owned(),
            ],
            Self::Source(SourceError::Changed { .. } | SourceError::Gone { .. }) => vec![
                "Make sure that nothing replaces the image while it is restored, then plan again.".to_owned(),
                "In S3, name one version of the object: `s3://bucket/key?versionId=…`.".to_owned(),
            ],
            Self::Source(SourceError::Denied { .. }) => {
                one("Check the credentials and what they allow; they may have expired.")
            }
            Self::Source(SourceError::Stalled { .. } | SourceError::Lost { .. }) => {
                one("Check the server and the network between, then try again.")
            }
            Self::Source(_) => one("Check the storage that holds the image."),
        }
    }

    /// The error as it is shown to a user.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let mut detail = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            detail = format!("{detail}: {error}");
            cause = error.source();
        }
        self.help().into_iter().fold(
            Diagnostic::error(self.code(), self.summary()).detail(format!("{detail}.")),
            Diagnostic::help,
        )
    }
}

/// A sentence's rest that names what there is.
fn listed(known: &[String]) -> String {
    if known.is_empty() { String::new() } else { format!(": {}", known.join(", ")) }
}
