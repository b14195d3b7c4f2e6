//! Rules and links that tie an interface's name to the old card's address.

use super::interface::Network;
use crate::guest::draft::Draft;
use crate::guest::findings::informs;
use crate::guest::linux::release::value;
use crate::guest::tree::TreeError;

const RULES: &str = "/etc/udev/rules.d/70-persistent-net.rules";
const GENERATOR: &str = "75-persistent-net-generator.rules";
const LINKS: &str = "/etc/systemd/network";

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
    for entry in draft.tree().list(LINKS)?.entries.into_iter().take(256) {
        let path = format!("{LINKS}/{}", entry.name);
        if !entry.name.ends_with(".link") || entry.name.starts_with('.') {
            continue;
        }
        let Some(text) = draft.text(&path) else { continue };
        let Some(address) = value(&text, "MACAddress").or_else(|| value(&text, "PermanentMACAddress")) else {
            continue;
        };
        network.findings.push(
            informs("network_link_file", "a .link file ties settings to the old machine's network card")
                .seen(format!("{path}: MACAddress={address}"))
                .remedy("it is set aside"),
        );
        draft.set_aside(&path, "no settings for network cards that are gone");
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
