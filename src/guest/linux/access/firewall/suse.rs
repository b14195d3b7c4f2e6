//! SuSEfirewall2 (SLES 11 and 12; its `/etc/sysconfig/SuSEfirewall2` documents itself): a card
//! that no zone names is in the external one.

use super::look::report;
use super::rules::{Opening, Place, has_port};
use crate::guest::draft::Draft;
use crate::guest::findings::Findings;
use crate::guest::linux::release::value;
use crate::guest::linux::services;

const CONFIG: &str = "/etc/sysconfig/SuSEfirewall2";
const UNITS: [&str; 4] =
    ["SuSEfirewall2.service", "SuSEfirewall2_init.service", "SuSEfirewall2_setup", "SuSEfirewall2_init"];

/// Notes what SuSEfirewall2 does to SSH.
pub fn inspect(draft: &Draft<'_>, ports: &[u16], findings: &mut Findings) {
    if !services::starts(draft.tree(), &UNITS) {
        return;
    }
    let Some(text) = draft.text(CONFIG) else { return };
    let words = |key: &str| {
        let value = value(&text, key).unwrap_or_default();
        value.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let place = |key: &str| {
        let found =
            text.lines().zip(1_u32..).find(|(line, _)| line.trim_start().starts_with(&format!("{key}=")));
        let (text, line) = found.map_or((String::new(), 0), |(text, line)| (text.to_owned(), line));
        Place { path: CONFIG.to_owned(), line, text }
    };
    let zone = match value(&text, "FW_ZONE_DEFAULT").as_deref() {
        Some("int") => return,
        Some("dmz") => "DMZ",
        _ => "EXT",
    };
    let tcp = format!("FW_SERVICES_{zone}_TCP");
    let permits = words(&tcp).iter().any(|word| has_port(word, ports))
        || words(&format!("FW_CONFIGURATIONS_{zone}")).iter().any(|word| word == "sshd");
    if permits {
        return;
    }
    let trusted = words(&format!("FW_SERVICES_ACCEPT_{zone}"));
    let accepted = trusted.iter().find(|word| {
        let mut parts = word.split(',').skip(1);
        parts.next() == Some("tcp") && parts.next().is_some_and(|port| has_port(port, ports))
    });
    let opening = match accepted {
        Some(rule) if rule.starts_with("0/0") => return,
        Some(_) => Opening::Sources(place(&format!("FW_SERVICES_ACCEPT_{zone}"))),
        None => Opening::Closed(Some(place(&tcp))),
    };
    report("SuSEfirewall2", opening, findings);
}
