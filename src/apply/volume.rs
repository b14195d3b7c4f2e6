//! Volumes: make, change, destroy, forget.

use std::collections::BTreeSet;

use super::context::put_volume;
use super::retry::retry;
use super::{ApplyError, Context};
use crate::model::{Address, ClientToken, GP3_BASE, Part};
use crate::plan::attachment;
use crate::plan::{Raised, VolumePlan, VolumeUpdate};
use crate::provider::{
    AttachmentView, CreateSnapshot, CreateVolume, Filter, InstanceState, ModifyInstance, ModifyVolume,
    SnapshotId, SnapshotState, SnapshotView, TagMap, VolumeId, VolumeState, VolumeView, is_user_tag,
    user_tags,
};
use crate::state::{Operation, Resource, StateChange, VolumeResource};

impl Context {
    /// The user's tags of a volume; those not known while planning are evaluated now.
    fn volume_tags(&self, address: &Address, plan: &VolumePlan) -> Result<TagMap, ApplyError> {
        if let Some(tags) = &plan.tags {
            return Ok(tags.clone());
        }
        let spec = self
            .specs
            .instance(&address.instance, &self.store.state())
            .map_err(|diagnostic| ApplyError::Values(Box::new(diagnostic)))?;
        let mut tags = spec.tags;
        let disk = spec.disks.into_iter().find(|disk| Some(disk.name.as_str()) == address.part.disk());
        tags.extend(disk.map(|disk| disk.tags).unwrap_or_default());
        Ok(tags)
    }

    /// Makes an empty volume and waits until it is there.
    ///
    /// # Errors
    /// The provider's, the journal's, a timeout.
    pub async fn create_volume(&self, address: &Address, plan: &VolumePlan) -> Result<String, ApplyError> {
        let token = self.token()?;
        let user_tags = self.volume_tags(address, plan)?;
        let tags = self.tags(&user_tags, address, &token);
        let request = plan.request(token, tags);
        let record =
            |view: &VolumeView| vec![put_volume(address, recorded(&view.id, plan, user_tags.clone()))];
        let operation = Operation::CreateVolume(Box::new(request.clone()));
        let view = self.effect(address, operation, || self.provider.create_volume(&request), record).await?;
        self.wait_until_made(address, &view.id, plan).await?;
        Ok(view.id.to_string())
    }

    /// Waits until a new volume is there. EC2 gives one up without a word when its key cannot be
    /// used (EBS User Guide, "Amazon EBS encryption"): it goes into the state of an error, or away.
    async fn wait_until_made(
        &self,
        address: &Address,
        id: &VolumeId,
        plan: &VolumePlan,
    ) -> Result<(), ApplyError> {
        let mut was_seen = false;
        let found = self
            .wait_for_volume(id, "available", |view| {
                let is_gone = was_seen && view.is_none_or(|view| view.state.is_ending());
                was_seen |= view.is_some();
                let is_settled = view.is_some_and(|view| {
                    matches!(view.state, VolumeState::Available | VolumeState::InUse | VolumeState::Error)
                });
                is_gone || is_settled
            })
            .await?;
        if found.is_some_and(|view| matches!(view.state, VolumeState::Available | VolumeState::InUse)) {
            return Ok(());
        }
        let left = vec![StateChange::Remove { address: address.clone() }];
        // Nothing was ever on it.
        match self.describe_volume(id).await? {
            Some(_) => self.end_volume(address, id, left).await?,
            None => self.change(left).await?,
        }
        Err(ApplyError::VolumeGivenUp { volume: id.to_string(), key: plan.kms_key_id.clone() })
    }

    /// Changes a volume in place, in the provider as far as it differs there.
    ///
    /// # Errors
    /// The provider's, the journal's.
    pub async fn update_volume(
        &self,
        address: &Address,
        update: &VolumeUpdate,
    ) -> Result<String, ApplyError> {
        let (_, volume) = self.volume(&address.instance, address.part.disk().unwrap_or_default())?;
        let view = self
            .describe_volume(&update.id)
            .await?
            .ok_or_else(|| ApplyError::NotInState { address: address.clone() })?;
        let to = &update.to;
        let differs = |wanted: Option<u32>, is: Option<u32>| wanted.filter(|_| wanted != is);
        // What is not written yet keeps what it has for that.
        let stays_raised = volume.raised && volume.write.is_none();
        let (iops, throughput) = match (volume.raised, stays_raised) {
            (true, true) => (None, None),
            (true, false) => lowered(to.iops, to.throughput),
            (false, _) => (to.iops, to.throughput),
        };
        let request = ModifyVolume {
            size: (to.size != view.size).then_some(to.size),
            volume_type: (to.volume_type != view.volume_type).then_some(to.volume_type),
            iops: differs(iops, view.iops),
            throughput: differs(throughput, view.throughput),
        };
        if request != ModifyVolume::default() {
            let operation = Operation::ModifyVolume { id: update.id.clone(), request: request.clone() };
            self.effect(
                address,
                operation,
                || self.provider.modify_volume(&update.id, &request),
                |()| Vec::new(),
            )
            .await?;
            self.wait_for_volume(&update.id, "changed", |view| view.is_some_and(|view| view.size >= to.size))
                .await?;
        }
        self.keep_or_delete(address, to.delete_on_termination, view.attachment.as_ref()).await?;
        let tags = self.volume_tags(address, to)?;
        self.change_tags(address, &update.id.0, &tags, &view.tags).await?;
        let now = VolumeResource {
            written: volume.written,
            write: volume.write,
            drivers: volume.drivers,
            slot: volume.slot,
            started: volume.started,
            raised: stays_raised,
            predecessor: volume.predecessor,
            ..recorded(&update.id, to, tags)
        };
        self.change(vec![put_volume(address, now)]).await?;
        Ok(update.id.to_string())
    }

    /// Whether a volume ends with the instance that it is on, where that is other than it shall be. One
    /// that is on none gets it when it is attached.
    async fn keep_or_delete(
        &self,
        address: &Address,
        wanted: bool,
        held: Option<&AttachmentView>,
    ) -> Result<(), ApplyError> {
        let instance = self.instance(&address.instance);
        let is_other = attachment::fate(held, instance.as_ref()).is_some_and(|is| is != wanted);
        let Some(held) = held.filter(|_| is_other) else { return Ok(()) };
        let request = ModifyInstance {
            delete_on_termination: [(held.device.clone(), wanted)].into(),
            ..ModifyInstance::default()
        };
        self.modify(address, &held.instance_id, &request).await
    }

    /// Gives a volume the performance that it keeps, its content being written. A refusal is told
    /// and not the end: the volume stays as quick as it is, and the next apply tries again.
    ///
    /// # Errors
    /// The journal's, an interrupt.
    pub async fn lower(&self, address: &Address) -> Result<Option<String>, ApplyError> {
        let (_, volume) = self.volume(&address.instance, address.part.disk().unwrap_or_default())?;
        if !volume.raised || volume.write.is_none() {
            return Ok(None);
        }
        let (iops, throughput) = lowered(volume.iops, volume.throughput);
        let request = ModifyVolume { iops, throughput, ..ModifyVolume::default() };
        let id = volume.id.clone();
        let left = vec![put_volume(address, VolumeResource { raised: false, ..volume })];
        let operation = Operation::ModifyVolume { id: id.clone(), request: request.clone() };
        let modified =
            self.effect(address, operation, || self.provider.modify_volume(&id, &request), |()| left).await;
        match modified {
            Ok(()) => Ok(Some("its performance lowered".to_owned())),
            Err(ApplyError::Provider(error)) => {
                Ok(Some(format!("its performance is not lowered yet, the next apply tries again: {error}")))
            }
            Err(error) => Err(error),
        }
    }

    /// Sets the user's tags, removes those that left the configuration; ours and AWS's stay.
    ///
    /// # Errors
    /// The provider's, the journal's.
    pub async fn change_tags(
        &self,
        address: &Address,
        id: &str,
        wanted: &TagMap,
        is: &TagMap,
    ) -> Result<(), ApplyError> {
        let set: TagMap = wanted
            .iter()
            .filter(|(key, value)| is.get(*key) != Some(*value))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let remove: BTreeSet<String> =
            is.keys().filter(|key| !wanted.contains_key(*key) && is_user_tag(key)).cloned().collect();
        if set.is_empty() && remove.is_empty() {
            return Ok(());
        }
        self.set_tags(address, id, &set, &remove).await
    }

    /// Destroys a volume, after a snapshot when asked.
    ///
    /// # Errors
    /// The provider's, the journal's, a timeout; it is attached to something that is not ours.
    pub async fn delete_volume(
        &self,
        address: &Address,
        id: &VolumeId,
        final_snapshot: bool,
    ) -> Result<String, ApplyError> {
        if self.describe_volume(id).await?.is_none() {
            self.change(vec![StateChange::Remove { address: address.clone() }]).await?;
            self.forget_manifest(id);
            return Ok(format!("{id} was gone already"));
        }
        let mut detail = id.to_string();
        if final_snapshot {
            let snapshot = self.final_snapshot(address, id).await?;
            detail.push_str(&format!(", kept as {snapshot}"));
        }
        self.end_volume(address, id, vec![StateChange::Remove { address: address.clone() }]).await?;
        Ok(detail)
    }

    /// Takes a volume off whatever of ours holds it, deletes it and waits until it is gone. `left`:
    /// what the state becomes by that.
    ///
    /// # Errors
    /// The provider's, the journal's, a timeout; it is attached to something that is not ours.
    pub async fn end_volume(
        &self,
        address: &Address,
        id: &VolumeId,
        left: Vec<StateChange>,
    ) -> Result<(), ApplyError> {
        self.free_volume(address, id).await?;
        let operation = Operation::DeleteVolume { id: id.clone() };
        self.effect(address, operation, || self.provider.delete_volume(id), |()| left).await?;
        self.wait_for_volume(id, "gone", |view| view.is_none()).await?;
        self.forget_manifest(id);
        Ok(())
    }

    /// A complete snapshot of a volume that is about to be destroyed: the one that an earlier run
    /// took for that, else a new one. It is taken when nothing writes to the volume any more.
    async fn final_snapshot(&self, address: &Address, id: &VolumeId) -> Result<SnapshotId, ApplyError> {
        // Whoever has it may have written to it since.
        let is_held = self.describe_volume(id).await?.is_some_and(|view| view.attachment.is_some());
        self.free_volume(address, id).await?;
        let recorded = match self.store.resource(address) {
            Some(Resource::Volume(volume)) if volume.id == *id => Some(*volume),
            _ => None,
        };
        let earlier = recorded.as_ref().and_then(|volume| volume.last_snapshot.clone());
        if let Some(taken) = earlier.filter(|_| !is_held) {
            let filter = Filter::id(&taken);
            let found = retry(&self.cancel, || self.provider.snapshots(&filter)).await?;
            if found.iter().any(|view| view.state != SnapshotState::Error) {
                self.progress(address, format!("the final snapshot {taken} is of an earlier run"));
                self.wait_for_snapshot(address, &taken).await?;
                return Ok(taken);
            }
        }
        let token: ClientToken = self.token()?;
        let tags = recorded.as_ref().map(|volume| volume.tags.clone()).unwrap_or_default();
        let request = CreateSnapshot {
            tags: self.tags(&tags, address, &token),
            token,
            volume_id: id.clone(),
            description: format!("final snapshot of {address}, taken by Replant before {id} was destroyed"),
        };
        let operation = Operation::CreateSnapshot(Box::new(request.clone()));
        self.progress(address, "taking the final snapshot");
        let left = |view: &SnapshotView| {
            let taken = |volume| VolumeResource { last_snapshot: Some(view.id.clone()), ..volume };
            recorded.clone().map(|volume| put_volume(address, taken(volume))).into_iter().collect()
        };
        let view = self.effect(address, operation, || self.provider.create_snapshot(&request), left).await?;
        self.progress(address, format!("{} of {id} is being taken; it stays when {id} is gone", view.id));
        self.wait_for_snapshot(address, &view.id).await?;
        Ok(view.id)
    }

    /// Takes a volume off whatever of ours it is attached to.
    ///
    /// # Errors
    /// The provider's, the journal's, a timeout; it is attached to something that is not ours.
    pub async fn free_volume(&self, address: &Address, id: &VolumeId) -> Result<(), ApplyError> {
        let Some(attachment) = self.describe_volume(id).await?.and_then(|view| view.attachment) else {
            return Ok(());
        };
        let holder = attachment.instance_id;
        let is_node = holder == self.access_node();
        if is_node && !crate::provider::is_slot(&attachment.device) {
            return Err(ApplyError::NodesOwn { volume: id.to_string(), device: attachment.device });
        }
        if !is_node {
            let ours =
                self.store.state().resources.values().any(
                    |resource| matches!(resource, Resource::Instance(instance) if instance.id == holder),
                );
            let view = self.describe_instance(&holder).await?;
            if view.is_some() && !ours {
                return Err(ApplyError::ForeignAttachment {
                    volume: id.to_string(),
                    instance: holder.to_string(),
                });
            }
            if view.is_some_and(|view| !matches!(view.state, InstanceState::Stopped)) {
                self.stop(address, &holder).await?;
            }
        }
        let operation = Operation::DetachVolume { id: id.clone(), instance: holder.clone() };
        self.effect(address, operation, || self.provider.detach_volume(id, &holder), |()| Vec::new()).await?;
        self.wait_until_free(id).await
    }

    /// Leaves a volume where it is, and the state without it.
    ///
    /// # Errors
    /// The provider's, the journal's; it is attached to something that is not ours.
    pub async fn forget_volume(&self, address: &Address, id: &VolumeId) -> Result<String, ApplyError> {
        self.free_volume(address, id).await?;
        if let Some(view) = self.describe_volume(id).await? {
            self.unmark(address, &view).await?;
        }
        self.change(vec![StateChange::Remove { address: address.clone() }]).await?;
        self.forget_manifest(id);
        Ok(format!("{id} stays"))
    }

    /// Where a volume's manifest lies, from the state's directory.
    #[must_use]
    pub fn manifest(id: &VolumeId) -> std::path::PathBuf {
        std::path::Path::new(".replant/manifests").join(format!("{id}.manifest"))
    }

    /// Removes a volume's manifest: its content is no longer what the manifest says.
    pub fn forget_manifest(&self, id: &VolumeId) {
        // A manifest that stays is refused later by the volume's facts; losing it costs a full write.
        let _ = std::fs::remove_file(self.options.directory.join(Self::manifest(id)));
    }
}

/// What a raised volume is lowered to: as configured, else what gp3 has by itself.
fn lowered(iops: Option<u32>, throughput: Option<u32>) -> (Option<u32>, Option<u32>) {
    (iops.or(Some(GP3_BASE.0)), throughput.or(Some(GP3_BASE.1)))
}

/// A fresh volume of the state.
fn recorded(id: &VolumeId, plan: &VolumePlan, tags: TagMap) -> VolumeResource {
    VolumeResource {
        id: id.clone(),
        zone: plan.zone.clone(),
        size: plan.size,
        volume_type: plan.volume_type,
        iops: plan.iops,
        throughput: plan.throughput,
        encrypted: plan.encrypted,
        kms_key_id: plan.kms_key_id.clone(),
        delete_on_termination: plan.delete_on_termination,
        tags,
        prevent_destroy: plan.prevent_destroy,
        final_snapshot: plan.final_snapshot,
        written: false,
        write: None,
        drivers: None,
        slot: None,
        started: false,
        raised: plan.raised.is_some(),
        predecessor: None,
        last_snapshot: None,
    }
}

/// The volume of the state that a repeated CreateVolume gave, in a run that recovers it. What the
/// request does not carry is the default; the plan that follows sets it.
#[must_use]
pub fn adopted(address: &Address, request: &CreateVolume, view: &VolumeView) -> Option<StateChange> {
    matches!(address.part, Part::Volume(_)).then(|| {
        let plan = VolumePlan {
            zone: request.zone.clone(),
            size: request.size,
            volume_type: request.volume_type,
            iops: request.iops.filter(|_| !request.raised),
            throughput: request.throughput.filter(|_| !request.raised),
            encrypted: request.encrypted,
            kms_key_id: request.kms_key_id.clone(),
            delete_on_termination: true,
            tags: None,
            prevent_destroy: false,
            final_snapshot: None,
            raised: match (request.raised, request.iops, request.throughput) {
                (true, Some(iops), Some(throughput)) => Some(Raised { iops, throughput }),
                _ => None,
            },
        };
        put_volume(address, recorded(&view.id, &plan, user_tags(&request.tags)))
    })
}
