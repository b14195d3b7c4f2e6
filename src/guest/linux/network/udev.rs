//! Rules and links that tie an interface's name to the old card's address.

use super::interface::Network;
use crate::guest::draft::Draft;
use crate::guest::findings::{Findings, informs};
use crate::guest::linux::release::value;
use crate::guest::tree::{Tree, TreeError};

const RULES: &str = "/etc/udev/rules.d/70-persistent-net.rules";
const GENERATOR: &str = "75-persistent-net-generator.rules";
const LINKS: &str = "/etc/systemd/network";

/// What gives network cards other names than the kernel's: udev's rules from 197 and from 209, with
/// or without systemd as init. Where they are not, systemd itself tells (a rule may have moved).
const NAMING: [&str; 6] = [
    "/lib/udev/rules.d/80-net-name-slot.rules",
    "/usr/lib/udev/rules.d/80-net-name-slot.rules",
    "/lib/udev/rules.d/80-net-setup-link.rules",
    "/usr/lib/udev/rules.d/80-net-setup-link.rules",
    "/lib/systemd/systemd",
    "/usr/lib/systemd/systemd",
];

/// Whether network cards keep the kernel's names in this guest whatever its kernel is told (EL6,
/// SLES 11).
#[must_use]
pub fn keeps_kernel_names(tree: &Tree) -> bool {
    !NAMING.iter().any(|path| tree.exists(path))
}

/// Blanks the rules (and what would write them again), sets `.link` files of old cards aside.
///
/// # Errors
/// When a file cannot be read.
pub fn prepare(network: &mut Network<'_, '_>) -> Result<(), TreeError> {
    let draft = &mut *network.draft;
    if let Some(text) = draft.text(RULES)
        && let Some((line, rule)) =
            text.lines().zip(1_u32..).map(|(text, line)| (line, text)).find(|(_, text)| is_rule(text))
    {
        network.findings.push(
            informs(
                "persistent_net_rules",
                "a udev rule ties an interface's name to the old machine's network card",
            )
            .at(RULES, line, rule)
            .remedy("the rules are blanked, a copy is kept"),
        );
        draft.keep_copy(RULES)?;
        draft.write(RULES, Vec::new(), 0o644, "no names for network cards that are gone")?;
    }
    blank_generator(draft)?;
    own_rules(draft, network.findings)?;
    for entry in draft.tree().list(LINKS)?.entries.into_iter().take(256) {
        let path = format!("{LINKS}/{}", entry.name);
        if !entry.name.ends_with(".link") || entry.name.starts_with('.') {
            continue;
        }
        let Some(text) = draft.text(&path) else { continue };
        let tied = ["MACAddress", "PermanentMACAddress", "Path"];
        let Some((key, named)) = tied.iter().find_map(|key| Some((*key, value(&text, key)?))) else {
            continue;
        };
        network.findings.push(
            informs("network_link_file", "a .link file ties settings to the old machine's network card")
                .seen(format!("{path}: {key}={named}"))
                .remedy("it is set aside"),
        );
        draft.set_aside(&path, "no settings for network cards that are gone");
    }
    Ok(())
}

/// Rules of the user's own that name a card by its address become comments.
fn own_rules(draft: &mut Draft<'_>, findings: &mut Findings) -> Result<(), TreeError> {
    const DIRECTORY: &str = "/etc/udev/rules.d";
    for entry in draft.tree().list(DIRECTORY)?.entries.into_iter().take(256) {
        let path = format!("{DIRECTORY}/{}", entry.name);
        if path == RULES || !entry.name.ends_with(".rules") || entry.name.starts_with('.') {
            continue;
        }
        let Some(text) = draft.text(&path) else { continue };
        let names_a_card =
            |line: &str| is_rule(line) && line.contains("ATTR{address}==") && line.contains("NAME=\"");
        let Some((rule, line)) = text.lines().zip(1_u32..).find(|(line, _)| names_a_card(line)) else {
            continue;
        };
        findings.push(
            informs(
                "persistent_net_rules",
                "a udev rule ties an interface's name to the old machine's network card",
            )
            .at(&path, line, rule)
            .remedy("the rules are made comments"),
        );
        let edited: String = text
            .split_inclusive('\n')
            .map(|line| if names_a_card(line) { format!("#{line}") } else { line.to_owned() })
            .collect();
        draft.write(&path, edited.into_bytes(), 0o644, "no names for network cards that are gone")?;
    }
    Ok(())
}

/// Where the system brings the generator, an empty file of the same name in /etc switches it off.
fn blank_generator(draft: &mut Draft<'_>) -> Result<(), TreeError> {
    let own = format!("/etc/udev/rules.d/{GENERATOR}");
    let system = ["/lib/udev/rules.d", "/usr/lib/udev/rules.d"];
    let brought = system.iter().any(|directory| draft.exists(&format!("{directory}/{GENERATOR}")));
    let written = draft.text(&own).is_some_and(|text| text.lines().any(is_rule));
    if written || (brought && !draft.exists(&own)) {
        draft.keep_copy(&own)?;
        draft.write(&own, Vec::new(), 0o644, "no names for network cards that are gone")?;
    }
    Ok(())
}

fn is_rule(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#')
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn keeps(files: &[&str]) -> bool {
        let directory = tempfile::tempdir().unwrap();
        for file in files {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        keeps_kernel_names(&Tree::open(directory.path()).unwrap())
    }

    /// Debian's udev renames cards under System V's init, too.
    #[test]
    fn cards_are_renamed_without_systemd_as_init() {
        assert!(keeps(&["lib/udev/rules.d/75-persistent-net-generator.rules"]));
        assert!(!keeps(&["lib/udev/rules.d/80-net-setup-link.rules"]));
        assert!(!keeps(&["usr/lib/udev/rules.d/80-net-name-slot.rules"]));
        assert!(!keeps(&["usr/lib/systemd/systemd"]));
    }
}
