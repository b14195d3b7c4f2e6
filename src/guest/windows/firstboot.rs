//! The first boot of a Windows guest, without log-on: a service that Replant registers offline runs a
//! list of steps as LocalSystem, each bounded in attempts and time, logs what happens, and removes itself.
//!
//! The service is a program of ours (`firstboot/launcher.c`, built by `firstboot/build`, carried in
//! [`LAUNCHER`]); the list is a file beside it. Everything lies in [`DIRECTORY`].

mod agent;
mod command;
mod error;
mod list;
mod outcome;
mod script;
mod service;
mod settings;
mod steps;
mod wanted;

pub use agent::{Agent, Installer};
pub use command::CommandLine;
pub use error::FirstBootError;
pub use list::{Action, Bounds, Step, When, fresh_state, render};
pub use outcome::Outcome;
pub use script::{Language, Script};
pub use service::{
    DIRECTORY, LAUNCHER, LOG, PROGRAM, PlacedFile, SERVICE, ServiceData, ServiceValue, directory_descriptor,
    file_descriptor, program, service_values,
};
pub use settings::{EC2_LAUNCH_V2, Settings};
pub use wanted::{Addressing, Driver, Ems, FirstBoot, Nic, Remnant, VMWARE_TOOLS};
