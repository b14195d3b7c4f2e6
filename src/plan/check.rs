//! What a machine asks for that cannot be: found before anything is made.

use std::collections::BTreeSet;

use super::guest::prepared;
use super::{fit, instance, platform};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::guest::report::{Finding, FindingSeverity};
use crate::model::{Bytes, DesiredState, DriversPolicy, GIB, InstanceSpec, LaunchMethod};
use crate::observe::{Inspection, Machine, MachineDisk, Reality};
use crate::state::State;
use crate::state::format::v1::LaunchPhase;

/// Everything that is wrong or doubtful with a machine.
#[must_use]
pub fn check(
    machine: &Machine,
    state: &State,
    reality: &Reality,
    slots: usize,
    allow_missing: bool,
) -> Diagnostics {
    let mut found = Diagnostics::new();
    let spec = &machine.spec;
    if machine.disks.is_empty() {
        found.push(
            Diagnostic::error("plan::no_disks", "An instance without disks")
                .detail(format!(
                    "{} has neither an image nor a disk block, so there is nothing to restore.",
                    spec.address
                ))
                .at(spec.span(""))
                .about(&spec.address)
                .help("name its image: image = \"backups/web.ova\""),
        );
    }
    for disk in &machine.disks {
        found.extend(disk_sizes(spec, disk));
        found.extend(volume_limits(spec, disk));
    }
    found.extend(same_images(machine));
    // Without any slot it is the access node that is to be mended, which is said once.
    let has_none = |found: &Diagnostic| found.code.as_str().ends_with("::no_free_slot");
    if !reality.preflight.iter().any(has_none) {
        found.extend(too_many_disks(machine, slots));
    }
    if spec.state != DesiredState::Standby {
        found.extend(instance_type(machine, reality));
    }
    found.extend(launch_method(machine, state, reality));
    found.extend(platform::mismatch(machine));
    found.extend(secrets(spec));
    let recorded = instance::of_state(state, &spec.address);
    if spec.state == DesiredState::Standby
        && recorded.is_some_and(|instance| instance.phase == LaunchPhase::Started)
    {
        found.push(
            Diagnostic::error("plan::started_standby", "A started instance cannot become a standby")
                .detail(format!(
                    "{} has started, so its volumes hold newer data than the backup. As a standby they would be overwritten by the next sync.",
                    spec.address
                ))
                .at(spec.span("state"))
                .about(&spec.address)
                .help("keep state = \"stopped\"")
                .help("or destroy it first, and restore it as a standby"),
        );
    }
    found.extend(guest(machine, allow_missing));
    found
}

/// What an image cannot be made of.
fn launch_method(machine: &Machine, state: &State, reality: &Reality) -> Option<Diagnostic> {
    let spec = &machine.spec;
    let is_windows = platform::known(machine, state, reality).as_deref() == Some("windows");
    (spec.launch.method == LaunchMethod::Image && is_windows).then(|| {
        Diagnostic::error("plan::launch_method", "A Windows guest cannot be launched by image")
            .detail(format!(
                "{} asks for launch {{ method = \"image\" }}, and its guest is Windows. EC2 makes Windows images only from instances: one that is registered from a snapshot counts as Linux, without Windows' licence and drivers.",
                spec.address
            ))
            .at(spec.span("launch.method"))
            .about(&spec.address)
            .help("use method = \"swap\", or leave it out")
    })
}

/// Sensitive values of an instance where they would be kept and shown.
pub fn secrets(spec: &InstanceSpec) -> impl Iterator<Item = Diagnostic> + use<'_> {
    spec.sensitive.iter().filter(|path| *path != "user_data").map(|path| sensitive(spec, path))
}

/// Everything but the user data is shown by EC2 to whoever may describe the instance, and must be
/// in plan and state to be compared (promise 8).
fn sensitive(spec: &InstanceSpec, path: &str) -> Diagnostic {
    Diagnostic::error("plan::sensitive_attribute", "A sensitive value where it would be kept and shown")
        .detail(format!(
            "{path} of {} comes from a sensitive value. EC2 shows it to everyone who may describe the instance, and Replant keeps it in the state.",
            spec.address
        ))
        .at(spec.span(path))
        .about(&spec.address)
        .help("put secrets into user_data, or let the guest fetch them when it is up")
        .help("if it is no secret: nonsensitive(…)")
}

/// Disks of one instance that are the same image: each filesystem is there twice under one UUID,
/// by which a guest's boot loader and fstab find it.
fn same_images(machine: &Machine) -> Option<Diagnostic> {
    let spec = &machine.spec;
    let mut seen = std::collections::BTreeMap::new();
    machine.disks.iter().find_map(|disk| {
        let facts = &disk.image.as_ref()?.facts;
        let first = seen.insert((facts.identity, &facts.member, &facts.snapshot), &disk.spec.name)?;
        let name = &disk.spec.name;
        Some(
            Diagnostic::warning("plan::same_image", "One image is restored as two disks of an instance")
                .detail(format!(
                    "Disks \"{first}\" and \"{name}\" of {} are both restored from {}. Their filesystems have equal UUIDs, by which the guest finds them: which of the two it boots from and mounts is chance.",
                    spec.address, facts.path
                ))
                .at(spec.span(&format!("disk.{name}.image")).or_else(|| spec.span("image")))
                .about(&spec.address)
                .help(format!("name the image that disk \"{name}\" was backed up to"))
                .help("or, to look at another copy of it, restore it as an instance of its own"),
        )
    })
}

fn disk_sizes(spec: &InstanceSpec, disk: &MachineDisk) -> Option<Diagnostic> {
    let path = format!("disk.{}.size", disk.spec.name);
    let Some(image) = &disk.image else {
        return disk.spec.size.is_none().then(|| {
            Diagnostic::error("plan::empty_disk_size", "An empty disk without a size")
                .detail(format!(
                    "Disk \"{}\" of {} has no image, so its size must be said.",
                    disk.spec.name, spec.address
                ))
                .at(spec.span(&path))
                .about(&spec.address)
                .help("add size = 10 (GiB), or an image")
        });
    };
    let size = Bytes(disk.volume_bytes());
    let least = Bytes(image.facts.size);
    if size < least {
        return Some(
            Diagnostic::error("plan::disk_smaller_than_image", "A disk smaller than its image")
                .detail(format!(
                    "Disk \"{}\" of {} is to be {size} ({} bytes), but {} holds a disk of {} bytes. Restoring it would cut off its end.",
                    disk.spec.name,
                    spec.address,
                    size.0,
                    image.facts.path,
                    least.0,
                ))
                .at(spec.span(&path))
                .about(&spec.address)
                .help(format!("set size = {} or more, or leave size out", least.gib_rounded_up())),
        );
    }
    // Less than a GiB more is only EBS's rounding.
    let larger = disk.spec.size.is_some() && disk.volume_bytes() - image.facts.size >= GIB;
    (larger && !disk.spec.grow).then(|| {
        Diagnostic::warning("plan::disk_larger_than_image", "A disk larger than its image, which does not grow")
            .detail(format!(
                "Disk \"{}\" of {} is to be {size}, its image is {least}. The guest will see the larger disk, but its partition and filesystem stay as they are.",
                disk.spec.name, spec.address
            ))
            .at(spec.span(&path))
            .about(&spec.address)
            .help("add grow = true to extend the last partition and its filesystem offline")
    })
}

/// What EBS does not make of a volume whose size the image says; of a size that the configuration
/// says, the configuration knows.
fn volume_limits(spec: &InstanceSpec, disk: &MachineDisk) -> Option<Diagnostic> {
    if disk.spec.size.is_some() || disk.image.is_none() {
        return None;
    }
    let (size, kind) = (disk.volume_gib(), disk.spec.volume_type);
    let limits = kind.limits();
    let (least, most) = limits.size;
    let path = |attribute: &str| spec.span(&format!("disk.{}.{attribute}", disk.spec.name));
    let name = kind.as_str();
    if size < least {
        return Some(
            Diagnostic::error("plan::volume_size", "A volume of a size that its type does not have")
                .detail(format!(
                    "Disk \"{}\" of {} gets {size} GiB from its image, and {name} volumes have {least} to {most} GiB.",
                    disk.spec.name, spec.address
                ))
                .at(path("type"))
                .about(&spec.address)
                .help(format!("set size = {least}, or use gp3")),
        );
    }
    if size > most {
        return Some(
            Diagnostic::error("plan::volume_size", "A volume of a size that its type does not have")
                .detail(format!(
                    "Disk \"{}\" of {} gets {size} GiB from its image, and {name} volumes have {least} to {most} GiB.",
                    disk.spec.name, spec.address
                ))
                .at(path("type"))
                .about(&spec.address)
                .help("use a type of larger volumes: gp3 and io2 have up to 65536 GiB"),
        );
    }
    let (iops, allowed) = (u64::from(disk.spec.iops?), limits.most_iops(size)?);
    (iops > allowed).then(|| {
        Diagnostic::error("plan::volume_iops", "A volume with more IOPS than its size allows")
            .detail(format!(
                "Disk \"{}\" of {} gets {size} GiB from its image, and {name} volumes have at most {} IOPS for each GiB: {allowed}, not {iops}.",
                disk.spec.name, spec.address, limits.iops_per_gib
            ))
            .at(path("iops"))
            .about(&spec.address)
            .help(format!(
                "use at most {allowed} IOPS, or size = {} or more",
                iops.div_ceil(limits.iops_per_gib.max(1))
            ))
    })
}

fn too_many_disks(machine: &Machine, slots: usize) -> Option<Diagnostic> {
    let wanted = machine.disks.iter().filter(|disk| disk.image.is_some()).count();
    (wanted > slots).then(|| {
        Diagnostic::error("plan::not_enough_slots", "More disks than the access node has slots")
            .detail(format!(
                "{} has {wanted} disks to write, which take their slots together so that its guest can be prepared; the access node has {slots} free.",
                machine.spec.address
            ))
            .at(machine.spec.span(""))
            .about(&machine.spec.address)
            .help("detach other volumes from the access node, raise its max_attachments, or use a larger one")
    })
}

fn instance_type(machine: &Machine, reality: &Reality) -> Vec<Diagnostic> {
    let spec = &machine.spec;
    let Some(facts) = reality.instance_types.get(&spec.instance_type) else {
        return vec![
            Diagnostic::error("plan::unknown_instance_type", "An instance type that does not exist")
                .detail(format!(
                    "{} wants \"{}\", which the provider does not offer.",
                    spec.address, spec.instance_type
                ))
                .at(spec.span("instance_type"))
                .about(&spec.address)
                .help("a type is a family and a size, as in \"m6i.large\" or \"t3.medium\""),
        ];
    };
    let wanted = instance::wanted(machine, reality);
    let shape = fit::shape(wanted.architecture, wanted.boot_mode, facts);
    let drivers = prepared(machine).and_then(|prepared| prepared.report.facts.as_ref());
    let drivers = drivers.map(|guest| fit::drivers(guest, facts)).unwrap_or_default();
    shape.into_iter().chain(drivers).map(|finding| misfit(spec, finding)).collect()
}

fn misfit(spec: &InstanceSpec, finding: Finding) -> Diagnostic {
    let diagnostic = match finding.severity {
        FindingSeverity::Blocks => Diagnostic::error(&finding.code, &finding.summary),
        FindingSeverity::Warns | FindingSeverity::Informs => {
            Diagnostic::warning(&finding.code, &finding.summary)
        }
    };
    let diagnostic = diagnostic
        .detail(format!("{}: {}.", spec.address, finding.evidence.join("; ")))
        .at(spec.span("instance_type"))
        .about(&spec.address);
    match finding.advice {
        Some(advice) => diagnostic.help(advice),
        None => diagnostic,
    }
}

fn guest(machine: &Machine, allow_missing: bool) -> Vec<Diagnostic> {
    match &machine.inspection {
        Inspection::Skipped => Vec::new(),
        Inspection::Failed(diagnostic) => {
            let mut diagnostic = (**diagnostic).clone().about(&machine.spec.address);
            // What cannot be read now cannot be restored later.
            if !diagnostic.code.as_str().starts_with("image::") {
                diagnostic = diagnostic.help(
                    "to restore the disk as it is, without looking into it: guest { drivers = \"none\" }",
                );
            }
            diagnostic.span = diagnostic.span.or_else(|| machine.spec.span("image"));
            vec![diagnostic]
        }
        Inspection::Done(prepared) => prepared
            .report
            .findings
            .iter()
            .filter(|finding| finding.severity == FindingSeverity::Blocks && finding.remedy.is_none())
            .map(|finding| blocking(machine, finding, allow_missing))
            .collect(),
    }
}

/// Findings of `guest` about what the user wants in it; the guest itself would come up.
const WISHES: [&str; 5] = [
    "file_not_placed",
    "file_owner_unknown",
    "first_boot_impossible",
    "hostname_impossible",
    "identity_impossible",
];
/// Findings of `guest` with which it comes up, and nobody reaches it.
const UNREACHABLE: [&str; 4] =
    ["ena_missing", "xen_netfront_missing", "windows_ena_missing", "windows_pv_missing"];
/// Findings of `guest` about components that nobody downloaded, without which it is expected to boot.
const MISSING: [&str; 2] = ["windows_ena_missing", "windows_pv_missing"];

/// Whether `--allow-missing` is about this finding.
#[must_use]
pub fn may_be_missing(finding: &Finding) -> bool {
    MISSING.contains(&word(finding))
}

/// A finding's code without its area.
fn word(finding: &Finding) -> &str {
    finding.code.split_once("::").map_or(finding.code.as_str(), |(_, word)| word)
}

fn blocking(machine: &Machine, finding: &Finding, allow_missing: bool) -> Diagnostic {
    let mut detail = format!("In the guest of {}: {}", machine.spec.address, finding.summary);
    for evidence in &finding.evidence {
        detail.push_str("\n  ");
        detail.push_str(evidence);
    }
    let code = word(finding);
    let is_wish = WISHES.contains(&code);
    // Of a guest that could not be made out there is nothing to go on with but the disks as they are.
    let is_known = prepared(machine).is_some_and(|prepared| prepared.report.facts.is_some());
    let is_configured = is_known && machine.spec.guest.accept.iter().any(|accepted| accepted == code);
    let is_allowed = allow_missing && may_be_missing(finding);
    let is_accepted = is_configured || is_allowed;
    let (summary, place) = if is_wish {
        ("What is wanted in the guest cannot be done", "guest")
    } else if UNREACHABLE.contains(&code) {
        ("The guest would not be reached on EC2", "image")
    } else {
        ("The guest would not come up on EC2", "image")
    };
    let diagnostic = if is_accepted {
        let by = if is_configured { "The configuration" } else { "--allow-missing" };
        detail.push_str(&format!("\n{by} accepts this finding."));
        Diagnostic::warning(&finding.code, summary)
    } else {
        Diagnostic::error(&finding.code, summary)
    };
    let mut diagnostic = diagnostic.detail(detail).at(machine.spec.span(place)).about(&machine.spec.address);
    if let Some(advice) = &finding.advice {
        diagnostic = diagnostic.help(advice.clone());
    }
    debug_assert_eq!(machine.spec.guest.drivers, DriversPolicy::Auto);
    if is_accepted {
        return diagnostic;
    }
    if may_be_missing(finding) {
        diagnostic = diagnostic.help("to go on without it in this run:\nreplant plan --allow-missing");
    }
    if is_known {
        diagnostic = diagnostic
            .help(format!("to go on all the same, knowing this: guest {{ accept = [\"{code}\"] }}"));
    }
    if is_wish {
        return diagnostic;
    }
    diagnostic.help("to restore the disk as it is all the same: guest { drivers = \"none\" }")
}

/// Two machines that ask for the same private address in the same subnet.
#[must_use]
pub fn same_addresses<'a>(machines: impl Iterator<Item = &'a Machine>, reality: &Reality) -> Diagnostics {
    let mut found = Diagnostics::new();
    let mut seen = std::collections::BTreeMap::new();
    for machine in machines.filter(|machine| machine.spec.state != DesiredState::Standby) {
        let plan = instance::wanted(machine, reality);
        let Some(address) = plan.private_ip else { continue };
        if let Some(first) = seen.insert((plan.subnet_id.clone(), address), &machine.spec.address) {
            found.push(
                Diagnostic::error("plan::same_private_ip", "Two instances with the same private address")
                    .detail(format!("{first} and {} both want {address}.", machine.spec.address))
                    .at(machine.spec.span("private_ip"))
                    .about(&machine.spec.address)
                    .help("give one of them another private_ip, or leave it out"),
            );
        }
    }
    found
}

/// Machines with more network interfaces than their types take.
#[must_use]
pub fn interfaces<'a>(machines: impl Iterator<Item = &'a Machine>, reality: &Reality) -> Diagnostics {
    let mut found = Diagnostics::new();
    for machine in machines.filter(|machine| machine.spec.state != DesiredState::Standby) {
        let options = &machine.spec.options;
        let count = options.network_interfaces.len() + usize::from(options.primary().is_none());
        let name = &machine.spec.instance_type;
        let most = reality.instance_types.get(name).and_then(|facts| facts.max_interfaces);
        let Some(most) = most.filter(|most| count > *most as usize) else { continue };
        found.push(
            Diagnostic::error("plan::too_many_interfaces", "More network interfaces than the type takes")
                .detail(format!("{} has {count}; {name} takes {most}.", machine.spec.address))
                .at(machine.spec.span("network_interface"))
                .about(&machine.spec.address)
                .help("remove one, or choose a larger type"),
        );
    }
    found
}

/// Machines with more disks than their types take. One that only stands by is no instance.
#[must_use]
pub fn disks<'a>(machines: impl Iterator<Item = &'a Machine>, reality: &Reality) -> Diagnostics {
    let mut found = Diagnostics::new();
    for machine in machines.filter(|machine| machine.spec.state != DesiredState::Standby) {
        let options = &machine.spec.options;
        let interfaces = options.network_interfaces.len() + usize::from(options.primary().is_none());
        let (name, count) = (&machine.spec.instance_type, machine.disks.len());
        let Some(facts) = reality.instance_types.get(name) else { continue };
        let Some(most) = facts.volumes_beside(interfaces).filter(|most| count > *most) else { continue };
        let beside = match facts.shares_limit && interfaces > 1 {
            true => format!(" beside {interfaces} network interfaces"),
            false => String::new(),
        };
        found.push(
            Diagnostic::error("plan::too_many_disks", "More disks than the instance type takes")
                .detail(format!("{} has {count} disks; {name} takes {most} volumes{beside}.", machine.spec.address))
                .at(machine.spec.span("instance_type"))
                .about(&machine.spec.address)
                .help("choose a type that takes more volumes:\naws ec2 describe-instance-types --query \"InstanceTypes[].[InstanceType,EbsInfo.MaximumEbsAttachments]\" --output table"),
        );
    }
    found
}

/// The addresses that `--target` or `--replace` names and nobody knows.
#[must_use]
pub fn unknown_addresses<T: std::fmt::Display + Ord>(
    named: &BTreeSet<T>,
    known: &BTreeSet<T>,
    option: &str,
) -> Diagnostics {
    let mut found = Diagnostics::new();
    for address in named.difference(known) {
        let text = address.to_string();
        let nearest = known
            .iter()
            .map(ToString::to_string)
            .min_by_key(|name| strsim::damerau_levenshtein(name, &text))
            .filter(|name| strsim::jaro(name, &text) > 0.8);
        let mut diagnostic = Diagnostic::error("plan::unknown_address", "An address that does not exist")
            .detail(format!(
                "{option} names {text}, which is neither in the configuration nor in the state."
            ));
        if let Some(nearest) = nearest {
            diagnostic = diagnostic.help(format!("did you mean {nearest}?"));
        }
        found.push(diagnostic);
    }
    found
}
