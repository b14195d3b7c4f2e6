//! Launching by image: snapshots of the written volumes, an image of them, an instance from it,
//! and the volumes that it got in place of those that were written.

use std::collections::{BTreeMap, BTreeSet};

use super::context::{put_instance, put_volume};
use super::retry::retry;
use super::wait::Pauses;
use super::{ApplyError, Context, instance};
use crate::model::{Address, InstanceAddress, InstanceOptions, Part};
use crate::plan::image::content;
use crate::plan::{ImagePlan, LaunchPlan, SnapshotPlan, Start};
use crate::provider::{
    CreateSnapshot, Filter, ImageId, ImageMapping, ImageView, InstanceState, InstanceView, RegisterImage,
    RunInstance, SnapshotId, SnapshotView, TAG_ADDRESS, TAG_LAUNCHED, TAG_WORKSPACE, TagMap, VolumeId,
    is_user_tag, user_tags,
};
use crate::state::format::v1::LaunchPhase;
use crate::state::{
    ImageDisk, ImageResource, InstanceResource, Operation, Resource, SnapshotResource, State, StateChange,
    VolumeResource,
};

/// The root of an instance that is launched from an image of ours ("Device names for volumes":
/// /dev/sda1 and /dev/xvda are EC2's for the root).
const ROOT: &str = "/dev/xvda";

impl Context {
    /// The user's tags of an instance; those not known while planning are evaluated now.
    fn tags_of(&self, machine: &InstanceAddress, planned: Option<&TagMap>) -> Result<TagMap, ApplyError> {
        if let Some(tags) = planned {
            return Ok(tags.clone());
        }
        let spec = self
            .specs
            .instance(machine, &self.store.state())
            .map_err(|diagnostic| ApplyError::Values(Box::new(diagnostic)))?;
        Ok(spec.tags)
    }

    /// Snapshots a volume that is at rest and waits until that is complete.
    ///
    /// # Errors
    /// The provider's, the journal's, a timeout.
    pub async fn snapshot_disk(&self, address: &Address, plan: &SnapshotPlan) -> Result<String, ApplyError> {
        let (volume_address, volume) =
            self.volume(&address.instance, address.part.disk().unwrap_or_default())?;
        self.free_volume(&volume_address, &volume.id).await?;
        let token = self.token()?;
        let mut tags = self.tags_of(&address.instance, plan.tags.as_ref())?;
        let user = tags.clone();
        if volume.started {
            // What a guest has written is nowhere else once the volume is gone.
            tags.insert(TAG_LAUNCHED.to_owned(), "true".to_owned());
        }
        let request = CreateSnapshot {
            tags: self.tags(&tags, address, &token),
            token,
            volume_id: volume.id.clone(),
            description: format!("{address}, taken by Replant of {}", volume.id),
        };
        let record = |view: &SnapshotView| {
            let resource = SnapshotResource {
                id: view.id.clone(),
                volume_id: volume.id.clone(),
                content: content(&volume),
                tags: user,
                prevent_destroy: plan.prevent_destroy,
            };
            vec![put(address, Resource::Snapshot(Box::new(resource)))]
        };
        let operation = Operation::CreateSnapshot(Box::new(request.clone()));
        let view =
            self.effect(address, operation, || self.provider.create_snapshot(&request), record).await?;
        self.wait_for_snapshot(address, &view.id).await?;
        Ok(view.id.to_string())
    }

    /// Destroys a snapshot that an image was made of.
    ///
    /// # Errors
    /// The provider's, the journal's.
    pub async fn delete_snapshot(&self, address: &Address, id: &SnapshotId) -> Result<String, ApplyError> {
        let gone = vec![StateChange::Remove { address: address.clone() }];
        let filter = Filter::id(id);
        if retry(&self.cancel, || self.provider.snapshots(&filter)).await?.is_empty() {
            self.change(gone).await?;
            return Ok(format!("{id} was gone already"));
        }
        let operation = Operation::DeleteSnapshot { id: id.clone() };
        self.effect(address, operation, || self.provider.delete_snapshot(id), |()| gone).await?;
        Ok(id.to_string())
    }

    /// Makes an image of a machine's snapshots and waits until it can be launched from.
    ///
    /// # Errors
    /// The provider's, the journal's, a timeout; EC2 does not take it for Linux.
    pub async fn register_image(&self, address: &Address, plan: &ImagePlan) -> Result<String, ApplyError> {
        let machine = &address.instance;
        let mut mappings = Vec::new();
        let mut snapshots = BTreeMap::new();
        for (index, disk) in plan.disks.iter().enumerate() {
            let at = machine.part(Part::Snapshot(disk.name.clone()));
            let Some(Resource::Snapshot(snapshot)) = self.store.resource(&at) else {
                return Err(ApplyError::NotInState { address: at });
            };
            // The snapshot may have been taken by a run that did not wait for its end.
            self.wait_for_snapshot(&at, &snapshot.id).await?;
            snapshots.insert(disk.name.clone(), snapshot.id.clone());
            mappings.push(ImageMapping {
                device: device(index),
                snapshot_id: snapshot.id.clone(),
                shape: disk.shape.clone(),
            });
        }
        let token = self.token()?;
        let user = self.tags_of(machine, plan.tags.as_ref())?;
        let request = RegisterImage {
            name: format!("replant-{}-{token}", machine.name),
            tags: self.tags(&user, address, &token),
            token,
            description: format!("{address}, restored by Replant"),
            architecture: plan.architecture,
            boot_mode: plan.boot_mode,
            root_device: ROOT.to_owned(),
            mappings,
        };
        let record = |view: &ImageView| {
            let resource = ImageResource {
                id: view.id.clone(),
                name: request.name.clone(),
                architecture: plan.architecture,
                boot_mode: plan.boot_mode,
                disks: plan.disks.clone(),
                snapshots,
                tags: user,
                prevent_destroy: plan.prevent_destroy,
            };
            vec![put(address, Resource::Image(Box::new(resource)))]
        };
        let operation = Operation::RegisterImage(Box::new(request.clone()));
        let view = self.effect(address, operation, || self.provider.register_image(&request), record).await?;
        let platform = self.wait_for_image(&view.id).await?;
        if !is_linux(&platform) {
            return Err(ApplyError::Platform { image: view.id.to_string(), platform });
        }
        Ok(view.id.to_string())
    }

    /// Takes an image away.
    ///
    /// # Errors
    /// The provider's, the journal's.
    pub async fn deregister_image(&self, address: &Address, id: &ImageId) -> Result<String, ApplyError> {
        let gone = vec![StateChange::Remove { address: address.clone() }];
        let filter = Filter::id(id);
        if retry(&self.cancel, || self.provider.images(&filter)).await?.is_empty() {
            self.change(gone).await?;
            return Ok(format!("{id} was gone already"));
        }
        let operation = Operation::DeregisterImage { id: id.clone() };
        self.effect(address, operation, || self.provider.deregister_image(id), |()| gone).await?;
        Ok(id.to_string())
    }

    /// The image of the state.
    fn image(&self, machine: &InstanceAddress) -> Result<ImageResource, ApplyError> {
        let address = machine.part(Part::Image);
        match self.store.resource(&address) {
            Some(Resource::Image(image)) => Ok(*image),
            _ => Err(ApplyError::NotInState { address }),
        }
    }

    /// Launches an instance from its image: its guest starts with the call. Then the volumes that
    /// it got take the places of those that were written, which are deleted once it is up.
    ///
    /// # Errors
    /// The provider's, the journal's, a timeout, a value that is missing, a guest that does not
    /// come up.
    pub async fn launch_image(&self, address: &Address, plan: &LaunchPlan) -> Result<String, ApplyError> {
        let machine = &address.instance;
        let (wanted, user_data) = self.resolved(machine, &plan.instance)?;
        let image = self.image(machine)?;
        // One that an earlier run registered may not be ready yet.
        self.wait_for_image(&image.id).await?;
        self.mark_image(machine, &image).await?;
        let volumes = wanted.disks.iter().map(|disk| self.volume(machine, disk));
        let volumes = volumes.collect::<Result<Vec<_>, _>>()?;
        // Only a machine all of whose content is fresh can be restored anew after a failed start.
        let is_fresh = volumes.iter().all(|(_, volume)| !volume.started);
        let token = self.token()?;
        let mut tags = self.tags(&wanted.tags, &machine.part(Part::Instance), &token);
        tags.insert(TAG_LAUNCHED.to_owned(), "true".to_owned());
        let request = RunInstance {
            image_id: Some(image.id.clone()),
            user_data_digest: wanted.user_data,
            user_data,
            ..wanted.request(token, tags)
        };
        let begun = |view: &InstanceView| InstanceResource {
            tainted: is_fresh,
            image_id: Some(image.id.clone()),
            adopting: true,
            // What is set after the launch is not there yet.
            termination_protection: false,
            options: InstanceOptions { disable_api_stop: false, ..wanted.options.clone() },
            ..instance::recorded(&wanted, view, LaunchPhase::Started, Start::Running)
        };
        let operation = Operation::RunInstance(Box::new(request.clone()));
        let record = |view: &InstanceView| vec![put_instance(machine, begun(view))];
        let view = self.effect(address, operation, || self.provider.run_instance(&request), record).await?;
        let id = view.id.clone();
        self.adopt_volumes(machine).await?;
        self.wait_for_instance(&id, Some(InstanceState::Running)).await?;
        let view = self.refresh_tags(address, &id, &wanted.tags).await?;
        let request = self.modification(&begun(&view), &wanted, None, false);
        self.modify(address, &id, &request).await?;
        let protected = InstanceResource {
            termination_protection: wanted.termination_protection,
            options: wanted.options.clone(),
            adopting: false,
            ..begun(&view)
        };
        self.change(vec![put_instance(machine, protected.clone())]).await?;
        let evidence = self.watch(address, &id).await?;
        self.change(vec![put_instance(machine, InstanceResource { tainted: false, ..protected })]).await?;
        self.end_predecessors(machine).await?;
        Ok(format!("{id} is up: {evidence}"))
    }

    /// Says on an image and its snapshots that a guest starts from them.
    async fn mark_image(&self, machine: &InstanceAddress, image: &ImageResource) -> Result<(), ApplyError> {
        let mark = TagMap::from([(TAG_LAUNCHED.to_owned(), "true".to_owned())]);
        let nothing = BTreeSet::new();
        for (disk, snapshot) in &image.snapshots {
            let address = machine.part(Part::Snapshot(disk.clone()));
            self.set_tags(&address, &snapshot.0, &mark, &nothing).await?;
        }
        self.set_tags(&machine.part(Part::Image), &image.id.0, &mark, &nothing).await
    }

    /// Records the volumes of an instance that was launched from an image under the addresses of
    /// those that were written, and gives them their tags. Again, it goes on where it was.
    ///
    /// # Errors
    /// The provider's, the journal's, a timeout.
    pub async fn adopt_volumes(&self, machine: &InstanceAddress) -> Result<(), ApplyError> {
        let address = machine.part(Part::Instance);
        let Some(recorded) = self.instance(machine).filter(|instance| instance.adopting) else {
            return Ok(());
        };
        let mut pauses = Pauses::new(self.options.limits.volume);
        let devices: Vec<String> = (0..recorded.disks.len()).map(device).collect();
        let held = loop {
            // The mapping is filled in while the instance is launched.
            let Some(view) = self.describe_instance(&recorded.id).await? else {
                let missing = format!("the volumes of {}", recorded.id);
                pauses.pause(self, &missing, "the instance does not exist").await?;
                continue;
            };
            if view.state.is_ending() {
                return Ok(());
            }
            if devices.iter().all(|device| view.volumes.contains_key(device)) {
                break view.volumes;
            }
            let last = format!("{} of {} are there", view.volumes.len(), devices.len());
            pauses.pause(self, &format!("the volumes of {}", recorded.id), &last).await?;
        };
        self.progress(&address, "recording its volumes in place of those that were written");
        for (disk, device) in recorded.disks.iter().zip(&devices) {
            let (at, volume) = self.volume(machine, disk)?;
            let Some(id) = held.get(device) else { continue };
            if volume.id != *id {
                let adopted = VolumeResource {
                    id: id.clone(),
                    predecessor: Some(volume.id.clone()),
                    started: true,
                    slot: None,
                    raised: false,
                    last_snapshot: None,
                    ..volume.clone()
                };
                self.change(vec![put_volume(&at, adopted)]).await?;
            }
            self.tag_adopted(&at, id, &volume.tags).await?;
        }
        self.change(vec![put_instance(machine, InstanceResource { adopting: false, ..recorded })]).await
    }

    /// A volume that an instance brought along carries the instance's tags; it gets its own.
    async fn tag_adopted(&self, at: &Address, id: &VolumeId, user: &TagMap) -> Result<(), ApplyError> {
        let tags = self.describe_volume(id).await?.map(|view| view.tags).unwrap_or_default();
        let mut wanted = user.clone();
        wanted.insert(TAG_WORKSPACE.to_owned(), self.store.state().lineage.clone());
        wanted.insert(TAG_ADDRESS.to_owned(), at.to_string());
        wanted.insert(TAG_LAUNCHED.to_owned(), "true".to_owned());
        let set: TagMap =
            wanted.iter().filter(|(key, value)| tags.get(*key) != Some(*value)).map(owned).collect();
        let remove: BTreeSet<String> =
            tags.keys().filter(|key| is_user_tag(key) && !user.contains_key(*key)).cloned().collect();
        if set.is_empty() && remove.is_empty() {
            return Ok(());
        }
        self.set_tags(at, &id.0, &set, &remove).await
    }

    /// Deletes the volumes that were written where instances run from volumes of their own.
    ///
    /// # Errors
    /// The provider's, the journal's, a timeout.
    pub async fn end_predecessors(&self, machine: &InstanceAddress) -> Result<(), ApplyError> {
        let state = self.store.state();
        let volumes = state.resources.iter().filter(|(address, _)| address.instance == *machine);
        for (address, resource) in volumes {
            let Resource::Volume(volume) = resource else { continue };
            let Some(predecessor) = &volume.predecessor else { continue };
            let without = VolumeResource { predecessor: None, ..(**volume).clone() };
            let left = vec![put_volume(address, without)];
            match self.describe_volume(predecessor).await? {
                Some(_) => self.end_volume(address, predecessor, left).await?,
                None => self.change(left).await?,
            }
        }
        Ok(())
    }

    /// Goes on with what an earlier run began with instances launched from images: their volumes are
    /// recorded, those that were written deleted.
    ///
    /// # Errors
    /// The provider's, the journal's, a timeout.
    pub async fn finish_images(&self) -> Result<(), ApplyError> {
        let state = self.store.state();
        let machines: BTreeSet<InstanceAddress> =
            state.resources.keys().map(|address| address.instance.clone()).collect();
        for machine in &machines {
            let adopting = self.instance(machine).filter(|instance| instance.adopting);
            if let Some(instance) = adopting
                && self.describe_instance(&instance.id).await?.is_some()
            {
                self.adopt_volumes(machine).await?;
            }
            self.end_predecessors(machine).await?;
        }
        Ok(())
    }
}

/// The image of the state that a repeated RegisterImage gave, in a run that recovers it. What the
/// request does not carry is the default.
#[must_use]
pub fn adopted(state: &State, address: &Address, request: &RegisterImage, view: &ImageView) -> StateChange {
    let name = |mapping: &ImageMapping| {
        let is_it =
            |resource: &Resource| matches!(resource, Resource::Snapshot(s) if s.id == mapping.snapshot_id);
        let found = state.resources.iter().find(|(_, resource)| is_it(resource));
        found.and_then(|(at, _)| at.part.disk().map(str::to_owned)).unwrap_or_default()
    };
    let disk = |mapping: &ImageMapping| ImageDisk { name: name(mapping), shape: mapping.shape.clone() };
    let resource = ImageResource {
        id: view.id.clone(),
        name: request.name.clone(),
        architecture: request.architecture,
        boot_mode: request.boot_mode,
        disks: request.mappings.iter().map(disk).collect(),
        snapshots: request.mappings.iter().map(|m| (name(m), m.snapshot_id.clone())).collect(),
        tags: user_tags(&request.tags),
        prevent_destroy: false,
    };
    put(address, Resource::Image(Box::new(resource)))
}

/// The device names on an instance that is launched from an image of ours.
fn device(index: usize) -> String {
    match index.checked_sub(1) {
        None => ROOT.to_owned(),
        Some(index) => instance::data_device(index),
    }
}

/// Whether EC2 bills an image as Linux ("AMI billing information fields").
fn is_linux(platform: &str) -> bool {
    platform == "Linux/UNIX"
}

fn owned((key, value): (&String, &String)) -> (String, String) {
    (key.clone(), value.clone())
}

fn put(address: &Address, resource: Resource) -> StateChange {
    StateChange::Put { address: address.clone(), resource }
}
