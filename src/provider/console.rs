//! A guest's serial console: kept small, made fit to show, and what it tells of the guest's start.

mod reading;
mod windows;

pub use reading::advice;
pub(super) use reading::{SHOWN, Verdict, evidence, judge, quiet, read, trim};
#[cfg(feature = "aws")]
pub(super) use reading::{VOLUMES_UNREACHED, clean, unreachable};
