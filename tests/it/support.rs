//! What tests share: running `replant` hermetically.

pub mod command;

#[allow(unused_imports)]
pub use command::{Output, replant};
