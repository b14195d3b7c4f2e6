//! Rules as iptables-save writes them (iptables(8), iptables-extensions(8)), of the iptables
//! services and of ufw.

use super::rules::{
    Asks, Chain, Chains, Opening, Place, Rule, Verdict, has_port, is_any, is_loopback, opening,
};
use crate::guest::draft::Draft;
use crate::guest::linux::access::Surroundings;
use crate::guest::linux::release::value;
use crate::guest::linux::services;

/// Files of rules, with the services that load them.
const FILES: [(&str, [&str; 2]); 4] = [
    ("/etc/sysconfig/iptables", ["iptables.service", "iptables"]),
    ("/etc/iptables/rules.v4", ["netfilter-persistent.service", "iptables-persistent"]),
    ("/etc/iptables.rules", ["iptables.service", "iptables"]),
    ("/etc/iptables/iptables.rules", ["iptables.service", "iptables"]),
];
/// The same for IPv6.
const FILES_OF_IPV6: [(&str, [&str; 2]); 3] = [
    ("/etc/sysconfig/ip6tables", ["ip6tables.service", "ip6tables"]),
    ("/etc/iptables/rules.v6", ["netfilter-persistent.service", "iptables-persistent"]),
    ("/etc/iptables/ip6tables.rules", ["ip6tables.service", "ip6tables"]),
];
const UFW: [&str; 2] = ["/etc/ufw/before.rules", "/etc/ufw/user.rules"];

/// What each firewall of this kind that starts with the guest comes to.
#[must_use]
pub fn openings(draft: &Draft<'_>, ports: &[u16], around: &Surroundings<'_>) -> Vec<(&'static str, Opening)> {
    let mut found: Vec<_> =
        of_files(draft, &FILES, ports, around).into_iter().map(|opening| ("iptables", opening)).collect();
    found.extend(ufw(draft, ports, around).map(|opening| ("ufw", opening)));
    found
}

/// What ip6tables comes to, where it starts with the guest.
#[must_use]
pub fn openings_of_ipv6(draft: &Draft<'_>, ports: &[u16], around: &Surroundings<'_>) -> Vec<Opening> {
    of_files(draft, &FILES_OF_IPV6, ports, around)
}

fn of_files(
    draft: &Draft<'_>,
    files: &[(&str, [&str; 2])],
    ports: &[u16],
    around: &Surroundings<'_>,
) -> Vec<Opening> {
    let mut found = Vec::new();
    for (path, units) in files {
        if !services::starts(draft.tree(), units) {
            continue;
        }
        let Some(text) = draft.text(path) else { continue };
        let mut chains = Chains::new();
        parse(path, &text, ports, around, &mut chains);
        found.extend(opening(&chains, "INPUT"));
    }
    found
}

/// ufw's own chains, first its built-in ones, then the user's, then its default policy.
fn ufw(draft: &Draft<'_>, ports: &[u16], around: &Surroundings<'_>) -> Option<Opening> {
    let enabled = value(&draft.text("/etc/ufw/ufw.conf")?, "ENABLED")?;
    if !enabled.eq_ignore_ascii_case("yes") {
        return None;
    }
    let policy = value(&draft.text("/etc/default/ufw").unwrap_or_default(), "DEFAULT_INPUT_POLICY");
    let mut chains = Chains::new();
    for path in UFW {
        parse(path, &draft.text(path).unwrap_or_default(), ports, around, &mut chains);
    }
    let user = Place { path: UFW[1].to_owned(), line: 0, text: String::new() };
    let call =
        |to: &str| Rule { asks: Asks::default(), verdict: Verdict::Call(to.to_owned()), place: user.clone() };
    let rules = vec![call("ufw-before-input"), call("ufw-user-input")];
    let refuses = policy.is_none_or(|policy| policy != "ACCEPT").then(|| user.clone());
    chains.insert("ufw".to_owned(), Chain { refuses, rules });
    opening(&chains, "ufw")
}

/// Adds the filter table's chains of a file. ufw's files name the table, and so does
/// iptables-save.
fn parse(path: &str, text: &str, ports: &[u16], around: &Surroundings<'_>, chains: &mut Chains) {
    let mut filter = true;
    for (text, line) in text.lines().zip(1_u32..) {
        let text = text.trim();
        let place = || Place { path: path.to_owned(), line, text: text.to_owned() };
        if let Some(table) = text.strip_prefix('*') {
            filter = table == "filter";
        } else if !filter {
            continue;
        } else if let Some(rest) = text.strip_prefix(':') {
            let mut words = rest.split_whitespace();
            let chain = chains.entry(words.next().unwrap_or_default().to_owned()).or_default();
            chain.refuses = words.next().filter(|policy| *policy == "DROP").map(|_| place());
        } else if let Some(rest) = text.strip_prefix("-A ").or_else(|| text.strip_prefix("-I ")) {
            let words = words(rest);
            let Some((chain, options)) = words.split_first() else { continue };
            let (asks, verdict) = rule(options, ports, around);
            let rule = Rule { asks, verdict, place: place() };
            let chain = chains.entry(chain.clone()).or_default();
            if text.starts_with("-I ") { chain.rules.insert(0, rule) } else { chain.rules.push(rule) }
        }
    }
}

/// Words, quoted ones as one.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for character in text.chars() {
        match (quote, character) {
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            (None, ' ' | '\t') => words.push(String::new()),
            _ => words.last_mut().map_or((), |word| word.push(character)),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn rule(options: &[String], ports: &[u16], around: &Surroundings<'_>) -> (Asks, Verdict) {
    let mut asks = Asks::default();
    let mut verdict = Verdict::Nothing;
    let mut options = options.iter().map(String::as_str).peekable();
    let mut not = false;
    while let Some(option) = options.next() {
        if option == "!" {
            not = true;
            continue;
        }
        if option == "--syn" {
            continue;
        }
        let mut argument = options.next().unwrap_or_default();
        if argument == "!" {
            not = true;
            argument = options.next().unwrap_or_default();
        }
        match option {
            "-p" | "--protocol" => {
                let tcp = matches!(argument, "tcp" | "6" | "all" | "0");
                asks.other |= tcp == not;
            }
            "-m" | "--match" | "--comment" | "--reject-with" | "--log-prefix" | "--log-level" => {}
            "--dport" | "--dports" | "--destination-port" | "--destination-ports" => {
                asks.other |= has_port(argument, ports) == not;
            }
            "-i" | "--in-interface" if !not => {
                asks.other |= argument == "lo";
                asks.tied |= !around.is_card(argument);
            }
            // All but the loopback: also the instance's card.
            "-i" | "--in-interface" if argument == "lo" => {}
            "-s" | "--source" if is_any(argument) => {}
            "-s" | "--source" => {
                asks.other |= is_loopback(argument) && !not;
                asks.source = true;
            }
            "-d" | "--destination" if is_any(argument) => {}
            "-d" | "--destination" if !not => {
                asks.other |= is_loopback(argument);
                asks.tied |= !around.keeps(argument);
            }
            "--state" | "--ctstate" => asks.other |= argument.split(',').any(|state| state == "NEW") == not,
            "-j" | "--jump" | "-g" | "--goto" => {
                verdict = match argument {
                    "ACCEPT" => Verdict::Accept,
                    "DROP" | "REJECT" => Verdict::Refuse,
                    "RETURN" => Verdict::Return,
                    "LOG" | "NFLOG" | "ULOG" | "MARK" | "CONNMARK" => Verdict::Nothing,
                    other => Verdict::Call(other.to_owned()),
                };
            }
            _ => asks.unknown = true,
        }
        not = false;
    }
    (asks, verdict)
}
