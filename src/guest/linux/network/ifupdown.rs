//! Debian's ifupdown (interfaces(5)).

use super::interface::{Kind, Network, kind, with_prefix};
use crate::guest::findings::blocks;
use crate::guest::tree::TreeError;

const MAIN: &str = "/etc/network/interfaces";
const DIRECTORY: &str = "/etc/network/interfaces.d";
const PURPOSE: &str = "ask DHCP on the instance's network card";
/// `allow-hotplug`: brought up when udev sees the card, however late its driver comes.
const STANZA: &str =
    "# Replant: EC2 answers DHCP with the instance's address.\nallow-hotplug eth0\niface eth0 inet dhcp\n";

/// The programs that ifupdown asks DHCP with.
const CLIENTS: [&str; 6] = [
    "/sbin/dhclient",
    "/usr/sbin/dhclient",
    "/sbin/udhcpc",
    "/usr/bin/pump",
    "/sbin/dhcpcd",
    "/usr/sbin/dhcpcd",
];

/// A stanza: its lines (from 0) and what it says.
#[derive(Debug)]
struct Stanza<'t> {
    first: usize,
    end: usize,
    words: Vec<&'t str>,
    options: Vec<(usize, Vec<&'t str>)>,
}

impl Stanza<'_> {
    fn option(&self, name: &str) -> Option<(usize, &str)> {
        let found = self.options.iter().find(|(_, words)| words.first() == Some(&name))?;
        Some((found.0, found.1.get(1)?))
    }

    fn is(&self, word: &str) -> bool {
        self.words.first() == Some(&word)
    }

    fn starts_interfaces(&self) -> bool {
        self.is("auto") || self.words.first().is_some_and(|word| word.starts_with("allow-"))
    }
}

fn stanzas(text: &str) -> Vec<Stanza<'_>> {
    const STARTS: [&str; 7] =
        ["iface", "mapping", "auto", "source", "source-directory", "no-auto-down", "rename"];
    let mut found: Vec<Stanza<'_>> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some(first) = words.first().filter(|word| !word.starts_with('#')) else { continue };
        if STARTS.contains(first) || first.starts_with("allow-") || first.starts_with("no-scripts") {
            found.push(Stanza { first: number, end: number + 1, words, options: Vec::new() });
        } else if let Some(stanza) = found.last_mut() {
            stanza.end = number + 1;
            stanza.options.push((number, words));
        }
    }
    found
}

/// Edits `interfaces` and what it includes. Tells whether ifupdown has a network card to care for.
///
/// # Errors
/// When a file cannot be read.
pub fn prepare(network: &mut Network<'_, '_>) -> Result<bool, TreeError> {
    let Some(main) = network.draft.text(MAIN) else { return Ok(false) };
    let mut included = Vec::new();
    if stanzas(&main).iter().any(|stanza| {
        stanza.words.iter().any(|word| word.starts_with("interfaces.d") || word.starts_with(DIRECTORY))
    }) {
        for entry in network.draft.tree().list(DIRECTORY)?.entries.into_iter().take(256) {
            let path = format!("{DIRECTORY}/{}", entry.name);
            if entry.name.starts_with('.') {
                continue;
            }
            if let Some(text) = network.draft.text(&path) {
                included.push((path, text));
            }
        }
    }
    let texts = || std::iter::once(&main).chain(included.iter().map(|(_, text)| text));
    let cards: Vec<(String, bool)> =
        texts().flat_map(|text| stanzas(text).into_iter().filter_map(card).collect::<Vec<_>>()).collect();
    if cards.is_empty() {
        return Ok(false);
    }
    if cards.iter().all(|(name, dhcp)| *dhcp && network.name_fits(name)) {
        return Ok(true);
    }
    for (path, text) in std::iter::once((MAIN, main.as_str()))
        .chain(included.iter().map(|(path, text)| (path.as_str(), text.as_str())))
    {
        note(network, path, text);
    }
    for (path, text) in &included {
        let whole = stanzas(text);
        if whole.iter().any(|stanza| card_name(stanza).is_some()) {
            network.draft.set_aside(path, PURPOSE);
        }
    }
    network.draft.keep_copy(MAIN)?;
    let mut edited = without_cards(&main);
    if !edited.is_empty() && !edited.ends_with("\n\n") {
        edited.push_str(if edited.ends_with('\n') { "\n" } else { "\n\n" });
    }
    edited.push_str(STANZA);
    network.wants_plain_names = true;
    if !CLIENTS.iter().any(|client| network.draft.tree().exists(client)) {
        network.findings.push(
            blocks(
                "dhcp_client_missing",
                "ifupdown has no DHCP client, and the guest gets no address on EC2 without one",
            )
            .seen(format!("looked for {}", CLIENTS.join(", ")))
            .advice("Install one in the guest and back it up again:\napt-get install isc-dhcp-client"),
        );
    }
    network.draft.write(MAIN, edited.into_bytes(), 0o644, PURPOSE)?;
    Ok(true)
}

/// The card (or what is built on one) that an `iface` stanza is about.
fn card_name<'t>(stanza: &Stanza<'t>) -> Option<&'t str> {
    let name = stanza.words.get(1).copied().filter(|_| stanza.is("iface"))?;
    let bridged = || {
        let ports = stanza.option("bridge_ports").or_else(|| stanza.option("bridge-ports"));
        ports.is_some_and(|(_, port)| port != "none")
    };
    // `eth0:1` is an alias of its card.
    match kind(name.split(':').next().unwrap_or(name)) {
        Kind::Physical | Kind::Bond | Kind::Vlan => Some(name),
        Kind::Virtual if bridged() => Some(name),
        _ => None,
    }
}

fn card(stanza: Stanza<'_>) -> Option<(String, bool)> {
    // A card's inet6 stanza beside its inet one says nothing about how it boots.
    let name = card_name(&stanza).filter(|_| stanza.words.get(2) != Some(&"inet6"))?;
    Some((name.to_owned(), stanza.words.get(3) == Some(&"dhcp")))
}

fn note(network: &mut Network<'_, '_>, path: &str, text: &str) {
    for stanza in stanzas(text) {
        let Some(name) = card_name(&stanza) else { continue };
        let line = |index: usize| u32::try_from(index + 1).unwrap_or(u32::MAX);
        match kind(name.split(':').next().unwrap_or(name)) {
            Kind::Physical => {}
            layered => network.layered(layered, name, path, line(stanza.first)),
        }
        if stanza.words.get(3) == Some(&"static")
            && let Some((index, address)) = stanza.option("address")
        {
            let address = with_prefix(address, stanza.option("netmask").map(|(_, mask)| mask));
            let evidence = text.lines().nth(index).unwrap_or_default();
            network.static_address(name, &address, path, line(index), evidence);
        }
    }
}

/// The text without the stanzas of cards; `auto` lines keep their other interfaces.
fn without_cards(text: &str) -> String {
    let all = stanzas(text);
    let cards: Vec<&str> = all.iter().filter_map(card_name).collect();
    let mut kept = String::new();
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let stanza = all.iter().find(|stanza| (stanza.first..stanza.end).contains(&number));
        match stanza {
            Some(stanza) if card_name(stanza).is_some() => {
                // Comments between the options stay: they may speak of what follows.
                if line.trim_start().starts_with('#') {
                    kept.push_str(line);
                }
            }
            Some(stanza) if stanza.starts_interfaces() => {
                let names: Vec<&str> = stanza
                    .words
                    .iter()
                    .skip(1)
                    .filter(|name| !cards.contains(name) && kind(name) != Kind::Physical)
                    .copied()
                    .collect();
                if names.len() + 1 == stanza.words.len() {
                    kept.push_str(line);
                } else if let (false, Some(word)) = (names.is_empty(), stanza.words.first()) {
                    kept.push_str(&format!("{word} {}\n", names.join(" ")));
                }
            }
            _ => kept.push_str(line),
        }
    }
    // What stood between removed stanzas leaves runs of empty lines.
    while kept.contains("\n\n\n") {
        kept = kept.replace("\n\n\n", "\n\n");
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_go_the_rest_stays() {
        let text = "# c\nsource /etc/network/interfaces.d/*\n\nauto lo ens192\niface lo inet loopback\n\n\
            # The primary network interface\nallow-hotplug ens192\niface ens192 inet static\n\taddress 10.0.0.5\n\
            \tnetmask 255.255.255.0\n\n\nauto docker0\niface docker0 inet manual\n";
        assert_eq!(
            without_cards(text),
            "# c\nsource /etc/network/interfaces.d/*\n\nauto lo\niface lo inet loopback\n\n\
             # The primary network interface\n\nauto docker0\niface docker0 inet manual\n"
        );
    }
}
