//! Records as EC2 describes them, and filters over them.

use std::collections::BTreeMap;

use super::cloud::Desk;
use super::failure::Failure;
use super::record::{
    AttachmentPhase, InstancePhase, InstanceRecord, SnapshotRecord, VolumePhase, VolumeRecord,
};
use crate::provider::types::{
    AttachmentView, Filter, InstanceState, InstanceView, SnapshotState, SnapshotView, TagMap, VolumeState,
    VolumeView,
};

/// Whether a filter's tags are all there.
pub(super) fn tagged(filter: &Filter, tags: &TagMap) -> bool {
    filter.tags.iter().all(|(key, value)| tags.get(key) == Some(value))
        && filter.tag_keys.iter().all(|key| tags.contains_key(key))
}

impl Desk<'_> {
    pub(super) fn describe_volumes(&self, filter: &Filter) -> Result<Vec<VolumeView>, Failure> {
        let found = if filter.ids.is_empty() {
            self.all_volumes()?
        } else {
            let mut found = Vec::new();
            for id in &filter.ids {
                found.extend(self.volume_by_id(id)?);
            }
            found
        };
        Ok(found
            .iter()
            .filter(|volume| volume.phase != VolumePhase::Deleted && tagged(filter, &volume.tags))
            .map(volume_view)
            .collect())
    }

    pub(super) fn describe_instances(&self, filter: &Filter) -> Result<Vec<InstanceView>, Failure> {
        let found = if filter.ids.is_empty() {
            self.all_instances()?
        } else {
            let mut found = Vec::new();
            for id in &filter.ids {
                found.extend(self.instance_by_id(id)?);
            }
            found
        };
        found
            .iter()
            .filter(|instance| tagged(filter, &instance.tags))
            .map(|instance| self.instance_view(instance))
            .collect()
    }

    pub(super) fn describe_snapshots(&self, filter: &Filter) -> Result<Vec<SnapshotView>, Failure> {
        let found = if filter.ids.is_empty() {
            self.all_snapshots()?
        } else {
            let mut found = Vec::new();
            for id in &filter.ids {
                found.extend(self.store.read::<SnapshotRecord>(id)?);
            }
            found
        };
        Ok(found
            .iter()
            .filter(|snapshot| tagged(filter, &snapshot.tags))
            .map(|snapshot| self.snapshot_view(snapshot))
            .collect())
    }

    /// Device name (as the caller wrote it) → volume, of the volumes that are attached to an
    /// instance, being attached or being detached.
    pub(super) fn attached(
        &self,
        instance: &InstanceRecord,
    ) -> Result<BTreeMap<String, VolumeRecord>, Failure> {
        let mut attached = BTreeMap::new();
        for id in instance.slots.values() {
            let Some(volume) = self.volume_by_id(&id.0)? else { continue };
            if let Some(attachment) = &volume.attachment
                && attachment.instance == instance.id
            {
                attached.insert(attachment.device.clone(), volume);
            }
        }
        Ok(attached)
    }

    pub(super) fn instance_view(&self, instance: &InstanceRecord) -> Result<InstanceView, Failure> {
        Ok(InstanceView {
            id: instance.id.clone(),
            instance_type: instance.instance_type.clone(),
            zone: instance.zone.clone(),
            subnet_id: instance.subnet_id.clone(),
            private_ip: instance.private_ip,
            security_group_ids: instance.security_group_ids.clone(),
            key_name: instance.request.as_ref().and_then(|request| request.key_name.clone()),
            iam_instance_profile: match &instance.profile {
                Some(given) => Some(given.clone()).filter(|name| !name.is_empty()),
                None => instance.request.as_ref().and_then(|request| request.iam_instance_profile.clone()),
            },
            state: match instance.phase {
                InstancePhase::Pending => InstanceState::Pending,
                InstancePhase::Running => InstanceState::Running,
                InstancePhase::Stopping => InstanceState::Stopping,
                InstancePhase::Stopped => InstanceState::Stopped,
                InstancePhase::ShuttingDown => InstanceState::ShuttingDown,
                InstancePhase::Terminated => InstanceState::Terminated,
            },
            state_reason: None,
            root_device: instance.root_device.clone(),
            volumes: self
                .attached(instance)?
                .into_iter()
                .map(|(device, volume)| (device, volume.id))
                .collect(),
            boot_mode: instance.boot_mode,
            platform: instance.request.as_ref().map(|request| {
                // For EC2 all is Linux that is not Windows.
                let is_windows = request.platform.eq_ignore_ascii_case("windows");
                if is_windows { "windows" } else { "linux" }.to_owned()
            }),
            termination_protection: instance.termination_protection,
            options: instance.options.clone(),
            tags: instance.tags.clone(),
        })
    }

    pub(super) fn snapshot_view(&self, snapshot: &SnapshotRecord) -> SnapshotView {
        let done = self.past(snapshot.since, self.settings.delays.snapshot);
        SnapshotView {
            id: snapshot.id.clone(),
            volume_id: snapshot.request.volume_id.clone(),
            progress: Some(if done { "100%" } else { "0%" }.to_owned()),
            state: if done { SnapshotState::Completed } else { SnapshotState::Pending },
            tags: snapshot.tags.clone(),
        }
    }
}

pub(super) fn volume_view(volume: &VolumeRecord) -> VolumeView {
    VolumeView {
        id: volume.id.clone(),
        zone: volume.zone.clone(),
        size: volume.size,
        volume_type: volume.volume_type,
        iops: volume.iops,
        throughput: volume.throughput,
        encrypted: volume.encrypted,
        kms_key_id: volume.kms_key_id.clone(),
        state: match (volume.phase, &volume.attachment) {
            (VolumePhase::Creating, _) => VolumeState::Creating,
            (VolumePhase::Deleting, _) => VolumeState::Deleting,
            (VolumePhase::Deleted, _) => VolumeState::Deleted,
            (VolumePhase::Available, Some(_)) => VolumeState::InUse,
            (VolumePhase::Available, None) => VolumeState::Available,
        },
        attachment: volume.attachment.as_ref().map(|attachment| AttachmentView {
            instance_id: attachment.instance.clone(),
            device: attachment.device.clone(),
            state: match attachment.phase {
                AttachmentPhase::Attaching => "attaching",
                AttachmentPhase::Attached => "attached",
                AttachmentPhase::Detaching => "detaching",
            }
            .to_owned(),
            delete_on_termination: attachment.delete_on_termination,
        }),
        tags: volume.tags.clone(),
    }
}
