//! systemd-networkd (systemd.network(5)).

use super::interface::{Kind, Network, glob, with_prefix};
use crate::guest::linux::services;
use crate::guest::tree::TreeError;

const DIRECTORY: &str = "/etc/systemd/network";
const OURS: &str = "/etc/systemd/network/10-replant.network";
const FURTHER: &str = "/etc/systemd/network/11-replant-further.network";
/// Where the system brings files of its own: they are read, never edited.
const SYSTEM: [&str; 2] = ["/usr/lib/systemd/network", "/lib/systemd/network"];
const PURPOSE: &str = "ask DHCP on whatever network card the instance has";
const CONTENT: &str = "# Replant: EC2 answers DHCP with the instance's address.\n[Match]\nType=ether\nName=e*\n\n\
    [Network]\nDHCP=yes\n";
/// Further cards must not give the default route, nor be waited for.
const FURTHER_CONTENT: &str = "# Replant: further network cards; the first gives the default route.\n[Match]\n\
    Type=ether\nName=e*\n\n[Link]\nRequiredForOnline=no\n\n[Network]\nDHCP=yes\n\n[DHCP]\nRouteMetric=2048\n";

/// All values of a key in a section, each with its line from 1.
fn values<'t>(text: &'t str, section: &str, key: &str) -> Vec<(u32, &'t str)> {
    let mut inside = false;
    let lines = text.lines().zip(1_u32..).filter_map(|(line, number)| {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            inside = name == section;
            return None;
        }
        let (name, value) = line.split_once('=').filter(|_| inside)?;
        (name.trim() == key).then(|| (number, value.trim()))
    });
    lines.collect()
}

/// Edits the files. Tells whether networkd cares for a network card.
///
/// # Errors
/// When a file cannot be read.
pub fn prepare(network: &mut Network<'_, '_>) -> Result<bool, TreeError> {
    let tree = network.draft.tree();
    if !services::starts(tree, &["systemd-networkd.service"]) {
        return Ok(false);
    }
    let (mut fits, mut bound) = (false, Vec::new());
    for entry in tree.list(DIRECTORY)?.entries.into_iter().take(512) {
        let path = format!("{DIRECTORY}/{}", entry.name);
        if entry.name.starts_with('.') {
            continue;
        }
        let Some(text) = network.draft.text(&path) else { continue };
        if path == OURS || path == FURTHER {
            fits = true;
            continue;
        }
        if entry.name.ends_with(".netdev") {
            let first = |key| values(&text, "NetDev", key).first().map_or("", |(_, value)| *value).to_owned();
            let layer = match first("Kind").as_str() {
                "bond" | "team" => Kind::Bond,
                "vlan" => Kind::Vlan,
                _ => continue,
            };
            network.layered(layer, &first("Name"), &path, 1);
            bound.push(path);
        } else if entry.name.ends_with(".network") {
            match judge(network, &path, &text) {
                Some(true) => fits = true,
                Some(false) => bound.push(path),
                None => {}
            }
        }
    }
    if bound.is_empty() {
        return Ok(fits || system_fits(network)?);
    }
    for path in &bound {
        network.draft.set_aside(path, PURPOSE);
    }
    if !fits && network.count() > 1 {
        let first = CONTENT.replace("Name=e*", &format!("Name={}", network.first_card()));
        network.draft.write(OURS, first.into_bytes(), 0o644, PURPOSE)?;
        network.draft.write(FURTHER, FURTHER_CONTENT.into(), 0o644, PURPOSE)?;
    } else if !fits {
        network.draft.write(OURS, CONTENT.into(), 0o644, PURPOSE)?;
    }
    Ok(true)
}

/// Whether the system's own files ask DHCP on the instance's card: Amazon Linux matches the
/// drivers of EC2's cards.
fn system_fits(network: &Network<'_, '_>) -> Result<bool, TreeError> {
    for directory in SYSTEM {
        for entry in network.draft.tree().list(directory)?.entries.into_iter().take(512) {
            let path = format!("{directory}/{}", entry.name);
            let Some(text) = network.draft.text(&path).filter(|_| entry.name.ends_with(".network")) else {
                continue;
            };
            let drivers = values(&text, "Match", "Driver");
            let mut drivers = drivers.iter().flat_map(|(_, drivers)| drivers.split_whitespace());
            if drivers.any(|driver| driver == network.card_driver()) && asks_dhcp(&text) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn asks_dhcp(text: &str) -> bool {
    values(text, "Network", "DHCP").iter().any(|(_, value)| {
        matches!(value.to_lowercase().as_str(), "yes" | "true" | "ipv4" | "both" | "1" | "on")
    })
}

/// `Some(true)`: matches the instance's card and asks DHCP; `Some(false)`: is about the old
/// machine's cards; `None`: about something else.
fn judge(network: &mut Network<'_, '_>, path: &str, text: &str) -> Option<bool> {
    let names: Vec<&str> =
        values(text, "Match", "Name").iter().flat_map(|(_, names)| names.split_whitespace()).collect();
    let types: Vec<&str> = values(text, "Match", "Type").iter().map(|(_, kind)| *kind).collect();
    let tied = ["MACAddress", "PermanentMACAddress", "Path", "Driver", "OriginalName"]
        .iter()
        .any(|key| !values(text, "Match", key).is_empty());
    // The old machine's processor, hypervisor, name or kernel arguments: what holds of them on the
    // instance cannot be told.
    let elsewhere =
        ["Host", "Virtualization", "KernelCommandLine", "KernelVersion", "Credential", "Firmware"]
            .iter()
            .chain(&["Property", "Kind"])
            .any(|key| !values(text, "Match", key).is_empty());
    let about_cards = tied
        || types.contains(&"ether")
        || names
            .iter()
            .any(|name| matches!(super::interface::kind(name), Kind::Physical | Kind::Bond | Kind::Vlan))
        || names
            .iter()
            .any(|name| *name != "*" && ["ens192", "eth0", "enX0"].iter().any(|card| glob(name, card)));
    let everything = names.contains(&"*");
    if !about_cards && !everything {
        return None;
    }
    let address = values(text, "Match", "MACAddress").first().map_or("ether", |(_, address)| *address);
    let name = names.first().copied().unwrap_or(address);
    if !values(text, "Network", "Gateway").is_empty() {
        network.gateway(name);
    }
    let port = ["Bond", "Bridge", "VRF"].iter().any(|key| !values(text, "Network", key).is_empty());
    if asks_dhcp(text) && !port {
        network.cards.insert(name.to_owned());
    }
    for (line, route) in values(text, "Route", "Destination") {
        let evidence = text.lines().nth(line as usize - 1).unwrap_or(route);
        network.route(path, line, evidence);
    }
    // cloud-init writes its own file anew for each instance, before the network comes up.
    if network.cloud_init && asks_dhcp(text) && path.contains("-cloud-init-") {
        return Some(true);
    }
    for (line, address) in
        values(text, "Network", "Address").into_iter().chain(values(text, "Address", "Address"))
    {
        let evidence = text.lines().nth(line as usize - 1).unwrap_or_default();
        network.static_address(name, &with_prefix(address, None), path, line, evidence);
    }
    let dhcp = asks_dhcp(text);
    let own_mac = !values(text, "Link", "MACAddress").is_empty();
    let fixed = own_mac
        || port
        || !values(text, "Network", "Address").is_empty()
        || !values(text, "Address", "Address").is_empty();
    let named = names.is_empty()
        || names.iter().any(|name| {
            if name.contains(['*', '?', '[']) {
                card_names(network).any(|card| glob(name, card))
            } else {
                network.name_fits(name)
            }
        });
    Some(dhcp && !fixed && !tied && !elsewhere && named)
}

/// The names that the instance's first card may have.
fn card_names(network: &Network<'_, '_>) -> impl Iterator<Item = &'static str> + use<> {
    let plain = network.plain_names;
    ["eth0", "ens5", "enX0"].into_iter().filter(move |name| !plain || *name == "eth0")
}
