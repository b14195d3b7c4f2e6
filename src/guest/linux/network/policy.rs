//! All stacks of a guest in turn; what is left to say when none of them cares for a card.

use std::collections::{BTreeMap, BTreeSet};

use super::interface::Network;
use super::{cloud_init, ifcfg, ifupdown, keyfile, netplan, networkd, udev};
use crate::guest::draft::Draft;
use crate::guest::findings::{Findings, informs, warns};
use crate::guest::linux::release::Release;
use crate::guest::tree::TreeError;
use crate::model::Hypervisor;

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Interface → `address/prefix`.
    pub addresses: BTreeMap<String, String>,
    /// The interface with the default route, when that is known.
    pub default_interface: Option<String>,
    /// Whether the kernel must keep its own interface names.
    pub wants_plain_names: bool,
    /// The stacks that care for a card.
    pub stacks: Vec<&'static str>,
}

/// Edits every stack that is in use.
///
/// # Errors
/// When a file cannot be read.
pub fn prepare(
    draft: &mut Draft<'_>,
    findings: &mut Findings,
    release: &Release,
    hypervisor: Hypervisor,
    plain_names: bool,
) -> Result<Outcome, TreeError> {
    cloud_init::set_aside_installers(draft, findings)?;
    let cloud_init = cloud_init::inspect(draft, findings)?;
    let mut network = Network {
        draft,
        findings,
        addresses: BTreeMap::new(),
        cards: BTreeSet::new(),
        vlans: BTreeSet::new(),
        default_interface: None,
        wants_keyfile: false,
        plain_names,
        wants_plain_names: false,
        hypervisor,
        cloud_init,
    };
    let mut stacks = Vec::new();
    if netplan::prepare(&mut network)? {
        stacks.push("netplan");
    }
    if ifupdown::prepare(&mut network)? {
        stacks.push("ifupdown");
    }
    if ifcfg::prepare(&mut network, release)? {
        stacks.push("ifcfg");
    }
    if keyfile::prepare(&mut network, &stacks)? {
        stacks.push("NetworkManager");
    }
    if networkd::prepare(&mut network)? {
        stacks.push("systemd-networkd");
    }
    udev::prepare(&mut network)?;
    if network.count() > 1 {
        let names: Vec<&str> = network.cards.difference(&network.vlans).map(String::as_str).collect();
        network.findings.push(
            informs("network_several", "the guest has several network cards")
                .seen(names.join(", "))
                .remedy("all ask DHCP; the first network interface of the instance gives the default route")
                .advice("Give the instance as many network interfaces, or one if that is enough."),
        );
    }
    if stacks.is_empty() && !network.cloud_init {
        network.findings.push(
            warns("network_unknown", "no network configuration for a network card was found")
                .seen("looked for netplan, ifupdown, NetworkManager, ifcfg files and systemd-networkd")
                .advice("Make sure that the guest asks DHCP on its first network card."),
        );
    }
    Ok(Outcome {
        addresses: network.addresses,
        default_interface: network.default_interface,
        wants_plain_names: network.wants_plain_names,
        stacks,
    })
}
