//! The execution graph's nodes: each says all that the executor needs, and nothing to decide.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{
    Address, Architecture, BootMode, ClientToken, Digest, InstanceAddress, InstanceOptions, LaunchMethod,
    VolumeType,
};
use crate::provider::{CreateVolume, ImageId, InstanceId, RunInstance, SnapshotId, TagMap, VolumeId};
use crate::state::{ImageDisk, ImageFacts};

/// One node of the execution graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// What it is about.
    pub address: Address,
    /// What is done.
    pub step: Step,
    /// Indices of the nodes that must have succeeded before.
    pub needs: Vec<usize>,
}

/// What a node does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// Make an empty volume.
    CreateVolume(Box<VolumePlan>),
    /// Change a volume in place.
    UpdateVolume(Box<VolumeUpdate>),
    /// Destroy a volume.
    DeleteVolume {
        /// Which.
        id: VolumeId,
        /// Whether a snapshot is taken first.
        final_snapshot: bool,
    },
    /// Leave a volume where it is and forget it.
    ForgetVolume {
        /// Which.
        id: VolumeId,
    },
    /// Put the volume in a slot of the access node.
    Attach,
    /// Put the disk's content on the volume.
    Write(Box<WritePlan>),
    /// Make the guest bootable.
    Drivers(DriversPlan),
    /// Take the volume out of its slot.
    Detach,
    /// Snapshot a written volume, for an image.
    Snapshot(Box<SnapshotPlan>),
    /// Make an image of the snapshots.
    RegisterImage(Box<ImagePlan>),
    /// Destroy a snapshot.
    DeleteSnapshot {
        /// Which.
        id: SnapshotId,
    },
    /// Take an image away; what was launched from it stays.
    DeregisterImage {
        /// Which.
        id: ImageId,
    },
    /// Launch the stub.
    Stub(Box<InstancePlan>),
    /// Swap the volumes in, or launch from the image, and bring the instance to its state.
    Launch(Box<LaunchPlan>),
    /// Change an instance in place, or by stop and start.
    UpdateInstance(Box<LaunchPlan>),
    /// Destroy an instance; its volumes are detached first and stay.
    Terminate {
        /// Which.
        id: InstanceId,
    },
}

impl Step {
    /// The step's word for people: `create volume`.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Self::CreateVolume(_) => "create volume",
            Self::UpdateVolume(_) => "change volume",
            Self::DeleteVolume { .. } => "destroy volume",
            Self::ForgetVolume { .. } => "forget volume",
            Self::Attach => "attach",
            Self::Write(_) => "write",
            Self::Drivers(_) => "inject drivers",
            Self::Detach => "detach",
            Self::Snapshot(_) => "snapshot",
            Self::RegisterImage(_) => "register image",
            Self::DeleteSnapshot { .. } => "delete snapshot",
            Self::DeregisterImage { .. } => "deregister image",
            Self::Stub(_) => "launch stub",
            Self::Launch(_) => "launch",
            Self::UpdateInstance(_) => "change instance",
            Self::Terminate { .. } => "terminate",
        }
    }
}

/// A volume to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumePlan {
    /// The zone.
    pub zone: String,
    /// GiB.
    pub size: u64,
    /// The type.
    pub volume_type: VolumeType,
    /// Provisioned IOPS.
    pub iops: Option<u32>,
    /// Provisioned MiB/s.
    pub throughput: Option<u32>,
    /// Whether it is encrypted.
    pub encrypted: Option<bool>,
    /// The KMS key.
    pub kms_key_id: Option<String>,
    /// Whether it dies with its instance.
    pub delete_on_termination: bool,
    /// The user's tags; `None`: known only when the node runs.
    pub tags: Option<TagMap>,
    /// Destroying it is refused.
    pub prevent_destroy: bool,
    /// Asked for when it is destroyed.
    pub final_snapshot: Option<bool>,
    /// What it has while its content is written, when that is other than what it keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raised: Option<Raised>,
}

impl VolumePlan {
    /// The call that makes it.
    #[must_use]
    pub fn request(&self, token: ClientToken, tags: TagMap) -> CreateVolume {
        CreateVolume {
            token,
            zone: self.zone.clone(),
            size: self.size,
            volume_type: self.volume_type,
            iops: self.raised.map(|raised| raised.iops).or(self.iops),
            throughput: self.raised.map(|raised| raised.throughput).or(self.throughput),
            encrypted: self.encrypted,
            kms_key_id: self.kms_key_id.clone(),
            tags,
            raised: self.raised.is_some(),
        }
    }
}

/// The performance of a volume while its content is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Raised {
    /// IOPS.
    pub iops: u32,
    /// MiB/s.
    pub throughput: u32,
}

/// A volume to change in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeUpdate {
    /// Which.
    pub id: VolumeId,
    /// What it shall be.
    pub to: VolumePlan,
}

/// Content to write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WritePlan {
    /// From which image.
    pub image: ImageFacts,
    /// Bytes of data by the image's metadata.
    pub data_bytes: u64,
    /// Bytes of zeros by the image's metadata.
    pub zero_bytes: u64,
    /// The volume's size in bytes.
    pub volume_size: u64,
    /// Whether an earlier write has begun on the volume, so that at most this data is written:
    /// only what differs from what is there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_update: bool,
}

/// Drivers to inject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DriversPlan {
    /// Digest of the recipe.
    pub recipe: Digest,
    /// Digest of the changes that the `guest` block wants beside that; `None`: it wants none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<Digest>,
    /// The disks whose blocks change.
    pub overlays: Vec<OverlayPlan>,
}

/// A disk's changed blocks; the blocks themselves travel beside the plan, never in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OverlayPlan {
    /// The disk.
    pub disk: String,
    /// Bytes of changed blocks.
    pub bytes: u64,
}

/// A snapshot to take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotPlan {
    /// The user's tags; `None`: known only when the node runs.
    pub tags: Option<TagMap>,
    /// Destroying it is refused.
    pub prevent_destroy: bool,
}

/// An image to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImagePlan {
    /// The guest's architecture.
    pub architecture: Architecture,
    /// How the guest boots.
    pub boot_mode: BootMode,
    /// Its disks in order, the root first.
    pub disks: Vec<ImageDisk>,
    /// The user's tags; `None`: known only when the node runs.
    pub tags: Option<TagMap>,
    /// Destroying it is refused.
    pub prevent_destroy: bool,
}

/// An instance as it shall be. Attributes that are known only when the node runs are `None` and
/// listed in `unknown`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InstancePlan {
    /// The type.
    pub instance_type: String,
    /// The architecture.
    pub architecture: Architecture,
    /// The boot mode.
    pub boot_mode: BootMode,
    /// `linux` or `windows`.
    pub platform: String,
    /// How it comes to its volumes.
    #[serde(default)]
    pub method: LaunchMethod,
    /// The stub's AMI.
    pub base_ami: Option<String>,
    /// The zone.
    pub zone: String,
    /// The subnet.
    pub subnet_id: Option<String>,
    /// The private address.
    pub private_ip: Option<Ipv4Addr>,
    /// Security groups.
    pub security_group_ids: Vec<String>,
    /// Key pair.
    pub key_name: Option<String>,
    /// Instance profile.
    pub iam_instance_profile: Option<String>,
    /// Digest of the user data; the text is read from the configuration again when the node runs.
    pub user_data: Option<Digest>,
    /// Termination protection.
    pub termination_protection: bool,
    /// What else EC2 is told of it.
    #[serde(default, skip_serializing_if = "InstanceOptions::is_default")]
    pub options: InstanceOptions,
    /// The user's tags.
    pub tags: TagMap,
    /// What the console shows when it is up.
    pub console_pattern: Option<String>,
    /// Seconds that it may take to come up.
    pub boot_timeout: Option<u32>,
    /// Its disks in order, the root first.
    pub disks: Vec<String>,
    /// What must be up before it.
    pub depends_on: BTreeSet<InstanceAddress>,
    /// Destroying it is refused.
    pub prevent_destroy: bool,
    /// Attribute paths known only when the node runs.
    pub unknown: BTreeSet<String>,
}

impl InstancePlan {
    /// The call that launches it as a stub.
    #[must_use]
    pub fn request(&self, token: ClientToken, tags: TagMap) -> RunInstance {
        RunInstance {
            token,
            base_ami: self.base_ami.clone(),
            image_id: None,
            user_data: None,
            user_data_digest: None,
            instance_type: self.instance_type.clone(),
            architecture: self.architecture,
            boot_mode: self.boot_mode,
            platform: self.platform.clone(),
            zone: self.zone.clone(),
            subnet_id: self.subnet_id.clone(),
            private_ip: self.private_ip,
            security_group_ids: self.security_group_ids.clone(),
            key_name: self.key_name.clone(),
            iam_instance_profile: self.iam_instance_profile.clone(),
            options: self.options.clone(),
            tags,
            console_pattern: self.console_pattern.clone(),
            boot_timeout: self.boot_timeout,
        }
    }
}

/// Whether the instance is started at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// Start it and wait until it is up.
    Running,
    /// Leave it stopped, or stop it.
    Stopped,
}

/// An instance to bring to its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LaunchPlan {
    /// What it shall be.
    pub instance: InstancePlan,
    /// Started or not.
    pub start: Start,
    /// For a change of a started instance: whether it must be stopped in between.
    pub stop_first: bool,
    /// For a change of a started instance: the disks whose volumes are off it and are put back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attach: Vec<String>,
}
