//! VMware's virtual disks. Written to the "Virtual Disk Format 5.0" specification; what it leaves
//! open is measured on images of qemu-img.

mod descriptor;
mod disk;
mod header;
mod sparse;

pub(super) use disk::open;
