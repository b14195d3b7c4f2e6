//! Interface names and addresses, and what the stacks' editors share.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use crate::guest::draft::Draft;
use crate::guest::findings::{Findings, informs, warns};
use crate::model::Hypervisor;

/// What the editors of the stacks work on.
#[derive(Debug)]
pub struct Network<'n, 't> {
    /// The edits.
    pub draft: &'n mut Draft<'t>,
    /// The findings.
    pub findings: &'n mut Findings,
    /// Interface → `address/prefix` of the guest's static addresses.
    pub addresses: BTreeMap<String, String>,
    /// The cards and what is built on cards, each with an address or DHCP of its own.
    pub cards: BTreeSet<String>,
    /// The VLANs among them.
    pub vlans: BTreeSet<String>,
    /// The interface with the default route.
    pub default_interface: Option<String>,
    /// Whether NetworkManager needs a connection in a keyfile, whatever others say.
    pub wants_keyfile: bool,
    /// Whether the kernel already keeps its own names (`eth0`).
    pub plain_names: bool,
    /// Whether a stack wants it to.
    pub wants_plain_names: bool,
    /// What the instance type runs on.
    pub hypervisor: Hypervisor,
    /// Whether cloud-init writes the network configuration at the first boot on EC2.
    pub cloud_init: bool,
}

/// What a name says about an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The loopback.
    Loopback,
    /// A network card.
    Physical,
    /// A bond or team.
    Bond,
    /// A VLAN.
    Vlan,
    /// A bridge, tunnel, container's or other software interface.
    Virtual,
}

/// Recognizes an interface by its name.
#[must_use]
pub fn kind(name: &str) -> Kind {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    if name == "lo" {
        Kind::Loopback
    } else if starts(&["bond", "team"]) {
        Kind::Bond
    } else if name.contains('.') || starts(&["vlan"]) {
        Kind::Vlan
    } else if starts(&["eth", "en", "em", "p", "net", "wl", "ib"]) && !starts(&["ppp", "pan"]) {
        Kind::Physical
    } else {
        Kind::Virtual
    }
}

/// Most cards that are configured; no instance type has more network interfaces.
const MOST_CARDS: usize = 15;

impl Network<'_, '_> {
    /// Whether an interface of this exact name exists on the instance: systemd's name for the
    /// first card is `ens5` on Nitro and `enX0` on Xen; with the kernel's own names it is `eth0`.
    #[must_use]
    pub fn name_fits(&self, name: &str) -> bool {
        match self.hypervisor {
            _ if self.plain_names => name == "eth0",
            Hypervisor::Nitro => name == "ens5",
            Hypervisor::Xen => name == "enX0" || name == "eth0",
        }
    }

    /// Whether a name is that of a card behind the first, in the kernel's own counting.
    #[must_use]
    pub fn is_further(&self, name: &str) -> bool {
        let number = name.strip_prefix("eth").and_then(|number| number.parse::<usize>().ok());
        self.plain_names && number.is_some_and(|number| (1..MOST_CARDS).contains(&number))
    }

    /// The name of the instance's first card, as far as it can be known: on Nitro's metal types
    /// it is another.
    #[must_use]
    pub fn first_card(&self) -> &'static str {
        match self.hypervisor {
            _ if self.plain_names => "eth0",
            Hypervisor::Nitro => "ens5",
            Hypervisor::Xen => "enX0",
        }
    }

    /// The driver of the instance's cards, as networkd's `Driver=` names it.
    #[must_use]
    pub fn card_driver(&self) -> &'static str {
        match self.hypervisor {
            Hypervisor::Nitro => "ena",
            Hypervisor::Xen => "vif",
        }
    }

    /// The cards that the guest had. VLANs are on a card that is counted.
    #[must_use]
    pub fn count(&self) -> usize {
        self.cards.difference(&self.vlans).count()
    }

    /// Names of further cards, when the guest has several: `eth1`, `eth2` …
    #[must_use]
    pub fn further_cards(&self) -> Vec<String> {
        (1..self.count().min(MOST_CARDS)).map(|index| format!("eth{index}")).collect()
    }

    /// Notes a static address and where it stands.
    pub fn static_address(&mut self, interface: &str, address: &str, path: &str, line: u32, text: &str) {
        self.cards.insert(interface.to_owned());
        if address.contains(':') {
            self.findings.push(
                informs("static_address_ipv6", "the guest has a static IPv6 address")
                    .at(path, line, text)
                    .advice("It belongs to the old network. EC2 hands out a network interface's IPv6 addresses by DHCPv6."),
            );
            return;
        }
        let known = self.addresses.get(interface);
        if known.is_some_and(|known| known != address) {
            self.findings.push(
                warns("network_secondary_addresses", "a network card of the guest has several addresses")
                    .at(path, line, text)
                    .remedy("DHCP gives it the first one of its network interface")
                    .advice("Assign the others to the network interface as secondary addresses, and configure them in the guest."),
            );
        } else if known.is_none() && !address.is_empty() && self.addresses.len() < 64 {
            self.addresses.insert(interface.to_owned(), address.to_owned());
        }
        self.findings.push(
            informs("static_address", "the guest has a static address")
                .at(path, line, text)
                .remedy("it asks DHCP, and EC2 hands it the instance's private address")
                .advice("Set `private_ip`, or `guest { network = \"keep\" }`, when the address must stay the same."),
        );
    }

    /// Notes that an interface has the default route.
    pub fn gateway(&mut self, interface: &str) {
        self.default_interface.get_or_insert_with(|| interface.to_owned());
    }

    /// Notes a route of the old network beside the default one.
    pub fn route(&mut self, path: &str, line: u32, text: &str) {
        self.findings.push(
            warns("network_routes", "the guest has static routes of the old network")
                .at(path, line, text)
                .remedy("they are set aside with the old configuration")
                .advice("Put them into the subnet's route table when they are needed on EC2."),
        );
    }

    /// Notes a bond, VLAN or bridge.
    pub fn layered(&mut self, kind: Kind, name: &str, path: &str, line: u32) {
        self.cards.insert(name.to_owned());
        if kind == Kind::Vlan {
            self.vlans.insert(name.to_owned());
        }
        let (code, what) = match kind {
            Kind::Bond => ("network_bond", "a bond or team"),
            Kind::Vlan => ("network_vlan", "a VLAN"),
            _ => ("network_bridge", "a bridge over a network card"),
        };
        self.findings.push(
            warns(code, format!("the guest's network has {what}, which EC2 does not carry"))
                .at(path, line, name)
                .remedy("it is set aside; the first network card asks DHCP")
                .advice(
                    "Rebuild it after the restore with network interfaces of the instance, if it is needed.",
                ),
        );
    }
}

/// `10.0.0.5` and `255.255.255.0` → `10.0.0.5/24`. What is no address gives an empty text.
#[must_use]
pub fn with_prefix(address: &str, netmask: Option<&str>) -> String {
    let (bare, prefix) = match address.split_once('/') {
        Some((bare, prefix)) => (bare, Some(prefix)),
        None => (address, None),
    };
    let Ok(ip) = bare.parse::<IpAddr>() else { return String::new() };
    let from_mask = |mask: &str| {
        let number = mask.parse::<u8>().ok();
        number.or_else(|| Some(u32::from(mask.parse::<Ipv4Addr>().ok()?).leading_ones() as u8))
    };
    match prefix.or(netmask).and_then(from_mask).filter(|prefix| *prefix <= 128) {
        Some(prefix) => format!("{ip}/{prefix}"),
        None => ip.to_string(),
    }
}

/// Whether a shell-like pattern (`*`, `?`) matches a name; `[…]` matches any one character.
#[must_use]
pub fn glob(pattern: &str, name: &str) -> bool {
    globset::Glob::new(pattern).is_ok_and(|glob| glob.compile_matcher().is_match(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses() {
        assert_eq!(kind("ens192"), Kind::Physical);
        assert_eq!(kind("eth0"), Kind::Physical);
        assert_eq!(kind("bond0"), Kind::Bond);
        assert_eq!(kind("bond0.7"), Kind::Bond);
        assert_eq!(kind("ens192.12"), Kind::Vlan);
        assert_eq!(kind("docker0"), Kind::Virtual);
        assert_eq!(with_prefix("10.0.0.5", Some("255.255.252.0")), "10.0.0.5/22");
        assert_eq!(with_prefix("10.0.0.5/24", None), "10.0.0.5/24");
        assert_eq!(with_prefix("fe80::1", Some("64")), "fe80::1/64");
        assert_eq!(with_prefix("$X", None), "");
        assert!(glob("en*", "ens5") && !glob("en*", "eth0"));
    }
}
