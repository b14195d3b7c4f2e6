//! Version 1 of `replant.state.json` and of the journal's records.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{
    Address, Architecture, BootMode, Digest, InstanceAddress, InstanceOptions, Location, VolumeType,
};
use crate::provider::{
    CreateSnapshot, CreateVolume, ImageId, InstanceId, ModifyInstance, ModifyVolume, RegisterImage,
    RunInstance, SnapshotId, TagMap, VolumeId, VolumeShape,
};

/// The version this file describes.
pub const VERSION: u32 = 1;

/// The state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// [`VERSION`].
    pub version: u32,
    /// Who wrote it: Replant's version.
    pub replant_version: String,
    /// A random UUID that names this state for ever; also the workspace tag's value.
    pub lineage: String,
    /// Counts changes of content; a run that changes nothing leaves it.
    pub serial: u64,
    /// The provider that everything lives in: `local` or `aws`.
    pub provider: Option<String>,
    /// Resources by address (`instance.web`, `instance.web.volume.root`).
    pub resources: BTreeMap<Address, Resource>,
    /// Outputs of the last apply. A sensitive output's value is not kept.
    pub outputs: BTreeMap<String, Output>,
}

/// An output of the last apply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// Its value; `None` when it is sensitive.
    pub value: Option<serde_json::Value>,
    /// Whether it is sensitive.
    pub sensitive: bool,
}

/// A resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Resource {
    /// A volume.
    Volume(Box<VolumeResource>),
    /// An instance.
    Instance(Box<InstanceResource>),
    /// A snapshot of a volume, for an image.
    Snapshot(Box<SnapshotResource>),
    /// An image of snapshots.
    Image(Box<ImageResource>),
}

impl Resource {
    /// The provider's id of it.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Volume(volume) => &volume.id.0,
            Self::Instance(instance) => &instance.id.0,
            Self::Snapshot(snapshot) => &snapshot.id.0,
            Self::Image(image) => &image.id.0,
        }
    }
}

/// An image as it was when a volume was written or a plan made from it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageFacts {
    /// Where the image is, as the configuration names it.
    pub path: Location,
    /// The disk inside an OVA.
    pub member: Option<String>,
    /// The internal snapshot of a qcow2 image, as the configuration names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// The detected format, pinned.
    pub format: String,
    /// The disk's size in bytes.
    pub size: u64,
    /// The image's identity.
    pub identity: Digest,
}

/// What a finished write left on a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WriteFacts {
    /// From which image.
    pub image: ImageFacts,
    /// Digest of the content: of the block digests in order.
    pub content: Digest,
    /// Bytes written as data.
    pub data_bytes: u64,
    /// Bytes that are zero.
    pub zero_bytes: u64,
    /// The manifest, relative to the state's directory.
    pub manifest: PathBuf,
    /// Whether it was read back and compared.
    pub verified: bool,
    /// When it finished (RFC 3339).
    pub finished_at: String,
}

/// What a finished driver injection left on a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DriversFacts {
    /// Digest of the recipe.
    pub recipe: Digest,
    /// How many bytes of blocks were written over this volume's content.
    pub overlay_bytes: u64,
    /// Digest of the other changes that the `guest` block wanted; `None`: it wanted none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<Digest>,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeResource {
    /// Its id.
    pub id: VolumeId,
    /// Its zone.
    pub zone: String,
    /// GiB.
    pub size: u64,
    /// The type.
    pub volume_type: VolumeType,
    /// Provisioned IOPS, as configured.
    pub iops: Option<u32>,
    /// Provisioned MiB/s, as configured.
    pub throughput: Option<u32>,
    /// Whether it is encrypted, as configured.
    pub encrypted: Option<bool>,
    /// The KMS key, as configured.
    pub kms_key_id: Option<String>,
    /// Whether it dies with its instance.
    pub delete_on_termination: bool,
    /// The user's tags on it.
    pub tags: TagMap,
    /// Whether destroying it is refused (its instance's `lifecycle`).
    pub prevent_destroy: bool,
    /// Asked for when it is destroyed.
    pub final_snapshot: Option<bool>,
    /// Replant has begun to put content on it: what it holds is ours, whole or not.
    #[serde(default)]
    pub written: bool,
    /// Its content; `None` until written, also for an empty disk.
    pub write: Option<WriteFacts>,
    /// Its preparation; `None` until done, or when there is none.
    pub drivers: Option<DriversFacts>,
    /// The slot of the access node it is in now.
    pub slot: Option<String>,
    /// An instance has been started from it: it may hold newer data than the backup.
    pub started: bool,
    /// It has more IOPS or throughput than configured, for the write, and is not lowered yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub raised: bool,
    /// The volume that was written and hot-added, where the instance was launched from its
    /// snapshot: it has done its work and is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predecessor: Option<VolumeId>,
    /// The final snapshot that was taken of it and with which it is to be destroyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_snapshot: Option<SnapshotId>,
}

/// A snapshot of a restored volume, from which an image is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotResource {
    /// Its id.
    pub id: SnapshotId,
    /// Of which volume.
    pub volume_id: VolumeId,
    /// Digest of what that volume was when it was taken: its size, its content, its preparation.
    pub content: Digest,
    /// The user's tags on it.
    pub tags: TagMap,
    /// Whether destroying it is refused.
    pub prevent_destroy: bool,
}

/// A disk of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageDisk {
    /// The disk.
    pub name: String,
    /// The volume that an instance gets.
    pub shape: VolumeShape,
}

/// An image (AMI) of a restored guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageResource {
    /// Its id.
    pub id: ImageId,
    /// Its name.
    pub name: String,
    /// The guest's architecture.
    pub architecture: Architecture,
    /// How the guest boots.
    pub boot_mode: BootMode,
    /// Its disks in order, the root first.
    pub disks: Vec<ImageDisk>,
    /// Its snapshots by disk.
    pub snapshots: BTreeMap<String, SnapshotId>,
    /// The user's tags on it.
    pub tags: TagMap,
    /// Whether destroying it is refused.
    pub prevent_destroy: bool,
}

/// How far a launch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LaunchPhase {
    /// The stub exists, its own root still in it.
    Stub,
    /// Stopped, its volumes are the restored ones; never started from them.
    Swapped,
    /// Started from its volumes at least once: they may hold newer data than the backup.
    Started,
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InstanceResource {
    /// Its id.
    pub id: InstanceId,
    /// How far its launch has come.
    pub phase: LaunchPhase,
    /// Its type.
    pub instance_type: String,
    /// Its architecture.
    pub architecture: Architecture,
    /// Its boot mode.
    pub boot_mode: BootMode,
    /// Its platform, `linux` or `windows`, as EC2 took it from its AMI; `None`: nobody has recorded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Its zone.
    pub zone: String,
    /// Its subnet, as configured.
    pub subnet_id: Option<String>,
    /// Its private address, as EC2 gave it.
    pub private_ip: Option<Ipv4Addr>,
    /// Its security groups, as configured.
    pub security_group_ids: Vec<String>,
    /// Its key pair, as configured.
    pub key_name: Option<String>,
    /// Its instance profile, as configured.
    pub iam_instance_profile: Option<String>,
    /// Digest of its user data (the text may hold secrets).
    pub user_data: Option<Digest>,
    /// Termination protection.
    pub termination_protection: bool,
    /// What else EC2 was told of it, as configured.
    #[serde(default, skip_serializing_if = "InstanceOptions::is_default")]
    pub options: InstanceOptions,
    /// `running` or `stopped`, as last brought.
    pub state: String,
    /// Its disks in order, the root first.
    pub disks: Vec<String>,
    /// The user's tags on it.
    pub tags: TagMap,
    /// What must outlive it when destroying.
    pub depends_on: BTreeSet<InstanceAddress>,
    /// Whether destroying it is refused.
    pub prevent_destroy: bool,
    /// Its first start failed; the next apply restores it again.
    pub tainted: bool,
    /// The image it was launched from; `None`: its volumes were swapped in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<ImageId>,
    /// The AMI that the configuration named for its stub; `None`: Replant chose one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_ami: Option<String>,
    /// It was launched from that image, and the volumes that it got are not recorded yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopting: bool,
}

/// A change of the state that a step leaves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum StateChange {
    /// The resource is now this.
    Put {
        /// Its address.
        address: Address,
        /// What it is.
        resource: Resource,
    },
    /// The resource is gone.
    Remove {
        /// Its address.
        address: Address,
    },
    /// All outputs are now these.
    Outputs {
        /// By name.
        outputs: BTreeMap<String, Output>,
    },
    /// Everything lives in this provider.
    Provider {
        /// Its name.
        name: String,
    },
}

/// An intent's number: counts up within a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct IntentId(pub u64);

/// What is about to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// Its number.
    pub id: IntentId,
    /// For which node.
    pub address: Address,
    /// What.
    pub operation: Operation,
}

/// A call or a write that changes something outside, as data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "operation", rename_all = "snake_case")]
pub enum Operation {
    /// CreateVolume.
    CreateVolume(Box<CreateVolume>),
    /// ModifyVolume.
    ModifyVolume {
        /// Which.
        id: VolumeId,
        /// To what.
        request: ModifyVolume,
    },
    /// DeleteVolume.
    DeleteVolume {
        /// Which.
        id: VolumeId,
    },
    /// AttachVolume.
    AttachVolume {
        /// Which.
        id: VolumeId,
        /// To which instance.
        instance: InstanceId,
        /// Under which device name.
        device: String,
    },
    /// DetachVolume.
    DetachVolume {
        /// Which.
        id: VolumeId,
        /// From which instance.
        instance: InstanceId,
    },
    /// Writing an image's content onto a device.
    Write {
        /// The volume.
        id: VolumeId,
        /// The image's identity.
        image: Digest,
        /// The manifest, relative to the state's directory.
        manifest: PathBuf,
    },
    /// Writing an overlay's blocks onto a device.
    WriteOverlay {
        /// The volume.
        id: VolumeId,
        /// The recipe.
        recipe: Digest,
    },
    /// RunInstances.
    RunInstance(Box<RunInstance>),
    /// StartInstances.
    StartInstance {
        /// Which.
        id: InstanceId,
    },
    /// StopInstances.
    StopInstance {
        /// Which.
        id: InstanceId,
    },
    /// TerminateInstances.
    TerminateInstance {
        /// Which.
        id: InstanceId,
    },
    /// ModifyInstanceAttribute. User data is not in it.
    ModifyInstance {
        /// Which.
        id: InstanceId,
        /// To what.
        request: Box<ModifyInstance>,
    },
    /// CreateTags and DeleteTags.
    ChangeTags {
        /// Of which resource.
        id: String,
        /// Tags to set.
        set: TagMap,
        /// Tags to remove.
        remove: BTreeSet<String>,
    },
    /// CreateSnapshot.
    CreateSnapshot(Box<CreateSnapshot>),
    /// DeleteSnapshot.
    DeleteSnapshot {
        /// Which.
        id: SnapshotId,
    },
    /// RegisterImage.
    RegisterImage(Box<RegisterImage>),
    /// DeregisterImage.
    DeregisterImage {
        /// Which.
        id: ImageId,
    },
}

/// A line of the journal. On disk, `crc` is the line's first member, so that it can cover the
/// bytes of all that follows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JournalLine {
    /// CRC-32 (IEEE) of the line's bytes after this member's comma, without the line feed; eight
    /// lower-case hexadecimal digits.
    pub crc: String,
    /// Counts the lines from 0.
    pub sequence: u64,
    /// So many lines were known to be on disk when this one was written.
    pub durable: u64,
    /// What it records.
    pub record: Record,
}

/// What a line of the journal records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "record", rename_all = "snake_case", deny_unknown_fields)]
pub enum Record {
    /// The first line, and no other: which state it continues.
    Open {
        /// [`VERSION`].
        version: u32,
        /// Which Replant wrote it.
        replant_version: String,
        /// The state's lineage.
        lineage: String,
        /// The state's serial.
        serial: u64,
        /// Digest of the state file's bytes; `None` when there was none.
        state: Option<Digest>,
    },
    /// Something is about to be done.
    Begin {
        /// What.
        intent: Intent,
    },
    /// It is done.
    Finish {
        /// Which intent.
        id: IntentId,
        /// What it left.
        changes: Vec<StateChange>,
    },
    /// It certainly had no effect.
    Fail {
        /// Which intent.
        id: IntentId,
        /// Why, for people.
        error: String,
        /// What is known now all the same.
        changes: Vec<StateChange>,
    },
    /// The state changes without an effect outside.
    Change {
        /// How.
        changes: Vec<StateChange>,
    },
    /// All changes so far are about to be in the state file.
    Commit {
        /// The state's new serial.
        serial: u64,
        /// Digest of the new state file's bytes.
        state: Digest,
    },
}
