//! Doing what a plan says: an executor over its graph, with every effect journalled first.

pub mod event;

pub use event::{Event, InstanceReceipt, NodeOutcome, NodeReceipt, Observer, Receipt, VolumeReceipt};
