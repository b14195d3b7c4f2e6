//! What will happen, decided in full before anything does: pure and synchronous (promise 3).
//!
//! (desired machines, state, observed reality) → plan. The plan holds the execution graph;
//! `apply` only does what it is told.

pub mod action;
pub mod ahead;
pub mod assemble;
pub mod attachment;
pub mod attributes;
pub mod build;
pub mod change;
pub mod check;
pub mod destroy;
pub mod fit;
pub mod guest;
pub mod image;
pub mod instance;
pub mod lint;
pub mod modification;
pub mod platform;
pub mod predict;
pub mod saved;
pub mod step;
pub mod volume;

pub use action::{Action, Reason};
pub use ahead::{Blocks, ahead, placed};
pub use build::{Request, mistakes, plan};
pub use change::{
    AccessNodePlan, AttributeChange, Binding, Change, GuestPlan, Mode, OutputChange, Plan, Prediction, Shown,
    Summary, VERSION, Wave,
};
pub use saved::Overlays;
pub use step::{
    DriversPlan, ImagePlan, InstancePlan, LaunchPlan, Node, OverlayPlan, Raised, SnapshotPlan, Start, Step,
    VolumePlan, VolumeUpdate, WritePlan,
};
