//! From evaluated blocks to the model's specifications, attribute by attribute.

mod attributes;
mod aws;
mod data;
mod disk;
mod guest;
mod instance;
mod options;
mod settings;

pub(super) use attributes::{Decoder, Sink};
pub(super) use data::data;
pub(super) use instance::instance;
pub(super) use settings::{access_node, provider, required_version};
