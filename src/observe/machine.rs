//! A machine of the configuration with its images opened and its guest inspected.

use std::collections::BTreeMap;

use crate::diagnostic::Diagnostic;
use crate::guest::report::Report;
use crate::image::Overlay;
use crate::model::{Bytes, ComponentsFacts, Digest, DiskSpec, Firmware, GIB, InstanceSpec};
use crate::state::ImageFacts;

/// A machine to restore, resolved: every disk is known.
#[derive(Debug, Clone)]
pub struct Machine {
    /// What the configuration says.
    pub spec: InstanceSpec,
    /// Its disks, the root first.
    pub disks: Vec<MachineDisk>,
    /// What an appliance says of the hardware.
    pub hardware: Option<Hardware>,
    /// What is known of its guest.
    pub inspection: Inspection,
}

/// One disk of a machine.
#[derive(Debug, Clone)]
pub struct MachineDisk {
    /// Its attributes: the configuration's, or the defaults for a disk that only the image names.
    pub spec: DiskSpec,
    /// Its image; `None` for an empty disk.
    pub image: Option<DiskImage>,
}

impl MachineDisk {
    /// The volume's size in GiB: as configured, else the image's rounded up; at least 1.
    #[must_use]
    pub fn volume_gib(&self) -> u64 {
        let image = self.image.as_ref().map_or(0, |image| Bytes(image.facts.size).gib_rounded_up());
        self.spec.size.unwrap_or(image).max(1)
    }

    /// The volume's size in bytes.
    #[must_use]
    pub fn volume_bytes(&self) -> u64 {
        self.volume_gib().saturating_mul(GIB)
    }
}

/// What is known of a disk's image without reading it whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskImage {
    /// What a plan is bound to.
    pub facts: ImageFacts,
    /// The format for people: `streamOptimized VMDK`.
    pub description: String,
    /// Bytes of data by its metadata.
    pub data_bytes: u64,
    /// Bytes of zeros by its metadata.
    pub zero_bytes: u64,
}

/// What an appliance says of the hardware it wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hardware {
    /// MiB.
    pub memory_mib: Option<u64>,
    /// Virtual processors.
    pub vcpus: Option<u32>,
    /// Firmware.
    pub firmware: Option<Firmware>,
    /// How many network interfaces.
    pub network_interfaces: usize,
}

/// What is known of a machine's guest.
#[derive(Debug, Clone)]
pub enum Inspection {
    /// Nobody looked: preparation is turned off, or there is no image.
    Skipped,
    /// The guest was inspected and its preparation computed.
    Done(Box<Prepared>),
    /// It could not be inspected.
    Failed(Box<Diagnostic>),
}

/// A guest's report with the blocks that preparation changes.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The report.
    pub report: Report,
    /// Digest of the recipe and all that it is for; `None` when the recipe is empty.
    pub recipe: Option<Digest>,
    /// Changed blocks by disk name; none for an empty recipe.
    pub overlays: BTreeMap<String, Overlay>,
    /// The folder of components that it was prepared with.
    pub components: Option<ComponentsFacts>,
}
