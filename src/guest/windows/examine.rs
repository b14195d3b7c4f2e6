//! From a Windows volume to a report: look behind the gate, read the registry, make the edits.

mod boot;
mod components;
mod describe;
mod facts;
mod run;
mod way;

pub use run::examine;
