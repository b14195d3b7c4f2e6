//! Changing volumes, instances and tags.

use std::collections::BTreeSet;

use super::cloud::Desk;
use super::failure::Failure;
use super::instance_types::instance_type;
use super::options;
use super::record::{ImageRecord, InstancePhase, Record, SnapshotRecord, VolumePhase, VolumeRecord};
use super::rules::{self, Shape};
use crate::model::VolumeType;
use crate::provider::types::{
    ImageId, InstanceId, ModifyInstance, ModifyVolume, SnapshotId, TagMap, VolumeId,
};

/// Most bytes of user data.
const MAX_USER_DATA: usize = 16 << 10;

impl Desk<'_> {
    /// Changes a volume at once (EC2 takes its time, but the new size counts at once there too). A
    /// guest that runs from it sees the new size when it starts again.
    pub(super) fn modify_volume(&self, id: &VolumeId, request: &ModifyVolume) -> Result<(), Failure> {
        let mut volume = self.volume(id)?;
        if volume.phase != VolumePhase::Available {
            return Err(Failure::state(
                "IncorrectState",
                format!("Volume '{id}' is neither 'available' nor 'in-use'."),
            ));
        }
        let volume_type = request.volume_type.unwrap_or(volume.volume_type);
        let size = request.size.unwrap_or(volume.size);
        if size < volume.size {
            return Err(Failure::value(format!(
                "New size cannot be smaller than existing size: {size} GiB, {} GiB",
                volume.size
            )));
        }
        // What was provisioned stays with its type; a new type begins with its own defaults.
        let kept = |now: Option<u32>| now.filter(|_| volume_type == volume.volume_type);
        let shape = Shape {
            volume_type,
            size,
            iops: request.iops.or_else(|| kept(volume.iops).filter(|_| volume_type != VolumeType::Gp2)),
            throughput: request.throughput.or_else(|| kept(volume.throughput)),
        }
        .checked()?;
        let now = Shape {
            volume_type: volume.volume_type,
            size: volume.size,
            iops: volume.iops,
            throughput: volume.throughput,
        };
        if shape == now {
            return Ok(());
        }
        if let (Some(cooldown), Some(modified)) = (self.settings.modify_cooldown, volume.modified)
            && !self.past(modified, cooldown)
        {
            return Err(Failure::limit(
                "VolumeModificationRateExceeded",
                format!("{id} was modified less than {} s ago", cooldown.as_secs()),
            ));
        }
        volume.growing = shape.size > volume.size;
        volume.size = shape.size;
        volume.volume_type = shape.volume_type;
        volume.iops = shape.iops;
        volume.throughput = shape.throughput;
        volume.modified = Some(self.now);
        self.store.write(&volume)?;
        if volume.growing {
            self.grow(&volume)?;
            volume.growing = false;
            self.store.write(&volume)?;
        }
        Ok(())
    }

    pub(super) fn modify_instance(&self, id: &InstanceId, request: &ModifyInstance) -> Result<(), Failure> {
        let mut instance = self.instance(id)?;
        self.refuse_access_node(&instance)?;
        if matches!(instance.phase, InstancePhase::ShuttingDown | InstancePhase::Terminated) {
            return Err(Failure::state(
                "IncorrectInstanceState",
                format!("The instance '{id}' is being or has been terminated."),
            ));
        }
        if (request.instance_type.is_some() || request.user_data.is_some())
            && instance.phase != InstancePhase::Stopped
        {
            return Err(Failure::state(
                "IncorrectInstanceState",
                format!("The instance '{id}' is not in the 'stopped' state."),
            ));
        }
        if request.user_data.as_ref().is_some_and(|data| data.len() > MAX_USER_DATA) {
            return Err(Failure::value(format!("User data is limited to {MAX_USER_DATA} bytes")));
        }
        if let Some(name) = &request.instance_type {
            let facts = instance_type(name)
                .ok_or_else(|| Failure::value(format!("Invalid value '{name}' for InstanceType.")))?;
            let before = instance_type(&instance.instance_type);
            if before.is_some_and(|before| before.architecture != facts.architecture)
                || !facts.boot_modes.contains(&instance.boot_mode)
            {
                return Err(Failure::parameter(
                    "InvalidParameterCombination",
                    format!("The instance type {name} cannot boot what '{id}' holds."),
                ));
            }
            instance.instance_type.clone_from(name);
        }
        if let Some(groups) = &request.security_group_ids {
            rules::security_groups(groups)?;
            instance.security_group_ids.clone_from(groups);
        }
        if let Some(pattern) = &request.console_pattern {
            rules::pattern(pattern)?;
            instance.console_pattern = Some(pattern.clone());
        }
        instance.boot_timeout = request.boot_timeout.or(instance.boot_timeout);
        instance.profile = request.iam_instance_profile.clone().or(instance.profile);
        instance.termination_protection =
            request.termination_protection.unwrap_or(instance.termination_protection);

        options::change(&mut instance, request)?;
        let attached = self.attached(&instance)?;
        let mut changed: Vec<VolumeRecord> = Vec::new();
        for (device, delete) in &request.delete_on_termination {
            let slot = rules::slot(device)?;
            let volume = attached
                .iter()
                .find(|(name, _)| rules::slot(name).is_ok_and(|name| name == slot))
                .map(|(_, volume)| volume.clone())
                .ok_or_else(|| {
                    Failure::parameter(
                        "InvalidInstanceAttributeValue",
                        format!("No device is currently mapped at {device} of '{id}'"),
                    )
                })?;
            let mut volume = volume;
            if let Some(attachment) = &mut volume.attachment {
                attachment.delete_on_termination = *delete;
            }
            changed.push(volume);
        }
        for volume in &changed {
            self.store.write(volume)?;
        }
        self.store.write(&instance)
    }

    pub(super) fn change_tags(
        &self,
        id: &str,
        set: &TagMap,
        remove: &BTreeSet<String>,
    ) -> Result<(), Failure> {
        let changed = |tags: &TagMap| -> Result<TagMap, Failure> {
            let mut tags = tags.clone();
            tags.retain(|key, _| !remove.contains(key));
            tags.extend(set.clone());
            rules::tags(&tags)?;
            Ok(tags)
        };
        match id.split('-').next() {
            Some(VolumeRecord::PREFIX) => {
                let mut volume = self.volume(&VolumeId(id.to_owned()))?;
                volume.tags = changed(&volume.tags)?;
                self.store.write(&volume)
            }
            Some(SnapshotRecord::PREFIX) => {
                let mut snapshot = self.snapshot(&SnapshotId(id.to_owned()))?;
                snapshot.tags = changed(&snapshot.tags)?;
                self.store.write(&snapshot)
            }
            Some(ImageRecord::PREFIX) => {
                let mut image = self.image(&ImageId(id.to_owned()))?;
                image.tags = changed(&image.tags)?;
                self.store.write(&image)
            }
            _ => {
                let mut instance = self.instance(&InstanceId(id.to_owned()))?;
                instance.tags = changed(&instance.tags)?;
                self.store.write(&instance)
            }
        }
    }
}
