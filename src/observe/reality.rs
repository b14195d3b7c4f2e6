//! What the provider says exists.

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnostic::Diagnostic;
use crate::model::{InstanceAddress, InstanceSpec, Lookup, LookupKind};
use crate::provider::{
    AccessNode, Filter, ImageId, ImageView, InstanceId, InstanceTypeFacts, InstanceView, Provider,
    ProviderError, SnapshotId, SnapshotView, StatusCheck, VolumeId, VolumeView,
};
use crate::state::{Resource, State};

/// The provider's side of a plan.
#[derive(Debug, Clone)]
pub struct Reality {
    /// The access node.
    pub access_node: AccessNode,
    /// The instance types that the configuration or the state name.
    pub instance_types: BTreeMap<String, InstanceTypeFacts>,
    /// The volumes of the state that exist.
    pub volumes: BTreeMap<VolumeId, VolumeView>,
    /// The instances of the state that exist.
    pub instances: BTreeMap<InstanceId, InstanceView>,
    /// The snapshots of the state that exist.
    pub snapshots: BTreeMap<SnapshotId, SnapshotView>,
    /// The images of the state that exist.
    pub images: BTreeMap<ImageId, ImageView>,
    /// Keys of KMS by the aliases that the configuration or the state name them by: their ARNs.
    pub keys: BTreeMap<String, String>,
    /// Status checks of instances whose last start failed.
    pub statuses: BTreeMap<InstanceId, StatusCheck>,
    /// Whether the views were read (`--refresh=false`: the state is believed).
    pub refreshed: bool,
    /// Whether volumes can be attached to an instance whose guest runs.
    pub hot_plugs: bool,
    /// What the provider has to say to what will be asked of it, each with its place in the
    /// configuration; filled in when it is known what that is.
    pub preflight: Vec<Diagnostic>,
}

impl Reality {
    /// Reads everything a plan needs.
    ///
    /// # Errors
    /// The provider's, when a call fails.
    pub async fn read(
        provider: &dyn Provider,
        state: &State,
        instance_types: &BTreeSet<String>,
        refresh: bool,
    ) -> Result<Self, ProviderError> {
        let access_node = provider.access_node().await?;
        let instance_types = provider.instance_types(instance_types).await?;
        let mut reality = Self {
            access_node,
            instance_types,
            volumes: BTreeMap::new(),
            instances: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            images: BTreeMap::new(),
            keys: BTreeMap::new(),
            statuses: BTreeMap::new(),
            refreshed: refresh,
            hot_plugs: provider.hot_plugs(),
            preflight: Vec::new(),
        };
        if refresh {
            reality.refresh(provider, state).await?;
        }
        Ok(reality)
    }

    /// Asks which keys aliases stand for, where a volume of the state is to have a key of another
    /// name than it was made with. What cannot be read stays a name.
    pub async fn read_keys(
        &mut self,
        provider: &dyn Provider,
        state: &State,
        specs: &BTreeMap<InstanceAddress, InstanceSpec>,
    ) {
        let mut names = BTreeSet::new();
        for (address, spec) in specs {
            for disk in &spec.disks {
                let volume = state.resources.get(&address.volume(disk.name.as_str()));
                let (Some(Resource::Volume(volume)), Some(wanted)) = (volume, &disk.kms_key_id) else {
                    continue;
                };
                if volume.kms_key_id.as_ref() != Some(wanted) {
                    names.extend([Some(wanted), volume.kms_key_id.as_ref()].into_iter().flatten());
                }
            }
        }
        for name in names.into_iter().filter(|name| name.contains("alias/")) {
            let lookup = Lookup {
                kind: LookupKind::KmsKey,
                id: Some(name.clone()),
                filters: Vec::new(),
                owners: Vec::new(),
                name_regex: None,
                most_recent: false,
            };
            let found = provider.lookup(&lookup).await.unwrap_or_default();
            let arn = found.first().and_then(|key| key.attributes.get("arn")?.as_str().map(str::to_owned));
            self.keys.extend(arn.map(|arn| (name.clone(), arn)));
        }
    }

    async fn refresh(&mut self, provider: &dyn Provider, state: &State) -> Result<(), ProviderError> {
        let (mut volumes, mut instances, mut tainted) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        let (mut snapshots, mut images) = (BTreeSet::new(), BTreeSet::new());
        for resource in state.resources.values() {
            match resource {
                Resource::Volume(volume) => {
                    volumes.insert(volume.id.to_string());
                }
                Resource::Instance(instance) => {
                    instances.insert(instance.id.to_string());
                    if instance.tainted {
                        tainted.push(instance.id.clone());
                    }
                }
                Resource::Snapshot(snapshot) => {
                    snapshots.insert(snapshot.id.to_string());
                }
                Resource::Image(image) => {
                    images.insert(image.id.to_string());
                }
            }
        }
        let by_ids = |ids| Filter { ids, ..Filter::default() };
        if !volumes.is_empty() {
            let found = provider.volumes(&by_ids(volumes)).await?;
            self.volumes = found.into_iter().map(|view| (view.id.clone(), view)).collect();
        }
        if !instances.is_empty() {
            let found = provider.instances(&by_ids(instances)).await?;
            self.instances = found.into_iter().map(|view| (view.id.clone(), view)).collect();
        }
        if !snapshots.is_empty() {
            let found = provider.snapshots(&by_ids(snapshots)).await?;
            self.snapshots = found.into_iter().map(|view| (view.id.clone(), view)).collect();
        }
        if !images.is_empty() {
            let found = provider.images(&by_ids(images)).await?;
            self.images = found.into_iter().map(|view| (view.id.clone(), view)).collect();
        }
        for id in tainted {
            if self.instances.contains_key(&id) {
                let status = provider.instance_status(&id).await?;
                self.statuses.insert(id, status);
            }
        }
        Ok(())
    }
}
