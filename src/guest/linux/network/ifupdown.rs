//! Debian's ifupdown (interfaces(5)).

use super::interface::{Kind, Network, glob, kind, with_prefix};
use crate::guest::findings::blocks;
use crate::guest::tree::TreeError;

const MAIN: &str = "/etc/network/interfaces";
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
    let mut files = vec![(MAIN.to_owned(), main.clone())];
    for path in included(network, &main)? {
        if let Some(text) = network.draft.text(&path).filter(|_| path != MAIN) {
            files.push((path, text));
        }
    }
    let (mut all_fit, mut any, mut first) = (true, false, false);
    for (path, text) in &files {
        // cloud-init writes its own file anew for each instance, before the network comes up.
        let by_cloud_init = network.cloud_init && path.contains("cloud-init");
        for card in stanzas(text).iter().filter_map(card) {
            any = true;
            let fits = by_cloud_init || (network.name_fits(card.name) && !card.own_address);
            first |= fits;
            all_fit &= card.dhcp && (fits || (network.is_further(card.name) && !card.own_address));
            network.cards.extend(card.addressed.then(|| card.name.to_owned()));
        }
    }
    if !any || (all_fit && first) {
        return Ok(any);
    }
    for (path, text) in &files {
        note(network, path, text);
    }
    for (path, text) in files.iter().skip(1) {
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
    for name in network.further_cards() {
        // A card that the instance lacks is not waited for; the first one's route comes first.
        edited.push_str(&format!("\nallow-hotplug {name}\niface {name} inet dhcp\n\tmetric 2048\n"));
    }
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

/// The files that `source` and `source-directory` lines name: patterns in a path's last part are
/// followed. interfaces(5): relative paths start in /etc/network, and a directory's files count
/// when their names hold letters, digits, `_` and `-` only.
fn included(network: &Network<'_, '_>, main: &str) -> Result<Vec<String>, TreeError> {
    let mut found = Vec::new();
    for stanza in stanzas(main) {
        let whole = stanza.is("source-directory");
        if !whole && !stanza.is("source") {
            continue;
        }
        for word in stanza.words.iter().skip(1).take(16) {
            let path =
                if word.starts_with('/') { (*word).to_owned() } else { format!("/etc/network/{word}") };
            let path = path.trim_end_matches('/');
            let (directory, pattern) =
                if whole { (path, "*") } else { path.rsplit_once('/').unwrap_or(("", path)) };
            for entry in network.draft.tree().list(directory)?.entries.into_iter().take(256) {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
                let counts = !entry.name.starts_with('.') && glob(pattern, &entry.name);
                if counts && (!whole || entry.name.bytes().all(plain)) {
                    found.push(format!("{directory}/{}", entry.name));
                }
            }
        }
    }
    Ok(found)
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

/// What an IPv4 stanza says of a card.
struct Card<'t> {
    name: &'t str,
    dhcp: bool,
    /// It gives the card another MAC address, which EC2 does not let through.
    own_address: bool,
    /// It has an address, so it is no part of a bond or bridge.
    addressed: bool,
}

fn card<'t>(stanza: &Stanza<'t>) -> Option<Card<'t>> {
    // A card's inet6 stanza beside its inet one says nothing about how it boots.
    let name = card_name(stanza).filter(|_| stanza.words.get(2) != Some(&"inet6"))?;
    let method = stanza.words.get(3).copied().unwrap_or_default();
    Some(Card {
        name,
        dhcp: method == "dhcp",
        own_address: stanza.option("hwaddress").is_some(),
        addressed: (method == "dhcp" || method == "static") && !name.contains(':'),
    })
}

fn note(network: &mut Network<'_, '_>, path: &str, text: &str) {
    for stanza in stanzas(text) {
        let Some(name) = card_name(&stanza) else { continue };
        let line = |index: usize| u32::try_from(index + 1).unwrap_or(u32::MAX);
        let evidence = |index: usize| text.lines().nth(index).unwrap_or_default();
        // `eth0:1` is an alias: one more address of its card.
        let bare = name.split(':').next().unwrap_or(name);
        match kind(bare) {
            Kind::Physical => {}
            layered => network.layered(layered, name, path, line(stanza.first)),
        }
        if stanza.words.get(3) == Some(&"static")
            && let Some((index, address)) = stanza.option("address")
        {
            let address = with_prefix(address, stanza.option("netmask").map(|(_, mask)| mask));
            network.static_address(bare, &address, path, line(index), evidence(index));
        }
        if stanza.option("gateway").is_some() {
            network.gateway(bare);
        }
        for (index, words) in &stanza.options {
            let runs = ["up", "pre-up", "post-up"].iter().any(|word| words.first() == Some(word));
            if runs && words.contains(&"route") && words.contains(&"add") {
                network.route(path, line(*index), evidence(*index));
            }
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
            Some(stanza) if card_name(stanza).is_some() || maps_a_card(stanza) => {
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

/// `mapping eth0` gives a card's configuration another name.
fn maps_a_card(stanza: &Stanza<'_>) -> bool {
    stanza.is("mapping") && stanza.words.iter().skip(1).any(|name| kind(name) == Kind::Physical)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_and_what_they_say() {
        let text = "auto eth0 eth0:1\niface eth0 inet dhcp\n  hwaddress ether 00:50:56:00:00:01\n\
            iface eth0 inet6 auto\niface eth0:1 inet static\n  address 10.0.0.6\niface br0 inet static\n\
            \tbridge_ports none\niface br1 inet dhcp\n\tbridge_ports eth1\niface\niface eth2\nmapping eth0\n  script /x\n";
        let stanzas = stanzas(text);
        let cards: Vec<_> = stanzas
            .iter()
            .filter_map(card)
            .map(|card| (card.name, card.dhcp, card.own_address, card.addressed))
            .collect();
        assert_eq!(
            cards,
            [
                ("eth0", true, true, true),
                ("eth0:1", false, false, false),
                ("br1", true, false, true),
                ("eth2", false, false, false)
            ]
        );
        assert_eq!(without_cards("mapping eth0\n  script /x\nauto lo\n"), "auto lo\n");
        assert_eq!(without_cards("auto"), "auto");
    }

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
