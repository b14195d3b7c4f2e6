//! Time and crashes: what a stored record means now. Transitions that only time completes are
//! computed and not written; those that have an effect are finished and written.

use std::fs::OpenOptions;

use super::cloud::Desk;
use super::failure::Failure;
use super::machine;
use super::record::{
    AttachmentPhase, InstancePhase, InstanceRecord, Record, SnapshotRecord, VolumePhase, VolumeRecord,
};
use super::store::{ADDRESSES, TOKENS, remove_file};
use crate::model::{ClientToken, Digest, GIB};
use crate::provider::types::VolumeId;

/// The file name of what a client token was given to.
pub(super) fn token_key(operation: &str, token: &ClientToken) -> String {
    Digest::of(format!("{operation}\0{token}").as_bytes()).hex()
}

impl Desk<'_> {
    /// A volume as it is now, also one that is deleted and only remembered.
    pub(super) fn volume_by_id(&self, id: &str) -> Result<Option<VolumeRecord>, Failure> {
        let Some(mut volume) = self.store.read::<VolumeRecord>(id)? else { return Ok(None) };
        if let Some(attachment) = &volume.attachment
            && attachment.instance != self.access_node
        {
            let instance = self.store.read::<InstanceRecord>(&attachment.instance.0)?;
            if instance.is_some_and(|instance| instance.phase == InstancePhase::ShuttingDown) {
                // Its end decides about this volume.
                self.instance_by_id(&attachment.instance.0.clone())?;
                match self.store.read::<VolumeRecord>(id)? {
                    Some(now) => volume = now,
                    None => return Ok(None),
                }
            }
        }
        self.settle_volume(volume)
    }

    fn settle_volume(&self, mut volume: VolumeRecord) -> Result<Option<VolumeRecord>, Failure> {
        let delays = &self.settings.delays;
        if volume.growing {
            self.grow(&volume)?;
            volume.growing = false;
            self.store.write(&volume)?;
        }
        if volume.phase == VolumePhase::Creating && self.past(volume.since, delays.create_volume) {
            volume.phase = VolumePhase::Available;
        }
        if volume.phase == VolumePhase::Deleting {
            remove_file(&self.store.content::<VolumeRecord>(&volume.id.0))?;
            if self.past(volume.since, delays.delete_volume) {
                volume.phase = VolumePhase::Deleted;
            }
        }
        if volume.phase == VolumePhase::Deleted && self.past(volume.since, self.settings.remember) {
            if let Some(request) = &volume.request {
                self.store.remove_name(TOKENS, &token_key("CreateVolume", &request.token))?;
            }
            self.store.remove::<VolumeRecord>(&volume.id.0)?;
            return Ok(None);
        }
        if let Some(attachment) = &mut volume.attachment {
            match attachment.phase {
                AttachmentPhase::Attaching if self.past(attachment.since, delays.attach) => {
                    attachment.phase = AttachmentPhase::Attached;
                }
                AttachmentPhase::Detaching if self.past(attachment.since, delays.detach) => {
                    volume.attachment = None;
                }
                _ => {}
            }
        }
        Ok(Some(volume))
    }

    /// Makes a volume's file as long as its record says; never shorter.
    pub(super) fn grow(&self, volume: &VolumeRecord) -> Result<(), Failure> {
        let path = self.store.content::<VolumeRecord>(&volume.id.0);
        let fail = |error| Failure::file("grow", &path, error);
        let file = OpenOptions::new().write(true).open(&path).map_err(fail)?;
        let size = volume.size.saturating_mul(GIB);
        if file.metadata().map_err(fail)?.len() < size {
            file.set_len(size).map_err(fail)?;
            file.sync_all().map_err(fail)?;
        }
        Ok(())
    }

    /// An instance as it is now, also one that is terminated.
    pub(super) fn instance_by_id(&self, id: &str) -> Result<Option<InstanceRecord>, Failure> {
        if id == self.access_node.0 {
            return self.access_node_record().map(Some);
        }
        let Some(mut instance) = self.store.read::<InstanceRecord>(id)? else { return Ok(None) };
        if instance.is_access_node() {
            return Ok(None);
        }
        if instance.paused {
            self.resume(&mut instance)?;
        }
        match instance.phase {
            InstancePhase::Pending => self.settle_pending(&mut instance)?,
            InstancePhase::Running => self.settle_running(&mut instance)?,
            InstancePhase::Stopping => self.settle_stopping(&mut instance)?,
            InstancePhase::ShuttingDown => self.settle_shutting_down(&mut instance)?,
            InstancePhase::Stopped => {}
            InstancePhase::Terminated => {
                if self.past(instance.since, self.settings.remember) {
                    self.forget(&instance)?;
                    return Ok(None);
                }
            }
        }
        Ok(Some(instance))
    }

    fn settle_pending(&self, instance: &mut InstanceRecord) -> Result<(), Failure> {
        if instance.boot.is_none() && !instance.image_volumes.is_empty() {
            self.finish_image_volumes(instance)?;
            self.launch(instance)?;
        } else if instance.boot.is_none() {
            self.finish_stub(instance)?;
        } else {
            self.finish_start(instance)?;
        }
        // A machine that is not known by its process is not running yet, or just ending.
        let known = instance.boot.as_ref().is_none_or(|boot| boot.process.is_some());
        if instance.phase == InstancePhase::Pending
            && known
            && self.past(instance.since, self.settings.delays.start)
        {
            instance.phase = InstancePhase::Running;
            self.settle_running(instance)?;
        }
        Ok(())
    }

    fn settle_running(&self, instance: &mut InstanceRecord) -> Result<(), Failure> {
        if instance.boot.is_some() && !machine::is_alive(&self.machine_directory(&instance.id.0))? {
            instance.phase = InstancePhase::Stopped;
            instance.since = self.now;
            instance.ended = Some("the machine ended: its guest powered it off, or QEMU failed".to_owned());
            self.store.write(instance)?;
        }
        Ok(())
    }

    fn settle_stopping(&self, instance: &mut InstanceRecord) -> Result<(), Failure> {
        if self.powered_off(instance)? && self.past(instance.since, self.settings.delays.stop) {
            instance.phase = InstancePhase::Stopped;
        }
        Ok(())
    }

    /// Whether its QEMU is gone. One that had its time to power off is ended.
    fn powered_off(&self, instance: &InstanceRecord) -> Result<bool, Failure> {
        let Some(boot) = &instance.boot else { return Ok(true) };
        let directory = self.machine_directory(&instance.id.0);
        if machine::is_alive(&directory)? && self.past(instance.since, self.settings.power_off) {
            machine::end(&directory, boot)?;
        }
        Ok(!machine::is_alive(&directory)?)
    }

    fn settle_shutting_down(&self, instance: &mut InstanceRecord) -> Result<(), Failure> {
        if let Some(boot) = &instance.boot {
            self.shut_down(instance, boot)?;
        }
        if !self.powered_off(instance)? || !self.past(instance.since, self.settings.delays.terminate) {
            return Ok(());
        }
        for id in instance.slots.values() {
            self.release(id, instance)?;
        }
        if let Some(address) = instance.private_ip {
            self.release_address(address, instance)?;
        }
        instance.slots.clear();
        instance.phase = InstancePhase::Terminated;
        instance.since = self.now;
        self.store.write(instance)
    }

    /// An instance's volumes as their records say, without looking at their states.
    pub(super) fn attached_raw(&self, instance: &InstanceRecord) -> Result<Vec<VolumeRecord>, Failure> {
        let mut attached = Vec::new();
        for id in instance.slots.values() {
            attached.extend(self.store.read::<VolumeRecord>(&id.0)?.filter(|volume| {
                volume.attachment.as_ref().is_some_and(|held| held.instance == instance.id)
            }));
        }
        Ok(attached)
    }

    fn release(&self, id: &VolumeId, instance: &InstanceRecord) -> Result<(), Failure> {
        let Some(volume) = self.store.read::<VolumeRecord>(&id.0)? else { return Ok(()) };
        // A detachment that was complete before the instance's end is none of its business.
        let Some(mut volume) = self.settle_volume(volume)? else { return Ok(()) };
        let Some(attachment) = volume.attachment.take_if(|attachment| attachment.instance == instance.id)
        else {
            return Ok(());
        };
        if attachment.delete_on_termination {
            volume.phase = VolumePhase::Deleting;
            volume.since = self.now;
        }
        self.store.write(&volume)?;
        if attachment.delete_on_termination {
            remove_file(&self.store.content::<VolumeRecord>(&id.0))?;
        }
        Ok(())
    }

    fn release_address(&self, address: std::net::Ipv4Addr, instance: &InstanceRecord) -> Result<(), Failure> {
        let key = address.to_string();
        if self.store.name(ADDRESSES, &key)?.is_some_and(|name| name.id == instance.id.0) {
            self.store.remove_name(ADDRESSES, &key)?;
        }
        Ok(())
    }

    fn forget(&self, instance: &InstanceRecord) -> Result<(), Failure> {
        machine::remove(&self.machine_directory(&instance.id.0))?;
        if let Some(request) = &instance.request {
            self.store.remove_name(TOKENS, &token_key("RunInstances", &request.token))?;
        }
        self.store.remove::<InstanceRecord>(&instance.id.0)
    }

    /// All resources of a kind that are described, as they are now.
    pub(super) fn all_volumes(&self) -> Result<Vec<VolumeRecord>, Failure> {
        self.collect::<VolumeRecord>(Self::volume_by_id)
    }

    /// All instances, the access node left out.
    pub(super) fn all_instances(&self) -> Result<Vec<InstanceRecord>, Failure> {
        let mut all = self.collect::<InstanceRecord>(Self::instance_by_id)?;
        all.retain(|instance| !instance.is_access_node());
        Ok(all)
    }

    /// All snapshots.
    pub(super) fn all_snapshots(&self) -> Result<Vec<SnapshotRecord>, Failure> {
        self.collect::<SnapshotRecord>(|desk, id| desk.store.read(id))
    }

    fn collect<R: Record>(
        &self,
        read: impl Fn(&Self, &str) -> Result<Option<R>, Failure>,
    ) -> Result<Vec<R>, Failure> {
        let mut found = Vec::new();
        for id in self.store.ids::<R>()? {
            found.extend(read(self, &id)?);
        }
        Ok(found)
    }
}
