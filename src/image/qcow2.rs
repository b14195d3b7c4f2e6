//! QEMU's disks, versions 2 and 3, with their chain of backing files. Written to QEMU's
//! `docs/interop/qcow2.txt`. Internal snapshots are left alone: the active layer is read.

mod chain;
mod header;
mod layer;

pub(super) use chain::open;
