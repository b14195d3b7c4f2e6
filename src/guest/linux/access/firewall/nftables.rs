//! nftables' files (nft(8)): tables, chains and rules in blocks, `add rule` lines, includes.

use super::rules::{
    Asks, Chains, Opening, Place, Rule, Verdict, has_port, is_any, is_loopback, opening as decide,
};
use crate::guest::draft::Draft;
use crate::guest::linux::access::Surroundings;
use crate::guest::linux::services;
use crate::guest::tree::TreeError;

/// What the distributions' services load.
const FILES: [&str; 3] = ["/etc/nftables.conf", "/etc/sysconfig/nftables.conf", "/etc/nftables/main.nft"];
/// Most files that include each other.
const MOST_FILES: usize = 64;
/// Most statements that are looked at.
const MOST_STATEMENTS: usize = 20_000;

/// One statement: its words, the blocks it stands in, and where.
struct Statement {
    blocks: Vec<String>,
    words: Vec<String>,
    place: Place,
}

/// What nftables comes to, when it starts with the guest.
///
/// # Errors
/// When a directory of included files cannot be listed.
pub fn opening(
    draft: &Draft<'_>,
    ports: &[u16],
    around: &Surroundings<'_>,
) -> Result<Option<Opening>, TreeError> {
    if !services::starts(draft.tree(), &["nftables.service"]) {
        return Ok(None);
    }
    let mut statements = Vec::new();
    let mut files = 0;
    if let Some(path) = FILES.iter().find(|path| draft.exists(path)) {
        read(draft, path, &mut files, &mut statements)?;
    }
    let mut chains = Chains::new();
    let mut starts = Vec::new();
    for statement in &statements {
        add(statement, ports, around, &mut chains, &mut starts);
    }
    // Every base chain must let it in; the first that does not decides.
    let openings = starts.iter().filter_map(|start| decide(&chains, start));
    Ok(openings.into_iter().find(|opening| *opening != Opening::Open))
}

fn read(
    draft: &Draft<'_>,
    path: &str,
    files: &mut usize,
    statements: &mut Vec<Statement>,
) -> Result<(), TreeError> {
    *files += 1;
    if *files > MOST_FILES {
        return Ok(());
    }
    let Some(text) = draft.text(path) else { return Ok(()) };
    let mut blocks: Vec<String> = Vec::new();
    let mut words: Vec<String> = Vec::new();
    // Braces of a set within a statement.
    let mut set = 0_u32;
    for (text, line) in text.lines().zip(1_u32..) {
        for token in tokens(text) {
            let is_block = set == 0
                && matches!(
                    words.first().map(String::as_str),
                    Some("table" | "chain" | "set" | "map" | "add" | "flowtable")
                );
            match token.as_str() {
                "{" if is_block && !words.iter().any(|word| word == "rule") => {
                    blocks.push(std::mem::take(&mut words).join(" "));
                }
                "{" => {
                    set += 1;
                    words.push(token);
                }
                "}" if set > 0 => {
                    set -= 1;
                    words.push(token);
                }
                "}" => {
                    finish(path, line, text, &blocks, &mut words, statements);
                    blocks.pop();
                }
                ";" if set == 0 => finish(path, line, text, &blocks, &mut words, statements),
                _ => words.push(token),
            }
        }
        // A line ends a statement, but not a set's elements or what waits for its block.
        let waits = matches!(words.first().map(String::as_str), Some("table" | "chain"))
            && blocks.len() < 2
            && words.len() <= 3;
        if set == 0 && !waits && !text.trim_end().ends_with('\\') {
            if let [include, pattern] = words.as_slice()
                && include == "include"
            {
                let pattern = pattern.clone();
                words.clear();
                for included in included(draft, path, &pattern)? {
                    read(draft, &included, files, statements)?;
                }
            }
            finish(path, line, text, &blocks, &mut words, statements);
        }
    }
    Ok(())
}

fn finish(
    path: &str,
    line: u32,
    text: &str,
    blocks: &[String],
    words: &mut Vec<String>,
    statements: &mut Vec<Statement>,
) {
    let words = std::mem::take(words);
    if !words.is_empty() && statements.len() < MOST_STATEMENTS {
        let place = Place { path: path.to_owned(), line, text: text.trim().to_owned() };
        statements.push(Statement { blocks: blocks.to_vec(), words, place });
    }
}

/// Words, braces, commas and semicolons; quotes taken off, comments left out.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for character in text.chars() {
        match character {
            '"' => quoted = !quoted,
            _ if quoted => word.push(character),
            '#' => break,
            '{' | '}' | ';' | ',' | ' ' | '\t' => {
                if !word.is_empty() {
                    tokens.push(std::mem::take(&mut word));
                }
                if !character.is_whitespace() {
                    tokens.push(character.to_string());
                }
            }
            _ => word.push(character),
        }
    }
    if !word.is_empty() {
        tokens.push(word);
    }
    tokens
}

fn included(draft: &Draft<'_>, from: &str, pattern: &str) -> Result<Vec<String>, TreeError> {
    let directory = from.rsplit_once('/').map_or("/etc", |(directory, _)| directory);
    let pattern =
        if pattern.starts_with('/') { pattern.to_owned() } else { format!("{directory}/{pattern}") };
    let Some((directory, name)) = pattern.rsplit_once('/') else { return Ok(Vec::new()) };
    let Ok(glob) = globset::Glob::new(name) else { return Ok(Vec::new()) };
    let matcher = glob.compile_matcher();
    let entries = draft.tree().list(directory)?.entries;
    let names = entries.into_iter().map(|entry| entry.name).filter(|name| matcher.is_match(name));
    Ok(names.take(MOST_FILES).map(|name| format!("{directory}/{name}")).collect())
}

/// Adds a statement to its chain.
fn add(
    statement: &Statement,
    ports: &[u16],
    around: &Surroundings<'_>,
    chains: &mut Chains,
    starts: &mut Vec<String>,
) {
    let words: Vec<&str> = statement.words.iter().map(String::as_str).collect();
    let (table, chain, words) = match (statement.blocks.as_slice(), words.as_slice()) {
        ([table, chain], words) => (last_two(table), last(chain), words),
        ([], ["add" | "insert", "rule", rest @ ..]) => match rest {
            [family @ ("inet" | "ip" | "ip6" | "arp" | "bridge"), table, chain, words @ ..] => {
                (format!("{family} {table}"), (*chain).to_owned(), words)
            }
            [table, chain, words @ ..] => (format!("ip {table}"), (*chain).to_owned(), words),
            _ => return,
        },
        // `add chain inet filter input { type filter hook input priority 0 ; policy drop ; }`
        ([chain], words) if chain.contains("chain ") => {
            let parts: Vec<&str> =
                chain.split_whitespace().skip_while(|word| *word != "chain").skip(1).collect();
            match parts.as_slice() {
                [family, table, name] => (format!("{family} {table}"), (*name).to_owned(), words),
                [table, name] => (format!("ip {table}"), (*name).to_owned(), words),
                _ => return,
            }
        }
        _ => return,
    };
    if !table.starts_with("inet ") && !table.starts_with("ip ") {
        return;
    }
    let name = format!("{table} {chain}");
    let known = chains.entry(name.clone()).or_default();
    match words {
        ["type", "filter", "hook", "input", ..] => starts.push(name),
        ["type", ..] => {}
        ["policy", policy, ..] => known.refuses = (*policy == "drop").then(|| statement.place.clone()),
        _ => {
            let (asks, verdict) = rule(words, &table, ports, around);
            known.rules.push(Rule { asks, verdict, place: statement.place.clone() });
        }
    }
}

fn last(block: &str) -> String {
    block.split_whitespace().last().unwrap_or_default().to_owned()
}

/// A table's family and name; without a family it is IPv4's.
fn last_two(block: &str) -> String {
    let words: Vec<&str> = block.split_whitespace().collect();
    match words.as_slice() {
        [.., family @ ("inet" | "ip" | "ip6" | "arp" | "bridge" | "netdev"), name] => {
            format!("{family} {name}")
        }
        [.., name] => format!("ip {name}"),
        [] => String::new(),
    }
}

/// The values that follow a match: one, or those of a set. Gives whether `!=` stands before.
fn values<'w>(words: &mut std::iter::Peekable<std::slice::Iter<'_, &'w str>>) -> (bool, Vec<&'w str>) {
    let not = words.next_if(|word| **word == "!=").is_some();
    words.next_if(|word| **word == "==");
    if words.next_if(|word| **word == "{").is_some() {
        let inner = words.by_ref().take_while(|word| **word != "}").copied().filter(|word| *word != ",");
        return (not, inner.collect());
    }
    let mut found: Vec<&str> = words.next().copied().into_iter().collect();
    // `ct state established,related` without braces.
    while words.next_if(|word| **word == ",").is_some() {
        found.extend(words.next().copied());
    }
    (not, found)
}

fn rule(words: &[&str], table: &str, ports: &[u16], around: &Surroundings<'_>) -> (Asks, Verdict) {
    let mut asks = Asks::default();
    let mut verdict = Verdict::Nothing;
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        match *word {
            "accept" => verdict = Verdict::Accept,
            "drop" | "reject" => {
                verdict = Verdict::Refuse;
                break;
            }
            "return" => verdict = Verdict::Return,
            "jump" | "goto" => {
                verdict = Verdict::Call(format!("{table} {}", words.next().copied().unwrap_or_default()));
            }
            "counter" | "log" => {}
            "comment" | "prefix" | "level" => {
                words.next();
            }
            "iif" | "iifname" => {
                let (not, names) = values(&mut words);
                if not {
                    continue;
                }
                asks.other |= names == ["lo"];
                asks.tied |= !names.iter().any(|name| around.is_card(name));
            }
            "tcp" | "th" if words.next_if(|word| **word == "dport").is_some() => {
                let (not, list) = values(&mut words);
                asks.other |=
                    list.iter().any(|item| has_port(item, ports) || item.starts_with(['@', '$'])) == not;
            }
            "ip" if words.next_if(|word| **word == "saddr").is_some() => {
                let (not, list) = values(&mut words);
                asks.other |= !not && list.iter().all(|address| is_loopback(address));
                asks.source |= !list.iter().any(|address| is_any(address));
            }
            "ip" if words.next_if(|word| **word == "daddr").is_some() => {
                let (not, list) = values(&mut words);
                asks.other |= !not && list.iter().all(|address| is_loopback(address));
                asks.tied |= !not && !list.iter().any(|address| is_any(address) || around.keeps(address));
            }
            "ip" | "meta" if words.next_if(|word| matches!(**word, "protocol" | "l4proto")).is_some() => {
                let (not, list) = values(&mut words);
                asks.other |= list.iter().any(|item| matches!(*item, "tcp" | "6" | "ip")) == not;
            }
            "ct" if words.next_if(|word| **word == "state").is_some() => {
                if words.next_if(|word| **word == "vmap").is_some() {
                    asks.other = true;
                    break;
                }
                let (not, states) = values(&mut words);
                asks.other |= states.contains(&"new") == not;
            }
            "udp" | "icmp" | "icmpv6" | "ip6" | "sctp" => asks.other = true,
            _ => asks.unknown = true,
        }
    }
    (asks, verdict)
}
