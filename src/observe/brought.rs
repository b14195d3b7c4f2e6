//! The disks that an appliance brings, and the disk blocks that name none of them.

use std::path::Path;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::image::ova::{Appliance, ApplianceDisk};
use crate::model::{Bytes, DiskSpec, ImageSpec, InstanceSpec};

/// Disk blocks without an image that name no disk of the appliance, and do not say that they are
/// empty: what such a block says would come true of a new volume with nothing on it, and not of the
/// data that it was meant for.
pub fn unknown_disks(spec: &InstanceSpec, image: &ImageSpec, appliance: &Appliance) -> Diagnostics {
    let is_known = |disk: &DiskSpec| appliance.disks.iter().any(|brought| brought.name == disk.name);
    let mut found = Diagnostics::new();
    for disk in spec.disks.iter().filter(|disk| disk.image.is_none() && !disk.empty && !is_known(disk)) {
        let mut diagnostic = Diagnostic::error("plan::unknown_disk", "A disk that the appliance does not have")
            .detail(format!(
                "Disk \"{}\" of {} names none of the disks that {} brings, and has no image of its own: it would be one more volume, with nothing on it. The appliance's disks:\n{}",
                disk.name,
                spec.address,
                image.path,
                listed(appliance)
            ))
            .at(spec.span(&format!("disk.{}", disk.name)).or_else(|| spec.span("image")))
            .about(&spec.address);
        if let Some(meant) = meant(&disk.name, appliance) {
            diagnostic = diagnostic.help(format!("did you mean disk \"{}\"?", meant.name));
        }
        found.push(diagnostic.help("for an additional, empty volume, say that and its size: empty = true"));
    }
    found
}

/// A block that says `empty = true` of a disk whose content the image brings.
pub fn not_empty(spec: &InstanceSpec, disk: &DiskSpec) -> Diagnostic {
    Diagnostic::error("plan::disk_not_empty", "A disk that is said to be empty, and is not")
        .detail(format!(
            "Disk \"{}\" of {} says empty = true, but the instance's image brings its content, which would not be restored.",
            disk.name, spec.address
        ))
        .at(spec.span(&format!("disk.{}.empty", disk.name)))
        .about(&spec.address)
        .help("remove empty = true to restore what the image holds")
        .help("or give the additional disk a name that the image does not bring")
}

/// A line for each disk: its name, size, and what the appliance calls it.
fn listed(appliance: &Appliance) -> String {
    let lines: Vec<String> = appliance
        .disks
        .iter()
        .map(|disk| {
            let file = disk.file.as_deref().unwrap_or("empty");
            format!("  {}: {}, {} ({file})", disk.name, Bytes(disk.capacity), disk.id)
        })
        .collect();
    lines.join("\n")
}

/// The disk that was probably meant: by a slip of the finger, or by what the appliance calls it
/// (`vmdisk1`, `erp-disk1.vmdk`).
fn meant<'a>(name: &str, appliance: &'a Appliance) -> Option<&'a ApplianceDisk> {
    let name = name.to_lowercase();
    let called = |disk: &ApplianceDisk| {
        let stem = disk.file.as_deref().and_then(|file| Path::new(file).file_stem()?.to_str());
        [Some(disk.id.as_str()), disk.file.as_deref(), stem]
            .into_iter()
            .flatten()
            .any(|other| other.to_lowercase().ends_with(&name))
    };
    let near = |disk: &ApplianceDisk| {
        name.len() <= 64 && strsim::damerau_levenshtein(&disk.name, &name) <= disk.name.chars().count() / 3
    };
    let one = |is_meant: &dyn Fn(&ApplianceDisk) -> bool| {
        let mut disks = appliance.disks.iter().filter(|disk| is_meant(disk));
        disks.next().filter(|_| disks.next().is_none())
    };
    one(&near).or_else(|| one(&called))
}
