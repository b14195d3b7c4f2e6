//! Amazon's drivers and agents in a Windows guest that is off: what it gets, and what that takes. All of
//! it is values; the examination carries them out.
//!
//! A driver that Windows boots from is put in as if it were installed: its program, its service, and what
//! leads from the device to the service. Everything else is staged for the first boot.

mod boot;
mod choice;
mod database;
mod device_path;
mod error;
mod findings;
mod injection;
mod place;

pub use choice::{Choice, choose};
pub use error::InjectError;
pub use findings::{chosen, unreadable};
pub use injection::{Injection, Wishes, inject};
