//! A plan as data: what a reviewer reads, what `apply` is bound to.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, Node, Reason};
use crate::diagnostic::Diagnostic;
use crate::guest::report::{FileDiff, Finding, GuestFacts};
use crate::model::{Address, ComponentsFacts, DataRead, Digest, InstanceAddress};
use crate::provider::AccessNode;
use crate::state::ImageFacts;

/// The version of the plan's format.
pub const VERSION: u32 = 1;

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Bring everything to what the configuration says.
    Restore,
    /// Destroy everything in the state.
    Destroy,
}

/// A plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`VERSION`].
    pub version: u32,
    /// Replant's version.
    pub replant_version: String,
    /// What for.
    pub mode: Mode,
    /// What it is bound to.
    pub binding: Binding,
    /// The provider's name.
    pub provider: String,
    /// Where volumes are hot-added.
    pub access_node: AccessNodePlan,
    /// What the data sources found, by address; applying takes exactly these.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, DataRead>,
    /// Every resource of configuration and state, also those that stay, by address.
    pub changes: Vec<Change>,
    /// What was found in the guests and will be done to them, for instances that are prepared.
    pub guests: BTreeMap<InstanceAddress, GuestPlan>,
    /// The execution graph, in an order in which every node stands after what it needs.
    pub nodes: Vec<Node>,
    /// How the volumes go through the slots.
    pub waves: Vec<Wave>,
    /// Outputs after the run.
    pub outputs: BTreeMap<String, OutputChange>,
    /// Warnings and notes.
    pub notes: Vec<Diagnostic>,
    /// How long it will take, when data is written.
    pub prediction: Option<Prediction>,
    /// The counts of the last line.
    pub summary: Summary,
}

impl Plan {
    /// A plan that does nothing: what settles an earlier run before the real one is made.
    #[must_use]
    pub fn nothing(provider: &str, node: &AccessNode) -> Self {
        Self {
            version: VERSION,
            replant_version: env!("CARGO_PKG_VERSION").to_owned(),
            mode: Mode::Restore,
            binding: Binding {
                configuration: Digest::of(b""),
                lineage: None,
                serial: 0,
                resources: Digest::of(b""),
                images: Vec::new(),
                components: Vec::new(),
            },
            provider: provider.to_owned(),
            access_node: AccessNodePlan {
                instance_id: node.instance_id.to_string(),
                zone: node.zone.clone(),
                slots: node.free_slots.len(),
            },
            data: BTreeMap::new(),
            changes: Vec::new(),
            guests: BTreeMap::new(),
            nodes: Vec::new(),
            waves: Vec::new(),
            outputs: BTreeMap::new(),
            notes: Vec::new(),
            prediction: None,
            summary: Summary::default(),
        }
    }

    /// Whether applying it would change nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.outputs.values().all(|output| !output.changes())
    }
}

/// What a plan was computed from; a saved plan is refused when any of it moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// Digest of the configuration and its variables.
    pub configuration: Digest,
    /// The state's lineage; `None`: there was no state.
    pub lineage: Option<String>,
    /// The state's serial.
    pub serial: u64,
    /// Digest of the state's resources, which catches a crashed run's journal too.
    pub resources: Digest,
    /// The images.
    pub images: Vec<ImageFacts>,
    /// The folders of components that guests were prepared with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<ComponentsFacts>,
}

/// The access node as planned with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessNodePlan {
    /// Its instance id.
    pub instance_id: String,
    /// Its zone.
    pub zone: String,
    /// How many slots are free.
    pub slots: usize,
}

/// What happens to one resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Its address: an instance or a volume.
    pub address: Address,
    /// What happens.
    pub action: Action,
    /// Why; empty only for [`Action::NoOp`].
    pub reasons: Vec<Reason>,
    /// Attributes that are made, changed or removed; for `Create` all that are set.
    pub attributes: Vec<AttributeChange>,
    /// How many attributes stay.
    pub unchanged: usize,
    /// What a reviewer should know: data that will be lost, a new image that is only noted.
    pub notes: Vec<String>,
}

/// One attribute's change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AttributeChange {
    /// Its path: `size`, `tags.Name`.
    pub path: String,
    /// Before; `None` where it was not set.
    pub before: Option<Shown>,
    /// After; `None` where it will not be set.
    pub after: Option<Shown>,
    /// Whether it is why the resource is replaced.
    pub forces_replacement: bool,
}

/// A value as it may be shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "shown", content = "value", rename_all = "snake_case")]
pub enum Shown {
    /// The value.
    Value(serde_json::Value),
    /// Known only after apply.
    Unknown,
    /// Known, and never shown.
    Sensitive,
}

/// A guest's part of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GuestPlan {
    /// What the guest is; `None` when it is unknown.
    pub facts: Option<GuestFacts>,
    /// What was found.
    pub findings: Vec<Finding>,
    /// Digest of the recipe; `None` when it is empty.
    pub recipe: Option<Digest>,
    /// Each edit's path and purpose, in order.
    pub edits: Vec<(String, String)>,
    /// The diff of every file, when preparation will be done by this plan.
    pub diffs: Vec<FileDiff>,
    /// Bytes of changed blocks.
    pub overlay_bytes: u64,
}

/// Instances whose volumes are in slots at the same time. A preview: the executor takes slots as
/// they become free.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wave {
    /// The volumes, each with the slot it would get.
    pub volumes: Vec<(Address, String)>,
}

/// An output after the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutputChange {
    /// Before; `None` where there was none.
    pub before: Option<Shown>,
    /// After; `None` where there will be none.
    pub after: Option<Shown>,
}

impl OutputChange {
    /// Whether it becomes another (a sensitive value's change cannot be seen).
    #[must_use]
    pub fn changes(&self) -> bool {
        self.before != self.after
    }
}

/// How long the data will take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Prediction {
    /// Seconds for all writes.
    pub seconds: f64,
    /// The slowest link, and its speed, in words.
    pub slowest_link: String,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// The last line's counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Instances (or standby sets) to restore.
    pub restores: usize,
    /// Volumes to make.
    pub volumes: usize,
    /// Images to make.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub images: usize,
    /// Resources to change in place.
    pub changes: usize,
    /// Resources to replace.
    pub replacements: usize,
    /// Resources to destroy.
    pub destructions: usize,
    /// Bytes to write as data.
    pub data_bytes: u64,
    /// Bytes that are zero in the images.
    pub zero_bytes: u64,
}
