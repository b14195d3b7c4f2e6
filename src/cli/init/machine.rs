//! What is known of a machine from its images.

use std::path::Path;

use crate::cli::image_arguments::{FormatArgument, ImageArguments};
use crate::cli::inspect::{HypervisorArgument, MachineArguments, NetworkArgument};
use crate::diagnostic::Diagnostic;
use crate::guest::report::{Finding, GuestFacts};
use crate::image::{self, BlockSource, Format, OpenOptions, ova};
use crate::model::{Architecture, Location};
use crate::plan::fit;
use crate::provider::InstanceTypeFacts;
use crate::provider::local::instance_type;
use crate::sandbox::run as run_sandbox;

/// Families of instance types by architecture, those with less memory for each processor first.
const X86: [&str; 3] = ["c6i", "m6i", "r6i"];
const ARM: [&str; 3] = ["c6g", "m6g", "r6g"];
const SIZES: [&str; 8] =
    ["large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "24xlarge"];
/// For a machine of which nothing says how large it is.
const USUAL: (u32, u64) = (2, 8 << 10);

/// A machine to write down.
#[derive(Debug)]
pub struct Machine {
    /// Its name in the configuration.
    pub name: String,
    /// Its images as the configuration names them, the root disk's first; of an appliance only that.
    pub images: Vec<Location>,
    /// Its disks, the root first.
    pub disks: Vec<Disk>,
    /// What its appliance says it is: processors, MiB.
    pub hardware: Option<(Option<u32>, Option<u64>)>,
    /// The type that is as large as that.
    pub instance_type: InstanceTypeFacts,
    /// What its guest is.
    pub guest: Guest,
}

/// One disk.
#[derive(Debug)]
pub struct Disk {
    /// Its name: the appliance's, else by its place.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Whether it has an image.
    pub has_content: bool,
    /// Whether the image is raw, which must be said of it.
    pub is_raw: bool,
}

/// What is known of a guest.
#[derive(Debug)]
pub enum Guest {
    /// It was looked at.
    Known(Box<GuestFacts>, Vec<Finding>),
    /// There is no system that Replant knows.
    Unknown,
    /// It could not be looked at.
    Unseen(Box<Diagnostic>),
}

/// Opens a machine's images, and looks at its guest.
///
/// # Errors
/// When an image cannot be opened or is damaged.
pub fn examine(directory: &Path, name: &str, images: Vec<Location>) -> Result<Machine, Diagnostic> {
    let mut hardware = None;
    let mut disks = Vec::new();
    for (index, named) in images.iter().enumerate() {
        let place = named.clone().within(directory);
        let by_place = if index == 0 { "root".to_owned() } else { format!("data{index}") };
        let failed = |error: image::ImageError| error.diagnostic();
        let appliance = match image::open(&place, &OpenOptions::default()) {
            Ok(opened) if opened.identity().member.is_none() => {
                let (size, is_raw) = (opened.size(), opened.format() == Format::Raw);
                disks.push(Disk { name: by_place, size, has_content: true, is_raw });
                continue;
            }
            Ok(_) | Err(image::ImageError::WhichMember { .. }) => ova::read(place.clone()).map_err(failed)?,
            Err(error) => return Err(failed(error)),
        };
        if images.len() > 1 {
            return Err(Diagnostic::error("init::appliance", "An appliance is among the disks of a machine")
                .detail(format!("{named} is an appliance, and by its name a disk of {name}."))
                .help("write a configuration from it alone:\nreplant init IMAGE"));
        }
        hardware = Some((appliance.vcpus, appliance.memory_mib));
        for disk in appliance.disks {
            let options = OpenOptions::default().member(disk.id.as_str());
            let size = match &disk.file {
                Some(_) => image::open(&place, &options).map_err(failed)?.size(),
                None => disk.capacity,
            };
            disks.push(Disk { name: disk.name, size, has_content: disk.file.is_some(), is_raw: false });
        }
    }
    let arguments = arguments(&images);
    let (guest, architecture) = match look(directory, &arguments)? {
        Guest::Known(facts, findings) => {
            let architecture = facts.architecture;
            (Guest::Known(facts, findings), architecture)
        }
        other => (other, Architecture::X86_64),
    };
    let (vcpus, memory) = hardware.unwrap_or_default();
    let wanted = (vcpus.unwrap_or(USUAL.0), memory.unwrap_or(USUAL.1));
    let instance_type = sized(architecture, wanted).ok_or_else(|| {
        Diagnostic::error("init::no_type", "No instance type is known for this machine")
            .detail(format!("{} processors and {} MiB.", wanted.0, wanted.1))
            .help("write its instance block by hand, with a type of EC2's that is as large")
    })?;
    let mut machine = Machine { name: name.to_owned(), images, disks, hardware, instance_type, guest };
    if let Guest::Known(facts, findings) = &mut machine.guest {
        findings.extend(fit::judge(facts, &machine.instance_type));
    }
    Ok(machine)
}

fn arguments(images: &[Location]) -> MachineArguments {
    MachineArguments {
        images: images.to_vec(),
        reading: ImageArguments { format: FormatArgument(None), member: None, snapshot: None },
        instance_type: None,
        hypervisor: HypervisorArgument::Nitro,
        network: NetworkArgument::Dhcp,
        components: None,
        allow_missing: false,
        accept: Vec::new(),
        memory: 512,
    }
}

/// Looks at a guest as `inspect` does. That it cannot be looked at is no reason not to write its
/// configuration, but that its image is damaged is.
fn look(directory: &Path, arguments: &MachineArguments) -> Result<Guest, Diagnostic> {
    let disks = arguments.disks(directory)?;
    let request = arguments.request(directory, disks, false)?;
    Ok(match run_sandbox(&request, None) {
        Ok(outcome) => match outcome.report.facts {
            Some(facts) => Guest::Known(Box::new(facts), outcome.report.findings),
            None => Guest::Unknown,
        },
        Err(error) => {
            let diagnostic = error.diagnostic();
            if diagnostic.code.as_str().starts_with("image::") {
                return Err(diagnostic);
            }
            Guest::Unseen(Box::new(diagnostic))
        }
    })
}

/// The smallest type with as many processors and as much memory; the largest, when none has.
fn sized(architecture: Architecture, wanted: (u32, u64)) -> Option<InstanceTypeFacts> {
    let families = if architecture == Architecture::Arm64 { ARM } else { X86 };
    let names = families.iter().flat_map(|family| SIZES.map(|size| format!("{family}.{size}")));
    let types: Vec<InstanceTypeFacts> = names.filter_map(|name| instance_type(&name)).collect();
    let size = |facts: &InstanceTypeFacts| (facts.vcpus, facts.memory);
    let fits = |facts: &&InstanceTypeFacts| facts.vcpus >= wanted.0 && facts.memory >= wanted.1;
    let smallest = types.iter().filter(fits).min_by_key(|facts| size(facts)).cloned();
    smallest.or_else(|| types.into_iter().max_by_key(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_as_large_as_the_machine() {
        let name = |architecture, wanted| sized(architecture, wanted).unwrap().name;
        for (wanted, expected) in [
            ((1, 512), "c6i.large"),
            ((2, 8 << 10), "m6i.large"),
            ((2, 16 << 10), "r6i.large"),
            ((2, 20 << 10), "r6i.xlarge"),
            ((6, 12 << 10), "c6i.2xlarge"),
            ((900, 1), "r6i.24xlarge"),
        ] {
            assert_eq!(name(Architecture::X86_64, wanted), expected);
        }
        assert_eq!(name(Architecture::Arm64, (4, 1)), "c6g.xlarge");
    }
}
