//! What a run says while it goes on, for any renderer.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::diagnostic::Diagnostic;
use crate::model::{Address, Digest, InstanceAddress};
use crate::plan::Mode;

/// Whoever wants to know. Called from many threads; must not block for long.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn event(&self, event: &Event);
}

/// What happens in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The run begins.
    RunStarted {
        /// What for.
        mode: Mode,
        /// How many nodes will run.
        nodes: usize,
        /// Bytes of data of all writes.
        data_bytes: u64,
    },
    /// An earlier run's unfinished intent was settled.
    Recovered {
        /// Whose.
        address: Address,
        /// What was found and done about it.
        what: String,
    },
    /// A node is ready and waits for free slots.
    WaitingForSlots {
        /// Which.
        address: Address,
        /// How many it wants.
        wanted: usize,
    },
    /// A node begins.
    NodeStarted {
        /// Which.
        address: Address,
        /// What it does: `write`.
        verb: String,
    },
    /// A node goes on: what it waits for now.
    NodeProgress {
        /// Which.
        address: Address,
        /// `waiting for the login prompt`.
        what: String,
    },
    /// A write goes on.
    WriteProgress {
        /// Which.
        address: Address,
        /// Bytes of the disk dealt with.
        done: u64,
        /// Bytes of the disk.
        total: u64,
        /// Bytes put on the volume.
        written: u64,
        /// Whether it is being read back.
        verifying: bool,
        /// Bytes of the image's data; 0 while it is read back.
        #[serde(default)]
        data: u64,
        /// Bytes of them that are not dealt with yet.
        #[serde(default)]
        data_left: u64,
        /// Milliseconds until it is written, as predicted, when something is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        time_left: Option<u64>,
    },
    /// A node is done.
    NodeFinished {
        /// Which.
        address: Address,
        /// What it did: `write`.
        verb: String,
        /// What came of it, in a few words; may be empty.
        detail: String,
        /// Milliseconds.
        took: u64,
    },
    /// A node failed.
    NodeFailed {
        /// Which.
        address: Address,
        /// What it tried: `write`.
        verb: String,
        /// Why.
        diagnostic: Box<Diagnostic>,
    },
    /// A node will not run.
    NodeSkipped {
        /// Which.
        address: Address,
        /// Why.
        because: String,
    },
    /// The user interrupted: 1 = finish what runs, 2 = stop at once.
    Interrupted {
        /// Which of the two.
        stage: u8,
    },
    /// The run is over.
    RunFinished {
        /// Everything that came of it.
        receipt: Box<Receipt>,
    },
}

/// How a node ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum NodeOutcome {
    /// Done.
    Done {
        /// Milliseconds.
        took: u64,
        /// What came of it.
        detail: String,
    },
    /// Failed.
    Failed {
        /// Why.
        diagnostic: Box<Diagnostic>,
    },
    /// Not run.
    Skipped {
        /// Why.
        because: String,
    },
}

/// A node's end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeReceipt {
    /// Which.
    pub address: Address,
    /// What it was to do.
    pub verb: String,
    /// How it ended.
    pub outcome: NodeOutcome,
}

/// A volume at the end of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VolumeReceipt {
    /// Its address.
    pub address: Address,
    /// Its id.
    pub id: String,
    /// Digest of its content before injection.
    pub content: Option<Digest>,
    /// Whether that was read back.
    pub verified: bool,
}

/// An instance at the end of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceReceipt {
    /// Its address.
    pub address: InstanceAddress,
    /// Its id.
    pub id: Option<String>,
    /// `running`, `stopped`, `standby`, `failed`, `unfinished`, `destroyed`.
    pub state: String,
    /// Its private address.
    pub private_ip: Option<String>,
    /// What showed that it is up, or why it is not.
    pub evidence: Option<String>,
    /// Its serial console, when that is a file.
    pub console_log: Option<PathBuf>,
    /// What its screen showed, a JPG, when the provider gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub screenshot: Option<PathBuf>,
    /// Its volumes.
    pub volumes: Vec<VolumeReceipt>,
}

/// What a run came to: what was done, what was not, and why. Also after a failure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Receipt {
    /// What for.
    pub mode: Mode,
    /// Whether everything was done.
    pub complete: bool,
    /// Whether the user interrupted it.
    pub interrupted: bool,
    /// Milliseconds.
    pub took: u64,
    /// Bytes put on volumes.
    pub bytes_written: u64,
    /// The instances of the plan.
    pub instances: Vec<InstanceReceipt>,
    /// Every node, in the plan's order.
    pub nodes: Vec<NodeReceipt>,
}
