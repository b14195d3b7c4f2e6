//! `replant inspect`: what a guest is and what stands in its way, offline.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::exit::Exit;
use super::image_arguments::ImageArguments;
use super::location::LocationParser;
use super::terminal;
use crate::diagnostic::Diagnostic;
use crate::guest::report::{Finding, FindingSeverity, GiveUp, RecipeInputs, Report};
use crate::image::ova;
use crate::image::{self, Image, ImageError};
use crate::model::{GuestChanges, Hypervisor, Location, NetworkPolicy};
use crate::plan::{check, fit};
use crate::provider::InstanceTypeFacts;
use crate::provider::local::instance_type;
use crate::sandbox::{Limits, Parcel, Request, SandboxDisk, run as run_sandbox};
use crate::ui::human::inspection::render_inspection;
use crate::ui::inspection::Inspection;

/// Looks into a machine's image and says what it is and whether it will boot on EC2.
///
/// The guest is looked at in a sandbox; the image is only read. The exit code is 0 when it boots, as
/// it is or after preparation, 3 when something stands in the way, 1 when it could not be looked at.
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

    /// The instance type that it is to run on, as m6i.large.
    #[arg(long, value_name = "TYPE", conflicts_with = "hypervisor")]
    pub instance_type: Option<String>,

    /// What the restored instance runs on, when its type is not known yet.
    #[arg(long, value_enum, default_value_t = HypervisorArgument::Nitro)]
    pub hypervisor: HypervisorArgument,

    /// What becomes of the guest's network configuration.
    #[arg(long, value_enum, default_value_t = NetworkArgument::Dhcp)]
    pub network: NetworkArgument,

    /// The folder, or zip archive, of Amazon's drivers and agents for a Windows guest.
    #[arg(long, value_name = "DIR")]
    pub components: Option<PathBuf>,

    /// Go on without components that a Windows guest should have, where it is expected to boot
    /// without them.
    #[arg(long)]
    pub allow_missing: bool,

    /// A finding that is accepted, with what is lost by it: then a volume of Windows that was running
    /// (windows_unclean) or hibernated (windows_hibernated) is prepared all the same.
    #[arg(long, value_name = "CODE", value_parser = ["windows_unclean", "windows_hibernated"])]
    pub accept: Vec<String>,

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

impl From<HypervisorArgument> for Hypervisor {
    fn from(argument: HypervisorArgument) -> Self {
        match argument {
            HypervisorArgument::Nitro => Self::Nitro,
            HypervisorArgument::Xen => Self::Xen,
        }
    }
}

/// A network policy on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum NetworkArgument {
    /// The guest asks DHCP.
    Dhcp,
    /// As dhcp, and the instance takes the guest's static address.
    Keep,
}

/// Reads the metadata of an image of this machine, so that one that is cut short is known before a
/// guest meets what is missing. From a server, that would be much for what a look at a guest needs.
fn look_over(image: &Image) -> Result<(), ImageError> {
    if image.location().local().is_some() {
        image.data_bytes()?;
    }
    Ok(())
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
                with_content
                    .map(|disk| {
                        look_over(&image::open(image, &self.reading.options().member(disk.id.as_str()))?)?;
                        Ok(Member { name: Some(disk.name), id: Some(disk.id) })
                    })
                    .collect()
            }
            Err(error) => Err(error),
            Ok(opened) => {
                look_over(&opened)?;
                Ok(vec![Member { name: None, id: self.reading.member.clone() }])
            }
        }
    }

    /// What the machine is called: as its first image.
    #[must_use]
    pub fn name(&self) -> PathBuf {
        self.images.first().map(Location::called).unwrap_or_default()
    }

    fn hypervisor(&self) -> Hypervisor {
        let kind = self.instance_type.as_deref().and_then(instance_type);
        kind.map_or(self.hypervisor.into(), |kind| kind.hypervisor)
    }

    /// The instance type that is named.
    ///
    /// # Errors
    /// When it is not known.
    pub fn kind(&self) -> Result<Option<InstanceTypeFacts>, Diagnostic> {
        let Some(name) = &self.instance_type else { return Ok(None) };
        instance_type(name).map(Some).ok_or_else(|| {
            Diagnostic::error("cli::unknown_instance_type", "The instance type is not known")
                .detail(format!("{name} is not in the table that this version of Replant brings along."))
                .help("A type is a family and a size, as in m6i.large or t3.medium. For a newer one, name the hypervisor only:\nreplant inspect --hypervisor nitro IMAGE")
        })
    }

    /// What the type, or the hypervisor alone, means for a guest.
    ///
    /// # Errors
    /// When the type is not known.
    pub fn fit(&self, report: &Report) -> Result<Vec<Finding>, Diagnostic> {
        let kind = self.kind()?;
        let Some(guest) = &report.facts else { return Ok(Vec::new()) };
        Ok(fit::judge(guest, &kind.unwrap_or_else(|| fit::any(self.hypervisor(), guest.architecture))))
    }

    /// What a report comes to for these images and this type.
    ///
    /// # Errors
    /// When the type is not known.
    pub fn inspection(&self, report: Report) -> Result<Inspection, Diagnostic> {
        let fit = self.fit(&report)?;
        let images = self.images.iter().map(ToString::to_string).collect();
        Ok(Inspection::new(images, self.instance_type.clone(), self.hypervisor(), report, fit))
    }

    /// What is missing and may be no longer stands in the way, when that was asked for.
    pub fn allow(&self, report: &mut Report) {
        let missing = report.findings.iter_mut().filter(|finding| check::may_be_missing(finding));
        for finding in missing.filter(|_| self.allow_missing) {
            finding.severity = finding.severity.max(FindingSeverity::Warns);
        }
    }

    /// The sandbox's request for these disks.
    ///
    /// # Errors
    /// When the folder of components cannot be read.
    pub fn request(
        &self,
        directory: &Path,
        disks: Vec<SandboxDisk>,
        prepare: bool,
    ) -> Result<Request, Diagnostic> {
        let components = match &self.components {
            Some(folder) => {
                Some(Arc::new(Parcel::open(&directory.join(folder)).map_err(|error| error.diagnostic())?))
            }
            None => None,
        };
        Ok(Request {
            disks,
            prepare,
            inputs: RecipeInputs {
                hypervisor: self.hypervisor(),
                network: match self.network {
                    NetworkArgument::Dhcp => NetworkPolicy::Dhcp,
                    NetworkArgument::Keep => NetworkPolicy::Keep,
                },
                changes: GuestChanges::default(),
                give_up: GiveUp::of(&self.accept),
            },
            components,
            limits: Limits { memory_mib: self.memory, ..Limits::default() },
        })
    }
}

/// Inspects, and prints the report.
#[must_use]
pub fn run(directory: &Path, command: &Inspect) -> Exit {
    let _watch = super::waiting::Watch::begin();
    match inspect(directory, command) {
        Ok(inspection) if inspection.is_blocked() => Exit::Blocked,
        Ok(_) => Exit::Success,
        Err(diagnostic) => {
            terminal::print_diagnostic(&diagnostic, command.json);
            Exit::Failure
        }
    }
}

fn inspect(directory: &Path, command: &Inspect) -> Result<Inspection, Diagnostic> {
    command.machine.kind()?;
    let disks = command.machine.disks(directory)?;
    let request = command.machine.request(directory, disks, false)?;
    let mut report = run_sandbox(&request, None).map_err(|error| error.diagnostic())?.report;
    command.machine.allow(&mut report);
    let inspection = command.machine.inspection(report)?;
    terminal::print(&match command.json {
        true => json(&inspection)?,
        false => render_inspection(&inspection, terminal::stdout_look()),
    });
    Ok(inspection)
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
