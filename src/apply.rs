//! Doing what a plan says: an executor over its graph, with every effect journalled first.

pub mod cancel;
pub mod context;
pub mod error;
pub mod event;
pub mod evidence;
pub mod executor;
pub mod image;
pub mod instance;
pub mod launch;
pub mod mark;
mod reattach;
pub mod receipt;
pub mod recover;
pub mod retry;
pub mod seat;
pub mod slots;
pub mod start;
pub mod sweep;
pub mod transfer;
pub mod volume;
pub mod wait;

pub use cancel::Cancel;
pub use context::{Context, Kept, Options, Specs, Tally};
pub use error::ApplyError;
pub use event::{Event, InstanceReceipt, NodeOutcome, NodeReceipt, Observer, Receipt, VolumeReceipt};
pub use executor::run;
pub use recover::recover;
pub use wait::Limits;
