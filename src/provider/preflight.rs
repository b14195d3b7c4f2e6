//! What a plan is about to ask of a provider, and what the provider has to say to it before
//! anything is made. Plain data: a provider knows no plan, a plan knows no cloud's rules.

use std::collections::{BTreeMap, BTreeSet};

use super::types::{CreateVolume, ImageId, InstanceId, ModifyInstance, RunInstance, SnapshotId, VolumeId};
use crate::diagnostic::Diagnostic;
use crate::model::{InstanceAddress, LaunchMethod};

/// Everything that a plan is about to ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preflight {
    /// The state's lineage, which goes into tags; empty before the first apply.
    pub workspace: String,
    /// The instances that will be launched.
    pub launches: Vec<WantedInstance>,
    /// The volumes that will be made.
    pub volumes: Vec<WantedVolume>,
    /// What changes or ends of that which exists.
    pub changes: Changes,
    /// Whether volumes are attached to the access node and written there.
    pub writes: bool,
    /// Whether volumes are snapshotted and images registered of them.
    pub images: bool,
    /// The most bytes that will be put on volumes which hold nothing yet.
    pub data_bytes: u64,
    /// Whether any instance is started from its volumes.
    pub starts: bool,
}

impl Preflight {
    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self { workspace: self.workspace.clone(), ..Self::default() }
    }
}

/// An instance that will be launched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedInstance {
    /// Its address.
    pub address: InstanceAddress,
    /// The instance that ends before it is launched, when it takes the place of one.
    pub replaces: Option<InstanceId>,
    /// How it comes to its volumes.
    pub method: LaunchMethod,
    /// The call, with the user's tags; attributes whose values are known only later are left out.
    pub request: RunInstance,
    /// Paths of the attributes that are known only later.
    pub unknown: BTreeSet<String>,
}

impl WantedInstance {
    /// Whether a value is known only later.
    #[must_use]
    pub fn is_unknown(&self, attribute: &str) -> bool {
        self.unknown.iter().any(|path| path.split('.').next() == Some(attribute))
    }
}

/// A volume that will be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedVolume {
    /// Its instance.
    pub instance: InstanceAddress,
    /// Its disk.
    pub disk: String,
    /// The call, with the user's tags as far as they are known.
    pub request: CreateVolume,
}

impl WantedVolume {
    /// The path of one of its attributes within its instance.
    #[must_use]
    pub fn path(&self, attribute: &str) -> String {
        format!("disk.{}.{attribute}", self.disk)
    }
}

/// What changes or ends of that which exists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Instances that are changed or started from other volumes.
    pub instances: BTreeMap<InstanceId, ChangedInstance>,
    /// Instances that end.
    pub terminated: BTreeSet<InstanceId>,
    /// Volumes that are changed in place.
    pub modified: BTreeSet<VolumeId>,
    /// Volumes that end.
    pub deleted: BTreeSet<VolumeId>,
    /// Those of them that a snapshot is taken of first.
    pub snapshots: BTreeSet<VolumeId>,
    /// Snapshots that end.
    pub deleted_snapshots: BTreeSet<SnapshotId>,
    /// Images that end.
    pub deregistered: BTreeSet<ImageId>,
}

/// What of an existing instance becomes other than it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedInstance {
    /// Its address.
    pub address: InstanceAddress,
    /// What becomes other; user data without its text.
    pub request: ModifyInstance,
    /// Whether tags are taken away.
    pub untags: bool,
    /// Whether it is stopped for that.
    pub stops: bool,
}

/// Something to say to what will be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concern {
    /// What it is about.
    pub place: Place,
    /// What is wrong, why, and what to do; without a span and an address, which `place` stands for.
    pub diagnostic: Diagnostic,
}

impl Concern {
    /// About an attribute of an instance.
    #[must_use]
    pub fn at(address: &InstanceAddress, path: impl Into<String>, diagnostic: Diagnostic) -> Self {
        Self { place: Place::Attribute { instance: address.clone(), path: path.into() }, diagnostic }
    }

    /// About the access node.
    #[must_use]
    pub fn node(diagnostic: Diagnostic) -> Self {
        Self { place: Place::AccessNode, diagnostic }
    }

    /// About the provider, its account and its permissions.
    #[must_use]
    pub fn provider(diagnostic: Diagnostic) -> Self {
        Self { place: Place::Provider, diagnostic }
    }
}

/// A place in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The provider's block.
    Provider,
    /// The access node's block.
    AccessNode,
    /// An instance's attribute, as `disk.root.kms_key_id`.
    Attribute {
        /// Whose.
        instance: InstanceAddress,
        /// Its path.
        path: String,
    },
}
