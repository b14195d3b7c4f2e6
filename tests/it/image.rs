//! Images against `qemu-img`: what Replant reads of a disk is what QEMU reads of it.

mod appliance;
mod chains;
mod esx;
mod fixture;
mod formats;
mod hostile;
mod identity;
mod matrix;
mod overlay;
mod random;
mod snapshots;
mod vhdx;
mod vmdk;
