//! Virtual appliances: an OVF description with its disks beside it (OVF) or in one tar file (OVA).
//! Written to the "Open Virtualization Format Specification" (DSP0243) and to what VMware,
//! VirtualBox and oVirt write.

mod appliance;
mod archive;
mod description;
mod hardware;
mod hasher;
mod manifest;
mod read;
mod units;

pub use appliance::{Appliance, ApplianceDisk, Nic, OsHint};
pub use manifest::{FileDigest, ManifestError, check_manifest};
pub use read::read;

pub(super) use description::MOST_BYTES as MOST_DESCRIPTION;
pub(super) use manifest::{Listed, MOST_BYTES as MOST_MANIFEST, parse as parse_manifest};
pub(super) use read::{described_disk, open_container, unescaped};
