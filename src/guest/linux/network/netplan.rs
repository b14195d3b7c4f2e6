//! netplan (YAML of version 2).

use serde_yaml_ng::{Mapping, Value};

use super::interface::{Kind, Network, glob, kind, with_prefix};
use crate::guest::findings::warns;
use crate::guest::tree::TreeError;

const DIRECTORY: &str = "/etc/netplan";
const OURS: &str = "/etc/netplan/01-replant.yaml";
/// What cloud-init writes anew for each instance.
const CLOUD_INIT: &str = "50-cloud-init.yaml";
const PURPOSE: &str = "ask DHCP on whatever network card the instance has";

/// Edits the files. Tells whether netplan cares for a network card.
///
/// # Errors
/// When a file cannot be read.
pub fn prepare(network: &mut Network<'_, '_>) -> Result<bool, TreeError> {
    let (mut fits, mut bound, mut renderer) = (false, Vec::new(), None);
    for entry in network.draft.tree().list(DIRECTORY)?.entries.into_iter().take(256) {
        let path = format!("{DIRECTORY}/{}", entry.name);
        if entry.name.starts_with('.') || !entry.name.ends_with(".yaml") {
            continue;
        }
        let Some(text) = network.draft.text(&path) else { continue };
        let parsed: Result<Value, _> = serde_yaml_ng::from_str(&text);
        if matches!(parsed, Ok(Value::Null)) {
            continue;
        }
        if path == OURS {
            fits = true;
            continue;
        }
        let Some(top) = parsed.ok().and_then(|value| value.get("network")?.as_mapping().cloned()) else {
            network.findings.push(
                warns("netplan_unreadable", "a netplan file cannot be understood")
                    .seen(path)
                    .advice("Check the file in the guest; it is left as it is."),
            );
            continue;
        };
        if let Some(found) = top.get("renderer").and_then(Value::as_str) {
            renderer = Some(found.to_owned());
        }
        match judge(network, &path, &text, &top) {
            Judgement::Empty => {}
            Judgement::Fits => fits = true,
            // cloud-init replaces its own file; only a static one must not be seen before that.
            Judgement::Dynamic if network.cloud_init && entry.name == CLOUD_INIT => fits = true,
            Judgement::Dynamic | Judgement::Bound => bound.push(path),
        }
    }
    if bound.is_empty() {
        return Ok(fits);
    }
    for path in &bound {
        network.draft.set_aside(path, PURPOSE);
    }
    if !fits {
        let text = content(network, renderer.as_deref());
        network.draft.write(OURS, text.into_bytes(), 0o600, PURPOSE)?;
    }
    Ok(true)
}

/// DHCP on every card. With several, the first alone gives the default route: netplan's files for
/// networkd are read in the order of their ids, the first that matches counts.
fn content(network: &Network<'_, '_>, renderer: Option<&str>) -> String {
    let renderer = match renderer {
        Some("NetworkManager") => "  renderer: NetworkManager\n",
        _ => "",
    };
    let card = |id: &str, name: &str| {
        format!("    {id}:\n      match:\n        name: \"{name}\"\n      dhcp4: true\n")
    };
    let cards = if network.count() > 1 {
        card("replant-first", network.first_card())
            + &card("replant-further", "e*")
            + "      dhcp4-overrides:\n        route-metric: 2048\n      optional: true\n"
    } else {
        card("replant", "e*")
    };
    format!(
        "# Replant: EC2 answers DHCP with the instance's address.\nnetwork:\n  version: 2\n{renderer}  ethernets:\n{cards}"
    )
}

enum Judgement {
    /// No network card in it.
    Empty,
    /// DHCP on the instance's card.
    Fits,
    /// DHCP, but on the old machine's card.
    Dynamic,
    /// Static or layered.
    Bound,
}

fn judge(network: &mut Network<'_, '_>, path: &str, text: &str, top: &Mapping) -> Judgement {
    let section = |name: &str| top.get(name).and_then(Value::as_mapping);
    let mut judgement = Judgement::Empty;
    // Cards that are a part of something else.
    let mut ports: Vec<String> = Vec::new();
    for (name, layer) in [("bonds", Kind::Bond), ("vlans", Kind::Vlan), ("bridges", Kind::Virtual)] {
        for (interface, settings) in section(name).into_iter().flatten() {
            let Some(interface) = interface.as_str() else { continue };
            let members = settings.get("interfaces").and_then(Value::as_sequence);
            let members = members.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
            let members: Vec<String> = members.collect();
            // A bridge without a card is for containers and virtual machines.
            if layer == Kind::Virtual && members.is_empty() {
                continue;
            }
            ports.extend(members);
            ports.extend(settings.get("link").and_then(Value::as_str).map(str::to_owned));
            network.layered(layer, interface, path, line_of(text, &format!("{interface}:")));
            addresses(network, interface, settings, path, text);
            judgement = Judgement::Bound;
        }
    }
    for (interface, settings) in section("ethernets").into_iter().flatten() {
        let Some(interface) = interface.as_str() else { continue };
        let fixed = addresses(network, interface, settings, path, text);
        let dhcp = settings.get("dhcp4").is_some_and(is_true);
        if dhcp && !ports.iter().any(|port| port == interface) {
            network.cards.insert(interface.to_owned());
        }
        let matched = settings.get("match");
        let by_address = settings.get("macaddress").is_some()
            || matched.is_some_and(|matched| {
                matched.get("macaddress").is_some() || matched.get("driver").is_some()
            });
        let pattern = matched.and_then(|matched| matched.get("name")).and_then(Value::as_str);
        let named = match pattern {
            Some(pattern) => glob(pattern, "ens5") || glob(pattern, "eth0") || glob(pattern, "enX0"),
            None => matched.is_none() && network.name_fits(interface),
        };
        judgement = match judgement {
            Judgement::Bound => Judgement::Bound,
            _ if fixed => Judgement::Bound,
            _ if dhcp && named && !by_address => Judgement::Fits,
            Judgement::Fits => Judgement::Fits,
            _ if dhcp => Judgement::Dynamic,
            _ => Judgement::Bound,
        };
    }
    judgement
}

/// YAML 1.1's words, which netplan still takes.
fn is_true(value: &Value) -> bool {
    value.as_bool() == Some(true)
        || value
            .as_str()
            .is_some_and(|text| ["yes", "on", "true", "y"].contains(&text.to_lowercase().as_str()))
}

/// Notes an interface's static addresses and routes; tells whether it has an IPv4 address.
fn addresses(
    network: &mut Network<'_, '_>,
    interface: &str,
    settings: &Value,
    path: &str,
    text: &str,
) -> bool {
    let line = |wanted: &str| {
        let line = line_of(text, wanted);
        (line, text.lines().nth(line as usize - 1).unwrap_or_default())
    };
    let list = settings.get("addresses").and_then(Value::as_sequence).cloned().unwrap_or_default();
    let mut found = false;
    for address in &list {
        // An address may be a mapping with its own options.
        let address = address.as_str().map(str::to_owned).or_else(|| {
            let mapping = address.as_mapping()?;
            Some(mapping.keys().next()?.as_str()?.to_owned())
        });
        let Some(address) = address else { continue };
        let (number, evidence) = line(&address);
        if kind(interface) != Kind::Virtual
            || settings.get("match").is_some()
            || network.cards.contains(interface)
        {
            network.static_address(interface, &with_prefix(&address, None), path, number, evidence);
        }
        found |= !address.contains(':');
    }
    if settings.get("gateway4").is_some() {
        network.gateway(interface);
    }
    for route in settings.get("routes").and_then(Value::as_sequence).into_iter().flatten() {
        match route.get("to").and_then(Value::as_str) {
            Some("default" | "0.0.0.0/0") => network.gateway(interface),
            Some(to) if !to.contains(':') => {
                let (number, evidence) = line(to);
                network.route(path, number, evidence);
            }
            _ => {}
        }
    }
    found
}

/// The first line that holds a text; 1 when none does.
fn line_of(text: &str, wanted: &str) -> u32 {
    text.lines().zip(1_u32..).find(|(line, _)| line.contains(wanted)).map_or(1, |(_, line)| line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_has_many_words() {
        for (text, expected) in [("true", true), ("yes", true), ("'on'", true), ("no", false), ("[1]", false)]
        {
            assert_eq!(is_true(&serde_yaml_ng::from_str(text).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn a_line_is_always_there() {
        assert_eq!(line_of("", "x"), 1);
        assert_eq!(line_of("a\nbx\n", "x"), 2);
    }
}
