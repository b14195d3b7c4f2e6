//! Requests, views and errors of the provider trait.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use super::images::{
    CreateSnapshot, ImageMapping, ImageState, ImageView, RegisterImage, SnapshotState, SnapshotView,
    VolumeShape,
};
pub use super::reason::StateReason;
use crate::model::{
    Architecture, BootMode, ClientToken, CpuCredits, Digest, FileNode, Hypervisor, InstanceOptions,
    MetadataOptions, PlacementSpec, VolumeType,
};

/// Tags by key.
pub type TagMap = BTreeMap<String, String>;

/// Whether a tag is the user's: neither ours (`replant:`) nor AWS's (`aws:`).
#[must_use]
pub fn is_user_tag(key: &str) -> bool {
    !key.starts_with("replant:") && !key.starts_with("aws:")
}

/// The user's tags of all that a resource carries.
#[must_use]
pub fn user_tags(tags: &TagMap) -> TagMap {
    tags.iter().filter(|(key, _)| is_user_tag(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// `vol-` and 17 hexadecimal digits.
    VolumeId
);
id!(
    /// `i-` and 17 hexadecimal digits.
    InstanceId
);
id!(
    /// `snap-` and 17 hexadecimal digits.
    SnapshotId
);

id!(
    /// `ami-` and 17 hexadecimal digits.
    ImageId
);

/// Why a call failed, in kinds that a caller acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderErrorKind {
    /// What it names does not exist (or not yet).
    NotFound,
    /// The state of what it names forbids it now.
    IncorrectState,
    /// A parameter is wrong or does not fit the others.
    InvalidParameter,
    /// A limit or quota is reached.
    LimitExceeded,
    /// No permission.
    Unauthorized,
    /// Too many calls.
    Throttled,
    /// The service or the way to it failed; whether the call took effect is not known.
    Unavailable,
    /// The device is not proven to be the volume (promise 1).
    DeviceRefused,
    /// A local file or program failed.
    Io,
}

/// A failed call.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {code}: {message}")]
pub struct ProviderError {
    /// EC2's operation name: `AttachVolume`.
    pub operation: &'static str,
    /// The kind.
    pub kind: ProviderErrorKind,
    /// EC2's error code: `VolumeInUse`.
    pub code: String,
    /// What it says, with ids.
    pub message: String,
    /// What to do about it, where that is more than its kind says.
    pub help: Option<&'static str>,
    /// Whether the provider has repeated the call already, as often as it may be.
    pub exhausted: bool,
    /// What lies below.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl ProviderError {
    /// An error without a cause below it.
    #[must_use]
    pub fn new(
        operation: &'static str,
        kind: ProviderErrorKind,
        code: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            operation,
            kind,
            code: code.into(),
            message: message.into(),
            help: None,
            exhausted: false,
            source: None,
        }
    }

    /// Whether it never came to a call: there is no connection, or nothing to make one with. The
    /// next call would end the same way.
    #[must_use]
    pub fn is_of_the_connection(&self) -> bool {
        let codes =
            ["Connection", "CredentialsMissing", "CredentialsFailed", "RegionMissing", "NotAnInstance"];
        codes.contains(&self.code.as_str())
    }

    /// What a person is told: the operation and the code of what EC2 refuses, as its documentation
    /// lists them, and plain words where nothing of it was asked; with the causes that say more.
    #[must_use]
    pub fn said(&self) -> String {
        let is_plain = self.is_of_the_connection() || self.kind == ProviderErrorKind::Io;
        let mut said = if is_plain { self.message.clone() } else { self.to_string() };
        let mut causes = Vec::new();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            causes.push(cause.to_string());
            source = cause.source();
        }
        if self.is_of_the_connection() {
            // Between what was tried and what it failed for, there are only the SDK's layers.
            causes.drain(..causes.len().saturating_sub(1));
        }
        for cause in causes {
            if !said.contains(&cause) {
                said.push_str(&format!("\nbecause: {cause}"));
            }
        }
        said
    }

    /// Whether the same call can succeed later without anybody changing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, ProviderErrorKind::Throttled | ProviderErrorKind::Unavailable)
    }

    /// Whether a volume was certainly not attached, because its device name or the last of the
    /// instance's attachments is somebody else's (AttachVolume; "Error codes", EC2 API Reference).
    #[must_use]
    pub fn is_slot_taken(&self) -> bool {
        self.kind != ProviderErrorKind::Unavailable
            && matches!(self.code.as_str(), "InvalidDevice.InUse" | "AttachmentLimitExceeded")
    }
}

/// Which resources to describe. All conditions that are given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// These ids only, when not empty.
    pub ids: BTreeSet<String>,
    /// These tags with these values.
    pub tags: TagMap,
    /// Tags with these keys, whatever their values.
    pub tag_keys: BTreeSet<String>,
}

impl Filter {
    /// By one id.
    #[must_use]
    pub fn id(id: impl fmt::Display) -> Self {
        Self { ids: BTreeSet::from([id.to_string()]), ..Self::default() }
    }

    /// By one tag.
    #[must_use]
    pub fn tag(key: &str, value: impl fmt::Display) -> Self {
        Self { tags: TagMap::from([(key.to_owned(), value.to_string())]), ..Self::default() }
    }

    /// By one tag's key.
    #[must_use]
    pub fn tag_key(key: &str) -> Self {
        Self { tag_keys: BTreeSet::from([key.to_owned()]), ..Self::default() }
    }
}

/// The access node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccessNode {
    /// Its instance id.
    pub instance_id: InstanceId,
    /// Its zone.
    pub zone: String,
    /// Its type.
    pub instance_type: String,
    /// What it runs on.
    pub hypervisor: Hypervisor,
    /// Device names that are free now, in the order to use them (`xvdf` … `xvdz`), already cut to
    /// what the type allows.
    pub free_slots: Vec<String>,
    /// EBS bandwidth in MiB/s, when it is known.
    pub ebs_bandwidth: Option<u32>,
}

/// What an instance type is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceTypeFacts {
    /// Its name.
    pub name: String,
    /// What it runs on.
    pub hypervisor: Hypervisor,
    /// Its architecture.
    pub architecture: Architecture,
    /// The boot modes it supports.
    pub boot_modes: BTreeSet<BootMode>,
    /// Whether its network needs ENA.
    pub ena_required: bool,
    /// Virtual processors.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory: u64,
    /// The most volumes that it takes at once, its root included and beside one network interface,
    /// when that is known.
    pub max_volumes: Option<u32>,
    /// The most network interfaces, when that is known.
    #[serde(default)]
    pub max_interfaces: Option<u32>,
    /// Whether each further network interface takes the place of a volume ("Amazon EBS volume limits
    /// for Amazon EC2 instances": shared limits of Nitro types).
    #[serde(default)]
    pub shares_limit: bool,
    /// EBS bandwidth in MiB/s that it can always have, when it is known.
    pub ebs_bandwidth: Option<u32>,
}

impl InstanceTypeFacts {
    /// The most volumes beside this many network interfaces, when that is known.
    #[must_use]
    pub fn volumes_beside(&self, interfaces: usize) -> Option<usize> {
        let further = if self.shares_limit { interfaces.saturating_sub(1) } else { 0 };
        self.max_volumes.map(|most| (most as usize).saturating_sub(further))
    }
}

/// CreateVolume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreateVolume {
    /// Repeating with the same token returns the same volume.
    pub token: ClientToken,
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
    /// Its tags.
    pub tags: TagMap,
    /// IOPS and throughput are for the write only. No part of the call; for whoever adopts what it
    /// made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub raised: bool,
}

/// ModifyVolume: what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModifyVolume {
    /// GiB, only upwards.
    pub size: Option<u64>,
    /// The type.
    pub volume_type: Option<VolumeType>,
    /// Provisioned IOPS.
    pub iops: Option<u32>,
    /// Provisioned MiB/s.
    pub throughput: Option<u32>,
}

/// A volume's state under EC2's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VolumeState {
    /// Being made.
    Creating,
    /// Free.
    Available,
    /// Attached.
    InUse,
    /// Being deleted.
    Deleting,
    /// Deleted, still described for a while.
    Deleted,
    /// Broken.
    Error,
}

impl VolumeState {
    /// Whether it is gone, or about to be.
    #[must_use]
    pub fn is_ending(self) -> bool {
        matches!(self, Self::Deleting | Self::Deleted)
    }
}

/// A volume in a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttachmentView {
    /// To which instance.
    pub instance_id: InstanceId,
    /// Under which device name.
    pub device: String,
    /// EC2's `attaching`, `attached`, `detaching`, `busy`.
    pub state: String,
    /// Whether the volume dies with the instance.
    pub delete_on_termination: bool,
}

impl AttachmentView {
    /// Whether the volume is on its way out.
    #[must_use]
    pub fn is_detaching(&self) -> bool {
        self.state == "detaching"
    }
}

/// A volume as described.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VolumeView {
    /// Its id.
    pub id: VolumeId,
    /// Its zone.
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
    pub encrypted: bool,
    /// The KMS key.
    pub kms_key_id: Option<String>,
    /// Its state.
    pub state: VolumeState,
    /// Where it is attached.
    pub attachment: Option<AttachmentView>,
    /// Its tags.
    pub tags: TagMap,
}

/// The device of a volume on the access node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceFacts {
    /// The volume it was proven to be.
    pub volume_id: VolumeId,
    /// Its path.
    pub path: PathBuf,
    /// Its exact size in bytes.
    pub size: u64,
    /// A regular file (holes of a fresh one read as zeros).
    pub is_file: bool,
    /// Which device or file the path led to when it was proven.
    pub node: FileNode,
    /// What shows that it is that volume, to be looked at again once it is open: a name may be
    /// given to another device in between, but not while it is held open.
    pub proof: Option<DeviceProof>,
}

impl DeviceFacts {
    /// Whether the proof still holds.
    #[must_use]
    pub fn is_still_proven(&self) -> bool {
        self.proof.as_ref().is_none_or(|proof| {
            std::fs::read_to_string(&proof.path).is_ok_and(|text| text.trim() == proof.content)
        })
    }
}

/// A file of the system that says which volume a device is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceProof {
    /// The file.
    pub path: PathBuf,
    /// What it says, without blanks around it.
    pub content: String,
}

/// RunInstances of one stub, or of one restored guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunInstance {
    /// Repeating with the same token returns the same instance.
    pub token: ClientToken,
    /// The base AMI; `None`: the provider chooses by architecture, boot mode and platform.
    pub base_ami: Option<String>,
    /// The AMI of a restored guest, which then starts at once; `None`: it is a stub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<ImageId>,
    /// The user data of that guest. Never stored.
    #[serde(skip)]
    pub user_data: Option<String>,
    /// Digest of that user data, by which it is known again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data_digest: Option<Digest>,
    /// The type.
    pub instance_type: String,
    /// The architecture of the guest.
    pub architecture: Architecture,
    /// The boot mode of the guest.
    pub boot_mode: BootMode,
    /// `linux` or `windows`.
    pub platform: String,
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
    /// What else EC2 is told of it.
    #[serde(default, skip_serializing_if = "InstanceOptions::is_default")]
    pub options: InstanceOptions,
    /// Its tags.
    pub tags: TagMap,
    /// `local`: what the console shows when the guest is up.
    pub console_pattern: Option<String>,
    /// `local`: seconds that the guest may take to come up.
    pub boot_timeout: Option<u32>,
}

/// ModifyInstanceAttribute and its like: what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModifyInstance {
    /// The type (stopped only).
    pub instance_type: Option<String>,
    /// The user data (stopped only). Never stored.
    #[serde(skip)]
    pub user_data: Option<String>,
    /// Security groups.
    pub security_group_ids: Option<Vec<String>>,
    /// Security groups of other interfaces than the primary one, by their places.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub interface_groups: BTreeMap<u32, Vec<String>>,
    /// The instance profile; an empty name takes it away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iam_instance_profile: Option<String>,
    /// Termination protection.
    pub termination_protection: Option<bool>,
    /// Its metadata service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<MetadataOptions>,
    /// What it does without CPU credits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_credits: Option<CpuCredits>,
    /// Metrics each minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitoring: Option<bool>,
    /// Where it runs (stopped only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<PlacementSpec>,
    /// Whether EC2 refuses to stop it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disable_api_stop: Option<bool>,
    /// Device name to whether its volume dies with the instance.
    pub delete_on_termination: BTreeMap<String, bool>,
    /// `local`: what the console shows when the guest is up.
    pub console_pattern: Option<String>,
    /// `local`: seconds that the guest may take to come up.
    pub boot_timeout: Option<u32>,
}

/// An instance's state under EC2's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceState {
    /// Being launched or started.
    Pending,
    /// Running.
    Running,
    /// Being stopped.
    Stopping,
    /// Stopped.
    Stopped,
    /// Being terminated.
    ShuttingDown,
    /// Gone, still described for a while.
    Terminated,
}

impl InstanceState {
    /// Whether it is gone, or about to be.
    #[must_use]
    pub fn is_ending(self) -> bool {
        matches!(self, Self::ShuttingDown | Self::Terminated)
    }
}

/// What a provider refuses to do with an instance until somebody takes that off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Protection {
    /// To terminate it.
    pub termination: bool,
    /// To stop it, and by that to terminate it ("Enable stop protection", EC2 User Guide).
    pub stop: bool,
}

/// An instance as described.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceView {
    /// Its id.
    pub id: InstanceId,
    /// Its type.
    pub instance_type: String,
    /// Its zone.
    pub zone: String,
    /// Its subnet.
    pub subnet_id: Option<String>,
    /// Its private address.
    pub private_ip: Option<Ipv4Addr>,
    /// Its security groups.
    pub security_group_ids: Vec<String>,
    /// Its key pair's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_name: Option<String>,
    /// Its instance profile's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iam_instance_profile: Option<String>,
    /// Its state.
    pub state: InstanceState,
    /// Why it last changed, when EC2 says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_reason: Option<StateReason>,
    /// The device name of its root.
    pub root_device: String,
    /// Device name to attached volume.
    pub volumes: BTreeMap<String, VolumeId>,
    /// Its boot mode.
    pub boot_mode: BootMode,
    /// Its platform: `linux` or `windows`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Whether EC2 refuses to terminate it.
    pub termination_protection: bool,
    /// What else EC2 says of it. Its interfaces are all that it has, described in full.
    #[serde(default, skip_serializing_if = "InstanceOptions::is_default")]
    pub options: InstanceOptions,
    /// Its tags.
    pub tags: TagMap,
}

/// Whether a started instance came up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum StatusCheck {
    /// Not known yet.
    Initializing,
    /// It is up; what showed it.
    Ok {
        /// The console line, or the checks' names.
        evidence: String,
    },
    /// It is not coming up.
    Impaired {
        /// What is known of this failure, when it is recognised.
        reason: String,
        /// The console's last lines.
        evidence: String,
    },
}

/// A serial console's text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConsoleOutput {
    /// The last 64 KiB, with control characters removed.
    pub text: String,
}
