//! ifcfg files: Red Hat's network-scripts (also read by NetworkManager until EL8) and SUSE's
//! (read by wicked, and by `ifup` in SLES 11).

use super::interface::{Kind, Network, kind, with_prefix};
use super::policy::enabled;
use crate::guest::linux::release::{Family, Release, value};
use crate::guest::tree::TreeError;

const RED_HAT: &str = "/etc/sysconfig/network-scripts";
const SUSE: &str = "/etc/sysconfig/network";
const PURPOSE: &str = "ask DHCP on the instance's network card";

/// Edits the files. Tells whether they care for a network card afterwards.
///
/// # Errors
/// When a file cannot be read.
pub fn prepare(network: &mut Network<'_, '_>, release: &Release) -> Result<bool, TreeError> {
    let suse = release.family == Family::Suse;
    let directory = if suse { SUSE } else { RED_HAT };
    let (mut fits, mut bound) = (false, Vec::new());
    for entry in network.draft.tree().list(directory)?.entries.into_iter().take(512) {
        let Some(suffix) = entry.name.strip_prefix("ifcfg-") else { continue };
        // What ifup itself passes over: copies of editors and package managers.
        if suffix.ends_with('~')
            || [".bak", ".orig", ".rpmnew", ".rpmsave", ".rpmorig"].iter().any(|end| suffix.ends_with(end))
        {
            continue;
        }
        let path = format!("{directory}/{}", entry.name);
        let Some(text) = network.draft.text(&path) else { continue };
        let name = value(&text, "DEVICE").unwrap_or_else(|| suffix.to_owned());
        let bonded = value(&text, "MASTER").is_some() || value(&text, "BONDING_MASTER").is_some();
        match kind(&name) {
            Kind::Loopback => continue,
            Kind::Virtual if !name_is_ethernet(&text) => continue,
            Kind::Virtual | Kind::Physical => {}
            layered => network.layered(layered, &name, &path, 1),
        }
        let dhcp =
            value(&text, "BOOTPROTO").is_some_and(|protocol| protocol.to_lowercase().starts_with("dhcp"));
        note_address(network, &name, &path, &text);
        let card = kind(&name) == Kind::Physical && !bonded;
        let bare = ["HWADDR", "MACADDR", "LLADDR"].iter().all(|key| value(&text, key).is_none());
        let at_boot = if suse { value(&text, "STARTMODE") } else { value(&text, "ONBOOT") };
        let at_boot = at_boot.is_some_and(|value| {
            matches!(value.to_lowercase().as_str(), "yes" | "auto" | "onboot" | "hotplug" | "ifplugd")
        });
        if card && dhcp && bare && at_boot && network.name_fits(&name) {
            fits = true;
        } else {
            bound.push(path);
        }
    }
    if bound.is_empty() {
        return Ok(fits);
    }
    for path in &bound {
        network.draft.set_aside(path, PURPOSE);
    }
    // From EL8 on a keyfile does it by type; before, these files are what both services read.
    let by_keyfile = !suse
        && release.major() >= 8
        && release.id != "amzn"
        && enabled(network.draft.tree(), "NetworkManager.service");
    if fits || by_keyfile {
        return Ok(fits);
    }
    let text = if suse {
        "# Replant: EC2 answers DHCP with the instance's address.\nBOOTPROTO='dhcp'\nSTARTMODE='auto'\n"
    } else {
        "# Replant: EC2 answers DHCP with the instance's address.\nDEVICE=eth0\nTYPE=Ethernet\nBOOTPROTO=dhcp\n\
         ONBOOT=yes\nPEERDNS=yes\nPERSISTENT_DHCLIENT=yes\n"
    };
    network.draft.write(&format!("{directory}/ifcfg-eth0"), text.into(), 0o644, PURPOSE)?;
    network.wants_plain_names = true;
    Ok(true)
}

/// A connection that NetworkManager named freely (`ifcfg-Wired_connection_1`).
fn name_is_ethernet(text: &str) -> bool {
    value(text, "TYPE").is_some_and(|kind| kind.eq_ignore_ascii_case("ethernet"))
}

fn note_address(network: &mut Network<'_, '_>, name: &str, path: &str, text: &str) {
    let key = ["IPADDR", "IPADDR0"].into_iter().find(|key| value(text, key).is_some());
    let protocol = value(text, "BOOTPROTO").unwrap_or_default().to_lowercase();
    let Some(key) = key.filter(|_| !protocol.starts_with("dhcp")) else { return };
    let address = value(text, key).unwrap_or_default();
    let prefix =
        ["PREFIX", "PREFIX0", "PREFIXLEN", "NETMASK", "NETMASK0"].iter().find_map(|key| value(text, key));
    let line = text.lines().zip(1_u32..).find(|(line, _)| line.trim().starts_with(key));
    let (evidence, line) = line.unwrap_or_default();
    network.static_address(name, &with_prefix(&address, prefix.as_deref()), path, line, evidence);
}
