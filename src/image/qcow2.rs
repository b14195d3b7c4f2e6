//! QEMU's disks, versions 2 and 3, with their chain of backing files. Written to QEMU's
//! `docs/interop/qcow2.txt`. The active layer is read, or the internal snapshot that is asked for.

mod chain;
mod header;
mod layer;
mod snapshot;

pub(super) use chain::open;
