//! The user's components, as the sandbox finds them on their device.

use std::error::Error;
use std::path::Path;

use crate::guest::findings::{blocks, informs};
use crate::guest::report::{Finding, Job};
use crate::guest::windows::components::Inventory;

/// What the user's folder holds; `None` when none was named, or when it cannot be used, which is a
/// finding.
pub fn inventory(job: &Job, device: Option<&Path>, notes: &mut Vec<Finding>) -> Option<Inventory> {
    let (parcel, device) = (job.parcel.as_ref()?, device?);
    match Inventory::of_parcel(device, parcel) {
        Ok(inventory) => Some(inventory),
        Err(error) => {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            notes.push(
                blocks("windows_components_unusable", "The folder of components cannot be used")
                    .seen(format!("{error}{cause}"))
                    .advice("Keep only Amazon's drivers and agents in it, as they were downloaded."),
            );
            None
        }
    }
}

/// Components are for Windows guests.
#[must_use]
pub fn unused(job: &Job) -> Option<Finding> {
    let parcel = job.parcel.as_ref()?;
    Some(
        informs("windows_components_unused", "Components for Windows are named, and the guest is Linux")
            .seen(&parcel.folder)
            .advice("Take guest { windows { components } } out of this instance."),
    )
}
