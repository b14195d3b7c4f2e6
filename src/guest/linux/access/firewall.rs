//! The host's firewalls: whether a new connection to the SSH port, on the instance's card and
//! address, comes through. IPv4 decides: it is what an instance has in every subnet. What keeps SSH
//! out over IPv6 alone is only said.

mod firewalld;
mod iptables;
mod look;
mod nftables;
mod rules;
mod suse;

pub use look::inspect;
