//! Images against `qemu-img`: what Replant reads of a disk is what QEMU reads of it.

mod appliance;
mod chains;
mod differencing;
mod esx;
mod fixture;
mod foreign;
mod formats;
mod hostile;
mod huge;
mod identity;
mod manifest;
mod matrix;
mod overlay;
mod random;
mod snapshots;
mod stream_appliances;
mod stream_hostile;
mod streams;
mod vhd_chains;
mod vhdx;
mod vhdx_chains;
mod vmdk;
