//! What was made and what it holds: the state file, its lock and its journal (promises 2 and 3).
//!
//! The state file is rewritten once a run, by an atomic rename. In between, every intent and every
//! fact goes to the journal first: one appended, checksummed, fsynced line each. What the state is
//! at any moment is the file plus the journal's replay.

pub mod error;
mod files;
pub mod format;
mod journal;
pub mod lock;
mod parse;
pub mod paths;
pub mod store;
mod validate;

pub use error::StateError;
pub use format::v1::{
    DriversFacts, ImageDisk, ImageFacts, ImageResource, InstanceResource, Intent, IntentId, LaunchPhase,
    Operation, Output, Resource, SnapshotResource, State, StateChange, VolumeResource, WriteFacts,
};
pub use lock::{Holder, Lock};
pub use paths::Paths;
pub use store::Store;
