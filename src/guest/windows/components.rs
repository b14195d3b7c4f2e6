//! Amazon's drivers and agents for Windows guests: found in what the user has downloaded, and
//! chosen for a guest. Drivers are known by the devices in their setup information files,
//! installers by their names.

mod catalog;
mod driver;
mod files;
mod inventory;
mod select;
mod slice;
#[cfg(test)]
mod tests;
mod zip;

pub use catalog::{Kind, Limit, Need};
pub use driver::{Driver, Note, Why};
pub use files::{ComponentError, FoundFile, Listed, Opened, Refused, list};
pub use inventory::{Installer, Inventory, Package};
pub use select::{ChosenInstaller, MissingComponent, Selected};
