//! ifcfg files: Red Hat's network-scripts (also read by NetworkManager until EL9) and SUSE's
//! (read by wicked, and by `ifup` in SLES 11).

use super::interface::{Kind, Network, kind, with_prefix};
use crate::guest::findings::{blocks, warns};
use crate::guest::linux::release::{Family, Release, value};
use crate::guest::linux::services;
use crate::guest::tree::TreeError;

const RED_HAT: &str = "/etc/sysconfig/network-scripts";
const SUSE: &str = "/etc/sysconfig/network";
/// Settings for all interfaces of Red Hat's.
const GLOBAL: &str = "/etc/sysconfig/network";
const PURPOSE: &str = "ask DHCP on the instance's network card";
/// What ifup itself passes over: copies of editors and package managers.
const COPIES: [&str; 5] = [".bak", ".orig", ".rpmnew", ".rpmsave", ".rpmorig"];
/// The programs that network-scripts ask DHCP with.
const CLIENTS: [&str; 2] = ["/sbin/dhclient", "/usr/sbin/dhclient"];
/// Keys that make an interface a part of another.
const PORT_OF: [&str; 5] = ["MASTER", "BRIDGE", "TEAM_MASTER", "OVS_BRIDGE", "BOND_INTERFACE"];

/// Edits the files. Tells whether they care for a network card afterwards.
///
/// # Errors
/// When a file cannot be read.
pub fn prepare(network: &mut Network<'_, '_>, release: &Release) -> Result<bool, TreeError> {
    let suse = release.family == Family::Suse;
    let tree = network.draft.tree();
    let manager = services::starts(tree, &["NetworkManager.service"]);
    if suse && manager && !services::starts(tree, &["wicked.service"]) {
        return Ok(false);
    }
    let directory = if suse { SUSE } else { RED_HAT };
    let (mut fits, mut bound, mut idle, mut routes) = (false, Vec::new(), Vec::new(), Vec::new());
    for entry in tree.list(directory)?.entries.into_iter().take(512) {
        let path = format!("{directory}/{}", entry.name);
        if entry.name.ends_with('~') || COPIES.iter().any(|end| entry.name.ends_with(end)) {
            continue;
        }
        if is_routes(&entry.name, suse) {
            routes.push(path);
            continue;
        }
        let Some(suffix) = entry.name.strip_prefix("ifcfg-") else { continue };
        let Some(text) = network.draft.text(&path) else { continue };
        match judge(network, suffix, &path, &text, suse) {
            Judgement::Other => {}
            Judgement::Idle => idle.push(path),
            Judgement::Fits => fits = true,
            Judgement::Bound => bound.push(path),
        }
    }
    let global = if suse { false } else { old_gateway(network)? };
    if suse {
        name_servers(network);
    }
    if !fits {
        bound.append(&mut idle);
    }
    if bound.is_empty() && !global {
        return Ok(fits);
    }
    for path in &routes {
        let Some(text) = network.draft.text(path) else { continue };
        let first = text.lines().zip(1_u32..).find(|(line, _)| {
            let line = line.trim();
            !line.is_empty() && !line.starts_with('#') && !line.starts_with("default ")
        });
        if let Some((line, number)) = first {
            network.route(path, number, line);
        }
        network.draft.set_aside(path, PURPOSE);
    }
    for path in &bound {
        network.draft.set_aside(path, PURPOSE);
    }
    // From EL8 on a keyfile does it by type; before, these files are what both services read.
    let by_keyfile = !suse && release.major() >= 8 && release.id != "amzn" && manager;
    if by_keyfile {
        network.wants_keyfile = !fits;
        return Ok(fits);
    }
    if !fits {
        let text = content("eth0", true, suse);
        network.draft.write(&format!("{directory}/ifcfg-eth0"), text.into_bytes(), 0o644, PURPOSE)?;
        network.wants_plain_names = true;
    }
    for name in network.further_cards() {
        let path = format!("{directory}/ifcfg-{name}");
        if !network.draft.exists(&path) {
            network.draft.write(&path, content(&name, false, suse).into_bytes(), 0o644, PURPOSE)?;
        }
    }
    reading(network, suse, manager);
    Ok(true)
}

/// A card's file. The first card gives the default route and the name servers.
fn content(name: &str, first: bool, suse: bool) -> String {
    let mut lines = vec!["# Replant: EC2 answers DHCP with the instance's address.".to_owned()];
    let mut add = |line: &str| lines.push(line.to_owned());
    if suse {
        add("BOOTPROTO='dhcp'");
        // The guest keeps its own name.
        add("DHCLIENT_SET_HOSTNAME='no'");
        if first {
            add("STARTMODE='auto'");
        } else {
            add("DHCLIENT_SET_DEFAULT_ROUTE='no'");
            add("STARTMODE='hotplug'");
        }
    } else {
        add(&format!("DEVICE={name}"));
        add("TYPE=Ethernet");
        add("BOOTPROTO=dhcp");
        add("ONBOOT=yes");
        if first {
            add("PEERDNS=yes");
            // A server that is late must not leave the instance without an address.
            add("PERSISTENT_DHCLIENT=yes");
        } else {
            add("DEFROUTE=no");
            add("PEERDNS=no");
        }
    }
    lines.join("\n") + "\n"
}

/// Files of routes and rules: `route-eth0`, `route6-eth0`, `rule-eth0`; SUSE's `routes`,
/// `ifroute-eth0`, `ifrule-eth0`, `ifsysctl` stays.
fn is_routes(name: &str, suse: bool) -> bool {
    if suse {
        name == "routes" || name.starts_with("ifroute-") || name.starts_with("ifrule-")
    } else {
        ["route-", "route6-", "rule-", "rule6-"].iter().any(|prefix| name.starts_with(prefix))
    }
}

enum Judgement {
    /// About no card, or about one that needs no edit.
    Other,
    /// A card that is not brought up at boot.
    Idle,
    /// DHCP on the instance's card.
    Fits,
    /// Tied to the old machine.
    Bound,
}

fn judge(network: &mut Network<'_, '_>, suffix: &str, path: &str, text: &str, suse: bool) -> Judgement {
    let name = value(text, "DEVICE").unwrap_or_else(|| suffix.to_owned());
    let bare_name = name.split(':').next().unwrap_or(&name).to_owned();
    let port = PORT_OF.iter().any(|key| value(text, key).is_some());
    match layer(&bare_name, text) {
        Kind::Loopback => return Judgement::Other,
        Kind::Physical => {}
        Kind::Virtual if bridges(text) => network.layered(Kind::Virtual, &bare_name, path, 1),
        // A connection that NetworkManager named freely (`ifcfg-Wired_connection_1`).
        Kind::Virtual if is_type(text, "ethernet") => {}
        Kind::Virtual => return Judgement::Other,
        layered => network.layered(layered, &bare_name, path, 1),
    }
    let card = layer(&bare_name, text) == Kind::Physical && !port;
    let protocol = value(text, "BOOTPROTO").unwrap_or_default().to_lowercase();
    let dhcp = protocol.starts_with("dhcp");
    let at_boot = if suse { value(text, "STARTMODE") } else { value(text, "ONBOOT") };
    let at_boot = at_boot.is_some_and(|value| {
        matches!(value.to_lowercase().as_str(), "yes" | "auto" | "onboot" | "hotplug" | "ifplugd" | "nfsroot")
    });
    if card && !at_boot {
        return Judgement::Idle;
    }
    if card && dhcp {
        network.cards.insert(bare_name.clone());
    }
    note_addresses(network, &bare_name, path, text, dhcp);
    let bare = ["HWADDR", "MACADDR", "LLADDR"].iter().all(|key| value(text, key).is_none());
    // cloud-init writes its own file anew for each instance, before the network comes up.
    let by_cloud_init = network.cloud_init && text.contains("Created by cloud-init");
    match card && dhcp && (bare || by_cloud_init) {
        true if by_cloud_init || network.name_fits(&name) => Judgement::Fits,
        true if network.is_further(&name) => Judgement::Other,
        _ => Judgement::Bound,
    }
}

fn is_type(text: &str, wanted: &str) -> bool {
    ["TYPE", "DEVICETYPE"]
        .iter()
        .any(|key| value(text, key).is_some_and(|kind| kind.eq_ignore_ascii_case(wanted)))
}

fn says_yes(text: &str, key: &str) -> bool {
    value(text, key).is_some_and(|value| value.eq_ignore_ascii_case("yes"))
}

fn bridges(text: &str) -> bool {
    is_type(text, "bridge") || is_type(text, "ovsbridge") || says_yes(text, "BRIDGE")
}

/// What an interface is: what its file says comes before what its name looks like.
fn layer(name: &str, text: &str) -> Kind {
    let bond = ["bond", "team"].iter().any(|kind| is_type(text, kind));
    if bond || says_yes(text, "BONDING_MASTER") || value(text, "BONDING_OPTS").is_some() {
        Kind::Bond
    } else if says_yes(text, "VLAN") || is_type(text, "vlan") || value(text, "ETHERDEVICE").is_some() {
        Kind::Vlan
    } else if bridges(text) {
        Kind::Virtual
    } else {
        kind(name)
    }
}

fn note_addresses(network: &mut Network<'_, '_>, name: &str, path: &str, text: &str, dhcp: bool) {
    let line_of = |key: &str| {
        let starts =
            |line: &str| line.trim().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='));
        text.lines().zip(1_u32..).find(|(line, _)| starts(line)).unwrap_or_default()
    };
    for suffix in std::iter::once(String::new()).chain((0..10).flat_map(|n| [n.to_string(), format!("_{n}")]))
    {
        let key = format!("IPADDR{suffix}");
        let Some(address) = value(text, &key).filter(|_| !dhcp) else { continue };
        let prefix = ["PREFIX", "PREFIXLEN", "NETMASK"]
            .iter()
            .find_map(|key| value(text, &format!("{key}{suffix}")).or_else(|| value(text, key)));
        let (evidence, line) = line_of(&key);
        network.static_address(name, &with_prefix(&address, prefix.as_deref()), path, line, evidence);
    }
    if let Some(address) = value(text, "IPV6ADDR").filter(|address| address.contains(':')) {
        let (evidence, line) = line_of("IPV6ADDR");
        network.static_address(name, &address, path, line, evidence);
    }
    if value(text, "GATEWAY").or_else(|| value(text, "GATEWAY0")).is_some() || says_yes(text, "DEFROUTE") {
        network.gateway(name);
    }
}

/// `GATEWAY` and `GATEWAYDEV` for all interfaces: dhclient then takes no default route on others.
/// They are made comments; tells whether there were any.
fn old_gateway(network: &mut Network<'_, '_>) -> Result<bool, TreeError> {
    let Some(text) = network.draft.text(GLOBAL) else { return Ok(false) };
    let device = value(&text, "GATEWAYDEV");
    if let Some(device) = &device {
        network.gateway(device);
    }
    let kept = device.as_ref().is_none_or(|device| network.name_fits(device));
    if value(&text, "GATEWAY").is_none() && kept {
        return Ok(false);
    }
    let is_old = |line: &str| {
        ["GATEWAY", "GATEWAYDEV"].iter().any(|key| {
            line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='))
        })
    };
    let edited: String = text
        .split_inclusive('\n')
        .map(|line| if is_old(line) { format!("#{line}") } else { line.to_owned() })
        .collect();
    network.draft.write(GLOBAL, edited.into_bytes(), 0o644, "the default route comes by DHCP")?;
    Ok(true)
}

/// wicked puts name servers that are named for the whole system before those of DHCP.
fn name_servers(network: &mut Network<'_, '_>) {
    const CONFIG: &str = "/etc/sysconfig/network/config";
    const KEY: &str = "NETCONFIG_DNS_STATIC_SERVERS";
    let text = network.draft.text(CONFIG).filter(|text| value(text, KEY).is_some()).unwrap_or_default();
    let line = text.lines().zip(1_u32..).find(|(line, _)| line.trim_start().starts_with(KEY));
    if let Some((line, number)) = line {
        network.findings.push(
            warns("name_servers_static", "the guest asks name servers of the old network first")
                .at(CONFIG, number, line)
                .advice("They stay. Take them out after the restore when they cannot be reached from the instance."),
        );
    }
}

/// Says when nothing reads the files, or nothing can ask DHCP.
fn reading(network: &mut Network<'_, '_>, suse: bool, manager: bool) {
    let tree = network.draft.tree();
    let service = if suse { ["wicked", "network"] } else { ["network", "NetworkManager"] };
    let units = service.map(|name| format!("{name}.service"));
    if !manager && !services::starts(tree, &[&units[0], &units[1]]) {
        network.findings.push(
            warns("network_service_disabled", "the service that sets up the network does not start at boot")
                .seen(format!("neither {} nor {} is enabled", service[0], service[1]))
                .advice(format!("Enable it in the guest:\nsystemctl enable {}", service[0])),
        );
    }
    if !suse && !manager && !CLIENTS.iter().any(|client| tree.exists(client)) {
        network.findings.push(
            blocks(
                "dhcp_client_missing",
                "the network's scripts have no DHCP client, and the guest gets no address on EC2 without one",
            )
            .seen(format!("looked for {}", CLIENTS.join(", ")))
            .advice("Install one in the guest and back it up again:\nyum install dhclient"),
        );
    }
}
