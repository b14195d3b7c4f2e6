//! What tests share: running `replant` hermetically.

pub mod appliance;
pub mod booting;
pub mod command;
pub mod driver;
pub mod guests;
pub mod seeds;

#[allow(unused_imports)]
pub use command::{Output, replant};
pub mod workspace;
pub use workspace::Workspace;
