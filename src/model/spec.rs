//! What the user asked for: the evaluated configuration as plain values.
//!
//! Attribute paths (`instance_type`, `disk.root.size`, `tags.Name`, `guest.network`) name the
//! places that may be unknown until apply, are sensitive, or have a span in the source.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BootMode, Digest, GuestChanges, InstanceAddress, InstanceOptions, Location};
use crate::diagnostic::Span;

/// A path to an attribute within an instance, as `disk.root.size`.
pub type AttributePath = String;

/// An image as the configuration names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ImageSpec {
    /// Where it is; a relative path is joined to the configuration's directory.
    pub path: Location,
    /// The format when it is said, `None` for `auto`: `raw`, `vmdk`, `qcow2`, `ova`, …
    pub format: Option<String>,
    /// The internal snapshot of a qcow2 image, by its name or id; `None`: what it holds now.
    pub snapshot: Option<String>,
}

/// An EBS volume type under EC2's name.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum VolumeType {
    /// General purpose SSD, third generation; the default.
    #[default]
    Gp3,
    /// General purpose SSD, second generation.
    Gp2,
    /// Provisioned IOPS SSD.
    Io1,
    /// Provisioned IOPS SSD, second generation.
    Io2,
    /// Throughput optimized HDD.
    St1,
    /// Cold HDD.
    Sc1,
    /// Magnetic.
    Standard,
}

impl VolumeType {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Gp3, Self::Gp2, Self::Io1, Self::Io2, Self::St1, Self::Sc1, Self::Standard];

    /// EC2's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gp3 => "gp3",
            Self::Gp2 => "gp2",
            Self::Io1 => "io1",
            Self::Io2 => "io2",
            Self::St1 => "st1",
            Self::Sc1 => "sc1",
            Self::Standard => "standard",
        }
    }
}

/// One disk of an instance. Under an instance-wide `image`, a disk block changes what the image
/// says of the disk of that name; attributes left out are `None` and decided while planning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiskSpec {
    /// The block's label.
    pub name: String,
    /// Its own image; `None` when the instance's image brings it, or for an empty disk (then a
    /// size is required).
    pub image: Option<ImageSpec>,
    /// Whether it is said to be empty: under the image of an appliance, a disk beside those that it
    /// brings.
    #[serde(default)]
    pub empty: bool,
    /// The volume's type.
    pub volume_type: VolumeType,
    /// The volume's size in GiB; `None`: the image's size rounded up.
    pub size: Option<u64>,
    /// Whether a larger volume's last partition and filesystem grow offline.
    pub grow: bool,
    /// Provisioned IOPS.
    pub iops: Option<u32>,
    /// Provisioned throughput in MiB/s (gp3).
    pub throughput: Option<u32>,
    /// Provisioned IOPS while its content is written (gp3).
    pub restore_iops: Option<u32>,
    /// Provisioned throughput in MiB/s while its content is written (gp3).
    pub restore_throughput: Option<u32>,
    /// Whether the volume is encrypted.
    pub encrypted: Option<bool>,
    /// The KMS key.
    pub kms_key_id: Option<String>,
    /// Whether the volume dies with its instance.
    pub delete_on_termination: bool,
    /// Whether a snapshot is taken before the volume is destroyed; `None`: only when a
    /// replacement would lose newer data than the backup's.
    pub final_snapshot: Option<bool>,
    /// Its tags beside the instance's.
    pub tags: BTreeMap<String, String>,
}

/// What a gp3 volume has when nothing is provisioned: 3,000 IOPS and 125 MiB/s (EC2 User Guide,
/// "General Purpose SSD volumes").
pub const GP3_BASE: (u32, u32) = (3_000, 125);

impl DiskSpec {
    /// IOPS and MiB/s that its volume is made with, when those are other than what it keeps, as far
    /// as a volume of this size (GiB) can have them: 500 IOPS for each GiB, a quarter MiB/s for each
    /// of those.
    #[must_use]
    pub fn raised_at(&self, size: u64) -> Option<(u32, u32)> {
        let (iops, throughput) = self.raised()?;
        let kept = self.kept();
        let most = u32::try_from(size.saturating_mul(500)).unwrap_or(u32::MAX).max(GP3_BASE.0);
        let iops = iops.min(most).max(kept.0);
        let throughput = throughput.min(iops / 4).max(kept.1);
        ((iops, throughput) != kept).then_some((iops, throughput))
    }

    fn kept(&self) -> (u32, u32) {
        (self.iops.unwrap_or(GP3_BASE.0), self.throughput.unwrap_or(GP3_BASE.1))
    }

    /// As [`Self::raised_at`], on a volume of any size.
    #[must_use]
    pub fn raised(&self) -> Option<(u32, u32)> {
        if self.restore_iops.is_none() && self.restore_throughput.is_none() {
            return None;
        }
        let (iops, throughput) = self.kept();
        Some((
            iops.max(self.restore_iops.unwrap_or(iops)),
            throughput.max(self.restore_throughput.unwrap_or(throughput)),
        ))
    }

    /// A disk of that name with every default.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            image: None,
            empty: false,
            volume_type: VolumeType::default(),
            size: None,
            grow: false,
            iops: None,
            throughput: None,
            restore_iops: None,
            restore_throughput: None,
            encrypted: None,
            kms_key_id: None,
            delete_on_termination: true,
            final_snapshot: None,
            tags: BTreeMap::new(),
        }
    }
}

/// How far an instance is brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DesiredState {
    /// Started and healthy.
    #[default]
    Running,
    /// Made, with its volumes, not started from them.
    Stopped,
    /// Volumes kept in sync, no instance.
    Standby,
}

impl DesiredState {
    /// The word in a configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Standby => "standby",
        }
    }
}

/// What becomes of the guest's network settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NetworkPolicy {
    /// The guest asks DHCP; EC2 hands it the instance's address.
    #[default]
    Dhcp,
    /// As `Dhcp`, and the instance takes the static address the guest had.
    Keep,
}

/// Whether the guest is prepared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DriversPolicy {
    /// Inspect, inject what is missing, refuse what cannot boot.
    #[default]
    Auto,
    /// Write the disk as it is; nothing in it is changed.
    None,
}

/// The `guest` block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GuestSpec {
    /// What becomes of its network settings.
    pub network: NetworkPolicy,
    /// Whether it is prepared.
    pub drivers: DriversPolicy,
    /// Codes of findings that block, without their area (`ena_missing`): accepted, they only warn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accept: Vec<String>,
    /// What else is changed in it.
    pub changes: GuestChanges,
    /// What is only for a Windows guest.
    #[serde(default, skip_serializing_if = "WindowsSpec::is_empty")]
    pub windows: WindowsSpec,
}

/// The `windows` block of `guest`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WindowsSpec {
    /// The folder, or the zip archive, of Amazon's drivers and agents.
    pub components: Option<PathBuf>,
}

impl WindowsSpec {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A folder of components as a plan found it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ComponentsFacts {
    /// Where.
    pub path: PathBuf,
    /// Digest of its files: their paths and contents.
    pub digest: Digest,
}

/// How an instance comes to its volumes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LaunchMethod {
    /// A stub is launched and its root volume swapped for the restored one.
    #[default]
    Swap,
    /// The volumes are snapshotted and registered as an AMI.
    Image,
}

/// The `launch` block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LaunchSpec {
    /// Swap or image.
    pub method: LaunchMethod,
    /// The stub's AMI; `None`: chosen by architecture, boot mode and platform.
    pub base_ami: Option<String>,
    /// The boot mode; `None`: what the guest's disk needs.
    pub boot_mode: Option<BootMode>,
    /// `linux` or `windows`, of a guest that nobody looks into; `None`: what the guest is.
    #[serde(default)]
    pub platform: Option<String>,
    /// A regular expression that the console shows when the guest is up, instead of a login
    /// prompt (`local` only).
    pub console_pattern: Option<String>,
    /// Seconds that the guest may take to come up; `None`: the provider's default.
    pub boot_timeout: Option<u32>,
}

/// The `lifecycle` block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LifecycleSpec {
    /// Refuse to destroy it; remembered in the state.
    pub prevent_destroy: bool,
    /// A changed image replaces an instance that has already started.
    pub replace_on_image_change: bool,
}

/// One instance to restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceSpec {
    /// Its address.
    pub address: InstanceAddress,
    /// An image for the whole instance (an OVA, or the image of its only disk).
    pub image: Option<ImageSpec>,
    /// Its disk blocks, in the order of the configuration; the first is the root disk.
    pub disks: Vec<DiskSpec>,
    /// EC2's instance type.
    pub instance_type: String,
    /// The subnet.
    pub subnet_id: Option<String>,
    /// The private address.
    pub private_ip: Option<Ipv4Addr>,
    /// The security groups.
    pub security_group_ids: Vec<String>,
    /// The key pair's name.
    pub key_name: Option<String>,
    /// The instance profile's name.
    pub iam_instance_profile: Option<String>,
    /// The user data, set after the swap.
    pub user_data: Option<String>,
    /// Whether EC2 refuses to terminate it.
    pub termination_protection: bool,
    /// What else EC2 is told of it.
    #[serde(default, skip_serializing_if = "InstanceOptions::is_default")]
    pub options: InstanceOptions,
    /// How far it is brought.
    pub state: DesiredState,
    /// The guest's preparation.
    pub guest: GuestSpec,
    /// How it comes to its volumes.
    pub launch: LaunchSpec,
    /// Its tags, also on its volumes.
    pub tags: BTreeMap<String, String>,
    /// What must be up before it: said and implied by references.
    pub depends_on: BTreeSet<InstanceAddress>,
    /// Its lifecycle.
    pub lifecycle: LifecycleSpec,
    /// Attributes whose value is known only after apply; the fields then hold their default.
    pub unknown: BTreeSet<AttributePath>,
    /// Attributes that must never be shown.
    pub sensitive: BTreeSet<AttributePath>,
    /// Where each attribute stands in the configuration (`""` is the block's own header).
    #[serde(skip)]
    pub spans: BTreeMap<AttributePath, Span>,
}

impl InstanceSpec {
    /// Where an attribute stands, else the nearest enclosing block, else the instance's header.
    #[must_use]
    pub fn span(&self, path: &str) -> Option<Span> {
        let mut path = path;
        loop {
            if let Some(span) = self.spans.get(path) {
                return Some(span.clone());
            }
            if path.is_empty() {
                return None;
            }
            path = path.rfind('.').map_or("", |dot| &path[..dot]);
        }
    }
}

/// The `provider "local"` block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LocalProviderSpec {
    /// The cloud's directory, joined to the configuration's.
    pub directory: PathBuf,
    /// The zone of the access node and of everything made.
    pub zone: String,
    /// Most memory that a started instance gets from this machine, in MiB.
    pub memory: u32,
    /// QEMU's accelerator: `auto`, `kvm` or `tcg`.
    pub accelerator: String,
    /// How long a started guest may take to come up, in seconds, unless its `launch` block says.
    pub boot_timeout: u32,
}

impl Default for LocalProviderSpec {
    fn default() -> Self {
        Self {
            directory: PathBuf::from(".replant/cloud"),
            zone: "local-1a".to_owned(),
            memory: 1024,
            accelerator: "auto".to_owned(),
            boot_timeout: 600,
        }
    }
}

/// A role to take before calling EC2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AssumeRoleSpec {
    /// The role's ARN.
    pub role_arn: String,
    /// What the role's trust policy asks of a caller of another account.
    pub external_id: Option<String>,
    /// The session's name in CloudTrail.
    pub session_name: Option<String>,
}

/// The `provider "aws"` block. Credentials are no part of it: they come from the SDK's chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AwsProviderSpec {
    /// The region; `None`: from the environment, the profile or the instance.
    pub region: Option<String>,
    /// The profile of `~/.aws/config`.
    pub profile: Option<String>,
    /// A role to take.
    pub assume_role: Option<AssumeRoleSpec>,
    /// Another endpoint of EC2 (a VPC endpoint, or a test's server).
    pub endpoint_url: Option<String>,
    /// Tags of everything that is made, under the instances' own.
    pub default_tags: BTreeMap<String, String>,
    /// How often a call is tried before it counts as failed.
    pub max_attempts: u32,
    /// Seconds that a started guest may take to pass EC2's status checks, unless its `launch` block
    /// says.
    pub boot_timeout: u32,
    /// Where the access node's device nodes are.
    pub device_directory: PathBuf,
    /// Where the access node's kernel says which device is which volume.
    pub sysfs_directory: PathBuf,
    /// The runtime directory of the access node's udev.
    #[serde(default = "udev_directory")]
    pub udev_directory: PathBuf,
}

fn udev_directory() -> PathBuf {
    PathBuf::from("/run/udev")
}

impl Default for AwsProviderSpec {
    fn default() -> Self {
        Self {
            region: None,
            profile: None,
            assume_role: None,
            endpoint_url: None,
            default_tags: BTreeMap::new(),
            max_attempts: 10,
            boot_timeout: 600,
            device_directory: PathBuf::from("/dev"),
            sysfs_directory: PathBuf::from("/sys"),
            udev_directory: udev_directory(),
        }
    }
}

/// The provider that a configuration names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ProviderSpec {
    /// A cloud in a directory.
    Local(LocalProviderSpec),
    /// Amazon EC2.
    Aws(AwsProviderSpec),
}

/// The `access_node` block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccessNodeSpec {
    /// The block's label.
    pub name: String,
    /// EC2's id, or `self`.
    pub instance_id: String,
    /// The most volumes to hot-add at once; `None`: as many as it has free slots.
    pub max_attachments: Option<u32>,
}

/// An output whose value may be unknown until apply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OutputSpec {
    /// Its value; `None` while it is unknown.
    pub value: Option<serde_json::Value>,
    /// Whether it must never be shown unasked.
    pub sensitive: bool,
    /// What it is for.
    pub description: Option<String>,
}
