//! VMware's virtual disks. Written to the "Virtual Disk Format 5.0" specification (1.1 for the
//! extents of ESX hosts, which 5.0 leaves out); what it leaves open is measured on images of
//! qemu-img.

mod descriptor;
mod disk;
mod header;
mod sesparse;
mod sparse;

pub(super) use descriptor::{Descriptor, DescriptorError, MOST_BYTES};
pub(super) use disk::open;
pub(super) use header::{AT_END, HEADER, Header, HeaderError, SECTOR};
