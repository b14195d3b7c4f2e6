//! A state made again from the tags of what exists: for a state that was lost, or one that is
//! older than the cloud.

use std::collections::{BTreeMap, BTreeSet};

use super::inventory::Inventory;
use super::{Machine, adopt};
use crate::model::{Address, Architecture, BootMode, Digest, InstanceAddress, Part};
use crate::provider::{
    InstanceId, InstanceState, InstanceTypeFacts, InstanceView, SnapshotId, TAG_ADDRESS, TAG_LAUNCHED,
    TagMap, VolumeId, VolumeView, user_tags,
};
use crate::state::format::v1::LaunchPhase;
use crate::state::{
    ImageResource, InstanceResource, Resource, SnapshotResource, State, StateChange, VolumeResource,
};

/// What a rebuilt state has that the old one has not.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rebuilt {
    /// How the state changes.
    pub changes: Vec<StateChange>,
    /// What could not be told, and what was left out; a line each.
    pub notes: Vec<String>,
}

/// What is known beside the cloud's own resources.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// The state as it is, maybe empty.
    pub state: &'a State,
    /// The configuration's machines.
    pub machines: &'a BTreeMap<InstanceAddress, Machine>,
    /// Facts of the instance types that were found.
    pub types: &'a BTreeMap<String, InstanceTypeFacts>,
    /// The access node.
    pub access_node: &'a InstanceId,
}

/// Compares what exists with the state.
#[must_use]
pub fn rebuild(inventory: &Inventory, ground: Ground<'_>) -> Rebuilt {
    let mut rebuilt = Rebuilt::default();
    let volumes = by_address(
        inventory.volumes.iter().map(|view| (&view.tags, &view.id.0, view)),
        |part| matches!(part, Part::Volume(_)),
        &mut rebuilt.notes,
    );
    let instances = by_address(
        inventory.instances.iter().map(|view| (&view.tags, &view.id.0, view)),
        |part| *part == Part::Instance,
        &mut rebuilt.notes,
    );
    let all: BTreeMap<&VolumeId, &VolumeView> =
        inventory.volumes.iter().map(|view| (&view.id, view)).collect();
    for (address, found) in &volumes {
        let recorded = match ground.state.resources.get(address) {
            Some(Resource::Volume(recorded)) => Some(&**recorded),
            _ => None,
        };
        let exists = |id: &VolumeId| all.contains_key(id);
        let Some(view) = chosen(address, found, recorded.map(|r| &r.id), exists, &mut rebuilt.notes) else {
            continue;
        };
        let resource = volume(address, view, recorded, &instances, ground);
        if !resource.started && resource.write.is_none() {
            rebuilt.notes.push(format!(
                "{address}: what is on {} is not known; unless an instance starts from it first, it is written anew",
                view.id
            ));
        }
        put(&mut rebuilt.changes, ground.state, address, Resource::Volume(Box::new(resource)));
    }
    let ids: BTreeSet<&InstanceId> = inventory.instances.iter().map(|view| &view.id).collect();
    for (address, found) in &instances {
        let recorded = match ground.state.resources.get(address) {
            Some(Resource::Instance(recorded)) => Some(&**recorded),
            _ => None,
        };
        let exists = |id: &InstanceId| ids.contains(id);
        let Some(view) = chosen(address, found, recorded.map(|r| &r.id), exists, &mut rebuilt.notes) else {
            continue;
        };
        let resource = instance(address, view, recorded, &all, &volumes, ground);
        put(&mut rebuilt.changes, ground.state, address, Resource::Instance(Box::new(resource)));
    }
    images(inventory, ground, &mut rebuilt);
    rebuilt
}

/// Images and the snapshots they are made of. What is in them nobody can tell any more: they are
/// known so that they are destroyed with their machine, and made anew when they are needed.
fn images(inventory: &Inventory, ground: Ground<'_>, rebuilt: &mut Rebuilt) {
    let nobody_knows = Digest([0; 32]);
    let addressed = |tags: &TagMap| tags.get(TAG_ADDRESS).and_then(|text| text.parse::<Address>().ok());
    let mut found: BTreeMap<Address, Resource> = BTreeMap::new();
    let mut of: BTreeMap<InstanceAddress, BTreeMap<String, SnapshotId>> = BTreeMap::new();
    for view in &inventory.snapshots {
        let Some(address) = addressed(&view.tags) else { continue };
        let Part::Snapshot(disk) = &address.part else { continue };
        of.entry(address.instance.clone()).or_default().insert(disk.clone(), view.id.clone());
        let resource = SnapshotResource {
            id: view.id.clone(),
            volume_id: view.volume_id.clone(),
            content: nobody_knows,
            tags: user_tags(&view.tags),
            prevent_destroy: false,
        };
        found.insert(address, Resource::Snapshot(Box::new(resource)));
    }
    for view in &inventory.images {
        let Some(address) = addressed(&view.tags).filter(|address| address.part == Part::Image) else {
            continue;
        };
        let resource = ImageResource {
            id: view.id.clone(),
            name: view.name.clone(),
            architecture: Architecture::X86_64,
            boot_mode: BootMode::LegacyBios,
            disks: Vec::new(),
            snapshots: of.get(&address.instance).cloned().unwrap_or_default(),
            tags: user_tags(&view.tags),
            prevent_destroy: false,
        };
        found.insert(address, Resource::Image(Box::new(resource)));
    }
    for (address, resource) in found {
        let recorded = ground.state.resources.get(&address);
        if recorded.is_none_or(|recorded| recorded.id() != resource.id()) {
            rebuilt.changes.push(StateChange::Put { address, resource });
        }
    }
}

/// Views under the addresses of their tags. A stub's own root carries its instance's address and
/// is no volume of the state.
fn by_address<'v, V>(
    views: impl Iterator<Item = (&'v TagMap, &'v String, &'v V)>,
    fits: impl Fn(&Part) -> bool,
    notes: &mut Vec<String>,
) -> BTreeMap<Address, Vec<&'v V>> {
    let mut found: BTreeMap<Address, Vec<&V>> = BTreeMap::new();
    for (tags, id, view) in views {
        match tags.get(TAG_ADDRESS).map(|text| text.parse::<Address>()) {
            Some(Ok(address)) if fits(&address.part) => found.entry(address).or_default().push(view),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => notes.push(format!("{id} does not say what it was made for: left out")),
        }
    }
    found
}

/// What has an id.
trait Identified {
    type Id: PartialEq + std::fmt::Display;
    fn id(&self) -> &Self::Id;
}

impl Identified for VolumeView {
    type Id = VolumeId;
    fn id(&self) -> &VolumeId {
        &self.id
    }
}

impl Identified for InstanceView {
    type Id = InstanceId;
    fn id(&self) -> &InstanceId {
        &self.id
    }
}

/// The one that an address means: what the state has, when that exists; else the only one there is.
fn chosen<'v, V: Identified>(
    address: &Address,
    found: &[&'v V],
    recorded: Option<&V::Id>,
    exists: impl Fn(&V::Id) -> bool,
    notes: &mut Vec<String>,
) -> Option<&'v V> {
    if let Some(id) = recorded.filter(|id| exists(id)) {
        return found.iter().copied().find(|view| view.id() == id);
    }
    match found {
        [one] => Some(one),
        several => {
            let ids: Vec<String> = several.iter().map(|view| view.id().to_string()).collect();
            notes.push(format!(
                "{address}: {} all say that they are it. Import the right one: replant import '{address}' ID",
                ids.join(", ")
            ));
            None
        }
    }
}

fn volume(
    address: &Address,
    view: &VolumeView,
    recorded: Option<&VolumeResource>,
    instances: &BTreeMap<Address, Vec<&InstanceView>>,
    ground: Ground<'_>,
) -> VolumeResource {
    let runs = |id: &InstanceId| {
        instances.values().flatten().any(|view| view.id == *id && view.state != InstanceState::Stopped)
    };
    let elsewhere = view
        .attachment
        .as_ref()
        .filter(|attachment| attachment.instance_id != *ground.access_node)
        .is_some_and(|attachment| {
            let known = instances.values().flatten().any(|view| view.id == attachment.instance_id);
            !known || runs(&attachment.instance_id)
        });
    // Whoever runs it may have written to it: nothing is ever lost by believing that.
    let started = view.tags.contains_key(TAG_LAUNCHED) || elsewhere;
    match recorded.filter(|recorded| recorded.id == view.id) {
        Some(recorded) => VolumeResource { started: recorded.started || started, ..recorded.clone() },
        None => {
            let machine = ground.machines.get(&address.instance);
            adopt::volume(view, machine, address.part.disk().unwrap_or_default(), started)
        }
    }
}

fn instance(
    address: &Address,
    view: &InstanceView,
    recorded: Option<&InstanceResource>,
    all: &BTreeMap<&VolumeId, &VolumeView>,
    volumes: &BTreeMap<Address, Vec<&VolumeView>>,
    ground: Ground<'_>,
) -> InstanceResource {
    let disk_of = |id: &VolumeId| {
        let found = volumes.iter().find(|(disk, views)| {
            disk.instance == address.instance && views.iter().any(|view| view.id == *id)
        });
        found.and_then(|(disk, _)| disk.part.disk().map(str::to_owned))
    };
    let root = view.volumes.get(&view.root_device);
    let restored = root.is_some_and(|id| disk_of(id).is_some());
    let phase = adopt::phase(view, root.and_then(|id| all.get(id).copied()), restored);
    if let Some(recorded) = recorded.filter(|recorded| recorded.id == view.id) {
        let phase = recorded.phase.max(phase);
        // That its first start failed is forgotten once it is known to have come further.
        let tainted = recorded.tainted && recorded.phase == LaunchPhase::Started;
        return InstanceResource { phase, tainted, ..recorded.clone() };
    }
    let machine = ground.machines.get(&address.instance);
    let mut disks: Vec<String> = adopt::in_order(view).iter().filter_map(|(_, id)| disk_of(id)).collect();
    let others = volumes.keys().filter(|disk| disk.instance == address.instance);
    let configured = machine.map(|m| m.disks.iter().map(|disk| disk.spec.name.clone()).collect::<Vec<_>>());
    let rest = configured
        .unwrap_or_default()
        .into_iter()
        .chain(others.filter_map(|disk| disk.part.disk().map(str::to_owned)));
    for name in rest {
        if !disks.contains(&name) {
            disks.push(name);
        }
    }
    let facts = ground.types.get(&view.instance_type);
    adopt::instance(view, facts, machine.map(|machine| &machine.spec), disks, phase)
}

fn put(changes: &mut Vec<StateChange>, state: &State, address: &Address, resource: Resource) {
    if state.resources.get(address) != Some(&resource) {
        changes.push(StateChange::Put { address: address.clone(), resource });
    }
}
