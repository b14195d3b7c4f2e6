//! What a sandbox is asked, and what came of it.

use std::sync::Arc;
use std::time::Duration;

use super::parcel::Parcel;
use crate::guest::report::{RecipeInputs, Report};
use crate::image::Overlay;
use crate::model::Location;

/// One disk of the machine to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxDisk {
    /// The disk's name in the configuration.
    pub name: String,
    /// Where the image is.
    pub image: Location,
    /// Its format, when it is pinned; else it is detected.
    pub format: Option<String>,
    /// The disk inside an OVA.
    pub member: Option<String>,
    /// The internal snapshot of a qcow2 image.
    pub snapshot: Option<String>,
    /// The volume's size in bytes; 0 for the image's own size.
    pub size: u64,
    /// Whether the last partition and its filesystem grow to the volume's size.
    pub grow: bool,
}

/// What a sandbox may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Its memory in MiB. Taken only as far as it is used.
    pub memory_mib: u32,
    /// Seconds until it is ended.
    pub seconds: u32,
    /// Most bytes of changed blocks on one disk, and on all disks together.
    pub overlay_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_mib: 512, seconds: 180, overlay_bytes: 512 << 20 }
    }
}

/// A machine to look at or to prepare.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its disks; the first boots.
    pub disks: Vec<SandboxDisk>,
    /// Whether the recipe's edits are made, or the guest only looked at.
    pub prepare: bool,
    /// What the recipe depends on.
    pub inputs: RecipeInputs,
    /// The folder of components that the user named.
    pub components: Option<Arc<Parcel>>,
    /// What the sandbox may use.
    pub limits: Limits,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Facts, findings, recipe and diffs.
    pub report: Report,
    /// Each disk's changed blocks, in the order of the request; without blocks when the recipe is
    /// empty.
    pub overlays: Vec<Overlay>,
    /// How long it took; what a cache gave took what reading it took.
    pub took: Duration,
    /// Whether a cache gave it.
    pub cached: bool,
}
