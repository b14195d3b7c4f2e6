//! Volumes that somebody, or a run that was cut off, has taken off an instance: back on it.

use std::collections::BTreeMap;

use super::context::put_volume;
use super::{ApplyError, Context, instance};
use crate::model::{Address, InstanceAddress};
use crate::provider::{InstanceId, VolumeId, VolumeState, is_same_device};
use crate::state::{Operation, VolumeResource};

/// A volume that is not on its instance.
pub(super) struct Off {
    /// Its place among the instance's disks.
    index: usize,
    address: Address,
    volume: VolumeResource,
    /// It is in a slot of the access node.
    in_slot: bool,
}

impl Context {
    /// Attaches a volume to an instance and waits for it.
    ///
    /// # Errors
    /// The provider's, the journal's, a timeout.
    pub(super) async fn attach_to(
        &self,
        address: &Address,
        id: &InstanceId,
        device: &str,
        volume: &VolumeId,
    ) -> Result<(), ApplyError> {
        let operation =
            Operation::AttachVolume { id: volume.clone(), instance: id.clone(), device: device.to_owned() };
        let attach = || self.provider.attach_volume(volume, id, device);
        self.effect(address, operation, attach, |()| Vec::new()).await?;
        self.wait_for_volume(volume, "attached", |view| {
            view.is_some_and(|view| {
                view.state == VolumeState::InUse
                    && view.attachment.as_ref().is_some_and(|attachment| attachment.state == "attached")
            })
        })
        .await?;
        Ok(())
    }

    /// Which of an instance's disks that are to be put back are off it now.
    ///
    /// # Errors
    /// The provider's; one is attached elsewhere, and is not ours to take from there.
    pub(super) async fn off(
        &self,
        machine: &InstanceAddress,
        id: &InstanceId,
        disks: &[String],
        wanted: &[String],
    ) -> Result<Vec<Off>, ApplyError> {
        let mut off = Vec::new();
        for (index, disk) in disks.iter().enumerate().filter(|(_, disk)| wanted.contains(disk)) {
            let (address, volume) = self.volume(machine, disk)?;
            let held = self.describe_volume(&volume.id).await?.and_then(|view| view.attachment);
            let in_slot = held.as_ref().is_some_and(|held| held.instance_id == self.access_node());
            match held {
                Some(held) if held.instance_id == *id && !held.is_detaching() => continue,
                Some(held) if held.instance_id != *id && !in_slot => {
                    return Err(ApplyError::ForeignAttachment {
                        volume: volume.id.to_string(),
                        instance: held.instance_id.to_string(),
                    });
                }
                _ => {}
            }
            off.push(Off { index, address, volume, in_slot });
        }
        Ok(off)
    }

    /// Attaches them: the root at the instance's root device, others at their names or, where
    /// somebody has those, at the next free ones. Gives each device with whether its volume shall end
    /// with the instance.
    ///
    /// # Errors
    /// The provider's, the journal's, a timeout; something else is at the root device.
    pub(super) async fn put_back(
        &self,
        address: &Address,
        id: &InstanceId,
        off: &[Off],
    ) -> Result<BTreeMap<String, bool>, ApplyError> {
        let mut fates = BTreeMap::new();
        for Off { index, address: at, volume, in_slot } in off {
            match in_slot {
                true => self.free_volume(at, &volume.id).await?,
                false => self.wait_until_free(&volume.id).await?,
            }
            let gone = || ApplyError::NotInState { address: address.clone() };
            let view = self.describe_instance(id).await?.ok_or_else(gone)?;
            let holder = |device: &str| {
                let mut taken = view.volumes.iter().filter(|(_, held)| **held != volume.id);
                taken.find(|(name, _)| is_same_device(name, device)).map(|(_, held)| held)
            };
            let device = match index.checked_sub(1) {
                None => view.root_device.clone(),
                Some(index) => (index..)
                    .map(instance::data_device)
                    .find(|device| holder(device).is_none())
                    .ok_or_else(gone)?,
            };
            if let Some(other) = holder(&device) {
                return Err(ApplyError::ForeignVolume {
                    volume: other.to_string(),
                    instance: id.to_string(),
                });
            }
            self.progress(address, format!("attaching {} again, as {device}", volume.id));
            self.attach_to(address, id, &device, &volume.id).await?;
            if volume.last_snapshot.is_some() {
                // The guest goes on writing: what was taken before is old by then.
                let goes_on = VolumeResource { last_snapshot: None, ..volume.clone() };
                self.change(vec![put_volume(at, goes_on)]).await?;
            }
            fates.insert(device, volume.delete_on_termination);
        }
        Ok(fates)
    }
}
