//! What the cloud's directory holds: one small JSON file a resource.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::id::is_id;
use crate::model::{BootMode, ClientToken, InstanceOptions, VolumeType};
use crate::provider::types::{
    CreateSnapshot, CreateVolume, ImageId, ImageMapping, InstanceId, RegisterImage, RunInstance, SnapshotId,
    TagMap, VolumeId,
};

/// Milliseconds since 1970.
pub(super) type Millis = u64;

/// The version of the directory's layout.
pub(super) const VERSION: u32 = 1;

/// The prefix of a start's nonce.
pub(super) const BOOT_PREFIX: &str = "boot";

/// A resource with a file of its own.
pub(super) trait Record: Serialize + DeserializeOwned {
    /// The directory of its kind.
    const DIRECTORY: &'static str;
    /// The prefix of its ids.
    const PREFIX: &'static str;
    /// Its id.
    fn id(&self) -> &str;
    /// Whether everything in it that becomes part of a path is an id.
    fn is_sound(&self) -> bool {
        true
    }
}

/// `cloud.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CloudRecord {
    /// [`VERSION`].
    pub(super) version: u32,
    /// The access node.
    pub(super) access_node: InstanceId,
}

/// Where a volume is in its life. `in-use` is not here: it is having an attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum VolumePhase {
    Creating,
    Available,
    Deleting,
    /// No longer described, its file gone; kept so that its token stays known.
    Deleted,
}

/// Where an attachment is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum AttachmentPhase {
    Attaching,
    Attached,
    Detaching,
}

/// A volume's attachment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AttachmentRecord {
    pub(super) instance: InstanceId,
    /// As the caller wrote it.
    pub(super) device: String,
    pub(super) phase: AttachmentPhase,
    pub(super) since: Millis,
    pub(super) delete_on_termination: bool,
}

/// A volume. The only authority on where it is attached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VolumeRecord {
    pub(super) id: VolumeId,
    /// What made it; `None` for a stub's root.
    pub(super) request: Option<CreateVolume>,
    pub(super) zone: String,
    /// GiB.
    pub(super) size: u64,
    pub(super) volume_type: VolumeType,
    pub(super) iops: Option<u32>,
    pub(super) throughput: Option<u32>,
    pub(super) encrypted: bool,
    pub(super) kms_key_id: Option<String>,
    pub(super) phase: VolumePhase,
    pub(super) since: Millis,
    /// The inode of its file at creation: the file that is there now must be that one.
    pub(super) inode: u64,
    pub(super) attachment: Option<AttachmentRecord>,
    /// Its size was raised and its file may not have followed yet.
    pub(super) growing: bool,
    pub(super) modified: Option<Millis>,
    pub(super) tags: TagMap,
}

impl Record for VolumeRecord {
    const DIRECTORY: &'static str = "volumes";
    const PREFIX: &'static str = "vol";
    fn id(&self) -> &str {
        &self.id.0
    }
}

/// Where an instance is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum InstancePhase {
    Pending,
    Running,
    Stopping,
    Stopped,
    ShuttingDown,
    Terminated,
}

/// One start of an instance from volumes that were restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BootRecord {
    /// Part of its pid file's name, and so of QEMU's command line: no other process has it.
    pub(super) nonce: String,
    pub(super) started: Millis,
    /// QEMU's process, once it is known.
    pub(super) process: Option<ProcessRecord>,
}

/// A process that can be told from a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProcessRecord {
    pub(super) pid: u32,
    /// When it began, in clock ticks since the machine's boot.
    pub(super) start_ticks: u64,
}

/// An instance; also the access node, which has slots and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InstanceRecord {
    pub(super) id: InstanceId,
    /// What made it; `None` for the access node.
    pub(super) request: Option<RunInstance>,
    pub(super) instance_type: String,
    pub(super) zone: String,
    pub(super) subnet_id: Option<String>,
    pub(super) private_ip: Option<Ipv4Addr>,
    pub(super) security_group_ids: Vec<String>,
    pub(super) boot_mode: BootMode,
    pub(super) phase: InstancePhase,
    pub(super) since: Millis,
    pub(super) root_device: String,
    /// The volume it was launched with.
    pub(super) stub_root: Option<VolumeId>,
    /// The volumes that its image gave it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) image_volumes: Vec<ImageVolume>,
    /// Device name (as [`super::rules::slot`] spells it) → volume that may be attached there. A
    /// hint that is written before the volume's record, which decides.
    pub(super) slots: BTreeMap<String, VolumeId>,
    pub(super) termination_protection: bool,
    /// The instance profile that it was given since its launch; an empty name: it was taken away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) profile: Option<String>,
    #[serde(default, skip_serializing_if = "InstanceOptions::is_default")]
    pub(super) options: InstanceOptions,
    pub(super) console_pattern: Option<String>,
    /// Seconds.
    pub(super) boot_timeout: Option<u32>,
    /// The last start; `None` while it is the stub.
    pub(super) boot: Option<BootRecord>,
    /// QEMU is paused for a snapshot.
    pub(super) paused: bool,
    /// Why it is stopped, when nobody asked for that.
    pub(super) ended: Option<String>,
    pub(super) tags: TagMap,
}

/// A volume that an image gives an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ImageVolume {
    pub(super) id: VolumeId,
    pub(super) mapping: ImageMapping,
    pub(super) encrypted: bool,
    pub(super) kms_key_id: Option<String>,
}

impl InstanceRecord {
    /// Whether it is the access node.
    pub(super) fn is_access_node(&self) -> bool {
        self.request.is_none()
    }
}

impl Record for InstanceRecord {
    const DIRECTORY: &'static str = "instances";
    const PREFIX: &'static str = "i";
    fn id(&self) -> &str {
        &self.id.0
    }
    fn is_sound(&self) -> bool {
        self.slots.values().chain(&self.stub_root).all(|volume| is_id(VolumeRecord::PREFIX, &volume.0))
            && self.image_volumes.iter().all(|volume| {
                is_id(VolumeRecord::PREFIX, &volume.id.0)
                    && is_id(SnapshotRecord::PREFIX, &volume.mapping.snapshot_id.0)
            })
            && self.boot.as_ref().is_none_or(|boot| is_id(BOOT_PREFIX, &boot.nonce))
    }
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SnapshotRecord {
    pub(super) id: SnapshotId,
    pub(super) request: CreateSnapshot,
    /// GiB.
    pub(super) size: u64,
    #[serde(default)]
    pub(super) encrypted: bool,
    #[serde(default)]
    pub(super) kms_key_id: Option<String>,
    pub(super) since: Millis,
    pub(super) tags: TagMap,
}

impl Record for SnapshotRecord {
    const DIRECTORY: &'static str = "snapshots";
    const PREFIX: &'static str = "snap";
    fn id(&self) -> &str {
        &self.id.0
    }
}

/// An image. Its content is that of its snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ImageRecord {
    pub(super) id: ImageId,
    pub(super) request: RegisterImage,
    pub(super) since: Millis,
    pub(super) tags: TagMap,
}

impl Record for ImageRecord {
    const DIRECTORY: &'static str = "images";
    const PREFIX: &'static str = "ami";
    fn id(&self) -> &str {
        &self.id.0
    }
    fn is_sound(&self) -> bool {
        let mut snapshots = self.request.mappings.iter().map(|mapping| &mapping.snapshot_id);
        snapshots.all(|snapshot| is_id(SnapshotRecord::PREFIX, &snapshot.0))
    }
}

/// `tokens/…json` and `addresses/…json`: a name → the id it was given to. Written before the
/// resource, so it may name one that never came to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NameRecord {
    pub(super) token: Option<ClientToken>,
    pub(super) address: Option<Ipv4Addr>,
    pub(super) id: String,
}
