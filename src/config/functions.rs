//! Functions, under Terraform's names and with its meaning.
//!
//! Only pure ones: what a plan promised must come out the same when it is applied. Files are
//! read relative to the configuration's directory, each once.

mod arguments;
mod call;
mod collections;
mod conversion;
mod encoding;
mod files;
mod network;
mod numbers;
mod printf;
mod sets;
mod strings;
mod table;
mod time;
mod yaml;

pub(super) use call::{call, check_call};
pub(super) use files::FileCache;
