//! Amazon's drivers and agents for Windows guests: found in what the user has downloaded, and
//! chosen for a guest. Drivers are known by the devices in their setup information files,
//! installers by their names.

mod catalog;
mod compound;
mod driver;
mod entry;
mod files;
mod inventory;
mod product;
mod proof;
mod release;
mod select;
mod slice;
#[cfg(test)]
mod tests;
mod zip;

pub use catalog::{Kind, Limit, Need, mirrored};
pub use driver::{Driver, Note, Why};
pub use entry::{Entry, Signing, entries};
pub use files::{ComponentError, FETCHING, FoundFile, Listed, Opened, Refused, list};
pub use inventory::{Installer, Inventory, Package};
pub use proof::{Proof, Unfit, prove};
pub use release::{RELEASES, Release, UnknownRelease};
pub use select::{ChosenInstaller, MissingComponent, Selected};
