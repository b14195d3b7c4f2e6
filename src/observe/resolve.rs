//! From the configuration's instances to machines: images opened, guests inspected.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::brought;
use super::{DiskImage, Hardware, Inspection, Machine, MachineDisk, Pins, Prepared};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::image::{self, BlockSource, Format, ImageError};
use crate::model::{DiskSpec, DriversPolicy, ImageSpec, InstanceAddress, InstanceSpec};
use crate::state::ImageFacts;

/// Inspections at once: each is a sandbox of its own, and mostly computes.
const MOST_INSPECTIONS: usize = 4;

/// Whoever looks into guests.
pub trait Inspector: Sync {
    /// Looks into a machine's guest and computes its preparation.
    ///
    /// # Errors
    /// When no sandbox can be had, or the guest breaks it; findings are no errors.
    fn inspect(&self, machine: &Machine) -> Result<Prepared, Diagnostic>;
}

/// Opens the images of all instances and inspects the guests of those that `wants_inspection`.
///
/// An image of which no format is said is read as what `pins` has of it. Machines whose images cannot be opened are left out, each with a diagnostic.
pub fn resolve(
    specs: &BTreeMap<InstanceAddress, InstanceSpec>,
    pins: &Pins,
    inspector: &dyn Inspector,
    wants_inspection: &(dyn Fn(&Machine) -> bool + Sync),
) -> (BTreeMap<InstanceAddress, Machine>, Diagnostics) {
    let mut diagnostics = Diagnostics::new();
    let mut machines = Vec::new();
    for spec in specs.values() {
        match machine(spec, pins) {
            Ok(machine) => machines.push(machine),
            Err(found) => diagnostics.extend(found),
        }
    }
    inspect_all(&mut machines, inspector, wants_inspection);
    let machines = machines.into_iter().map(|machine| (machine.spec.address.clone(), machine)).collect();
    (machines, diagnostics)
}

fn inspect_all(
    machines: &mut [Machine],
    inspector: &dyn Inspector,
    wants_inspection: &(dyn Fn(&Machine) -> bool + Sync),
) {
    let wanted: Vec<usize> = (0..machines.len())
        .filter(|index| {
            let machine = &machines[*index];
            let has_content = machine.disks.iter().any(|disk| disk.image.is_some());
            machine.spec.guest.drivers == DriversPolicy::Auto && has_content && wants_inspection(machine)
        })
        .collect();
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::with_capacity(wanted.len()));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers = cores.min(MOST_INSPECTIONS).min(wanted.len());
    let (shared, list): (&[Machine], &[usize]) = (machines, &wanted);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(index) = list.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let inspection = match inspector.inspect(&shared[*index]) {
                        Ok(prepared) => Inspection::Done(Box::new(prepared)),
                        Err(diagnostic) => Inspection::Failed(Box::new(diagnostic)),
                    };
                    found.lock().unwrap_or_else(PoisonError::into_inner).push((*index, inspection));
                }
            });
        }
    });
    for (index, inspection) in found.into_inner().unwrap_or_else(PoisonError::into_inner) {
        machines[index].inspection = inspection;
    }
}

fn machine(spec: &InstanceSpec, pins: &Pins) -> Result<Machine, Diagnostics> {
    let mut hardware = None;
    let mut disks: Vec<MachineDisk> = Vec::new();
    if let Some(named) = &spec.image {
        let failed = |error: ImageError| at(error.diagnostic(), spec, "image");
        if let Some(appliance) = appliance(named, pins).map_err(failed)? {
            hardware = Some(Hardware {
                memory_mib: appliance.memory_mib,
                vcpus: appliance.vcpus,
                firmware: appliance.firmware,
                network_interfaces: appliance.nics.len(),
            });
            let unknown = brought::unknown_disks(spec, named, &appliance);
            if unknown.has_errors() {
                return Err(unknown);
            }
            for disk in &appliance.disks {
                let image = match &disk.file {
                    Some(_) => Some(open(named, pins, Some(&disk.id)).map_err(failed)?),
                    None => None,
                };
                let mut effective = DiskSpec::new(disk.name.as_str());
                if image.is_none() {
                    effective.size = Some(disk.capacity.div_ceil(crate::model::GIB).max(1));
                }
                disks.push(MachineDisk { spec: effective, image });
            }
        } else {
            let image = open(named, pins, None).map_err(failed)?;
            let takes = |disk: &DiskSpec| disk.image.is_none() && !disk.empty;
            let name = spec
                .disks
                .iter()
                .find(|disk| takes(disk) && disk.name == "root")
                .or_else(|| spec.disks.iter().find(|disk| takes(disk)))
                .map_or("root", |disk| disk.name.as_str());
            disks.push(MachineDisk { spec: DiskSpec::new(name), image: Some(image) });
        }
    }
    for disk in &spec.disks {
        let own = match &disk.image {
            Some(named) => Some(
                open(named, pins, None)
                    .map_err(|error| at(error.diagnostic(), spec, &format!("disk.{}.image", disk.name)))?,
            ),
            None => None,
        };
        match disks.iter_mut().find(|existing| existing.spec.name == disk.name) {
            Some(existing) if disk.empty && existing.image.is_some() => {
                return Err(brought::not_empty(spec, disk).into());
            }
            Some(existing) => {
                existing.image = own.or(existing.image.take());
                existing.spec = disk.clone();
            }
            None => disks.push(MachineDisk { spec: disk.clone(), image: own }),
        }
    }
    Ok(Machine { spec: spec.clone(), disks, hardware, inspection: Inspection::Skipped })
}

fn at(mut diagnostic: Diagnostic, spec: &InstanceSpec, path: &str) -> Diagnostics {
    diagnostic.span = diagnostic.span.or_else(|| spec.span(path));
    diagnostic.about(&spec.address).into()
}

/// The appliance behind an image, when it is one.
fn appliance(named: &ImageSpec, pins: &Pins) -> Result<Option<image::ova::Appliance>, ImageError> {
    let said = named.format.as_deref().map(|format| matches!(format, "ova" | "ovf"));
    let pinned = pins.get(&named.path).map(|format| matches!(format, Format::Ova | Format::Ovf));
    let looks = || named.path.has_extension("ova") || named.path.has_extension("ovf");
    // Where a format is pinned, opening it looks whether it still is that.
    if said.or(pinned.is_none().then(looks)) == Some(true) {
        return image::ova::read(&named.path).map(Some);
    }
    if said.or(pinned.filter(|is_appliance| !is_appliance)) == Some(false) {
        return Ok(None);
    }
    match image::open(&named.path, &options(named, pins, None)) {
        Err(ImageError::WhichMember { .. }) => image::ova::read(&named.path).map(Some),
        Err(error @ ImageError::FormatMoved { .. }) => Err(error),
        Ok(opened) if opened.identity().member.is_some() => image::ova::read(&named.path).map(Some),
        _ => Ok(None),
    }
}

fn options(named: &ImageSpec, pins: &Pins, member: Option<&str>) -> image::OpenOptions {
    image::OpenOptions {
        format: named.format.as_deref().and_then(|format| format.parse().ok()),
        member: member.map(str::to_owned),
        snapshot: named.snapshot.clone(),
        pinned: pins.get(&named.path),
    }
}

/// Opens one disk's image and takes what a plan needs of it.
fn open(named: &ImageSpec, pins: &Pins, member: Option<&str>) -> Result<DiskImage, ImageError> {
    let path = &named.path;
    let opened = image::open(path, &options(named, pins, member))?;
    let data_bytes = opened.data_bytes()?;
    let zero_bytes = opened.zero_bytes()?;
    let member = opened.identity().member.clone();
    let is_description = path.has_extension("ovf");
    let format = match (&member, named.format.as_deref()) {
        (Some(_), Some(said)) => said.to_owned(),
        (Some(_), None) if is_description => "ovf".to_owned(),
        (Some(_), None) => "ova".to_owned(),
        (None, _) => opened.format().to_string(),
    };
    Ok(DiskImage {
        facts: ImageFacts {
            path: path.clone(),
            member,
            snapshot: named.snapshot.clone(),
            format,
            size: opened.size(),
            identity: opened.identity().digest(),
        },
        description: opened.description().to_owned(),
        data_bytes,
        zero_bytes,
    })
}
