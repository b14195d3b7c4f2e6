//! Records of the state for what exists already: `import`, and `state rebuild`.
//!
//! The provider tells less than a state holds. What it does not tell is taken from the
//! configuration, on the assumption that it was made from that; so the plan that follows shows
//! only differences that can be seen.

use std::collections::BTreeMap;

use super::Machine;
use crate::model::{Architecture, Digest, InstanceSpec};
use crate::provider::{
    InstanceState, InstanceTypeFacts, InstanceView, TAG_LAUNCHED, TAG_WORKSPACE, VolumeId, VolumeView,
    user_tags,
};
use crate::state::format::v1::LaunchPhase;
use crate::state::{InstanceResource, VolumeResource};

/// The record of an instance that exists. `disks`: its disks' names, the root first.
#[must_use]
pub fn instance(
    view: &InstanceView,
    facts: Option<&InstanceTypeFacts>,
    spec: Option<&InstanceSpec>,
    disks: Vec<String>,
    phase: LaunchPhase,
) -> InstanceResource {
    let configured = |value: Option<&String>| value.cloned();
    InstanceResource {
        id: view.id.clone(),
        phase,
        instance_type: view.instance_type.clone(),
        architecture: facts.map_or(Architecture::X86_64, |facts| facts.architecture),
        boot_mode: view.boot_mode,
        platform: view.platform.clone(),
        zone: view.zone.clone(),
        // What the configuration leaves to EC2 stays so.
        subnet_id: match spec {
            Some(spec) if spec.subnet_id.is_none() => None,
            _ => view.subnet_id.clone(),
        },
        private_ip: view.private_ip,
        security_group_ids: match spec {
            Some(spec) if spec.security_group_ids.is_empty() => Vec::new(),
            _ => view.security_group_ids.clone(),
        },
        key_name: configured(spec.and_then(|spec| spec.key_name.as_ref())),
        iam_instance_profile: configured(spec.and_then(|spec| spec.iam_instance_profile.as_ref())),
        user_data: spec.and_then(|spec| spec.user_data.as_ref()).map(|text| Digest::of(text.as_bytes())),
        termination_protection: view.termination_protection,
        options: spec.map(|spec| spec.options.clone()).unwrap_or_default().refreshed(&view.options),
        state: match view.state {
            InstanceState::Pending | InstanceState::Running => "running".to_owned(),
            _ => "stopped".to_owned(),
        },
        disks,
        tags: user_tags(&view.tags),
        depends_on: spec.map(|spec| spec.depends_on.clone()).unwrap_or_default(),
        prevent_destroy: spec.is_some_and(|spec| spec.lifecycle.prevent_destroy),
        tainted: false,
        image_id: None,
        base_ami: spec.and_then(|spec| spec.launch.base_ami.clone()),
        adopting: false,
    }
}

/// The record of a volume that exists. `started`: it may hold data that is nowhere else.
#[must_use]
pub fn volume(view: &VolumeView, machine: Option<&Machine>, disk: &str, started: bool) -> VolumeResource {
    let configured = machine
        .and_then(|machine| machine.disks.iter().find(|other| other.spec.name == disk))
        .map(|d| &d.spec);
    let attachment = view.attachment.as_ref();
    VolumeResource {
        id: view.id.clone(),
        zone: view.zone.clone(),
        size: view.size,
        volume_type: view.volume_type,
        iops: configured.map_or(view.iops, |disk| disk.iops.and(view.iops)),
        throughput: configured.map_or(view.throughput, |disk| disk.throughput.and(view.throughput)),
        encrypted: configured
            .map_or(Some(view.encrypted), |disk| disk.encrypted.map(|asked| asked && view.encrypted)),
        kms_key_id: match configured {
            Some(disk) => disk.kms_key_id.clone(),
            None => view.kms_key_id.clone(),
        },
        delete_on_termination: configured
            .map(|disk| disk.delete_on_termination)
            .or(attachment.map(|attachment| attachment.delete_on_termination))
            .unwrap_or(false),
        tags: user_tags(&view.tags),
        prevent_destroy: machine.is_some_and(|machine| machine.spec.lifecycle.prevent_destroy),
        final_snapshot: configured.and_then(|disk| disk.final_snapshot),
        // What carries our tags was made by us, and may hold what we began to write.
        written: view.tags.contains_key(TAG_WORKSPACE),
        write: None,
        drivers: None,
        slot: None,
        started,
        raised: false,
        predecessor: None,
        last_snapshot: None,
    }
}

/// How far an instance has come, by its tags and what it holds. `restored`: whether a volume that
/// the workspace restored is its root.
#[must_use]
pub fn phase(view: &InstanceView, root: Option<&VolumeView>, restored: bool) -> LaunchPhase {
    let launched = view.tags.contains_key(TAG_LAUNCHED)
        || root.is_some_and(|volume| volume.tags.contains_key(TAG_LAUNCHED));
    match (launched, restored) {
        (true, _) => LaunchPhase::Started,
        // Without the tag it was never started by us, but whoever runs it may write.
        (false, true) if view.state != InstanceState::Stopped => LaunchPhase::Started,
        (false, true) => LaunchPhase::Swapped,
        (false, false) => LaunchPhase::Stub,
    }
}

/// An instance's volumes in the order of its disks: the root, then by the device's name, where EC2's
/// short names (`/dev/sdf`) come before the long ones (`/dev/xvdba`).
#[must_use]
pub fn in_order(view: &InstanceView) -> Vec<(String, VolumeId)> {
    let key = |device: &str| (device != view.root_device, device.len(), device.to_owned());
    let mut volumes: BTreeMap<(bool, usize, String), (String, VolumeId)> = BTreeMap::new();
    for (device, id) in &view.volumes {
        volumes.insert(key(device), (device.clone(), id.clone()));
    }
    volumes.into_values().collect()
}
