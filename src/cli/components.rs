//! `replant components`: Amazon's drivers and agents for Windows guests.

mod command;
mod download;
mod fetch;
mod guests;
mod list;
mod progress;
mod trouble;

pub use command::{Components, run};
