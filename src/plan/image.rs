//! What happens to a machine's image and the snapshots it is made of.
//!
//! They are made when an instance is launched by `image` (or would be, with `state = "stopped"`),
//! of volumes that are at rest; they stay as they are while the instance lives.

use std::collections::{BTreeMap, BTreeSet};

use super::attributes::Table;
use super::{Action, AttributeChange, Change, ImagePlan, Reason, SnapshotPlan, Step, instance, volume};
use crate::model::{Address, DesiredState, Digest, InstanceAddress, LaunchMethod, Part};
use crate::observe::{Inspection, Machine, MachineDisk, Reality};
use crate::provider::{ImageState, SnapshotState, VolumeShape};
use crate::state::{ImageDisk, ImageResource, Resource, SnapshotResource, State, VolumeResource};

/// What was decided for an image and its snapshots.
#[derive(Debug, Default)]
pub struct Decision {
    /// For the reviewer.
    pub changes: Vec<Change>,
    /// Ends of old ones.
    pub destroy: Vec<(Address, Step)>,
    /// New ones.
    pub make: Vec<(Address, Step)>,
}

/// What the decision depends on.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// The machine.
    pub machine: &'a Machine,
    /// The state.
    pub state: &'a State,
    /// The provider's side.
    pub reality: &'a Reality,
    /// Whether an instance is launched.
    pub launches: bool,
    /// Whether there is an instance that stays.
    pub exists: bool,
    /// Disks whose volumes are made or written anew.
    pub rewritten: BTreeSet<String>,
}

/// The image of the state, when there is one.
#[must_use]
pub fn of_state<'a>(state: &'a State, instance: &InstanceAddress) -> Option<&'a ImageResource> {
    match state.resources.get(&instance.part(Part::Image)) {
        Some(Resource::Image(image)) => Some(image),
        _ => None,
    }
}

/// Digest of what a volume is: a snapshot of it is of just that.
#[must_use]
pub fn content(volume: &VolumeResource) -> Digest {
    // A record of the state is always JSON; if it were not, the snapshot would be taken again.
    Digest::of_json(&(volume.size, &volume.write, &volume.drivers)).unwrap_or(Digest([0; 32]))
}

fn snapshot_table(snapshot: &SnapshotResource) -> Table {
    let mut table = Table::default();
    table.set("id", Some(snapshot.id.0.as_str()));
    table.set("volume_id", Some(snapshot.volume_id.0.as_str()));
    table.set("prevent_destroy", snapshot.prevent_destroy.then_some(true));
    table.set_tags(&snapshot.tags);
    table
}

fn image_table(image: &ImageResource) -> Table {
    let mut table = Table::default();
    table.set("id", Some(image.id.0.as_str()));
    table.set("architecture", serde_json::to_value(image.architecture).ok());
    table.set("boot_mode", Some(image.boot_mode.as_str()));
    table.set("disks", Some(image.disks.iter().map(|disk| disk.name.clone()).collect::<Vec<_>>()));
    table.set("prevent_destroy", image.prevent_destroy.then_some(true));
    table.set_tags(&image.tags);
    table
}

fn wanted_image_table(plan: &ImagePlan) -> Table {
    let mut table = Table::default();
    table.set_unknown("id");
    table.set("architecture", serde_json::to_value(plan.architecture).ok());
    table.set("boot_mode", Some(plan.boot_mode.as_str()));
    table.set("disks", Some(plan.disks.iter().map(|disk| disk.name.clone()).collect::<Vec<_>>()));
    table.set("prevent_destroy", plan.prevent_destroy.then_some(true));
    match &plan.tags {
        Some(tags) => table.set_tags(tags),
        None => table.set_unknown("tags"),
    }
    table
}

fn wanted_snapshot_table(plan: &SnapshotPlan, volume: Option<&VolumeResource>) -> Table {
    let mut table = Table::default();
    table.set_unknown("id");
    match volume {
        Some(volume) => table.set("volume_id", Some(volume.id.0.as_str())),
        None => table.set_unknown("volume_id"),
    }
    table.set("prevent_destroy", plan.prevent_destroy.then_some(true));
    match &plan.tags {
        Some(tags) => table.set_tags(tags),
        None => table.set_unknown("tags"),
    }
    table
}

/// The attributes of a snapshot that is destroyed.
#[must_use]
pub fn removed_snapshot(snapshot: &SnapshotResource) -> Vec<AttributeChange> {
    snapshot_table(snapshot).removed(&BTreeSet::new())
}

/// The attributes of an image that is taken away.
#[must_use]
pub fn removed(image: &ImageResource) -> Vec<AttributeChange> {
    image_table(image).removed(&BTreeSet::new())
}

/// The image that a machine wants.
fn wanted(around: &Surroundings<'_>) -> ImagePlan {
    let machine = around.machine;
    let plan = instance::wanted(machine, around.reality);
    let (mut architecture, mut boot_mode) = (plan.architecture, plan.boot_mode);
    let address = &machine.spec.address;
    let recorded = instance::of_state(around.state, address)
        .map(|instance| (instance.architecture, instance.boot_mode))
        .or(of_state(around.state, address).map(|image| (image.architecture, image.boot_mode)));
    if let (false, Some((was, mode))) = (matches!(machine.inspection, Inspection::Done(_)), recorded) {
        // Nobody looked into the guest again; it is what it was.
        (architecture, boot_mode) = (was, machine.spec.launch.boot_mode.unwrap_or(mode));
    }
    let zone = &around.reality.access_node.zone;
    let disks = machine.disks.iter().map(|disk| {
        let volume = volume::wanted(machine, disk, zone);
        let shape = VolumeShape {
            size: volume.size,
            volume_type: volume.volume_type,
            iops: volume.iops,
            throughput: volume.throughput,
            delete_on_termination: volume.delete_on_termination,
        };
        ImageDisk { name: disk.spec.name.clone(), shape }
    });
    let knows_tags = !machine.spec.unknown.iter().any(|path| path.starts_with("tags"));
    ImagePlan {
        architecture,
        boot_mode,
        disks: disks.collect(),
        tags: knows_tags.then(|| machine.spec.tags.clone()),
        prevent_destroy: machine.spec.lifecycle.prevent_destroy,
    }
}

/// Why a snapshot cannot be what an image is made of now; `None`: it can.
fn stale(around: &Surroundings<'_>, disk: &MachineDisk, snapshot: &SnapshotResource) -> Option<Reason> {
    let address = around.machine.spec.address.volume(disk.spec.name.as_str());
    let exists = around.reality.snapshots.get(&snapshot.id);
    if around.reality.refreshed && exists.is_none_or(|view| view.state == SnapshotState::Error) {
        return Some(Reason::DeletedOutside);
    }
    let wanted = volume::wanted(around.machine, disk, &around.reality.access_node.zone);
    let is_of = volume::of_state(around.state, &address).is_some_and(|volume| {
        volume.id == snapshot.volume_id
            && !volume.started
            && volume.size == wanted.size
            && content(volume) == snapshot.content
    });
    let fresh = is_of && !around.rewritten.contains(&disk.spec.name);
    (!fresh).then(|| Reason::SourceChanged { address: address.to_string() })
}

fn change(
    address: Address,
    action: Action,
    reasons: Vec<Reason>,
    attributes: Vec<AttributeChange>,
) -> Change {
    Change { address, action, reasons, attributes, unchanged: 0, notes: Vec::new() }
}

/// Decides what happens to a machine's image and its snapshots.
#[must_use]
pub fn decide(around: &Surroundings<'_>) -> Decision {
    let spec = &around.machine.spec;
    let wants = spec.launch.method == LaunchMethod::Image && spec.state != DesiredState::Standby;
    let needed = wants && (around.launches || !around.exists);
    let mut decision = Decision::default();
    let mut stand: BTreeMap<String, &SnapshotResource> = BTreeMap::new();
    for (address, resource) in around.state.resources.iter().filter(|(at, _)| at.instance == spec.address) {
        let Resource::Snapshot(snapshot) = resource else { continue };
        let name = address.part.disk().unwrap_or_default();
        let disk = around.machine.disks.iter().find(|disk| disk.spec.name == name).filter(|_| wants);
        let end = match disk {
            None => Some((Action::Delete, Reason::NotConfigured)),
            Some(disk) if needed => stale(around, disk, snapshot).map(|reason| (Action::Replace, reason)),
            Some(_) => None,
        };
        let Some((action, reason)) = end else {
            stand.insert(name.to_owned(), snapshot);
            decision.changes.push(change(address.clone(), Action::NoOp, Vec::new(), Vec::new()));
            continue;
        };
        decision.destroy.push((address.clone(), Step::DeleteSnapshot { id: snapshot.id.clone() }));
        let attributes = removed_snapshot(snapshot);
        decision.changes.push(change(address.clone(), action, vec![reason], attributes));
    }
    if needed {
        for disk in around.machine.disks.iter().filter(|disk| !stand.contains_key(&disk.spec.name)) {
            make_snapshot(around, disk, &mut decision);
        }
    }
    decide_image(around, wants, needed, &stand, &mut decision);
    decision
}

fn make_snapshot(around: &Surroundings<'_>, disk: &MachineDisk, decision: &mut Decision) {
    let machine = around.machine;
    let name = disk.spec.name.clone();
    let volume_address = machine.spec.address.volume(name.as_str());
    let plan = SnapshotPlan {
        tags: volume::wanted(machine, disk, &around.reality.access_node.zone).tags,
        prevent_destroy: machine.spec.lifecycle.prevent_destroy,
    };
    let volume = volume::of_state(around.state, &volume_address)
        .filter(|_| !around.rewritten.contains(&disk.spec.name));
    let address = machine.spec.address.part(Part::Snapshot(name));
    let after = wanted_snapshot_table(&plan, volume);
    match decision.changes.iter_mut().find(|change| change.address == address) {
        Some(replaced) => {
            if let Some(Resource::Snapshot(old)) = around.state.resources.get(&address) {
                let changed = snapshot_table(old).changed(&after, &[], &machine.spec.sensitive);
                (replaced.attributes, replaced.unchanged) = changed;
            }
        }
        None => decision.changes.push(change(
            address.clone(),
            Action::Create,
            vec![Reason::New],
            after.created(&machine.spec.sensitive),
        )),
    }
    decision.make.push((address, Step::Snapshot(Box::new(plan))));
}

fn decide_image(
    around: &Surroundings<'_>,
    wants: bool,
    needed: bool,
    stand: &BTreeMap<String, &SnapshotResource>,
    decision: &mut Decision,
) {
    let spec = &around.machine.spec;
    let address = spec.address.part(Part::Image);
    let recorded = of_state(around.state, &spec.address);
    let plan = wanted(around);
    let reason = match recorded {
        None if needed => Some(Reason::New),
        None => return,
        Some(_) if !wants => Some(Reason::NotConfigured),
        Some(image) if needed => stale_image(around, image, &plan, stand),
        Some(_) => None,
    };
    let Some(reason) = reason else {
        decision.changes.push(change(address, Action::NoOp, Vec::new(), Vec::new()));
        return;
    };
    if let Some(image) = recorded {
        decision.destroy.push((address.clone(), Step::DeregisterImage { id: image.id.clone() }));
    }
    let after = wanted_image_table(&plan);
    let (action, attributes) = match recorded {
        None => (Action::Create, after.created(&spec.sensitive)),
        Some(image) if needed => {
            (Action::Replace, image_table(image).changed(&after, &[], &spec.sensitive).0)
        }
        Some(image) => (Action::Delete, removed(image)),
    };
    decision.changes.push(change(address.clone(), action, vec![reason], attributes));
    if needed {
        decision.make.push((address, Step::RegisterImage(Box::new(plan))));
    }
}

/// Why an image cannot be launched from now; `None`: it can.
fn stale_image(
    around: &Surroundings<'_>,
    image: &ImageResource,
    plan: &ImagePlan,
    stand: &BTreeMap<String, &SnapshotResource>,
) -> Option<Reason> {
    let view = around.reality.images.get(&image.id);
    if around.reality.refreshed && view.is_none_or(|view| view.state == ImageState::Failed) {
        return Some(Reason::DeletedOutside);
    }
    let replaced = plan.disks.iter().find(|disk| {
        stand.get(&disk.name).is_none_or(|snapshot| image.snapshots.get(&disk.name) != Some(&snapshot.id))
    });
    if let Some(disk) = replaced {
        let address = around.machine.spec.address.part(Part::Snapshot(disk.name.clone()));
        return Some(Reason::Replaced { address: address.to_string() });
    }
    let is = (&image.architecture, &image.boot_mode, &image.disks);
    (is != (&plan.architecture, &plan.boot_mode, &plan.disks))
        .then(|| Reason::CannotChangeInPlace { attribute: "what an image is made of".to_owned() })
}
