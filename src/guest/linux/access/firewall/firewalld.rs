//! firewalld (firewalld.conf(5), firewalld.zone(5)): on the instance's card, whose name no zone
//! has, the default zone holds.

use roxmltree::{Document, Node};

use super::look::report;
use super::rules::{Opening, Place, has_port};
use crate::guest::draft::Draft;
use crate::guest::findings::{Findings, informs};
use crate::guest::linux::access::Surroundings;
use crate::guest::linux::release::value;
use crate::guest::linux::services;
use crate::guest::tree::TreeError;

const CONFIG: &str = "/etc/firewalld/firewalld.conf";
/// The administrator's files come before the distribution's.
const DIRECTORIES: [&str; 2] = ["/etc/firewalld", "/usr/lib/firewalld"];
/// Most zones of the administrator that are looked at.
const MOST_ZONES: usize = 64;

/// A zone as its file has it.
struct Zone {
    opening: Opening,
    /// The interfaces that are bound to it, with their lines.
    interfaces: Vec<(String, u32)>,
    path: String,
}

/// Notes what firewalld does to SSH on the instance's card.
///
/// # Errors
/// When the directory of zones cannot be listed.
pub fn inspect(
    draft: &Draft<'_>,
    ports: &[u16],
    around: &Surroundings<'_>,
    findings: &mut Findings,
) -> Result<(), TreeError> {
    if !services::starts(draft.tree(), &["firewalld.service"]) {
        return Ok(());
    }
    let default = value(&draft.text(CONFIG).unwrap_or_default(), "DefaultZone");
    let default = default.unwrap_or_else(|| "public".to_owned());
    let own = draft.tree().list("/etc/firewalld/zones")?.entries.into_iter().take(MOST_ZONES);
    let names: Vec<String> =
        own.filter_map(|entry| entry.name.strip_suffix(".xml").map(str::to_owned)).collect();
    let zones: Vec<(String, Zone)> =
        names.into_iter().filter_map(|name| Some((name.clone(), zone(draft, &name, ports)?))).collect();
    // A zone that names the instance's card holds for it.
    let bound = zones.iter().find(|(_, zone)| zone.interfaces.iter().any(|(name, _)| around.is_card(name)));
    let opening = match bound {
        Some((_, zone)) => zone.opening.clone(),
        None => match zone(draft, &default, ports) {
            Some(zone) => zone.opening,
            None => return Ok(()),
        },
    };
    // The zone that held for the old card, by its name or by its connection.
    let old = zones.iter().find_map(|(name, zone)| {
        let (interface, line) = zone.interfaces.first()?;
        let text = format!("zone {name}: interface {interface}");
        Some((name.clone(), zone.opening.clone(), Place { path: zone.path.clone(), line: *line, text }))
    });
    let old = match old {
        Some(old) => Some(old),
        None => connection(draft)?.and_then(|(name, place)| {
            let zone = zone(draft, &name, ports)?;
            Some((name, zone.opening, place))
        }),
    };
    match (opening, old) {
        (Opening::Closed(_), Some((_, Opening::Open | Opening::Sources(_), place))) if bound.is_none() => {
            report("firewalld", Opening::Tied(place), findings);
        }
        (opening, Some((name, _, place))) if bound.is_none() && name != default => {
            findings.push(
                informs(
                    "firewall_zone",
                    format!("firewalld's zone {name} is tied to the old network card; on the instance's, {default} holds"),
                )
                .at(&place.path, place.line, &place.text)
                .advice(
                    "See that the default zone is what the machine needs, or bind the new card on the first log-in:\n\
                     firewall-cmd --permanent --zone=ZONE --add-interface=ens5",
                ),
            );
            report("firewalld", opening, findings);
        }
        (opening, _) => report("firewalld", opening, findings),
    }
    Ok(())
}

/// Reads a zone. The administrator's file replaces the distribution's.
fn zone(draft: &Draft<'_>, name: &str, ports: &[u16]) -> Option<Zone> {
    let paths = DIRECTORIES.map(|directory| format!("{directory}/zones/{name}.xml"));
    let (path, text) = paths.into_iter().find_map(|path| draft.text(&path).map(|text| (path, text)))?;
    let document = Document::parse(&text).ok()?;
    let root = document.root_element();
    let line = |node: Node<'_, '_>| document.text_pos_at(node.range().start).row;
    let interfaces = children(root, "interface")
        .filter_map(|node| Some((node.attribute("name")?.to_owned(), line(node))))
        .collect();
    let permits = |node: Node<'_, '_>| {
        children(node, "service")
            .any(|service| service.attribute("name").is_some_and(|service| is_ssh(draft, service, ports)))
            || children(node, "port").any(|port| {
                port.attribute("protocol") == Some("tcp")
                    && port.attribute("port").is_some_and(|port| has_port(port, ports))
            })
    };
    let target = root.attribute("target").unwrap_or("default");
    let rich = children(root, "rule").find(|rule| {
        let family = rule.attribute("family").is_none_or(|family| family == "ipv4");
        family && children(*rule, "accept").next().is_some() && permits(*rule)
    });
    let opening = if target == "ACCEPT" || permits(root) {
        Opening::Open
    } else if let Some(rule) = rich {
        let place = Place {
            path: path.clone(),
            line: line(rule),
            text: text.get(rule.range()).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" "),
        };
        match children(rule, "source").next() {
            Some(_) => Opening::Sources(place),
            None => Opening::Open,
        }
    } else {
        let text = format!("zone {name} names neither the service ssh nor its port");
        Opening::Closed(Some(Place { path: path.clone(), line: line(root), text }))
    };
    Some(Zone { opening, interfaces, path })
}

fn children<'a, 'd>(node: Node<'a, 'd>, name: &'static str) -> impl Iterator<Item = Node<'a, 'd>> {
    node.children().filter(move |child| child.has_tag_name(name))
}

/// Whether a service is for the SSH server's port; an own file may say another port than 22.
fn is_ssh(draft: &Draft<'_>, service: &str, ports: &[u16]) -> bool {
    if service.contains('/') {
        return false;
    }
    let paths = DIRECTORIES.map(|directory| format!("{directory}/services/{service}.xml"));
    let Some(text) = paths.iter().find_map(|path| draft.text(path)) else {
        return service == "ssh" && ports.contains(&22);
    };
    let Ok(document) = Document::parse(&text) else { return false };
    children(document.root_element(), "port").any(|port| {
        port.attribute("protocol") == Some("tcp")
            && port.attribute("port").is_some_and(|port| has_port(port, ports))
    })
}

/// The zone that a connection of NetworkManager or an ifcfg file names. Read from the guest as it
/// was: the recipe sets the old card's files aside.
fn connection(draft: &Draft<'_>) -> Result<Option<(String, Place)>, TreeError> {
    let tree = draft.tree();
    for (directory, start, key) in [
        ("/etc/NetworkManager/system-connections", "", "zone="),
        ("/etc/sysconfig/network-scripts", "ifcfg-", "ZONE="),
    ] {
        for entry in tree.list(directory)?.entries.into_iter().take(MOST_ZONES) {
            if !entry.name.starts_with(start) {
                continue;
            }
            let path = format!("{directory}/{}", entry.name);
            let content = tree.read_if_there(&path, 64 << 10).ok().flatten().unwrap_or_default();
            let text = String::from_utf8_lossy(&content).into_owned();
            for (line, number) in text.lines().zip(1_u32..) {
                let Some(zone) = line.trim().strip_prefix(key) else { continue };
                let zone = zone.trim_matches(['"', '\'']).to_owned();
                if !zone.is_empty() && !zone.contains('/') {
                    return Ok(Some((zone, Place { path, line: number, text: line.to_owned() })));
                }
            }
        }
    }
    Ok(None)
}
