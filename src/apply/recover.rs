//! Settling what an earlier run began and did not end: adopted when it is there, finished when it
//! can be, nothing made twice (promise 2). Runs before the plan, under the lock.

use std::collections::BTreeMap;
use std::time::Duration;

use super::context::{put_instance, put_volume};
use super::retry::retry;
use super::wait::Pauses;
use super::{ApplyError, Context, Event, image, volume};
use crate::model::{Address, Architecture, BootMode, ClientToken, Digest, LaunchMethod, Part};
use crate::plan::image::content;
use crate::plan::{InstancePlan, Start};
use crate::provider::{
    CreateSnapshot, Filter, InstanceId, InstanceView, ProviderErrorKind, RunInstance, SnapshotId,
    SnapshotView, TAG_TOKEN, VolumeId, VolumeView, is_slot, user_tags,
};
use crate::state::format::v1::LaunchPhase;
use crate::state::{
    InstanceResource, Intent, Operation, Resource, SnapshotResource, StateChange, VolumeResource,
};

/// Settles every intent of an earlier run, then takes our volumes out of the access node's slots.
///
/// # Errors
/// The provider's, the journal's, a timeout. What is settled by then stays settled.
pub async fn recover(context: &Context) -> Result<(), ApplyError> {
    let mut adopted = false;
    for intent in context.store.pending() {
        adopted |= matches!(intent.operation, Operation::CreateVolume(_) | Operation::RunInstance(_));
        let (id, address) = (intent.id, intent.address.clone());
        let what = match settle(context, intent).await {
            Ok(what) => what,
            // A refusal for good: what was begun was never made (repeating a call that had taken
            // effect gives what it made), and the plan that follows decides anew.
            Err(error) if is_refusal(&error) => {
                context.fail(id, error.to_string(), Vec::new()).await?;
                format!("what an earlier run had begun is refused now, and given up: {error}")
            }
            Err(error) => return Err(error),
        };
        context.tell(&Event::Recovered { address, what });
    }
    wait_for_new(context, adopted).await?;
    context.finish_images().await?;
    leave_slots(context).await
}

fn is_refusal(error: &ApplyError) -> bool {
    match error {
        // Who may not ask is told nothing of what was begun.
        ApplyError::Provider(error) => {
            !error.is_retryable()
                && !matches!(error.kind, ProviderErrorKind::Io | ProviderErrorKind::Unauthorized)
        }
        ApplyError::ForeignAttachment { .. } | ApplyError::NodesOwn { .. } => true,
        _ => false,
    }
}

async fn settle(context: &Context, intent: Intent) -> Result<String, ApplyError> {
    let Intent { id, address, operation } = intent;
    let (changes, what) = match operation {
        Operation::CreateVolume(request) => {
            let view = match made_volume(context, &request.token).await? {
                Some(view) => view,
                None => retry(&context.cancel, || context.provider.create_volume(&request)).await?,
            };
            let what = format!("{} was being made; it is adopted", view.id);
            (volume::adopted(&address, &request, &view).into_iter().collect(), what)
        }
        Operation::RunInstance(request) if request.image_id.is_some() => {
            match launched(context, &address, &request).await? {
                Some(view) => {
                    let what = format!("{} was being launched; it is adopted", view.id);
                    (
                        vec![put_instance(&address.instance, from_image(context, &address, &request, &view))],
                        what,
                    )
                }
                None => (Vec::new(), "an instance was not launched yet".to_owned()),
            }
        }
        Operation::RunInstance(request) => {
            let view = match made_instance(context, &request.token).await? {
                Some(view) => view,
                None => retry(&context.cancel, || context.provider.run_instance(&request)).await?,
            };
            let what = format!("{} was being launched; it is adopted", view.id);
            let resource =
                super::instance::recorded(&launched_plan(&request), &view, LaunchPhase::Stub, Start::Stopped);
            (vec![put_instance(&address.instance, resource)], what)
        }
        Operation::DeleteVolume { id } => {
            finish_deletion(context, &address, &id).await?;
            let is_recorded =
                matches!(context.store.resource(&address), Some(Resource::Volume(volume)) if volume.id == id);
            let gone = is_recorded.then(|| StateChange::Remove { address: address.clone() });
            (gone.into_iter().collect(), format!("{id} was being destroyed; it is gone"))
        }
        Operation::TerminateInstance { id } => {
            finish_termination(context, &id).await?;
            let is_recorded = matches!(
                context.store.resource(&address),
                Some(Resource::Instance(instance)) if instance.id == id
            );
            let gone = is_recorded.then(|| StateChange::Remove { address: address.clone() });
            (gone.into_iter().collect(), format!("{id} was being terminated; it is gone"))
        }
        Operation::WriteOverlay { id, .. } => {
            context.forget_manifest(&id);
            let changes = unwritten(context, &id);
            (changes, format!("drivers were being injected into {id}; its content is written anew"))
        }
        Operation::Write { id, .. } => {
            (Vec::new(), format!("{id} was being written; the write goes on from its last checkpoint"))
        }
        Operation::CreateSnapshot(request) if matches!(address.part, Part::Snapshot(_)) => {
            let view = retry(&context.cancel, || context.provider.create_snapshot(&request)).await?;
            let what = format!("{} was being taken; it is adopted", view.id);
            (image_snapshot(context, &address, &request, &view), what)
        }
        Operation::RegisterImage(request) => {
            let view = retry(&context.cancel, || context.provider.register_image(&request)).await?;
            let what = format!("{} was being registered; it is adopted", view.id);
            (vec![image::adopted(&context.store.state(), &address, &request, &view)], what)
        }
        Operation::DeregisterImage { id } => {
            let filter = Filter::id(&id);
            if !retry(&context.cancel, || context.provider.images(&filter)).await?.is_empty() {
                retry(&context.cancel, || context.provider.deregister_image(&id)).await?;
            }
            (gone(context, &address, &id.0), format!("{id} was being taken away; it is gone"))
        }
        Operation::CreateSnapshot(request) => {
            let filter = Filter::tag(TAG_TOKEN, &request.token);
            let found = retry(&context.cancel, || context.provider.snapshots(&filter)).await?;
            let what = found.first().map_or_else(
                || format!("a snapshot of {} was not begun yet", request.volume_id),
                |snapshot| format!("{} of {} was being taken; it stays", snapshot.id, request.volume_id),
            );
            let taken = found.into_iter().next().map(|snapshot| snapshot.id);
            (final_snapshot(context, &address, &request, taken), what)
        }
        Operation::AttachVolume { id, .. } => (Vec::new(), format!("{id} was being attached")),
        Operation::DetachVolume { id, .. } => (Vec::new(), format!("{id} was being detached")),
        Operation::StartInstance { id } => (Vec::new(), format!("{id} was being started")),
        Operation::StopInstance { id } => (Vec::new(), format!("{id} was being stopped")),
        Operation::ModifyVolume { id, .. } => (Vec::new(), format!("{id} was being changed")),
        Operation::ModifyInstance { id, .. } => (Vec::new(), format!("{id} was being changed")),
        Operation::ChangeTags { id, .. } => (Vec::new(), format!("the tags of {id} were being changed")),
        Operation::DeleteSnapshot { id } => {
            let filter = Filter::id(&id);
            if !retry(&context.cancel, || context.provider.snapshots(&filter)).await?.is_empty() {
                retry(&context.cancel, || context.provider.delete_snapshot(&id)).await?;
            }
            (gone(context, &address, &id.0), format!("{id} was being deleted; it is gone"))
        }
    };
    context.finish(id, changes).await?;
    Ok(what)
}

/// What the state is without a resource that it has under this id.
fn gone(context: &Context, address: &Address, id: &str) -> Vec<StateChange> {
    let is_recorded = context.store.resource(address).is_some_and(|resource| resource.id() == id);
    is_recorded.then(|| StateChange::Remove { address: address.clone() }).into_iter().collect()
}

/// The instance that a RunInstances from an image made. User data is in no journal: while the
/// configuration gives the same again, the very call can be repeated; else what it made, if it
/// made anything, is known by its token.
async fn launched(
    context: &Context,
    address: &Address,
    request: &RunInstance,
) -> Result<Option<InstanceView>, ApplyError> {
    let state = context.store.state();
    let text = match request.user_data_digest {
        Some(_) => context.specs.instance(&address.instance, &state).ok().and_then(|spec| spec.user_data),
        None => None,
    };
    if text.as_ref().map(|text| Digest::of(text.as_bytes())) == request.user_data_digest {
        let request = RunInstance { user_data: text, ..request.clone() };
        return Ok(Some(retry(&context.cancel, || context.provider.run_instance(&request)).await?));
    }
    let filter = Filter::tag(TAG_TOKEN, &request.token);
    Ok(retry(&context.cancel, || context.provider.instances(&filter)).await?.into_iter().next())
}

/// The record of an instance that was launched from the image of the state.
fn from_image(
    context: &Context,
    address: &Address,
    request: &RunInstance,
    view: &InstanceView,
) -> InstanceResource {
    let disks = match context.store.resource(&address.instance.part(Part::Image)) {
        Some(Resource::Image(image)) => image.disks.into_iter().map(|disk| disk.name).collect(),
        _ => Vec::new(),
    };
    let plan = InstancePlan { user_data: request.user_data_digest, disks, ..launched_plan(request) };
    let is_fresh = plan
        .disks
        .iter()
        .all(|disk| context.volume(&address.instance, disk).is_ok_and(|(_, volume)| !volume.started));
    InstanceResource {
        image_id: request.image_id.clone(),
        adopting: true,
        tainted: is_fresh,
        ..super::instance::recorded(&plan, view, LaunchPhase::Started, Start::Running)
    }
}

/// The snapshot of the state that a repeated CreateSnapshot gave.
fn image_snapshot(
    context: &Context,
    address: &Address,
    request: &CreateSnapshot,
    view: &SnapshotView,
) -> Vec<StateChange> {
    let disk = address.part.disk().unwrap_or_default();
    let volume = context.volume(&address.instance, disk).ok().map(|(_, volume)| volume);
    let Some(volume) = volume.filter(|volume| volume.id == request.volume_id) else { return Vec::new() };
    let resource = SnapshotResource {
        id: view.id.clone(),
        volume_id: volume.id.clone(),
        content: content(&volume),
        tags: user_tags(&request.tags),
        prevent_destroy: false,
    };
    vec![StateChange::Put { address: address.clone(), resource: Resource::Snapshot(Box::new(resource)) }]
}

/// The volume of the state, with the final snapshot that was taken of it.
fn final_snapshot(
    context: &Context,
    address: &Address,
    request: &CreateSnapshot,
    taken: Option<SnapshotId>,
) -> Vec<StateChange> {
    let volume = context.volume(&address.instance, address.part.disk().unwrap_or_default());
    let volume = volume.ok().map(|(_, volume)| volume).filter(|volume| volume.id == request.volume_id);
    match (volume, taken) {
        (Some(volume), Some(taken)) => {
            vec![put_volume(address, VolumeResource { last_snapshot: Some(taken), ..volume })]
        }
        _ => Vec::new(),
    }
}

/// The volume that a token made, by its tag: the provider forgets tokens after a while (EC2: a day at
/// least), and may do so before anybody runs us again.
async fn made_volume(context: &Context, token: &ClientToken) -> Result<Option<VolumeView>, ApplyError> {
    let filter = Filter::tag(TAG_TOKEN, token);
    let found = retry(&context.cancel, || context.provider.volumes(&filter)).await?;
    Ok(found.into_iter().find(|view| !view.state.is_ending()))
}

/// The instance that a token launched, by its tag.
async fn made_instance(context: &Context, token: &ClientToken) -> Result<Option<InstanceView>, ApplyError> {
    let filter = Filter::tag(TAG_TOKEN, token);
    let found = retry(&context.cancel, || context.provider.instances(&filter)).await?;
    Ok(found.into_iter().find(|view| !view.state.is_ending()))
}

/// What an earlier run made right before it was cut off may not be known everywhere yet: planned
/// now, it would be made a second time. What stays unknown was deleted by somebody else.
async fn wait_for_new(context: &Context, adopted: bool) -> Result<(), ApplyError> {
    let Some(cut_off) = context.store.cut_off() else { return Ok(()) };
    let since = if adopted { Duration::ZERO } else { cut_off.elapsed().unwrap_or_default() };
    let mut unseen = Unseen::made(context);
    let mut pauses = Pauses::new(context.options.limits.new.saturating_sub(since));
    loop {
        unseen.look(context).await?;
        let Some((id, address)) = unseen.first() else { return Ok(()) };
        context.progress(address, format!("{id} was just made; waiting until it is known everywhere"));
        match pauses.pause(context, &format!("{id} described"), "it does not exist").await {
            Err(ApplyError::Timeout { .. }) => return Ok(()),
            other => other?,
        }
    }
}

/// Whether everything that was made since the state file was written is described. What is not may
/// only not be known everywhere yet: a run that fails then leaves its journal, from which the next
/// one knows that it has to wait.
pub async fn is_all_known(context: &Context) -> bool {
    let mut unseen = Unseen::made(context);
    unseen.look(context).await.is_ok() && unseen.first().is_none()
}

/// What was made and is not described yet, by id.
#[derive(Default)]
struct Unseen {
    volumes: BTreeMap<String, Address>,
    instances: BTreeMap<String, Address>,
    snapshots: BTreeMap<String, Address>,
    images: BTreeMap<String, Address>,
}

impl Unseen {
    /// Everything since the state file was written.
    fn made(context: &Context) -> Self {
        let state = context.store.state();
        let mut unseen = Self::default();
        for address in context.store.made() {
            let Some(resource) = state.resources.get(&address) else { continue };
            let kind = match resource {
                Resource::Volume(_) => &mut unseen.volumes,
                Resource::Instance(_) => &mut unseen.instances,
                Resource::Snapshot(_) => &mut unseen.snapshots,
                Resource::Image(_) => &mut unseen.images,
            };
            kind.insert(resource.id().to_owned(), address);
        }
        unseen
    }

    fn first(&self) -> Option<(&String, &Address)> {
        self.volumes.iter().chain(&self.instances).chain(&self.snapshots).chain(&self.images).next()
    }

    /// Forgets what is described now.
    async fn look(&mut self, context: &Context) -> Result<(), ApplyError> {
        let by_ids = |of: &BTreeMap<String, Address>| Filter {
            ids: of.keys().cloned().collect(),
            ..Filter::default()
        };
        let (provider, cancel) = (&context.provider, &context.cancel);
        if !self.volumes.is_empty() {
            let filter = by_ids(&self.volumes);
            for view in retry(cancel, || provider.volumes(&filter)).await? {
                self.volumes.remove(&view.id.0);
            }
        }
        if !self.instances.is_empty() {
            let filter = by_ids(&self.instances);
            for view in retry(cancel, || provider.instances(&filter)).await? {
                self.instances.remove(&view.id.0);
            }
        }
        if !self.snapshots.is_empty() {
            let filter = by_ids(&self.snapshots);
            for view in retry(cancel, || provider.snapshots(&filter)).await? {
                self.snapshots.remove(&view.id.0);
            }
        }
        if !self.images.is_empty() {
            let filter = by_ids(&self.images);
            for view in retry(cancel, || provider.images(&filter)).await? {
                self.images.remove(&view.id.0);
            }
        }
        Ok(())
    }
}

async fn finish_deletion(context: &Context, address: &Address, id: &VolumeId) -> Result<(), ApplyError> {
    context.forget_manifest(id);
    if context.describe_volume(id).await?.is_none() {
        return Ok(());
    }
    context.free_volume(address, id).await?;
    retry(&context.cancel, || context.provider.delete_volume(id)).await?;
    context.wait_for_volume(id, "gone", |view| view.is_none()).await?;
    Ok(())
}

async fn finish_termination(context: &Context, id: &InstanceId) -> Result<(), ApplyError> {
    if context.describe_instance(id).await?.is_none() {
        return Ok(());
    }
    retry(&context.cancel, || context.provider.terminate_instance(id)).await?;
    context.wait_for_instance(id, None).await
}

/// The volumes of the state with this id, their content unknown.
fn unwritten(context: &Context, id: &VolumeId) -> Vec<StateChange> {
    let state = context.store.state();
    let volumes = state.resources.iter().filter_map(|(address, resource)| match resource {
        Resource::Volume(volume) if volume.id == *id => Some((address, volume)),
        _ => None,
    });
    volumes
        .map(|(address, volume)| {
            put_volume(address, VolumeResource { write: None, drivers: None, ..(**volume).clone() })
        })
        .collect()
}

/// What RunInstances was asked for, as a plan; what it does not carry the plan that follows sets.
fn launched_plan(request: &RunInstance) -> InstancePlan {
    let RunInstance { architecture, boot_mode, .. } = request;
    let (architecture, boot_mode): (Architecture, BootMode) = (*architecture, *boot_mode);
    InstancePlan {
        instance_type: request.instance_type.clone(),
        architecture,
        boot_mode,
        platform: request.platform.clone(),
        method: LaunchMethod::default(),
        base_ami: request.base_ami.clone(),
        zone: request.zone.clone(),
        subnet_id: request.subnet_id.clone(),
        private_ip: request.private_ip,
        security_group_ids: request.security_group_ids.clone(),
        key_name: request.key_name.clone(),
        iam_instance_profile: request.iam_instance_profile.clone(),
        user_data: None,
        termination_protection: false,
        options: request.options.clone(),
        tags: user_tags(&request.tags),
        console_pattern: request.console_pattern.clone(),
        boot_timeout: request.boot_timeout,
        disks: Vec::new(),
        depends_on: std::collections::BTreeSet::new(),
        prevent_destroy: false,
        unknown: std::collections::BTreeSet::new(),
    }
}

/// Volumes that an earlier run left in slots: out, so that every run begins with free slots.
async fn leave_slots(context: &Context) -> Result<(), ApplyError> {
    let state = context.store.state();
    let node = context.access_node();
    let volumes: BTreeMap<&VolumeId, (&Address, &VolumeResource)> = state
        .resources
        .iter()
        .filter_map(|(address, resource)| match resource {
            Resource::Volume(volume) => Some((&volume.id, (address, &**volume))),
            Resource::Instance(_) | Resource::Snapshot(_) | Resource::Image(_) => None,
        })
        .collect();
    if volumes.is_empty() {
        return Ok(());
    }
    let ids = volumes.keys().map(ToString::to_string).collect();
    let filter = Filter { ids, ..Filter::default() };
    for view in retry(&context.cancel, || context.provider.volumes(&filter)).await? {
        let Some((address, _)) = volumes.get(&view.id) else { continue };
        // What is under no slot's name is the node's own, and stays.
        if view.attachment.is_some_and(|at| at.instance_id == node && is_slot(&at.device)) {
            context.free_volume(address, &view.id).await?;
            let what = format!("{} was left in a slot of the access node; it is detached", view.id);
            context.tell(&Event::Recovered { address: (*address).clone(), what });
        }
    }
    let slotless = volumes
        .values()
        .filter(|(_, volume)| volume.slot.is_some())
        .map(|(address, volume)| put_volume(address, VolumeResource { slot: None, ..(*volume).clone() }))
        .collect();
    context.change(slotless).await
}
