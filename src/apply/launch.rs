//! Instances: the stub, the swap of its volumes for the restored ones, changes, the end.

use std::collections::BTreeMap;

use super::context::{put_instance, put_volume};
use super::retry::retry;
use super::wait::{MISSING, Pauses};
use super::{ApplyError, Context, instance};
use crate::model::options::shown_groups;
use crate::model::{Address, InstanceAddress, Part};
use crate::plan::modification::{modification, said_as_is, shown_profile};
use crate::plan::{InstancePlan, LaunchPlan, Start};
use crate::provider::{
    InstanceId, InstanceState, InstanceView, ModifyInstance, ProviderErrorKind, TagMap, VolumeId,
};
use crate::state::format::v1::LaunchPhase;
use crate::state::{InstanceResource, Operation, Resource, StateChange, VolumeResource};

impl Context {
    /// The instance's plan with the values that are known only now, and its user data.
    pub(super) fn resolved(
        &self,
        machine: &InstanceAddress,
        plan: &InstancePlan,
    ) -> Result<(InstancePlan, Option<String>), ApplyError> {
        if plan.unknown.is_empty() && plan.user_data.is_none() {
            return Ok((plan.clone(), None));
        }
        let spec = self
            .specs
            .instance(machine, &self.store.state())
            .map_err(|diagnostic| ApplyError::Values(Box::new(diagnostic)))?;
        let mut plan = plan.clone();
        for path in std::mem::take(&mut plan.unknown) {
            match path.split('.').next().unwrap_or_default() {
                "private_ip" => plan.private_ip = spec.private_ip,
                "subnet_id" => plan.subnet_id.clone_from(&spec.subnet_id),
                "security_group_ids" => plan.security_group_ids.clone_from(&spec.security_group_ids),
                "key_name" => plan.key_name.clone_from(&spec.key_name),
                "iam_instance_profile" => plan.iam_instance_profile.clone_from(&spec.iam_instance_profile),
                "user_data" => {
                    plan.user_data =
                        spec.user_data.as_ref().map(|text| crate::model::Digest::of(text.as_bytes()));
                }
                _ => plan.tags.clone_from(&spec.tags),
            }
        }
        Ok((plan, spec.user_data))
    }

    /// Launches the stub and waits until it runs.
    ///
    /// # Errors
    /// The provider's, the journal's, a timeout, a value that is missing.
    pub async fn stub(&self, address: &Address, plan: &InstancePlan) -> Result<String, ApplyError> {
        let (plan, _) = self.resolved(&address.instance, plan)?;
        let token = self.token()?;
        let instance_address = address.instance.part(Part::Instance);
        let tags = self.tags(&plan.tags, &instance_address, &token);
        let request = plan.request(token, tags);
        let record = |view: &InstanceView| {
            let resource = instance::recorded(&plan, view, LaunchPhase::Stub, Start::Stopped);
            vec![put_instance(&address.instance, resource)]
        };
        let operation = Operation::RunInstance(Box::new(request.clone()));
        let view = self.effect(address, operation, || self.provider.run_instance(&request), record).await?;
        self.wait_for_instance(&view.id, Some(InstanceState::Running)).await?;
        Ok(view.id.to_string())
    }

    /// Stops an instance and waits for it.
    ///
    /// # Errors
    /// The provider's, the journal's, a timeout.
    pub async fn stop(&self, address: &Address, id: &InstanceId) -> Result<(), ApplyError> {
        let Some(view) = self.describe_instance(id).await? else { return Ok(()) };
        if view.state == InstanceState::Pending {
            match self.wait_for_instance(id, Some(InstanceState::Running)).await {
                // It fell back by itself.
                Err(ApplyError::Ended { state: InstanceState::Stopped, .. }) => return Ok(()),
                done => done?,
            }
        }
        if view.state != InstanceState::Stopped && view.options.disable_api_stop {
            // Set again with the instance's other attributes.
            let off = ModifyInstance { disable_api_stop: Some(false), ..ModifyInstance::default() };
            self.modify(address, id, &off).await?;
        }
        if view.state != InstanceState::Stopped {
            self.progress(address, format!("stopping {id}"));
            let operation = Operation::StopInstance { id: id.clone() };
            self.effect(address, operation, || self.provider.stop_instance(id), |()| Vec::new()).await?;
            self.wait_for_instance(id, Some(InstanceState::Stopped)).await?;
        }
        Ok(())
    }

    /// The volumes of a machine with the device names that they take on the instance.
    fn places(
        &self,
        machine: &InstanceAddress,
        disks: &[String],
        root_device: &str,
    ) -> Result<BTreeMap<String, (Address, VolumeResource)>, ApplyError> {
        disks
            .iter()
            .enumerate()
            .map(|(index, disk)| {
                let device =
                    if index == 0 { root_device.to_owned() } else { instance::data_device(index - 1) };
                Ok((device, self.volume(machine, disk)?))
            })
            .collect()
    }

    /// Takes everything off an instance that is not where it shall be; deletes the stub's own root.
    /// Anything else that is not ours somebody put there, and it is theirs to take off.
    async fn clear(
        &self,
        address: &Address,
        view: &InstanceView,
        phase: LaunchPhase,
        places: &BTreeMap<String, (Address, VolumeResource)>,
    ) -> Result<(), ApplyError> {
        for (device, id) in &view.volumes {
            if places.get(device).is_some_and(|(_, volume)| volume.id == *id) {
                continue;
            }
            let ours = self.is_of_state(id);
            if !ours && !is_stub_root(view, device, phase) {
                return Err(ApplyError::ForeignVolume {
                    volume: id.to_string(),
                    instance: view.id.to_string(),
                });
            }
            // Said before the detachment, so that a crash between the two leaves no orphan.
            let deletion = match ours {
                true => None,
                false => Some(self.begin(address, Operation::DeleteVolume { id: id.clone() }).await?),
            };
            let operation = Operation::DetachVolume { id: id.clone(), instance: view.id.clone() };
            let detach = || self.provider.detach_volume(id, &view.id);
            match self.effect(address, operation, detach, |()| Vec::new()).await {
                // An earlier run has deleted it, and the instance is still described with it.
                Err(ApplyError::Provider(error)) if !ours && error.kind == ProviderErrorKind::NotFound => {}
                detached => detached?,
            }
            self.wait_until_free(id).await?;
            if let Some(deletion) = deletion {
                match retry(&self.cancel, || self.provider.delete_volume(id)).await {
                    Err(error) if error.kind == ProviderErrorKind::NotFound => {}
                    deleted => deleted?,
                }
                self.finish(deletion, Vec::new()).await?;
            }
        }
        Ok(())
    }

    /// As [`Self::clear`]; what is not ours is believed to be there only when that is said again and
    /// again: an instance may be described for a while as it was before its volumes were taken off.
    async fn cleared(
        &self,
        address: &Address,
        mut view: InstanceView,
        phase: LaunchPhase,
        places: &BTreeMap<String, (Address, VolumeResource)>,
    ) -> Result<InstanceView, ApplyError> {
        let mut pauses = Pauses::new(self.options.limits.instance);
        let mut looks = 0;
        loop {
            match self.clear(address, &view, phase, places).await {
                Ok(()) => return Ok(view),
                Err(ApplyError::ForeignVolume { volume, .. }) if looks < MISSING => {
                    pauses.pause(self, &format!("{volume} off {}", view.id), "attached").await?;
                }
                Err(error) => return Err(error),
            }
            let gone = || ApplyError::NotInState { address: address.clone() };
            let again = self.describe_instance(&view.id).await?.ok_or_else(gone)?;
            looks = if again.volumes == view.volumes { looks + 1 } else { 0 };
            view = again;
        }
    }

    fn is_of_state(&self, id: &VolumeId) -> bool {
        self.store
            .state()
            .resources
            .values()
            .any(|resource| matches!(resource, Resource::Volume(volume) if volume.id == *id))
    }

    /// Puts the restored volumes where the stub's root was.
    async fn swap(
        &self,
        address: &Address,
        id: &InstanceId,
        disks: &[String],
        phase: LaunchPhase,
    ) -> Result<BTreeMap<String, (Address, VolumeResource)>, ApplyError> {
        self.stop(address, id).await?;
        let gone = || ApplyError::NotInState { address: address.clone() };
        let view = self.describe_instance(id).await?.ok_or_else(gone)?;
        let places = self.places(&address.instance, disks, &view.root_device)?;
        self.progress(address, "swapping the restored volumes in");
        let view = self.cleared(address, view, phase, &places).await?;
        for (device, (_, volume)) in &places {
            if view.volumes.get(device) == Some(&volume.id) {
                continue;
            }
            self.free_volume(address, &volume.id).await?;
            self.attach_to(address, id, device, &volume.id).await?;
        }
        Ok(places)
    }

    /// Brings an instance that has not started to its state: swap, attributes, start.
    ///
    /// # Errors
    /// The provider's, the journal's, a timeout, a value that is missing, a guest that does not
    /// come up.
    pub async fn launch(&self, address: &Address, plan: &LaunchPlan) -> Result<String, ApplyError> {
        let machine = &address.instance;
        let stub =
            self.instance(machine).ok_or_else(|| ApplyError::NotInState { address: address.clone() })?;
        let id = stub.id.clone();
        let (wanted, user_data) = self.resolved(machine, &plan.instance)?;
        let places = self.swap(address, &id, &wanted.disks, stub.phase).await?;
        let delete_on_termination = places
            .iter()
            .map(|(device, (_, volume))| (device.clone(), volume.delete_on_termination))
            .collect();
        let request = ModifyInstance {
            delete_on_termination,
            ..self.modification(
                &self.seen(&id, &stub, &wanted).await?,
                &wanted,
                user_data,
                wanted.user_data.is_some(),
            )
        };
        self.modify(address, &id, &request).await?;
        let view = self.refresh_tags(address, &id, &wanted.tags).await?;
        let swapped = InstanceResource {
            base_ami: stub.base_ami.clone(),
            ..instance::recorded(&wanted, &view, LaunchPhase::Swapped, Start::Stopped)
        };
        self.change(vec![put_instance(machine, swapped.clone())]).await?;
        if plan.start == Start::Stopped {
            return Ok(format!("{id} is stopped"));
        }
        self.mark_launched(address, &view, &places).await?;
        // Only a machine all of whose content is fresh can be restored anew after a failed start.
        let is_fresh = places.values().all(|(_, volume)| !volume.started);
        let record = |started: bool| {
            let volumes = places.values();
            volumes
                .map(|(address, volume)| {
                    let started = started || volume.started;
                    // What was taken before a destroy that did not come to its end is old by then.
                    let last_snapshot = None;
                    put_volume(address, VolumeResource { started, last_snapshot, ..volume.clone() })
                })
                .collect::<Vec<StateChange>>()
        };
        // Said before the start: from its first moment on the guest may write newer data.
        let mut changes = record(true);
        let started = InstanceResource {
            phase: LaunchPhase::Started,
            state: "running".to_owned(),
            tainted: is_fresh,
            ..swapped.clone()
        };
        changes.push(put_instance(machine, started.clone()));
        self.change(changes).await?;
        if let Err(error) = self.start(address, &id).await {
            if error.certainly_had_no_effect() {
                let mut changes = record(false);
                changes.push(put_instance(machine, swapped));
                self.change(changes).await?;
            }
            return Err(error);
        }
        let evidence = self.watch(address, &id).await?;
        let up = InstanceResource { tainted: false, ..started };
        self.change(vec![put_instance(machine, up)]).await?;
        Ok(format!("{id} is up: {evidence}"))
    }

    pub(super) async fn refresh_tags(
        &self,
        address: &Address,
        id: &InstanceId,
        tags: &TagMap,
    ) -> Result<InstanceView, ApplyError> {
        let gone = || ApplyError::NotInState { address: address.clone() };
        let view = self.describe_instance(id).await?.ok_or_else(gone)?;
        self.change_tags(address, &id.0, tags, &view.tags).await?;
        Ok(view)
    }

    /// The record of an instance with what the provider has of it now.
    async fn seen(
        &self,
        id: &InstanceId,
        is: &InstanceResource,
        wanted: &InstancePlan,
    ) -> Result<InstanceResource, ApplyError> {
        let Some(view) = self.describe_instance(id).await? else { return Ok(is.clone()) };
        let seen = InstanceResource {
            instance_type: view.instance_type.clone(),
            security_group_ids: shown_groups(&is.security_group_ids, &view.security_group_ids),
            iam_instance_profile: shown_profile(&is.iam_instance_profile, &view.iam_instance_profile),
            termination_protection: view.termination_protection,
            options: is.options.refreshed(&view.options),
            ..is.clone()
        };
        Ok(said_as_is(seen, Some(&view), wanted))
    }

    /// What of an instance's attributes must change in the provider.
    pub(super) fn modification(
        &self,
        is: &InstanceResource,
        wanted: &InstancePlan,
        user_data: Option<String>,
        set_user_data: bool,
    ) -> ModifyInstance {
        ModifyInstance {
            // An empty text takes it away.
            user_data: set_user_data.then(|| user_data.unwrap_or_default()),
            ..modification(is, wanted)
        }
    }

    pub(super) async fn modify(
        &self,
        address: &Address,
        id: &InstanceId,
        request: &ModifyInstance,
    ) -> Result<(), ApplyError> {
        if *request == ModifyInstance::default() {
            return Ok(());
        }
        let operation = Operation::ModifyInstance { id: id.clone(), request: Box::new(request.clone()) };
        self.effect(address, operation, || self.provider.modify_instance(id, request), |()| Vec::new()).await
    }

    /// Changes an instance that has started.
    ///
    /// # Errors
    /// As [`Context::launch`]; a guest that does not come up again keeps its data and its record.
    pub async fn update_instance(&self, address: &Address, plan: &LaunchPlan) -> Result<String, ApplyError> {
        let machine = &address.instance;
        let is = self.instance(machine).ok_or_else(|| ApplyError::NotInState { address: address.clone() })?;
        let id = is.id.clone();
        let (wanted, user_data) = self.resolved(machine, &plan.instance)?;
        let off = self.off(machine, &id, &wanted.disks, &plan.attach).await?;
        if plan.stop_first || plan.start == Start::Stopped {
            self.stop(address, &id).await?;
        } else if self.describe_instance(&id).await?.is_some_and(|v| v.state == InstanceState::Stopping) {
            // A run that was cut off, or somebody else, stops it: nothing else can be done with it now.
            self.wait_for_instance(&id, Some(InstanceState::Stopped)).await?;
        }
        let delete_on_termination = self.put_back(address, &id, &off).await?;
        let seen = self.seen(&id, &is, &wanted).await?;
        let request = ModifyInstance {
            delete_on_termination,
            ..self.modification(&seen, &wanted, user_data, is.user_data != wanted.user_data)
        };
        self.modify(address, &id, &request).await?;
        let view = self.refresh_tags(address, &id, &wanted.tags).await?;
        let now = InstanceResource {
            image_id: is.image_id.clone(),
            base_ami: is.base_ami.clone(),
            ..instance::recorded(&wanted, &view, LaunchPhase::Started, plan.start)
        };
        let mut changes: Vec<StateChange> = wanted
            .disks
            .iter()
            .filter_map(|disk| self.volume(machine, disk).ok())
            .filter(|(_, volume)| !volume.started)
            .map(|(address, volume)| put_volume(&address, VolumeResource { started: true, ..volume }))
            .collect();
        changes.push(put_instance(machine, InstanceResource { tainted: is.tainted, ..now.clone() }));
        self.change(changes).await?;
        if plan.start == Start::Stopped {
            self.change(vec![put_instance(machine, now)]).await?;
            return Ok(format!("{id} is stopped"));
        }
        let evidence = match view.state {
            InstanceState::Running if !is.tainted => return Ok(id.to_string()),
            InstanceState::Running | InstanceState::Pending => self.watch(address, &id).await?,
            _ => {
                self.start(address, &id).await?;
                self.watch(address, &id).await?
            }
        };
        self.change(vec![put_instance(machine, now)]).await?;
        Ok(format!("{id} is up: {evidence}"))
    }

    /// What the state is without an instance. What a failed first start left on its volumes is no
    /// loss; that must be known when the instance is not there to say so.
    fn removal(&self, address: &Address, recorded: Option<&InstanceResource>) -> Vec<StateChange> {
        let mut changes = vec![StateChange::Remove { address: address.clone() }];
        let Some(recorded) = recorded.filter(|instance| instance.tainted) else { return changes };
        for disk in &recorded.disks {
            if let Ok((volume_address, volume)) = self.volume(&address.instance, disk) {
                self.forget_manifest(&volume.id);
                let fresh = VolumeResource { write: None, drivers: None, started: false, ..volume };
                changes.push(put_volume(&volume_address, fresh));
            }
        }
        changes
    }

    /// Looks, before anything is done, whether an instance may end: a protection that somebody has set
    /// since the plan was made would be met when it is stopped and without its volumes. The stop
    /// protection that the configuration gave it ends with it.
    async fn unprotect(
        &self,
        address: &Address,
        id: &InstanceId,
        recorded: Option<&InstanceResource>,
    ) -> Result<(), ApplyError> {
        let protection = retry(&self.cancel, || self.provider.protection(id)).await?;
        let is_own = recorded.is_some_and(|instance| instance.options.disable_api_stop);
        if protection.termination || (protection.stop && !is_own) {
            return Err(ApplyError::Protected { instance: id.to_string(), stop: !protection.termination });
        }
        if protection.stop {
            let off = ModifyInstance { disable_api_stop: Some(false), ..ModifyInstance::default() };
            self.modify(address, id, &off).await?;
        }
        Ok(())
    }

    /// Ends an instance. All its volumes but the stub's own root are detached first and stay.
    ///
    /// # Errors
    /// The provider's, the journal's, a timeout.
    pub async fn terminate(&self, address: &Address, id: &InstanceId) -> Result<String, ApplyError> {
        let recorded = self.instance(&address.instance).filter(|instance| instance.id == *id);
        let gone = self.removal(address, recorded.as_ref());
        let Some(view) = self.describe_instance(id).await? else {
            self.change(gone).await?;
            return Ok(format!("{id} was gone already"));
        };
        if view.state != InstanceState::ShuttingDown {
            self.unprotect(address, id, recorded.as_ref()).await?;
        }
        let phase = recorded.map_or(LaunchPhase::Started, |instance| instance.phase);
        let staying: Vec<&VolumeId> = view
            .volumes
            .iter()
            .filter(|(device, volume)| self.is_of_state(volume) || !is_stub_root(&view, device, phase))
            .map(|(_, volume)| volume)
            .collect();
        if view.state != InstanceState::ShuttingDown {
            if !staying.is_empty() {
                self.stop(address, id).await?;
            }
            for volume in staying {
                let operation = Operation::DetachVolume { id: volume.clone(), instance: id.clone() };
                self.effect(address, operation, || self.provider.detach_volume(volume, id), |()| Vec::new())
                    .await?;
                self.wait_until_free(volume).await?;
            }
        }
        let operation = Operation::TerminateInstance { id: id.clone() };
        self.effect(address, operation, || self.provider.terminate_instance(id), |()| gone).await?;
        self.wait_for_instance(id, None).await?;
        Ok(id.to_string())
    }
}

/// Whether a volume is the root that a stub brought along.
fn is_stub_root(view: &InstanceView, device: &str, phase: LaunchPhase) -> bool {
    phase == LaunchPhase::Stub && device == view.root_device
}
