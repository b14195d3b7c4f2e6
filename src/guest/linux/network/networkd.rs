//! systemd-networkd (systemd.network(5)).

use super::interface::{Kind, Network, glob, with_prefix};
use super::policy::enabled;
use crate::guest::tree::TreeError;

const DIRECTORY: &str = "/etc/systemd/network";
const OURS: &str = "/etc/systemd/network/10-replant.network";
const PURPOSE: &str = "ask DHCP on whatever network card the instance has";
const CONTENT: &str = "# Replant: EC2 answers DHCP with the instance's address.\n[Match]\nType=ether\nName=e*\n\n\
    [Network]\nDHCP=yes\n";

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
    if !enabled(tree, "systemd-networkd.service") {
        return Ok(false);
    }
    let (mut fits, mut bound) = (false, Vec::new());
    for entry in tree.list(DIRECTORY)?.entries.into_iter().take(512) {
        let path = format!("{DIRECTORY}/{}", entry.name);
        if entry.name.starts_with('.') {
            continue;
        }
        let Some(text) = network.draft.text(&path) else { continue };
        if entry.name.ends_with(".netdev") {
            let kind = values(&text, "NetDev", "Kind").first().map_or("", |(_, kind)| *kind).to_owned();
            let layer = match kind.as_str() {
                "bond" | "team" => Kind::Bond,
                "vlan" => Kind::Vlan,
                _ => continue,
            };
            network.layered(layer, &entry.name, &path, 1);
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
        return Ok(fits);
    }
    for path in &bound {
        network.draft.set_aside(path, PURPOSE);
    }
    if !fits {
        network.draft.write(OURS, CONTENT.into(), 0o644, PURPOSE)?;
    }
    Ok(true)
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
    let about_cards = tied
        || types.contains(&"ether")
        || names
            .iter()
            .any(|name| matches!(super::interface::kind(name), Kind::Physical | Kind::Bond | Kind::Vlan));
    let everything = names.contains(&"*");
    if !about_cards && !everything {
        return None;
    }
    for (line, address) in
        values(text, "Network", "Address").into_iter().chain(values(text, "Address", "Address"))
    {
        let evidence = text.lines().nth(line as usize - 1).unwrap_or_default();
        let name = names.first().copied().unwrap_or("ether");
        network.static_address(name, &with_prefix(address, None), path, line, evidence);
    }
    let dhcp = values(text, "Network", "DHCP").iter().any(|(_, value)| {
        matches!(value.to_lowercase().as_str(), "yes" | "true" | "ipv4" | "both" | "1" | "on")
    });
    let fixed =
        !values(text, "Network", "Address").is_empty() || !values(text, "Address", "Address").is_empty();
    let named = names.is_empty()
        || names.iter().any(|name| {
            if name.contains(['*', '?', '[']) {
                card_names(network).any(|card| glob(name, card))
            } else {
                network.name_fits(name)
            }
        });
    Some(dhcp && !fixed && !tied && named)
}

/// The names that the instance's first card may have.
fn card_names(network: &Network<'_, '_>) -> impl Iterator<Item = &'static str> + use<> {
    let plain = network.plain_names;
    ["eth0", "ens5", "enX0"].into_iter().filter(move |name| !plain || *name == "eth0")
}
