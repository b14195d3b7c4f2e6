//! What was made and what it holds: the state file, its lock and its journal (promises 2 and 3).

pub mod format;

pub use format::v1::{
    DriversFacts, ImageFacts, InstanceResource, Intent, IntentId, Operation, Resource, State, StateChange,
    VolumeResource, WriteFacts,
};
