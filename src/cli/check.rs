//! `replant check`: whether an image is whole, before a restore depends on it.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::exit::Exit;
use super::image_arguments::ImageArguments;
use super::inspect::json;
use super::meter::Meter;
use super::{interrupt, terminal};
use crate::copy::{Cancel, CopyError, Event, Observer};
use crate::diagnostic::Diagnostic;
use crate::image::check::read_through;
use crate::image::{self, BlockSource, Image, ImageError, OpenOptions, ova};
use crate::model::Bytes;

/// Between two reports of progress.
const BETWEEN: Duration = Duration::from_millis(100);

/// Reads all of an image, and says whether it is damaged.
///
/// The files of an appliance are compared with the digests of its manifest, when it has one; all
/// data of each disk is read and decoded. Nothing is written. The exit code is 1 when anything is
/// not as it should be.
#[derive(Debug, Args)]
pub struct Check {
    /// The image: a disk image, or an appliance with all its disks.
    #[arg(value_name = "IMAGE")]
    pub image: PathBuf,

    /// How the image is read.
    #[command(flatten)]
    pub reading: ImageArguments,

    /// The result as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// What a check found to be as it should.
#[derive(Debug, Serialize)]
struct Checked {
    version: u32,
    image: PathBuf,
    /// Files that are what the manifest says; `None` without a manifest.
    manifest: Option<Vec<ova::FileDigest>>,
    disks: Vec<Disk>,
}

/// One disk that was read.
#[derive(Debug, Serialize)]
struct Disk {
    /// Its name in an appliance.
    name: Option<String>,
    format: String,
    size: u64,
    /// Bytes of data; the rest is zero.
    data_bytes: u64,
}

/// Checks.
#[must_use]
pub fn run(directory: &Path, command: &Check) -> Exit {
    let cancel = Cancel::new();
    let checked = interrupt::watch(&cancel)
        .map_err(|source| CopyError::Thread { source }.diagnostic())
        .and_then(|()| check(&directory.join(&command.image), command, &cancel));
    match checked {
        Ok(_) if cancel.is_cancelled() => Exit::Interrupted,
        Ok(checked) => match command.json.then(|| json(&checked)).transpose() {
            Ok(text) => {
                terminal::print(&text.unwrap_or_else(|| render(&checked)));
                Exit::Success
            }
            Err(diagnostic) => {
                terminal::print_diagnostic(&diagnostic, true);
                Exit::Failure
            }
        },
        Err(diagnostic) => {
            terminal::print_diagnostic(&diagnostic, command.json);
            Exit::Failure
        }
    }
}

fn check(path: &Path, command: &Check, cancel: &Cancel) -> Result<Checked, Diagnostic> {
    let stop = || cancel.is_cancelled();
    let options = command.reading.options();
    let disks = disks(path, &options).map_err(|error| error.diagnostic())?;
    let is_appliance = disks.iter().any(|(_, disk)| disk.identity().member.is_some());
    // Of one disk of an appliance, only its file is looked at.
    let manifest = match &command.reading.member {
        Some(_) => {
            let mut lines = Vec::new();
            for (_, disk) in &disks {
                if disk.check_manifest(&stop).map_err(|error| error.diagnostic())? {
                    lines.extend(disk.manifest_line().cloned());
                }
            }
            (!lines.is_empty()).then_some(lines)
        }
        None if is_appliance => match ova::check_manifest(path, &stop) {
            Ok(lines) => Some(lines),
            Err(ova::ManifestError::Missing { .. }) => None,
            Err(error) => return Err(error.diagnostic()),
        },
        None => None,
    };
    let meter = (!command.json).then(|| Meter::new(false));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut read = Vec::new();
    for (name, disk) in disks {
        let result = read_one(&disk, threads, meter.as_ref(), cancel);
        if let (Some(meter), true) = (&meter, result.is_err()) {
            meter.clear();
        }
        let data_bytes = result.map_err(|error| ImageError::from(error).diagnostic())?;
        disk.reopen_check().map_err(|error| error.diagnostic())?;
        read.push(Disk { name, format: disk.description().to_owned(), size: disk.size(), data_bytes });
    }
    if let Some(meter) = &meter {
        meter.clear();
    }
    Ok(Checked { version: 1, image: command.image.clone(), manifest, disks: read })
}

fn read_one(
    disk: &Image,
    threads: usize,
    meter: Option<&Meter>,
    cancel: &Cancel,
) -> Result<u64, image::SourceError> {
    let tell = |event: Event| meter.into_iter().for_each(|meter| meter.event(&event));
    tell(Event::Verifying { total: disk.size() });
    let told = Mutex::new(Instant::now());
    read_through(disk, threads, &|done| {
        // Whoever comes while another one tells has nothing newer to say.
        if let Ok(mut told) = told.try_lock()
            && told.elapsed() >= BETWEEN
        {
            *told = Instant::now();
            tell(Event::Verified { done });
        }
        !cancel.is_cancelled()
    })
}

/// The disks of an image, with their names in an appliance.
fn disks(path: &Path, options: &OpenOptions) -> Result<Vec<(Option<String>, Image)>, ImageError> {
    match image::open(path, options) {
        Err(ImageError::WhichMember { disks, .. }) if !disks.is_empty() => disks
            .into_iter()
            .map(|name| {
                let image = image::open(path, &options.clone().member(name.as_str()))?;
                Ok((Some(name), image))
            })
            .collect(),
        other => {
            let image = other?;
            let name = match &image.identity().member {
                Some(id) => Some(ova::read(path)?.disk(Some(id))?.name.clone()),
                None => None,
            };
            Ok(vec![(name, image)])
        }
    }
}

fn render(checked: &Checked) -> String {
    let mut text = format!("{} is sound.\n", checked.image.display());
    let mut line = |label: &str, value: &str| text.push_str(&format!("  {label:9} {value}\n"));
    if let Some(lines) = &checked.manifest {
        let mut algorithms: Vec<&str> = lines.iter().map(|line| line.algorithm.as_str()).collect();
        algorithms.sort_unstable();
        algorithms.dedup();
        let files =
            if lines.len() == 1 { "1 file is".to_owned() } else { format!("{} files are", lines.len()) };
        line("manifest", &format!("{files} what it says ({})", algorithms.join(", ")));
    } else if checked.disks.iter().any(|disk| disk.name.is_some()) {
        line("manifest", "none, so that only the disks' own checks could be made");
    }
    for disk in &checked.disks {
        let value = format!(
            "{}, {}: all {} of its data read and decoded",
            disk.format,
            Bytes(disk.size),
            Bytes(disk.data_bytes)
        );
        line(disk.name.as_deref().unwrap_or("disk"), &value);
    }
    text
}
