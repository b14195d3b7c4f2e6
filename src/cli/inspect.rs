//! `replant inspect`: what a guest is and what stands in its way, offline.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::exit::Exit;
use super::image_arguments::ImageArguments;
use super::location::LocationParser;
use super::terminal;
use crate::diagnostic::Diagnostic;
use crate::guest::report::{FindingSeverity, RecipeInputs, Report};
use crate::image::ova;
use crate::image::{self, ImageError};
use crate::model::{GuestChanges, Hypervisor, Location, NetworkPolicy};
use crate::sandbox::{Limits, Request, SandboxDisk, run as run_sandbox};
use crate::ui::human::guest::render_inspection;

/// Looks into a machine's image and says what it is and whether it will boot on EC2.
///
/// The guest is looked at in a sandbox; the image is only read. The exit code is 1 when anything
/// stands in the way of booting.
#[derive(Debug, Args)]
pub struct Inspect {
    /// What to look at.
    #[command(flatten)]
    pub machine: MachineArguments,

    /// The report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// A machine by its images.
#[derive(Debug, Args)]
pub struct MachineArguments {
    /// The image (a disk image, or an appliance with all its disks; a path, or `s3://`, `https://`,
    /// `nbd://` and the like); further images are the machine's further disks.
    #[arg(value_name = "IMAGE", required = true, value_parser = LocationParser)]
    pub images: Vec<Location>,

    /// How the images are read.
    #[command(flatten)]
    pub reading: ImageArguments,

    /// What the restored instance runs on.
    #[arg(long, value_enum, default_value_t = HypervisorArgument::Nitro)]
    pub hypervisor: HypervisorArgument,

    /// What becomes of the guest's network configuration.
    #[arg(long, value_enum, default_value_t = NetworkArgument::Dhcp)]
    pub network: NetworkArgument,

    /// Memory of the sandbox in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u32).range(128..=65536))]
    pub memory: u32,
}

/// One disk of an image: its name and its id in an appliance.
struct Member {
    name: Option<String>,
    id: Option<String>,
}

/// A hypervisor on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HypervisorArgument {
    /// NVMe disks, ENA network.
    Nitro,
    /// Xen disks and network.
    Xen,
}

/// A network policy on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum NetworkArgument {
    /// The guest asks DHCP.
    Dhcp,
    /// As dhcp, and the instance takes the guest's static address.
    Keep,
}

impl MachineArguments {
    /// The disks that these images name, of their own size.
    ///
    /// # Errors
    /// When an appliance cannot be read.
    pub fn disks(&self, directory: &Path) -> Result<Vec<SandboxDisk>, Diagnostic> {
        let mut disks = Vec::new();
        for named in &self.images {
            let image = named.clone().within(directory);
            let members = self.members(&image).map_err(|error| error.diagnostic())?;
            for member in members {
                let name = member.name.unwrap_or_else(|| match disks.len() {
                    0 => "root".to_owned(),
                    more => format!("data{more}"),
                });
                disks.push(SandboxDisk {
                    name,
                    image: image.clone(),
                    format: self.reading.format.0.map(|format| format.to_string()),
                    member: member.id,
                    snapshot: self.reading.snapshot.clone(),
                    size: 0,
                    grow: false,
                });
            }
        }
        Ok(disks)
    }

    /// The disks of one image: itself, or an appliance's that have content, with their names.
    fn members(&self, image: &Location) -> Result<Vec<Member>, ImageError> {
        match image::open(image, &self.reading.options()) {
            Err(ImageError::WhichMember { .. }) => {
                let appliance = ova::read(image)?;
                let with_content = appliance.disks.into_iter().filter(|disk| disk.file.is_some());
                Ok(with_content.map(|disk| Member { name: Some(disk.name), id: Some(disk.id) }).collect())
            }
            Err(error) => Err(error),
            Ok(_) => Ok(vec![Member { name: None, id: self.reading.member.clone() }]),
        }
    }

    /// What the machine is called: as its first image.
    #[must_use]
    pub fn name(&self) -> PathBuf {
        self.images.first().map(Location::called).unwrap_or_default()
    }

    /// The sandbox's request for these disks.
    #[must_use]
    pub fn request(&self, disks: Vec<SandboxDisk>, prepare: bool) -> Request {
        Request {
            disks,
            prepare,
            inputs: RecipeInputs {
                hypervisor: match self.hypervisor {
                    HypervisorArgument::Nitro => Hypervisor::Nitro,
                    HypervisorArgument::Xen => Hypervisor::Xen,
                },
                network: match self.network {
                    NetworkArgument::Dhcp => NetworkPolicy::Dhcp,
                    NetworkArgument::Keep => NetworkPolicy::Keep,
                },
                changes: GuestChanges::default(),
            },
            limits: Limits { memory_mib: self.memory, ..Limits::default() },
        }
    }
}

/// Whether anything stands in the way of booting.
#[must_use]
pub fn is_blocked(report: &Report) -> bool {
    report.findings.iter().any(|finding| finding.severity == FindingSeverity::Blocks)
}

/// Inspects, and prints the report.
#[must_use]
pub fn run(directory: &Path, command: &Inspect) -> Exit {
    match inspect(directory, command) {
        Ok(report) if is_blocked(&report) => Exit::Failure,
        Ok(_) => Exit::Success,
        Err(diagnostic) => {
            terminal::print_diagnostic(&diagnostic, command.json);
            Exit::Failure
        }
    }
}

fn inspect(directory: &Path, command: &Inspect) -> Result<Report, Diagnostic> {
    let disks = command.machine.disks(directory)?;
    let request = command.machine.request(disks, false);
    let report = run_sandbox(&request, None).map_err(|error| error.diagnostic())?.report;
    let name = command.machine.name();
    terminal::print(&match command.json {
        true => json(&report)?,
        false => render_inspection(&name, &report, terminal::stdout_look()),
    });
    Ok(report)
}

/// A value as JSON for a person or a program.
///
/// # Errors
/// When it has no JSON form.
pub fn json<T: serde::Serialize>(value: &T) -> Result<String, Diagnostic> {
    serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(|error| {
        Diagnostic::error("cli::json", "The result cannot be written as JSON").detail(error.to_string())
    })
}
