//! Snapshots and images: requests and views.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::types::{ImageId, SnapshotId, TagMap, VolumeId};
use crate::model::{Architecture, BootMode, ClientToken, VolumeType};

/// CreateSnapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreateSnapshot {
    /// Found again by this token in its tags.
    pub token: ClientToken,
    /// Of which volume.
    pub volume_id: VolumeId,
    /// What for.
    pub description: String,
    /// Its tags.
    pub tags: TagMap,
}

/// A snapshot's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotState {
    /// Being taken.
    Pending,
    /// Complete.
    Completed,
    /// Failed.
    Error,
}

/// A snapshot as described.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotView {
    /// Its id.
    pub id: SnapshotId,
    /// Of which volume.
    pub volume_id: VolumeId,
    /// Its state.
    pub state: SnapshotState,
    /// How much of it is taken, as the provider says it: `42%`.
    pub progress: Option<String>,
    /// Its tags.
    pub tags: TagMap,
}

/// What a volume made from a snapshot is like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeShape {
    /// GiB.
    pub size: u64,
    /// The type.
    pub volume_type: VolumeType,
    /// Provisioned IOPS.
    pub iops: Option<u32>,
    /// Provisioned MiB/s.
    pub throughput: Option<u32>,
    /// Whether it dies with its instance.
    pub delete_on_termination: bool,
}

/// A disk of an AMI.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageMapping {
    /// Its device name on an instance.
    pub device: String,
    /// What is on it. Whether it is encrypted, and with which key, comes from there
    /// (RegisterImage: `Encrypted` must be left out).
    pub snapshot_id: SnapshotId,
    /// The volume that an instance gets.
    pub shape: VolumeShape,
}

/// RegisterImage of snapshots of a restored guest (never Windows: EC2 knows its platform only from
/// images that were made from an instance, "Create an AMI from a snapshot").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RegisterImage {
    /// Its name: one that no other image of the account and region has, so that a repetition finds
    /// what the first call made (RegisterImage has no client token).
    pub name: String,
    /// Also a tag.
    pub token: ClientToken,
    /// What for.
    pub description: String,
    /// The guest's architecture.
    pub architecture: Architecture,
    /// How the guest boots.
    pub boot_mode: BootMode,
    /// Which device is the root.
    pub root_device: String,
    /// Its disks.
    pub mappings: Vec<ImageMapping>,
    /// Its tags.
    pub tags: TagMap,
}

/// An AMI's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImageState {
    /// Being registered.
    Pending,
    /// Ready.
    Available,
    /// It cannot be launched from, and never will be.
    Failed,
}

/// An AMI of ours as described.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageView {
    /// Its id.
    pub id: ImageId,
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: ImageState,
    /// The snapshots it is made of.
    pub snapshots: BTreeSet<SnapshotId>,
    /// EC2's platform details: `Linux/UNIX`.
    pub platform: String,
    /// Its tags.
    pub tags: TagMap,
}
