//! The `local` provider: a cloud in a directory, with EC2's rules and EC2's error codes.
//!
//! Volumes are sparse files, slots are names, an instance is a QEMU process. Everything lives in
//! the cloud's directory, so that any process finds what another one made; mutations are
//! serialised by a file lock. A transition (`creating` → `available`) is stored as a state and
//! the moment it began, and is completed by whoever looks next: there is no daemon, and
//! `kill -9` at any point leaves a cloud that the next call puts right.
//!
//! ```text
//! cloud.json             version, the access node's id
//! lock                   held during every call
//! volumes/vol-….json     a volume; its content is vol-….raw beside it, once deleted it is gone
//! instances/i-….json     an instance
//! machines/i-…/          its QEMU: console.log, pid file, QMP socket, UEFI variables
//! snapshots/snap-….json  a snapshot; its content is snap-….raw
//! images/ami-….json      an image: which snapshots, how it boots
//! tokens/…json           client token → id
//! addresses/….json       private address → instance id
//! ```
//!
//! A guest that is told to power off and does not is ended by whoever looks when its time is over;
//! a caller that stops an instance therefore asks for its state until it is `stopped`.
//!
//! A stub has no process: it counts as running. Once its root is swapped for a restored volume, a
//! start begins QEMU with the volumes in device order, the root first and the only one that the
//! firmware tries: as NVMe disks with the volume id as serial number (Nitro families), or as IDE
//! and, from the fifth on, AHCI disks (Xen families); SeaBIOS or OVMF by boot mode; an e1000e
//! network card in a network without a way out, whose DHCP server hands out the private address;
//! no more memory and processors than the configuration and this machine allow; KVM when a boot
//! sector really runs on it, else TCG. QEMU is confined by its own seccomp filter.
//!
//! What it does not prove: a Xen family's disks are IDE and AHCI here, which says nothing of
//! xen-blkfront; the network card is Intel's e1000e, since QEMU has no ENA.

mod accelerator;
mod access;
mod cloud;
mod create;
mod device;
mod failure;
mod id;
mod images;
mod instance_types;
mod instances;
mod launch;
mod lookup;
mod machine;
mod modify;
mod options;
mod preflight;
mod provider;
mod qmp;
mod record;
mod rules;
mod settings;
mod settle;
mod snapshots;
mod store;
mod views;
mod volumes;

pub use instance_types::instance_type;
pub use provider::LocalProvider;
pub use settings::{Delays, Settings};
