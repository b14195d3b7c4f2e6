//! `replant init`: a first configuration from the backups.

mod command;
mod group;
mod machine;
mod text;

pub use command::{Init, run};
