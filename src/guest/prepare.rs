//! Inspecting a mounted guest (the other half is on its way in its own branch).

use std::collections::BTreeMap;

use super::report::{DiskFacts, GuestFacts, Job, PROTOCOL, Recipe, Report};
use super::tree::{Tree, TreeError};
use crate::model::{Architecture, Firmware};

/// Inspects the guest.
///
/// # Errors
/// When its tree cannot be read.
pub fn run(tree: &Tree, disks: &[DiskFacts], _job: &Job) -> Result<Report, TreeError> {
    let text = tree.read_if_there("/etc/os-release", 65536)?.unwrap_or_default();
    Ok(Report {
        protocol: PROTOCOL,
        facts: Some(GuestFacts {
            family: "linux".to_owned(),
            distribution: String::new(),
            version: String::new(),
            product: String::from_utf8_lossy(&text).into_owned(),
            architecture: Architecture::X86_64,
            firmware: Firmware::Bios,
            boots_either_firmware: false,
            hostname: None,
            kernels: Vec::new(),
            root_filesystem: String::new(),
            static_addresses: BTreeMap::new(),
            details: Vec::new(),
        }),
        disks: disks.to_vec(),
        findings: Vec::new(),
        recipe: Recipe::default(),
        diffs: Vec::new(),
    })
}
