//! The system as a whole: processor, filesystems, clock, what it was tied to in its old place.

mod agents;
mod edits;
mod look;
mod room;
mod ties;
mod whole;

pub use edits::prepare;
pub use look::{inspect, root_filesystem};
pub use room::room;
pub use whole::{label, review};
