//! AttachVolume and DetachVolume, repeatable: what is refused is compared with what is there.

use super::call::send;
use super::client::Cloud;
use super::volumes::{may_be_done, not_found};
use crate::provider::slots;
use crate::provider::types::{AttachmentView, InstanceId, ProviderError, ProviderErrorKind, VolumeId};

impl Cloud {
    pub(super) async fn attach_volume(
        &self,
        id: &VolumeId,
        instance: &InstanceId,
        device: &str,
    ) -> Result<(), ProviderError> {
        self.check_device(instance, device).await?;
        self.keep_udev_off(id, instance, device).await;
        let ec2 = self.ec2().await?;
        let call = ec2.attach_volume().volume_id(&id.0).instance_id(&instance.0).device(device);
        let attached = self
            .fresh
            .settled(&[&id.0, &instance.0], || async { send!("AttachVolume", call.clone()).map(drop) })
            .await;
        let Err(failed) = attached else { return Ok(()) };
        if !may_be_done(&failed) {
            return Err(failed.into());
        }
        // Where nobody can tell, what the call came to stays open.
        let Ok(now) = self.volume(id).await else { return Err(failed.into()) };
        let is_so = now.and_then(|view| view.attachment).is_some_and(|attachment| {
            attachment.instance_id == *instance
                && !attachment.is_detaching()
                && slots::slot(&attachment.device) == slots::slot(device)
        });
        if is_so { Ok(()) } else { Err(failed.into()) }
    }

    /// A name that EC2 would take as it comes, but that is no place for a volume of ours.
    async fn check_device(&self, instance: &InstanceId, device: &str) -> Result<(), ProviderError> {
        let refused = |why: String| {
            ProviderError::new(
                "AttachVolume",
                ProviderErrorKind::InvalidParameter,
                "InvalidParameterValue",
                why,
            )
        };
        if slots::slot(device).is_none() {
            return Err(refused(format!(
                "Value ({device}) for parameter device is invalid. {device} is not a valid EBS device name."
            )));
        }
        if *instance == self.node_id().await? && !slots::is_slot(device) {
            return Err(refused(format!(
                "Invalid value '{device}' for device: the access node's slots begin at xvdf"
            )));
        }
        Ok(())
    }

    pub(super) async fn detach_volume(
        &self,
        id: &VolumeId,
        instance: &InstanceId,
    ) -> Result<(), ProviderError> {
        const OPERATION: &str = "DetachVolume";
        let ec2 = self.ec2().await?;
        let call = ec2.detach_volume().volume_id(&id.0).instance_id(&instance.0);
        let detached =
            self.fresh.settled(&[&id.0], || async { send!("DetachVolume", call.clone()).map(drop) }).await;
        let Err(failed) = detached else { return Ok(()) };
        let is_missing = failed.error.kind == ProviderErrorKind::NotFound;
        if !may_be_done(&failed) && !is_missing && failed.error.kind != ProviderErrorKind::InvalidParameter {
            return Err(failed.into());
        }
        let Ok(view) = self.volume(id).await else { return Err(failed.into()) };
        match view.ok_or_else(|| not_found(OPERATION, id))?.attachment {
            None => Ok(()),
            Some(AttachmentView { instance_id, .. }) if instance_id != *instance => Err(ProviderError::new(
                OPERATION,
                ProviderErrorKind::NotFound,
                "InvalidAttachment.NotFound",
                format!("{id} is attached to {instance_id}, not to {instance}"),
            )),
            Some(held) if held.is_detaching() || held.state == "busy" => Ok(()),
            Some(_) => Err(failed.into()),
        }
    }
}
