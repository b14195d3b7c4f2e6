//! What in the cloud carries a workspace's tags, and what of it no state knows: the ground for
//! `sweep` and `state rebuild`.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use crate::model::{Address, InstanceAddress, Part};
use crate::provider::{
    Filter, ImageId, ImageView, InstanceId, InstanceView, Provider, ProviderError, SnapshotId, SnapshotView,
    TAG_ADDRESS, TAG_LAUNCHED, TAG_WORKSPACE, TagMap, VolumeId, VolumeView,
};
use crate::state::{Resource, State};

/// Everything that carries a workspace's tag.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// Volumes that are not deleted.
    pub volumes: Vec<VolumeView>,
    /// Instances that are not terminated.
    pub instances: Vec<InstanceView>,
    /// Snapshots.
    pub snapshots: Vec<SnapshotView>,
    /// Images.
    pub images: Vec<ImageView>,
}

/// Resources of other workspaces, by their lineage: addresses and ids.
pub type Others = BTreeMap<String, Vec<(String, String)>>;

/// What a stray resource is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StrayKind {
    /// An instance.
    Instance,
    /// A volume.
    Volume,
    /// A snapshot.
    Snapshot,
    /// An image.
    Image,
}

/// A resource with the workspace's tags that is not in the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Stray {
    /// What it is.
    pub kind: StrayKind,
    /// Its id.
    pub id: String,
    /// What it was made for, by its tag.
    pub address: Option<String>,
    /// Why it stays; `None`: no guest ever ran from it, and it can be removed.
    pub kept: Option<String>,
    /// GiB, of a volume.
    pub size: Option<u64>,
}

impl Inventory {
    /// Reads what carries any workspace's tag.
    ///
    /// # Errors
    /// The provider's.
    pub async fn read_all(provider: &dyn Provider) -> Result<Self, ProviderError> {
        Self::filtered(provider, &Filter::tag_key(TAG_WORKSPACE)).await
    }

    /// Reads only the volumes that carry any workspace's tag, with one call: whatever is restored has
    /// some.
    ///
    /// # Errors
    /// The provider's.
    pub async fn read_volumes(provider: &dyn Provider) -> Result<Self, ProviderError> {
        let mut volumes = provider.volumes(&Filter::tag_key(TAG_WORKSPACE)).await?;
        volumes.retain(|view| !view.state.is_ending());
        Ok(Self { volumes, ..Self::default() })
    }

    /// What of it is of this lineage.
    #[must_use]
    pub fn of(mut self, lineage: &str) -> Self {
        self.retain(|tags| tags.get(TAG_WORKSPACE).is_some_and(|workspace| workspace == lineage));
        self
    }

    fn retain(&mut self, wanted: impl Fn(&TagMap) -> bool) {
        self.volumes.retain(|view| wanted(&view.tags));
        self.instances.retain(|view| wanted(&view.tags));
        self.snapshots.retain(|view| wanted(&view.tags));
        self.images.retain(|view| wanted(&view.tags));
    }

    async fn filtered(provider: &dyn Provider, filter: &Filter) -> Result<Self, ProviderError> {
        let mut found = Self {
            volumes: provider.volumes(filter).await?,
            instances: provider.instances(filter).await?,
            snapshots: provider.snapshots(filter).await?,
            images: provider.images(filter).await?,
        };
        found.volumes.retain(|view| !view.state.is_ending());
        found.instances.retain(|view| !view.state.is_ending());
        Ok(found)
    }

    /// The workspaces that resources name, each with the addresses in it.
    #[must_use]
    pub fn lineages(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut lineages: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let volumes = self.volumes.iter().map(|view| &view.tags);
        let instances = self.instances.iter().map(|view| &view.tags);
        let images = self.images.iter().map(|view| &view.tags);
        for tags in volumes.chain(instances).chain(images) {
            if let Some(lineage) = tags.get(TAG_WORKSPACE) {
                let addresses = lineages.entry(lineage.clone()).or_default();
                addresses.extend(tags.get(TAG_ADDRESS).cloned());
            }
        }
        lineages
    }

    /// What other workspaces have at addresses of these instances: by lineage, each resource's
    /// address and id.
    #[must_use]
    pub fn others(&self, lineage: &str, instances: &BTreeSet<InstanceAddress>) -> Others {
        let volumes = self.volumes.iter().map(|view| (&view.tags, &view.id.0));
        let machines = self.instances.iter().map(|view| (&view.tags, &view.id.0));
        let images = self.images.iter().map(|view| (&view.tags, &view.id.0));
        let mut others = Others::new();
        for (tags, id) in machines.chain(volumes).chain(images) {
            let address = tags.get(TAG_ADDRESS).and_then(|text| text.parse::<Address>().ok());
            let workspace = tags.get(TAG_WORKSPACE).filter(|workspace| *workspace != lineage);
            if let (Some(workspace), Some(address)) = (workspace, address)
                && instances.contains(&address.instance)
            {
                others.entry(workspace.clone()).or_default().push((address.to_string(), id.clone()));
            }
        }
        others
    }

    /// What the state does not know, instances first. `begun`: client tokens of calls that an
    /// earlier run began and that the next one settles; what they made is no stray.
    #[must_use]
    pub fn strays(&self, state: &State, begun: &BTreeSet<String>, access_node: &InstanceId) -> Vec<Stray> {
        let known = Known::of(state, begun);
        let (strays, others): (Vec<&InstanceView>, Vec<&InstanceView>) =
            self.instances.iter().partition(|view| !known.instance(view));
        let mut found: Vec<Stray> = Vec::new();
        let mut removable: BTreeSet<&InstanceId> = BTreeSet::new();
        let mut stubs: Vec<&InstanceView> = Vec::new();
        for view in strays {
            let kept = self.keeps_instance(view, &known);
            if kept.is_none() {
                removable.insert(&view.id);
                stubs.push(view);
            }
            found.push(stray(StrayKind::Instance, &view.id.0, &view.tags, kept, None));
        }
        for view in self.volumes.iter().filter(|view| !known.volume(view)) {
            let holder = view.attachment.as_ref().map(|attachment| &attachment.instance_id);
            // The stub's own root carries its instance's tags, goes with it, and is not counted
            // beside it.
            let is_part_of_its_stub = holder.is_some_and(|holder| {
                let of = others.iter().copied().chain(stubs.iter().copied()).find(|i| i.id == *holder);
                of.is_some_and(|stub| stub.tags.get(TAG_ADDRESS) == view.tags.get(TAG_ADDRESS))
            });
            if is_part_of_its_stub {
                continue;
            }
            let kept = if view.tags.contains_key(TAG_LAUNCHED) {
                Some("a guest has run from it".to_owned())
            } else {
                match holder {
                    Some(holder) if holder != access_node && !removable.contains(holder) => {
                        Some(format!("it is attached to {holder}"))
                    }
                    _ => None,
                }
            };
            found.push(stray(StrayKind::Volume, &view.id.0, &view.tags, kept, Some(view.size)));
        }
        for view in self.images.iter().filter(|view| !known.image(view)) {
            let launched = view.tags.contains_key(TAG_LAUNCHED);
            let kept = launched.then(|| "a guest has been launched from it".to_owned());
            found.push(stray(StrayKind::Image, &view.id.0, &view.tags, kept, None));
        }
        for view in self.snapshots.iter().filter(|view| !known.snapshot(view)) {
            let kept = match (is_of_image(&view.tags), view.tags.contains_key(TAG_LAUNCHED)) {
                (true, false) => None,
                (true, true) => {
                    Some("a guest has been launched from it, or had written what it holds".to_owned())
                }
                (false, _) => Some("it keeps the data of a volume that was destroyed".to_owned()),
            };
            found.push(stray(StrayKind::Snapshot, &view.id.0, &view.tags, kept, None));
        }
        found
    }

    /// Why a stray instance must stay; `None` for a stub that never ran a restored guest.
    fn keeps_instance(&self, view: &InstanceView, known: &Known) -> Option<String> {
        if view.tags.contains_key(TAG_LAUNCHED) {
            return Some("a restored guest has run in it".to_owned());
        }
        if view.termination_protection {
            return Some("it is protected from termination".to_owned());
        }
        for (device, id) in &view.volumes {
            let volume = self.volumes.iter().find(|volume| volume.id == *id);
            if known.volumes.contains(id) {
                return Some(format!("it holds {id}, which is in the state"));
            }
            match volume {
                Some(volume) if volume.tags.contains_key(TAG_LAUNCHED) => {
                    return Some(format!("it holds {id}, and a guest has run from that"));
                }
                None if *device != view.root_device => {
                    return Some(format!("it holds {id}, which is not ours"));
                }
                _ => {}
            }
        }
        None
    }
}

fn stray(kind: StrayKind, id: &str, tags: &TagMap, kept: Option<String>, size: Option<u64>) -> Stray {
    Stray { kind, id: id.to_owned(), address: tags.get(TAG_ADDRESS).cloned(), kept, size }
}

/// Whether a snapshot was taken to make an image of, and not to keep what a volume held.
fn is_of_image(tags: &TagMap) -> bool {
    let address = tags.get(TAG_ADDRESS).map(|text| text.parse::<Address>());
    matches!(address, Some(Ok(Address { part: Part::Snapshot(_), .. })))
}

/// What a state knows.
struct Known<'a> {
    volumes: BTreeSet<&'a VolumeId>,
    instances: BTreeSet<&'a InstanceId>,
    snapshots: BTreeSet<&'a SnapshotId>,
    images: BTreeSet<&'a ImageId>,
    begun: &'a BTreeSet<String>,
}

impl<'a> Known<'a> {
    fn of(state: &'a State, begun: &'a BTreeSet<String>) -> Self {
        let mut known = Self {
            volumes: BTreeSet::new(),
            instances: BTreeSet::new(),
            snapshots: BTreeSet::new(),
            images: BTreeSet::new(),
            begun,
        };
        for resource in state.resources.values() {
            match resource {
                Resource::Volume(volume) => {
                    known.volumes.extend(&volume.predecessor);
                    known.snapshots.extend(&volume.last_snapshot);
                    known.volumes.insert(&volume.id)
                }
                Resource::Instance(instance) => known.instances.insert(&instance.id),
                Resource::Snapshot(snapshot) => known.snapshots.insert(&snapshot.id),
                Resource::Image(image) => known.images.insert(&image.id),
            };
        }
        known
    }

    fn is_begun(&self, tags: &TagMap) -> bool {
        tags.get(crate::provider::TAG_TOKEN).is_some_and(|token| self.begun.contains(token))
    }

    fn volume(&self, view: &VolumeView) -> bool {
        self.volumes.contains(&view.id) || self.is_begun(&view.tags)
    }

    fn snapshot(&self, view: &SnapshotView) -> bool {
        self.snapshots.contains(&view.id) || self.is_begun(&view.tags)
    }

    fn image(&self, view: &ImageView) -> bool {
        self.images.contains(&view.id) || self.is_begun(&view.tags)
    }

    fn instance(&self, view: &InstanceView) -> bool {
        self.instances.contains(&view.id) || self.is_begun(&view.tags)
    }
}
