//! `replant prepare`: what makes a guest boot on EC2, shown, and written with its image.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::exit::Exit;
use super::inspect::{MachineArguments, json};
use super::meter::Meter;
use super::{interrupt, terminal};
use crate::copy::{self, Cancel, CopyError, Existing, OverlayOptions, Target, TargetOptions, WriteOptions};
use crate::diagnostic::Diagnostic;
use crate::guest::report::Report;
use crate::image::{self, BlockSource, OpenOptions, Overlay};
use crate::model::{Bytes, Digest};
use crate::sandbox::{Outcome, SandboxDisk, run as run_sandbox};
use crate::ui::human::guest::render_preparation;
use crate::ui::inspection::blocks;

/// Shows what is changed in a guest so that it boots on EC2; with --write, writes its image with
/// the changes.
///
/// The changes are computed in a sandbox over the image, which is only read.
#[derive(Debug, Args)]
pub struct Prepare {
    /// What to prepare.
    #[command(flatten)]
    pub machine: MachineArguments,

    /// Show how each file changes.
    #[arg(long)]
    pub diff: bool,

    /// Lines of context around changes in guest files.
    #[arg(long, value_name = "LINES", default_value_t = 3)]
    pub context: usize,

    /// The size of the first disk's volume in GiB; without it, the image is written in its own size.
    #[arg(long, value_name = "GIB", value_parser = clap::value_parser!(u64).range(1..=65536))]
    pub size: Option<u64>,

    /// Let the first disk's last partition and filesystem grow to the volume's size.
    #[arg(long, requires = "size")]
    pub grow: bool,

    /// Write image and changes to this block device or file; once for each disk, in order.
    #[arg(long, value_name = "TARGET")]
    pub write: Vec<PathBuf>,

    /// What the targets hold may be lost.
    #[arg(long, requires = "write")]
    pub force: bool,

    /// The report as JSON; with --write, the progress too, one event a line.
    #[arg(long)]
    pub json: bool,
}

/// What was written to one target.
#[derive(Debug, Serialize)]
struct Written {
    disk: String,
    target: PathBuf,
    /// Bytes of the image's data.
    data_bytes: u64,
    /// Bytes of changed blocks.
    overlay_bytes: u64,
    /// Digest of the image's content.
    content: Digest,
    seconds: f64,
}

/// Prepares, prints, writes.
#[must_use]
pub fn run(directory: &Path, command: &Prepare) -> Exit {
    match prepare(directory, command) {
        Ok(exit) => exit,
        Err(failure) => {
            terminal::print_diagnostic(&failure.0, command.json);
            failure.1
        }
    }
}

/// Why it failed, and the exit code.
struct Failure(Diagnostic, Exit);

impl From<Diagnostic> for Failure {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(diagnostic, Exit::Failure)
    }
}

impl From<CopyError> for Failure {
    fn from(error: CopyError) -> Self {
        let interrupted = matches!(error, CopyError::Cancelled { .. });
        let mut diagnostic = error.diagnostic();
        // `--manifest` and `--resume` are options of `write`.
        for help in &mut diagnostic.help {
            if help.contains("--force") && help.contains("--resume") {
                *help = "If it may be lost, say so with --force.".to_owned();
            }
        }
        diagnostic.help.retain(|help| !help.contains("--resume"));
        if diagnostic.help.is_empty() {
            diagnostic = diagnostic.help("Mend that, and write it again from the beginning, with --force.");
        }
        Self(diagnostic, if interrupted { Exit::Interrupted } else { Exit::Failure })
    }
}

fn prepare(directory: &Path, command: &Prepare) -> Result<Exit, Failure> {
    command.machine.kind()?;
    let mut disks = command.machine.disks(directory)?;
    if !command.write.is_empty() && command.write.len() != disks.len() {
        return Err(Diagnostic::error("cli::targets", "Each disk needs a target of its own")
            .detail(format!("{} disks, {} targets.", disks.len(), command.write.len()))
            .help("Give --write once for each disk, in their order.")
            .into());
    }
    if let (Some(first), Some(gib)) = (disks.first_mut(), command.size) {
        first.size = Bytes::from_gib(gib).map_or(0, |size| size.0);
        first.grow = command.grow;
        check_size(first)?;
    }
    let request = command.machine.request(directory, disks.clone(), true)?;
    let mut outcome = run_sandbox(&request, None).map_err(|error| error.diagnostic())?;
    command.machine.allow(&mut outcome.report);
    outcome.report.findings.extend(command.machine.fit(&outcome.report)?);
    let name = command.machine.name();
    let changed = outcome.overlays.iter().map(changed_bytes).sum();
    terminal::print(&match (command.json, command.write.is_empty()) {
        (true, true) => json(&outcome.report)?,
        (true, false) => json_line(&outcome.report)?,
        (false, _) => {
            let context = command.diff.then_some(command.context);
            render_preparation(&name, &outcome.report, changed, context, terminal::stdout_look())
        }
    });
    if outcome.report.findings.iter().any(blocks) {
        return Ok(Exit::Failure);
    }
    if !command.write.is_empty() {
        write_all(directory, command, &disks, &outcome)?;
    }
    Ok(Exit::Success)
}

fn json_line(report: &Report) -> Result<String, Diagnostic> {
    let pretty = json(report)?;
    let value: serde_json::Value = serde_json::from_str(&pretty).unwrap_or_default();
    Ok(format!("{value}\n"))
}

fn changed_bytes(overlay: &Overlay) -> u64 {
    overlay.blocks.values().map(|block| block.len() as u64).sum()
}

fn open(disk: &SandboxDisk) -> Result<image::Image, Diagnostic> {
    let format = disk.format.as_deref().and_then(|format| format.parse().ok());
    let (member, snapshot) = (disk.member.clone(), disk.snapshot.clone());
    let options = OpenOptions { format, member, snapshot, pinned: None };
    image::open(&disk.image, &options).map_err(|error| error.diagnostic())
}

fn check_size(disk: &SandboxDisk) -> Result<(), Diagnostic> {
    let image = open(disk)?;
    if image.size() <= disk.size {
        return Ok(());
    }
    Err(Diagnostic::error("cli::size", "The volume is smaller than its image")
        .detail(format!("The image has {}, --size gives {}.", Bytes(image.size()), Bytes(disk.size)))
        .help(format!("Give at least --size {}.", Bytes(image.size()).gib_rounded_up())))
}

fn write_all(
    directory: &Path,
    command: &Prepare,
    disks: &[SandboxDisk],
    outcome: &Outcome,
) -> Result<(), Failure> {
    let cancel = Cancel::new();
    interrupt::watch(&cancel).map_err(|source| CopyError::Thread { source })?;
    for ((disk, overlay), target) in disks.iter().zip(&outcome.overlays).zip(&command.write) {
        let written = write(directory, command, disk, overlay, target, &cancel)?;
        terminal::print(&if command.json {
            let value = serde_json::to_value(&written).unwrap_or_default();
            format!("{value}\n")
        } else {
            format!(
                "Wrote disk {} to {}: {} of data and {} of changes, in {:.1} s.\n",
                written.disk,
                written.target.display(),
                Bytes(written.data_bytes),
                Bytes(written.overlay_bytes),
                written.seconds
            )
        });
    }
    Ok(())
}

fn write(
    directory: &Path,
    command: &Prepare,
    disk: &SandboxDisk,
    overlay: &Overlay,
    target: &Path,
    cancel: &Cancel,
) -> Result<Written, Failure> {
    let started = std::time::Instant::now();
    let image = open(disk)?;
    let data = image.data_bytes().map_err(|source| CopyError::Source { offset: 0, source })?;
    let opened = Target::open(
        &directory.join(target),
        &TargetOptions {
            size: overlay.size.max(image.size()),
            data,
            image_files: image.files().map(Path::to_owned).collect(),
            existing: if command.force { Existing::Replace } else { Existing::Refuse },
            create: true,
            ..TargetOptions::default()
        },
    )
    .map_err(CopyError::from)?;
    let options =
        WriteOptions { expect: overlay.read_set.clone(), ..WriteOptions::new(image.identity().digest()) };
    let meter = Meter::new(command.json);
    let mut outcome = copy::write(&image, &opened, &options, &meter, cancel)?;
    if !overlay.blocks.is_empty() {
        let options = OverlayOptions { read_set_checked: true };
        copy::write_overlay(&opened, overlay, &image, &mut outcome.manifest, &options, cancel)?;
    }
    meter.clear();
    Ok(Written {
        disk: disk.name.clone(),
        target: target.to_owned(),
        data_bytes: outcome.data_bytes,
        overlay_bytes: changed_bytes(overlay),
        content: outcome.content,
        seconds: started.elapsed().as_secs_f64(),
    })
}
