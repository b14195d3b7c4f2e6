//! What happens to one volume.

use std::collections::{BTreeMap, BTreeSet};

use super::attachment;
use super::attributes::{Table, drift};
use super::{Action, Change, Raised, Reason, Shown, Step, VolumePlan, VolumeUpdate};
use crate::diagnostic::Diagnostic;
use crate::model::{Address, Digest};
use crate::observe::{Machine, MachineDisk, Reality};
use crate::provider::{TagMap, VolumeState, VolumeView, user_tags};
use crate::state::{ImageFacts, InstanceResource, Resource, State, VolumeResource};

/// Attributes of a volume that cannot change in place.
pub const FORCING: [&str; 3] = ["encrypted", "kms_key_id", "zone"];

/// What was decided for a volume.
#[derive(Debug)]
pub struct Decision {
    /// For the reviewer.
    pub change: Change,
    /// The old volume's end.
    pub destroy: Option<Step>,
    /// Making or changing the volume.
    pub make: Option<Step>,
    /// Whether its content is written.
    pub write: bool,
    /// Whether its overlay is written even if its content stays.
    pub overlay: bool,
}

/// What a volume's decision depends on beside the volume.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// The machine.
    pub machine: &'a Machine,
    /// The state.
    pub state: &'a State,
    /// The provider's side.
    pub reality: &'a Reality,
    /// What `--replace` names.
    pub replace: &'a BTreeSet<Address>,
    /// Digest of the recipe that the guest shall have.
    pub recipe: Option<Digest>,
    /// Whether the machine's first start failed, so that its data is no loss.
    pub tainted: bool,
    /// Whether somebody else has started the instance.
    pub started_outside: bool,
    /// Why the whole machine is replaced.
    pub replaced: Option<&'a Reason>,
}

/// The tags that the configuration wants on a disk's volume; `None` while any is unknown.
fn wanted_tags(machine: &Machine, disk: &MachineDisk) -> Option<TagMap> {
    if machine.spec.unknown.iter().any(|path| path.starts_with("tags")) {
        return None;
    }
    let mut tags = machine.spec.tags.clone();
    tags.extend(disk.spec.tags.clone());
    Some(tags)
}

/// The volume that a disk wants.
#[must_use]
pub fn wanted(machine: &Machine, disk: &MachineDisk, zone: &str) -> VolumePlan {
    VolumePlan {
        zone: zone.to_owned(),
        size: disk.volume_gib(),
        volume_type: disk.spec.volume_type,
        iops: disk.spec.iops,
        throughput: disk.spec.throughput,
        // Whoever names a key wants it used; EC2 takes one only with `Encrypted` said.
        encrypted: disk.spec.encrypted.or(disk.spec.kms_key_id.is_some().then_some(true)),
        kms_key_id: disk.spec.kms_key_id.clone(),
        delete_on_termination: disk.spec.delete_on_termination,
        tags: wanted_tags(machine, disk),
        prevent_destroy: machine.spec.lifecycle.prevent_destroy,
        final_snapshot: disk.spec.final_snapshot,
        // An empty disk is not written.
        raised: disk
            .image
            .as_ref()
            .and(disk.spec.raised_at(disk.volume_gib()))
            .map(|(iops, throughput)| Raised { iops, throughput }),
    }
}

fn wanted_table(plan: &VolumePlan, machine: &Machine, disk: &MachineDisk, recipe: Option<Digest>) -> Table {
    let mut table = table(plan, disk.image.as_ref().map(|image| &image.facts), recipe);
    if plan.tags.is_none() {
        for path in machine.spec.unknown.iter().filter(|path| path.starts_with("tags")) {
            table.set_unknown(path);
        }
    }
    table
}

/// What a volume of the state is like.
#[must_use]
pub fn state_table(volume: &VolumeResource) -> Table {
    let settings = VolumePlan {
        zone: volume.zone.clone(),
        size: volume.size,
        volume_type: volume.volume_type,
        iops: volume.iops,
        throughput: volume.throughput,
        encrypted: volume.encrypted,
        kms_key_id: volume.kms_key_id.clone(),
        delete_on_termination: volume.delete_on_termination,
        tags: Some(volume.tags.clone()),
        prevent_destroy: volume.prevent_destroy,
        final_snapshot: volume.final_snapshot,
        raised: None,
    };
    let image = volume.write.as_ref().map(|write| &write.image);
    table(&settings, image, volume.drivers.as_ref().map(|drivers| drivers.recipe))
}

/// A volume's attributes, wanted or recorded: settings, content, preparation.
fn table(settings: &VolumePlan, image: Option<&ImageFacts>, recipe: Option<Digest>) -> Table {
    let mut table = Table::default();
    table.set("zone", Some(settings.zone.as_str()));
    table.set("size", Some(settings.size));
    table.set("type", Some(settings.volume_type.as_str()));
    table.set("iops", settings.iops);
    table.set("throughput", settings.throughput);
    table.set("encrypted", settings.encrypted);
    table.set("kms_key_id", settings.kms_key_id.as_deref());
    table.set("delete_on_termination", Some(settings.delete_on_termination));
    table.set("prevent_destroy", settings.prevent_destroy.then_some(true));
    table.set("final_snapshot", settings.final_snapshot);
    if let Some(tags) = &settings.tags {
        table.set_tags(tags);
    }
    if let Some(image) = image {
        let path = image.path.to_string();
        let name = image.member.as_ref().map_or_else(|| path.clone(), |member| format!("{path} ({member})"));
        let name = image
            .snapshot
            .as_ref()
            .map_or_else(|| name.clone(), |snapshot| format!("{name}, snapshot {snapshot}"));
        table.set("image", Some(name));
        table.set("image_identity", Some(image.identity.short()));
    }
    table.set("recipe", recipe.map(|recipe| recipe.short()));
    table
}

/// The state's record brought up to what the provider shows. What the configuration left to EC2
/// (`None`) stays so.
fn refreshed(
    volume: &VolumeResource,
    view: Option<&VolumeView>,
    instance: Option<&InstanceResource>,
) -> VolumeResource {
    let Some(view) = view else { return volume.clone() };
    let fate = attachment::fate(view.attachment.as_ref(), instance);
    VolumeResource {
        zone: view.zone.clone(),
        size: view.size,
        volume_type: view.volume_type,
        // What a volume has for the write is no drift.
        iops: if volume.raised { volume.iops } else { volume.iops.and(view.iops) },
        throughput: if volume.raised { volume.throughput } else { volume.throughput.and(view.throughput) },
        // Encryption never changes: what was not to be encrypted and is, is so because the account
        // encrypts by default, and a new volume would be too.
        encrypted: volume.encrypted.map(|asked| asked && view.encrypted),
        delete_on_termination: fate.unwrap_or(volume.delete_on_termination),
        tags: user_tags(&view.tags),
        ..volume.clone()
    }
}

/// The volume of the state, when there is one.
#[must_use]
pub fn of_state<'a>(state: &'a State, address: &Address) -> Option<&'a VolumeResource> {
    match state.resources.get(address) {
        Some(Resource::Volume(volume)) => Some(volume),
        _ => None,
    }
}

/// Whether two names are those of one key ("KeyId", KMS API Reference: a key's id, its ARN, an alias
/// or the alias's ARN). `keys`: which key an alias stands for.
fn is_same_key(one: &str, other: &str, keys: &BTreeMap<String, String>) -> bool {
    let id = |name: &str| {
        let key = keys.get(name).map_or(name, String::as_str);
        key.split_once(":key/").map_or(key, |(_, id)| id).to_owned()
    };
    id(one) == id(other)
}

pub(super) fn is_alive(view: &VolumeView) -> bool {
    !view.state.is_ending() && view.state != VolumeState::Error
}

/// Decides what happens to a disk's volume.
#[must_use]
pub fn decide(around: &Surroundings<'_>, disk: &MachineDisk) -> Decision {
    let address = around.machine.spec.address.volume(disk.spec.name.as_str());
    let plan = wanted(around.machine, disk, &around.reality.access_node.zone);
    let recipe = disk.image.as_ref().and(around.recipe);
    let after = wanted_table(&plan, around.machine, disk, recipe);
    let sensitive = disk_sensitive(around.machine, &disk.spec.name);
    let Some(recorded) = of_state(around.state, &address) else {
        return create(address, plan, &after, &sensitive, disk, Reason::New);
    };
    let view = around.reality.volumes.get(&recorded.id).filter(|view| is_alive(view));
    if around.reality.refreshed && view.is_none() {
        return create(address, plan, &after, &sensitive, disk, Reason::DeletedOutside);
    }
    Existing { around, disk, address, plan, after, sensitive, recorded, view }.decide()
}

/// A volume that holds newer data than the backup and shall become smaller: EBS cannot
/// ("ModifyVolume"), and a new one would lose that data. `--replace` says that it may.
#[must_use]
pub fn smaller(around: &Surroundings<'_>, disk: &MachineDisk) -> Option<Diagnostic> {
    let spec = &around.machine.spec;
    let address = spec.address.volume(disk.spec.name.as_str());
    let recorded = of_state(around.state, &address)?;
    let view = around.reality.volumes.get(&recorded.id).filter(|view| is_alive(view));
    if around.reality.refreshed && view.is_none() {
        return None;
    }
    let is = view.map_or(recorded.size, |view| view.size);
    let precious = (recorded.started || around.started_outside) && !around.tainted;
    let instance = spec.address.part(crate::model::Part::Instance);
    let asked = around.replace.contains(&address) || around.replace.contains(&instance);
    let wanted = disk.volume_gib();
    (wanted < is && precious && !asked && around.replaced.is_none()).then(|| {
        Diagnostic::error("plan::size_down", "A volume cannot become smaller")
            .detail(format!(
                "{address} has {is} GiB and is to have {wanted}. EBS only makes volumes larger, and a guest has run from this one: a new one would lose what it wrote."
            ))
            .at(spec.span(&format!("disk.{}.size", disk.spec.name)))
            .about(&address)
            .help(format!("set size = {is} or more"))
            .help(format!("to restore it anew from the image, and lose what was written since:\nreplant apply --replace '{address}'"))
    })
}

/// The sensitive paths of a disk, as paths of its volume.
fn disk_sensitive(machine: &Machine, disk: &str) -> BTreeSet<String> {
    let prefix = format!("disk.{disk}.");
    machine
        .spec
        .sensitive
        .iter()
        .filter_map(|path| {
            path.strip_prefix(&prefix).or_else(|| path.starts_with("tags").then_some(path.as_str()))
        })
        .map(str::to_owned)
        .collect()
}

fn create(
    address: Address,
    plan: VolumePlan,
    after: &Table,
    sensitive: &BTreeSet<String>,
    disk: &MachineDisk,
    reason: Reason,
) -> Decision {
    let mut after = after.clone();
    let mut notes = Vec::new();
    if let Some(raised) = plan.raised {
        after.set("restore_iops", Some(raised.iops));
        after.set("restore_throughput", Some(raised.throughput));
        notes.push(
            "its performance is raised for the write and lowered afterwards; EBS changes a volume up to four times in any 24 hours"
                .to_owned(),
        );
    }
    let change = Change {
        address,
        action: Action::Create,
        reasons: vec![reason],
        attributes: after.created(sensitive),
        unchanged: 0,
        notes,
    };
    Decision {
        change,
        destroy: None,
        make: Some(Step::CreateVolume(Box::new(plan))),
        write: disk.image.is_some(),
        overlay: disk.image.is_some(),
    }
}

/// A volume that exists.
struct Existing<'a> {
    around: &'a Surroundings<'a>,
    disk: &'a MachineDisk,
    address: Address,
    plan: VolumePlan,
    after: Table,
    sensitive: BTreeSet<String>,
    recorded: &'a VolumeResource,
    view: Option<&'a VolumeView>,
}

impl Existing<'_> {
    fn decide(self) -> Decision {
        let instance = super::instance::of_state(self.around.state, &self.address.instance);
        let now = refreshed(self.recorded, self.view, instance);
        let before = state_table(&self.said_as_is(&now));
        let drift = drift(&state_table(self.recorded).changed(&before, &[], &self.sensitive).0);
        let (attributes, unchanged) = before.changed(&self.after, &FORCING, &self.sensitive);
        let precious = (self.recorded.started || self.around.started_outside) && !self.around.tainted;
        if let Some(reasons) = self.replacement(&attributes, now.size) {
            return self.replace(reasons, attributes, unchanged, precious);
        }
        let mut reasons = Vec::new();
        let mut notes = Vec::new();
        let (write, overlay) = self.content(precious, &mut reasons, &mut notes);
        let shown: Vec<_> = attributes
            .into_iter()
            .filter(|change| {
                let is_content = matches!(change.path.as_str(), "image" | "image_identity" | "recipe");
                !is_content || (!precious && (write || (overlay && change.path == "recipe")))
            })
            .collect();
        let in_place: Vec<_> = shown
            .iter()
            .filter(|change| !matches!(change.path.as_str(), "image" | "image_identity" | "recipe"))
            .collect();
        if in_place.iter().any(|change| change.path == "size") && precious {
            notes.push(
                "the volume grows; its partitions and filesystems are the running guest's to grow".to_owned(),
            );
        }
        if !in_place.is_empty() {
            reasons
                .insert(0, drift.map_or(Reason::AttributesChanged, |what| Reason::ChangedOutside { what }));
        }
        // One that is written once more is lowered after that.
        let lowers = self.recorded.raised && !write;
        if lowers {
            reasons.push(Reason::Unfinished { missing: "its performance is not lowered again".to_owned() });
        }
        let make = (!in_place.is_empty() || lowers).then(|| {
            Step::UpdateVolume(Box::new(VolumeUpdate { id: self.recorded.id.clone(), to: self.plan.clone() }))
        });
        let action = if make.is_some() || write || overlay { Action::Update } else { Action::NoOp };
        Decision {
            change: Change { address: self.address, action, reasons, attributes: shown, unchanged, notes },
            destroy: None,
            make,
            write,
            overlay,
        }
    }

    /// What was left to EC2 has no "before"; saying now what it already is changes nothing.
    fn said_as_is(&self, now: &VolumeResource) -> VolumeResource {
        let kms_key_id = self.key_as_is(now);
        let Some(view) = self.view.filter(|_| !now.raised) else {
            return VolumeResource { kms_key_id, ..now.clone() };
        };
        let is = |recorded: Option<u32>, wanted: Option<u32>, has: Option<u32>| {
            recorded.or_else(|| wanted.filter(|wanted| has == Some(*wanted)))
        };
        VolumeResource {
            iops: is(now.iops, self.plan.iops, view.iops),
            throughput: is(now.throughput, self.plan.throughput, view.throughput),
            kms_key_id,
            ..now.clone()
        }
    }

    /// The recorded key, under the name that is wanted now when that names the same key: by its
    /// id, its ARN or an alias.
    fn key_as_is(&self, now: &VolumeResource) -> Option<String> {
        let is = self.view.and_then(|view| view.kms_key_id.as_ref()).or(now.kms_key_id.as_ref());
        let keys = &self.around.reality.keys;
        match (&self.plan.kms_key_id, is, &now.kms_key_id) {
            (Some(wanted), Some(is), _) if is_same_key(wanted, is, keys) => Some(wanted.clone()),
            (_, _, recorded) => recorded.clone(),
        }
    }

    /// Why the volume must be replaced, when it must.
    fn replacement(&self, attributes: &[super::AttributeChange], size: u64) -> Option<Vec<Reason>> {
        let mut reasons = Vec::new();
        let instance = self.address.instance.part(crate::model::Part::Instance);
        if self.around.replace.contains(&self.address) || self.around.replace.contains(&instance) {
            reasons.push(Reason::AskedToReplace);
        }
        reasons.extend(self.around.replaced.cloned());
        for change in attributes.iter().filter(|change| change.forces_replacement) {
            // What was left to EC2 has no "before"; saying now what it already is forces nothing.
            let said_as_is = match (change.path.as_str(), self.view) {
                ("encrypted", Some(view)) => change.after == Some(Shown::Value(view.encrypted.into())),
                ("kms_key_id", Some(view)) => {
                    change.after == view.kms_key_id.as_ref().map(|key| Shown::Value(key.as_str().into()))
                }
                _ => false,
            };
            if !said_as_is && change.after.is_some() {
                reasons.push(Reason::CannotChangeInPlace { attribute: change.path.clone() });
            }
        }
        if self.plan.size < size {
            reasons.push(Reason::CannotChangeInPlace { attribute: "a smaller size".to_owned() });
        }
        (!reasons.is_empty()).then_some(reasons)
    }

    fn replace(
        self,
        reasons: Vec<Reason>,
        mut attributes: Vec<super::AttributeChange>,
        unchanged: usize,
        precious: bool,
    ) -> Decision {
        let final_snapshot = self.plan.final_snapshot.or(self.recorded.final_snapshot).unwrap_or(precious);
        let mut notes = Vec::new();
        if precious {
            let snapshot = if final_snapshot {
                "a final snapshot is taken first"
            } else {
                "no final snapshot is taken, because final_snapshot = false"
            };
            notes.push(format!(
                "everything the guest wrote to {} since its restore is lost; {snapshot}",
                self.recorded.id
            ));
        }
        let smaller = self.plan.size < self.recorded.size;
        for change in &mut attributes {
            change.forces_replacement |= smaller && change.path == "size";
        }
        Decision {
            change: Change {
                address: self.address,
                action: Action::Replace,
                reasons,
                attributes,
                unchanged,
                notes,
            },
            destroy: Some(Step::DeleteVolume { id: self.recorded.id.clone(), final_snapshot }),
            write: self.disk.image.is_some(),
            overlay: self.disk.image.is_some(),
            make: Some(Step::CreateVolume(Box::new(self.plan))),
        }
    }

    /// Whether the `guest` block differs from the one that the root volume was prepared for. Guests
    /// that have started are not inspected, so that this is all there is to tell.
    fn wants_other_changes(&self) -> bool {
        let is_root =
            self.around.machine.disks.first().is_some_and(|root| root.spec.name == self.disk.spec.name);
        let had = self.recorded.drivers.as_ref().and_then(|drivers| drivers.wanted);
        is_root && had != self.around.machine.spec.guest.changes.digest()
    }

    /// Whether content and overlay are written, with the reasons.
    fn content(&self, precious: bool, reasons: &mut Vec<Reason>, notes: &mut Vec<String>) -> (bool, bool) {
        let Some(image) = &self.disk.image else { return (false, false) };
        let recipe = self.around.recipe;
        let same_image = self.recorded.write.as_ref().map(|write| {
            write.image.identity == image.facts.identity && write.image.member == image.facts.member
        });
        let same_recipe = self.recorded.drivers.as_ref().map(|drivers| drivers.recipe) == recipe;
        if precious {
            if same_image == Some(false) {
                notes.push(format!(
                    "the image changed since this volume was written; it is not written again, because its instance has started ({})",
                    "lifecycle { replace_on_image_change = true } or --replace restores it anew"
                ));
            } else if self.wants_other_changes() {
                notes.push(
                    "the guest block does not want what it wanted when this volume was written; nothing is changed in the guest, because it has started (--replace restores it anew)"
                        .to_owned(),
                );
            } else if !same_recipe && recipe.is_some() {
                notes.push(
                    "the guest's preparation would differ now; it is not repeated, because its instance has started"
                        .to_owned(),
                );
            }
            return (false, false);
        }
        match same_image {
            None => {
                reasons.push(Reason::Unfinished { missing: "its content is not written".to_owned() });
                (true, true)
            }
            Some(false) => {
                reasons.push(Reason::ImageChanged);
                (true, true)
            }
            Some(true) if self.around.tainted => {
                reasons.push(Reason::Tainted);
                (true, true)
            }
            Some(true) if self.recorded.drivers.is_none() && recipe.is_some() => {
                reasons.push(Reason::Unfinished { missing: "its drivers are not injected".to_owned() });
                (false, true)
            }
            Some(true) if !same_recipe => {
                reasons.push(Reason::RecipeChanged);
                (true, true)
            }
            Some(true) => (false, false),
        }
    }
}

/// The attributes of a volume that is destroyed.
#[must_use]
pub fn removed(volume: &VolumeResource) -> Vec<super::AttributeChange> {
    let mut table = state_table(volume);
    table.set("id", Some(volume.id.0.as_str()));
    table.removed(&BTreeSet::new())
}
