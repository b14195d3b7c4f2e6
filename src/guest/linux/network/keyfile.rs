//! NetworkManager's keyfiles (nm-settings-keyfile(5)).

use super::interface::{Kind, Network, glob, with_prefix};
use crate::guest::linux::services;
use crate::guest::tree::TreeError;
use crate::model::{Digest, Hypervisor};

const DIRECTORY: &str = "/etc/NetworkManager/system-connections";
const OURS: &str = "/etc/NetworkManager/system-connections/replant.nmconnection";
const PURPOSE: &str = "ask DHCP on whatever network card the instance has";

/// The value of a key in a section, with its line from 1.
fn value<'t>(text: &'t str, sections: &[&str], key: &str) -> Option<(u32, &'t str)> {
    let mut inside = false;
    text.lines().zip(1_u32..).find_map(|(line, number)| {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            inside = sections.contains(&name);
            return None;
        }
        let (name, value) = line.split_once('=').filter(|_| inside)?;
        (name.trim() == key).then(|| (number, value.trim()))
    })
}

/// Edits the connections. `stacks`: what already cares for a card. Tells whether NetworkManager does.
///
/// # Errors
/// When a file cannot be read.
pub fn prepare(network: &mut Network<'_, '_>, stacks: &[&'static str]) -> Result<bool, TreeError> {
    let tree = network.draft.tree();
    if !services::starts(tree, &["NetworkManager.service"]) {
        return Ok(false);
    }
    let (mut fits, mut bound) = (false, Vec::new());
    for entry in tree.list(DIRECTORY)?.entries.into_iter().take(512) {
        let path = format!("{DIRECTORY}/{}", entry.name);
        if entry.name.starts_with('.') {
            continue;
        }
        let Some(text) = network.draft.text(&path) else { continue };
        match judge(network, &path, &text) {
            Judgement::Other => {}
            Judgement::Fits => fits = true,
            Judgement::Bound => bound.push(path),
        }
    }
    // netplan and ifcfg files make NetworkManager's connections themselves.
    if bound.is_empty()
        && !network.wants_keyfile
        && (fits || stacks.contains(&"netplan") || stacks.contains(&"ifcfg"))
    {
        return Ok(fits);
    }
    if bound.is_empty() && !network.wants_keyfile && !refuses_defaults(network)? {
        return Ok(true);
    }
    for path in &bound {
        network.draft.set_aside(path, PURPOSE);
    }
    if !fits {
        network.draft.write(OURS, connection().into_bytes(), 0o600, PURPOSE)?;
    }
    Ok(true)
}

enum Judgement {
    Fits,
    Bound,
    Other,
}

fn judge(network: &mut Network<'_, '_>, path: &str, text: &str) -> Judgement {
    let kind = value(text, &["connection"], "type").map_or("", |(_, kind)| kind);
    let name = value(text, &["connection"], "interface-name").map(|(_, name)| name);
    let label = name.or_else(|| value(text, &["connection"], "id").map(|(_, id)| id)).unwrap_or("connection");
    let layer = match kind {
        "bond" | "team" => Some(Kind::Bond),
        "vlan" => Some(Kind::Vlan),
        "bridge" | "ovs-bridge" if has_address(text) => Some(Kind::Virtual),
        _ => None,
    };
    if let Some(layer) = layer {
        network.layered(layer, label, path, 1);
        note_address(network, label, path, text);
        return Judgement::Bound;
    }
    if kind != "ethernet" && kind != "802-3-ethernet" {
        return Judgement::Other;
    }
    let method = value(text, &["ipv4"], "method").map_or("auto", |(_, method)| method);
    let address = ["mac-address", "cloned-mac-address"]
        .iter()
        .find_map(|key| value(text, &["ethernet", "802-3-ethernet"], key))
        .filter(|(_, address)| address.contains(':'));
    let part_of_another =
        value(text, &["connection"], "master").or_else(|| value(text, &["connection"], "controller"));
    note_address(network, label, path, text);
    let automatic = value(text, &["connection"], "autoconnect").is_none_or(|(_, value)| value != "false");
    if part_of_another.is_none() && automatic {
        network.cards.insert(label.to_owned());
    }
    // cloud-init writes its own file anew for each instance, before the network comes up.
    if network.cloud_init && method == "auto" && path.contains("/cloud-init-") {
        return Judgement::Fits;
    }
    let named = name.is_none_or(|name| network.name_fits(name)) && meets_card(network, text);
    if method == "auto" && address.is_none() && part_of_another.is_none() && named && automatic {
        Judgement::Fits
    } else {
        Judgement::Bound
    }
}

/// Whether the section `[match]` lets a connection be used for the instance's first card. What
/// cannot be told beforehand does not: kernel arguments, and keys that are not known.
fn meets_card(network: &Network<'_, '_>, text: &str) -> bool {
    let names: &[&str] = match network.hypervisor {
        _ if network.plain_names => &["eth0"],
        Hypervisor::Nitro => &["ens5"],
        // Newer versions of systemd give the second name.
        Hypervisor::Xen => &["eth0", "enX0"],
    };
    // udev's ID_PATH of the first network interface.
    let path = match network.hypervisor {
        Hypervisor::Nitro => "pci-0000:00:05.0",
        Hypervisor::Xen => "xen-vif-0",
    };
    settings(text, "match").all(|(key, list)| match key {
        "interface-name" => names.iter().all(|name| meets(list, name)),
        "driver" => meets(list, network.card_driver()),
        "path" => meets(list, path),
        _ => false,
    })
}

/// All settings of a section.
fn settings<'t>(text: &'t str, section: &str) -> impl Iterator<Item = (&'t str, &'t str)> {
    let mut inside = false;
    text.lines().filter_map(move |line| {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            inside = name == section;
            return None;
        }
        let (name, value) = line.split_once('=').filter(|_| inside && !line.starts_with('#'))?;
        Some((name.trim(), value.trim()))
    })
}

/// Whether a value meets a list of `[match]` (nm-settings-nmcli(1), "match setting"): one of the
/// optional patterns, and all of the mandatory ones (`&`); `!` inverts, and makes mandatory unless
/// the pattern is marked as optional (`|`). An empty list is no condition.
fn meets(list: &str, value: &str) -> bool {
    let (mut wanted, mut met) = (false, false);
    for element in list.split(';').map(str::trim).filter(|element| !element.is_empty()) {
        let (mandatory, element) = match (element.strip_prefix('&'), element.strip_prefix('|')) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => (element.starts_with('!'), element),
        };
        let inverted = element.strip_prefix('!');
        let pattern = inverted.unwrap_or(element).trim_start_matches('\\');
        let meets = glob(pattern, value) != inverted.is_some();
        if mandatory && !meets {
            return false;
        }
        wanted |= !mandatory;
        met |= meets && !mandatory;
    }
    met || !wanted
}

/// Whether a bridge has an address of its own; those of containers and virtual machines are made
/// and addressed by their own programs.
fn has_address(text: &str) -> bool {
    value(text, &["ipv4"], "method").is_some_and(|(_, method)| ["auto", "manual"].contains(&method))
}

fn note_address(network: &mut Network<'_, '_>, label: &str, path: &str, text: &str) {
    for (section, other) in [("ipv4", 4), ("ipv6", 6)] {
        if value(text, &[section], "method").is_none_or(|(_, method)| method != "manual") {
            continue;
        }
        let keys = ["addresses", "address"].map(str::to_owned).into_iter();
        for key in keys.chain((1..10).map(|number| format!("address{number}"))) {
            let Some((line, addresses)) = value(text, &[section], &key) else { continue };
            let evidence = text.lines().nth(line as usize - 1).unwrap_or_default();
            let all = addresses.split(';').filter(|address| !address.trim().is_empty());
            for address in all {
                // `address/prefix,gateway`.
                let mut parts = address.split(',').map(str::trim);
                let address = with_prefix(parts.next().unwrap_or_default(), None);
                if other == 4
                    && parts.next().is_some_and(|gateway| !gateway.is_empty() && gateway != "0.0.0.0")
                {
                    network.gateway(label);
                }
                network.static_address(label, &address, path, line, evidence);
            }
        }
        if other == 4 && value(text, &[section], "gateway").is_some() {
            network.gateway(label);
        }
        for number in 1..10 {
            if let Some((line, route)) = value(text, &[section], &format!("route{number}")) {
                network.route(path, line, route);
            }
        }
    }
}

/// Whether NetworkManager makes no connection of its own for a new card (`no-auto-default=*`).
fn refuses_defaults(network: &Network<'_, '_>) -> Result<bool, TreeError> {
    let mut files = vec!["/etc/NetworkManager/NetworkManager.conf".to_owned()];
    for directory in ["/etc/NetworkManager/conf.d", "/usr/lib/NetworkManager/conf.d"] {
        let entries = network.draft.tree().list(directory)?.entries.into_iter().take(128);
        files.extend(entries.map(|entry| format!("{directory}/{}", entry.name)));
    }
    Ok(files
        .iter()
        .filter_map(|path| network.draft.text(path))
        .any(|text| value(&text, &["main"], "no-auto-default").is_some_and(|(_, value)| value.contains('*'))))
}

/// A connection for any network card, and (`multi-connect`) for all of them at once: without that
/// it holds for one, and NetworkManager gives each further card a larger metric. Its UUID is the same for every guest: it names a file of
/// ours, not a machine.
fn connection() -> String {
    let digest = Digest::of(b"replant NetworkManager connection").hex();
    // RFC 9562: version 8 (custom), variant 10.
    let uuid = format!(
        "{}-{}-8{}-9{}-{}",
        &digest[..8],
        &digest[8..12],
        &digest[13..16],
        &digest[17..20],
        &digest[20..32]
    );
    format!(
        "# Replant: EC2 answers DHCP with the instance's address.\n[connection]\nid=replant\nuuid={uuid}\n\
         type=ethernet\nautoconnect=true\nmulti-connect=3\n\n[ipv4]\nmethod=auto\n\n[ipv6]\nmethod=auto\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_optional_mandatory_and_inverted() {
        for (list, expected) in [
            ("ens5;", true),
            ("vmxnet3;ena;ens5;", true),
            ("ens*;", true),
            ("e?h*;|ens[0-9];", true),
            ("eth*;", false),
            ("!ens5;", false),
            ("!eth*;", true),
            ("&ens*;&!ens1*;", true),
            ("&ens*;eth0;", false),
            ("|!ens5;ens5;", true),
            ("&!ens5;ens5;", false),
            ("\\\\ens5;", true),
            ("", true),
            ("[", false),
        ] {
            assert_eq!(meets(list, "ens5"), expected, "{list}");
        }
        let text = "[match]\n#driver=x\ndriver=vmxnet3;\n[other]\npath=y\n";
        assert_eq!(settings(text, "match").collect::<Vec<_>>(), [("driver", "vmxnet3;")]);
    }
}
