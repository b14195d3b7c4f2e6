//! `replant write`: the data engine alone, as plumbing.

use std::fs;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::exit::Exit;
use super::image_arguments::ImageArguments;
use super::location::LocationParser;
use super::meter::duration;
use super::write_source::{Source, StreamArguments};
use super::{interrupt, terminal};
use crate::copy::{
    self, Budget, Cancel, Changes, CopyError, Existing, ExistingManifest, Header, Manifest, Reading, Receipt,
    Target, TargetOptions, VerifyOptions, WriteOptions,
};
use crate::diagnostic::Diagnostic;
use crate::model::{Bytes, Location};
use crate::ui::json::{Line, Said, line};

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  replant write backups/web.ova /dev/nvme1n1 --member root --verify
  replant write disk.raw.zst /dev/nvme1n1
  restic dump latest /backup/web.vmdk | replant write - /dev/nvme1n1
  borg extract --stdout REPO::ARCHIVE web.raw | replant write - /dev/nvme1n1 --format raw --size 40G
  aws s3 cp s3://bucket/web.ova - | replant write - /dev/nvme1n1
  ssh host cat /dev/vg/web | replant write - /dev/nvme1n1 --format raw --size 40G --manifest web.manifest";

/// Writes an image's disk onto a block device or into a file, byte for byte.
///
/// A target that is mounted, in use, too small, or the image itself is always refused. So is one
/// that holds data (a file that is not empty, a device with a partition table or filesystem),
/// unless --force says that it may be lost, or a manifest says what is there: with one of a write
/// that finished, only what differs from it is written.
///
/// A disk that comes as a stream is read once, from front to back: a raw disk (said with --format
/// raw), a streamOptimized VMDK or an OVA, as it is or compressed with gzip, zstd, xz, bzip2 or
/// lz4. Other formats need a file.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Write {
    /// The image: a disk image, or an appliance; a path, `s3://`, `https://`, `nbd://` and the like,
    /// or `-` for a disk that is sent to standard input.
    #[arg(value_name = "IMAGE", value_parser = LocationParser)]
    pub image: Location,

    /// The block device, or the file (created when it does not exist, as a sparse raw image).
    #[arg(value_name = "TARGET")]
    pub target: PathBuf,

    /// How the image is read.
    #[command(flatten)]
    pub reading: ImageArguments,

    /// How a stream is read.
    #[command(flatten)]
    pub stream: StreamArguments,

    /// Check an appliance's disk by its manifest first (a stream's is checked as it goes by); read
    /// everything back afterwards, holes included, and compare.
    #[arg(long)]
    pub verify: bool,

    /// Keep a manifest of the written blocks in this file. One that an earlier write to the same
    /// target left says what is there: only blocks that differ are written.
    #[arg(long, value_name = "FILE")]
    pub manifest: Option<PathBuf>,

    /// Go on with a write that was interrupted, where its manifest ends (begin, when there is
    /// none).
    #[arg(long, requires = "manifest")]
    pub resume: bool,

    /// Read all of the image, also where it stands on the one that was written and so says itself
    /// what has changed.
    #[arg(long, requires = "manifest")]
    pub rehash: bool,

    /// Read only what this dirty bitmap of the image's NBD server marks. It must have been begun no
    /// later than the write that the manifest is of.
    #[arg(long, value_name = "NAME", requires = "manifest", conflicts_with = "rehash")]
    pub dirty_bitmap: Option<String>,

    /// What the target holds may be lost. Of a device that is larger than the disk, the first and
    /// the last MiB beyond it are made zero, for old partition tables lie there.
    #[arg(long, conflicts_with_all = ["resume", "rehash"])]
    pub force: bool,

    /// How many threads read, decode and write.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,

    /// Write, and read back, at most this many bytes a second (with K, M or G for KiB, MiB and GiB).
    #[arg(long, value_name = "BYTES", value_parser = bandwidth)]
    pub bandwidth_limit: Option<NonZeroU64>,

    /// How many seconds may pass between checkpoints: what a crash can cost.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub checkpoint: Duration,

    /// Print each event as a JSON line.
    #[arg(long)]
    pub json: bool,
}

fn bandwidth(text: &str) -> Result<NonZeroU64, String> {
    let (digits, shift) = match text.char_indices().last() {
        Some((at, 'K' | 'k')) => (&text[..at], 10),
        Some((at, 'M' | 'm')) => (&text[..at], 20),
        Some((at, 'G' | 'g')) => (&text[..at], 30),
        _ => (text, 0),
    };
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    bytes.and_then(NonZeroU64::new).ok_or_else(|| "a number of bytes, as in 500000 or 100M".to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| "a number of seconds, as in 5 or 0.5".to_owned())
}

/// Why it failed: for people, and for the exit code.
struct Failure {
    diagnostic: Box<Diagnostic>,
    exit: Exit,
    /// Whether what was written until then is right.
    leaves_a_part: bool,
}

impl From<CopyError> for Failure {
    fn from(error: CopyError) -> Self {
        let exit = match error {
            CopyError::Cancelled { .. } => Exit::Interrupted,
            _ => Exit::Failure,
        };
        Self { diagnostic: Box::new(error.diagnostic()), exit, leaves_a_part: error.leaves_a_part() }
    }
}

impl From<Diagnostic> for Failure {
    fn from(diagnostic: Diagnostic) -> Self {
        Self { diagnostic: Box::new(diagnostic), exit: Exit::Failure, leaves_a_part: false }
    }
}

/// Writes, and says what came of it.
#[must_use]
pub fn run(directory: &Path, arguments: &Write) -> Exit {
    match write(directory, arguments) {
        Ok(receipt) => {
            terminal::print(&match arguments.json {
                true => Line { version: line::VERSION, said: Said::Written(&receipt) }.render(),
                false => render(&receipt),
            });
            Exit::Success
        }
        Err(failure) => {
            terminal::print_diagnostic(&failure.diagnostic, arguments.json);
            failure.exit
        }
    }
}

fn write(directory: &Path, arguments: &Write) -> Result<Receipt, Failure> {
    let cancel = Cancel::new();
    interrupt::watch(&cancel).map_err(|source| CopyError::Thread { source })?;
    let source = Source::open(directory, arguments.image.clone(), &arguments.reading, &arguments.stream)?;
    if arguments.verify {
        // Damage is found before anything of it is on the target.
        source.check_manifest(&|| cancel.is_cancelled()).map_err(|error| error.diagnostic())?;
    }
    let size = source.size();
    let manifest = arguments.manifest.as_ref().map(|path| directory.join(path));
    let recorded = match &manifest {
        Some(path) if !arguments.force && path.exists() => Some(recorded(path)?),
        _ => None,
    };
    let data = match recorded {
        // What there is takes no room any more.
        Some(_) => 0,
        None => source.data_bytes()?,
    };
    let target = Target::open(
        &directory.join(&arguments.target),
        &TargetOptions {
            size: recorded.as_ref().map_or(size, |header| header.disk_size.min(size)),
            data,
            image_files: source.files(),
            existing: match (&recorded, arguments.force) {
                (Some(_), _) => Existing::Keep,
                (None, true) => Existing::Replace,
                (None, false) => Existing::Refuse,
            },
            create: recorded.is_none(),
            ..TargetOptions::default()
        },
    )
    .map_err(CopyError::from)?;
    if recorded.is_some_and(|header| header.target == target.identity()) {
        target.grow(size).map_err(CopyError::from)?;
    }

    copy(source, &target, manifest, arguments, &cancel).map_err(|failure| leave(failure, &target, arguments))
}

/// Leaves of an unfinished write what another can go on with, and says what that is.
fn leave(mut failure: Failure, target: &Target, arguments: &Write) -> Failure {
    let help = match (&arguments.manifest, target.is_created()) {
        (Some(_), _) if failure.leaves_a_part => {
            "What is written is kept: the same command with --resume goes on from there."
        }
        (Some(_), _) => return failure,
        // Half a disk that nothing can complete looks too much like a whole one.
        (None, true) if fs::remove_file(target.path()).is_ok() => {
            "The unfinished file was removed. With --manifest FILE it is kept, and the same command with --resume goes on from there."
        }
        (None, _) => {
            "What is on the target now is no disk, and nothing can complete it: begin again with --force. With --manifest FILE, the same command with --resume goes on from there."
        }
    };
    failure.diagnostic.help.push(help.to_owned());
    failure
}

/// What a manifest is about.
fn recorded(path: &Path) -> Result<Header, CopyError> {
    Ok(Manifest::open(path)?.header().clone())
}

fn copy(
    source: Source,
    target: &Target,
    manifest: Option<PathBuf>,
    arguments: &Write,
    cancel: &Cancel,
) -> Result<Receipt, Failure> {
    let threads = arguments.threads.map(usize::from);
    let budget = Arc::new(match arguments.bandwidth_limit {
        Some(limit) => Budget::new(Budget::MEMORY, Some(limit)),
        None => Budget::default(),
    });
    let (format, identity) = source.facts();
    let options = WriteOptions {
        manifest,
        existing_manifest: match (arguments.resume, arguments.force) {
            (true, _) => ExistingManifest::Resume,
            (false, true) => ExistingManifest::Replace,
            (false, false) => ExistingManifest::Update,
        },
        changes: changes(&source, arguments)?,
        clear_beyond: arguments.force && target.is_device(),
        threads,
        checkpoint: arguments.checkpoint,
        budget: Arc::clone(&budget),
        ..WriteOptions::new(identity)
    };
    let meter = source.meter(arguments.json);
    let written = source.write(target, &options, &meter, cancel).and_then(|outcome| {
        let options = VerifyOptions { threads, budget };
        let verified = arguments
            .verify
            .then(|| copy::verify(target, &outcome.manifest, None, &options, &meter, cancel))
            .transpose()?;
        Ok((outcome, verified))
    });
    meter.clear();
    let (outcome, verified) = written?;
    let from = (arguments.image.called(), format, identity);
    Ok(Receipt::new(from, arguments.target.clone(), &outcome, verified, arguments.manifest.clone()))
}

/// What says which parts of the image may differ from what the target holds.
fn changes(source: &Source, arguments: &Write) -> Result<Changes, Failure> {
    match &arguments.dirty_bitmap {
        Some(name) => {
            let ranges = source.dirty(name).map_err(|error| error.diagnostic())?;
            Ok(Changes::Reported { by: format!("the dirty bitmap {name}"), ranges: ranges.into() })
        }
        None if arguments.rehash => Ok(Changes::Unknown),
        None => Ok(Changes::OfLayers),
    }
}

fn render(receipt: &Receipt) -> String {
    let speed = receipt.written_bytes as f64 / receipt.seconds.max(0.001);
    let mut text = format!(
        "Wrote {} ({}, {}) to {}.\n  data      {} of {}, the rest is zero\n",
        if receipt.image == Path::new("-") {
            "standard input".into()
        } else {
            receipt.image.to_string_lossy()
        },
        receipt.format,
        Bytes(receipt.size),
        receipt.target.display(),
        Bytes(receipt.data_bytes),
        Bytes(receipt.size),
    );
    let mut line = |label: &str, value: &str| text.push_str(&format!("  {label:9} {value}\n"));
    if let Some(update) = &receipt.update {
        line("unchanged", &format!("{}, on the target already", Bytes(receipt.unchanged_bytes)));
        line(
            "read",
            &match &update.reading {
                Reading::Changes { by } => format!("{}: what may differ by {by}", Bytes(receipt.read_bytes)),
                Reading::Whole { why } => {
                    format!("{}: all of the image, for {why}", Bytes(receipt.read_bytes))
                }
            },
        );
    }
    if receipt.resumed_bytes > 0 {
        line("resumed", &format!("{} were safe on the target already", Bytes(receipt.resumed_bytes)));
    }
    line(
        "written",
        &format!("{}, {} /s", Bytes(receipt.written_bytes), Bytes(speed as u64)).replace(" /s", "/s"),
    );
    if receipt.zeroed_bytes > 0 {
        line("zeroed", &format!("{} that were not zero", Bytes(receipt.zeroed_bytes)));
    }
    line("time", &duration(Duration::from_secs_f64(receipt.seconds.max(0.0))));
    line("content", &receipt.content.to_string());
    match receipt.verified_seconds {
        Some(seconds) => line(
            "verified",
            &format!(
                "all of it read back and equal, in {}",
                duration(Duration::from_secs_f64(seconds.max(0.0)))
            ),
        ),
        None => line("verified", "no (--verify reads it back)"),
    }
    if let Some(manifest) = &receipt.manifest {
        line("manifest", &manifest.display().to_string());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bandwidths_have_units() {
        assert_eq!(bandwidth("100M").map(NonZeroU64::get), Ok(100 << 20));
        assert_eq!(bandwidth("7").map(NonZeroU64::get), Ok(7));
        for wrong in ["", "0", "M", "-1", "1T", "99999999999999G"] {
            assert!(bandwidth(wrong).is_err(), "{wrong}");
        }
    }
}
