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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::report::{GiveUp, PROTOCOL, Parcel, ParcelFile, RecipeInputs};
    use crate::model::{GuestChanges, Hypervisor, NetworkPolicy};

    #[test]
    fn a_device_that_is_not_the_folder_is_a_finding() {
        let files = vec![ParcelFile { path: "AWSNVMe.zip".to_owned(), offset: 0, size: 4096 }];
        let inputs = RecipeInputs {
            hypervisor: Hypervisor::Nitro,
            network: NetworkPolicy::Dhcp,
            changes: GuestChanges::default(),
            give_up: GiveUp::default(),
        };
        let parcel = Some(Parcel { folder: "drivers".to_owned(), files });
        let job = Job { protocol: PROTOCOL, disks: Vec::new(), prepare: false, inputs, parcel };
        let mut notes = Vec::new();
        assert!(inventory(&job, Some(Path::new("/dev/none")), &mut notes).is_none());
        let codes: Vec<&str> = notes.iter().map(|finding| finding.code.as_str()).collect();
        assert_eq!(codes, ["guest::windows_components_unusable"]);
        assert!(inventory(&Job { parcel: None, ..job }, None, &mut notes).is_none());
        assert_eq!(notes.len(), 1);
    }
}
