//! Network configurations: names and static addresses of the old machine give way to DHCP.

pub mod cloud_init;
pub mod ifcfg;
pub mod ifupdown;
pub mod interface;
pub mod keyfile;
pub mod netplan;
pub mod networkd;
pub mod policy;
pub mod udev;
