//! Attaching, detaching and deleting volumes.

use super::cloud::Desk;
use super::failure::Failure;
use super::record::{
    AttachmentPhase, AttachmentRecord, InstancePhase, InstanceRecord, VolumePhase, VolumeRecord,
};
use super::rules;
use super::store::remove_file;
use crate::provider::slots;
use crate::provider::types::{InstanceId, VolumeId};

impl Desk<'_> {
    /// A volume that EC2 would still know.
    pub(super) fn volume(&self, id: &VolumeId) -> Result<VolumeRecord, Failure> {
        self.volume_by_id(&id.0)?.filter(|volume| volume.phase != VolumePhase::Deleted).ok_or_else(|| {
            Failure::not_found("InvalidVolume.NotFound", format!("The volume '{id}' does not exist."))
        })
    }

    /// An instance that EC2 would still know.
    pub(super) fn instance(&self, id: &InstanceId) -> Result<InstanceRecord, Failure> {
        self.instance_by_id(&id.0)?.ok_or_else(|| {
            Failure::not_found("InvalidInstanceID.NotFound", format!("The instance ID '{id}' does not exist"))
        })
    }

    pub(super) fn attach_volume(
        &self,
        id: &VolumeId,
        instance: &InstanceId,
        device: &str,
    ) -> Result<(), Failure> {
        let mut volume = self.volume(id)?;
        let mut instance = self.instance(instance)?;
        let slot = rules::slot(device)?;
        if instance.is_access_node() && !slots::slots().any(|name| name == slot) {
            return Err(Failure::value(format!(
                "Invalid value '{device}' for device: the access node's slots are xvdf to xvdz"
            )));
        }
        if let Some(attachment) = &volume.attachment {
            if attachment.instance == instance.id
                && rules::slot(&attachment.device)? == slot
                && attachment.phase != AttachmentPhase::Detaching
            {
                return Ok(());
            }
            return Err(Failure::state(
                "VolumeInUse",
                format!("{id} is already attached to {} as {}", attachment.instance, attachment.device),
            ));
        }
        if volume.phase != VolumePhase::Available {
            return Err(Failure::state("IncorrectState", format!("Volume '{id}' is not 'available'.")));
        }
        if !matches!(instance.phase, InstancePhase::Running | InstancePhase::Stopped) {
            return Err(Failure::state(
                "IncorrectState",
                format!("Instance '{}' is neither 'running' nor 'stopped'.", instance.id),
            ));
        }
        if volume.zone != instance.zone {
            return Err(Failure::parameter(
                "InvalidVolume.ZoneMismatch",
                format!(
                    "The volume '{id}' is in zone '{}', instance '{}' in '{}'",
                    volume.zone, instance.id, instance.zone
                ),
            ));
        }
        let attached = self.attached(&instance)?;
        for (taken, other) in &attached {
            if rules::slot(taken)? == slot {
                return Err(Failure::state(
                    "InvalidDevice.InUse",
                    format!("{device} of {} is already in use by {}", instance.id, other.id),
                ));
            }
        }
        let most = if instance.is_access_node() { self.slots } else { rules::MAX_VOLUMES };
        if attached.len() >= most {
            return Err(Failure::limit(
                "AttachmentLimitExceeded",
                format!("{} has {} volumes attached, it takes no more", instance.id, attached.len()),
            ));
        }
        refuse_hot_plug(&instance)?;
        // Slots that nothing holds any more are forgotten on the way.
        instance.slots.retain(|_, held| attached.values().any(|volume| volume.id == *held));
        instance.slots.insert(slot, id.clone());
        self.store.write(&instance)?;
        volume.attachment = Some(AttachmentRecord {
            instance: instance.id,
            device: device.to_owned(),
            phase: AttachmentPhase::Attaching,
            since: self.now,
            delete_on_termination: false,
        });
        self.store.write(&volume)
    }

    pub(super) fn detach_volume(&self, id: &VolumeId, instance: &InstanceId) -> Result<(), Failure> {
        let mut volume = self.volume(id)?;
        let Some(attachment) = &mut volume.attachment else { return Ok(()) };
        if attachment.instance != *instance {
            return Err(Failure::not_found(
                "InvalidAttachment.NotFound",
                format!("{id} is attached to {}, not to {instance}", attachment.instance),
            ));
        }
        if attachment.phase == AttachmentPhase::Detaching {
            return Ok(());
        }
        let instance = self.instance(instance)?;
        if !instance.is_access_node() && instance.phase != InstancePhase::Stopped {
            if rules::slot(&attachment.device)? == rules::slot(&instance.root_device)? {
                return Err(Failure::state(
                    "OperationNotPermitted",
                    format!(
                        "Unable to detach root volume '{}' from instance '{}', which is not stopped",
                        attachment.device, instance.id
                    ),
                ));
            }
            if instance.phase != InstancePhase::Running {
                return Err(Failure::state(
                    "IncorrectState",
                    format!("Instance '{}' is neither 'running' nor 'stopped'.", instance.id),
                ));
            }
            refuse_hot_plug(&instance)?;
        }
        attachment.phase = AttachmentPhase::Detaching;
        attachment.since = self.now;
        self.store.write(&volume)
    }

    pub(super) fn delete_volume(&self, id: &VolumeId) -> Result<(), Failure> {
        let mut volume = self.volume(id)?;
        if let Some(attachment) = &volume.attachment {
            return Err(Failure::state(
                "VolumeInUse",
                format!("Volume {id} is currently attached to {}", attachment.instance),
            ));
        }
        match volume.phase {
            VolumePhase::Creating => {
                return Err(Failure::state("IncorrectState", format!("Volume '{id}' is being created.")));
            }
            VolumePhase::Deleting | VolumePhase::Deleted => return Ok(()),
            VolumePhase::Available => {}
        }
        volume.phase = VolumePhase::Deleting;
        volume.since = self.now;
        self.store.write(&volume)?;
        remove_file(&self.store.content::<VolumeRecord>(&id.0))
    }
}

/// The disks of a QEMU that runs stay as they are. (EC2 would plug them in and out.)
fn refuse_hot_plug(instance: &InstanceRecord) -> Result<(), Failure> {
    if instance.phase == InstancePhase::Running && instance.boot.is_some() {
        return Err(Failure::state(
            "UnsupportedOperation",
            format!("the local provider changes the volumes of '{}' only while it is stopped", instance.id),
        ));
    }
    Ok(())
}
