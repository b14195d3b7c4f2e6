//! cloud-init: whether it will recognize EC2 and write the network configuration itself.

use crate::guest::draft::Draft;
use crate::guest::findings::{Findings, informs, warns};
use crate::guest::tree::TreeError;

const MAIN: &str = "/etc/cloud/cloud.cfg";
const DIRECTORY: &str = "/etc/cloud/cloud.cfg.d";

/// Looks at cloud-init; tells whether it writes the network configuration on EC2.
///
/// # Errors
/// When its directory cannot be listed.
pub fn inspect(draft: &Draft<'_>, findings: &mut Findings) -> Result<bool, TreeError> {
    let tree = draft.tree();
    let installed = ["/usr/bin/cloud-init", "/usr/local/bin/cloud-init"].iter().any(|path| tree.exists(path));
    if !installed || !tree.exists(MAIN) {
        return Ok(false);
    }
    if let Some((path, line, text)) = disabled(draft) {
        findings.push(
            informs("cloud_init_disabled", "cloud-init is installed and switched off")
                .at(path, line, &text)
                .advice("The instance's key pair and user data will not reach the guest; remove the switch if they should."),
        );
        return Ok(false);
    }
    let mut files = vec![MAIN.to_owned()];
    let entries = tree.list(DIRECTORY)?.entries.into_iter().take(256);
    files.extend(
        entries
            .filter(|entry| entry.name.ends_with(".cfg"))
            .map(|entry| format!("{DIRECTORY}/{}", entry.name)),
    );
    // Later files win.
    let (mut list, mut network) = (None, true);
    for path in files {
        let Some(text) = draft.text(&path) else { continue };
        let Ok(value) = serde_yaml_ng::from_str::<serde_yaml_ng::Value>(&text) else { continue };
        if let Some(found) = value.get("datasource_list").and_then(|list| list.as_sequence()) {
            let names: Vec<String> =
                found.iter().filter_map(|name| Some(name.as_str()?.to_owned())).collect();
            let line =
                text.lines().zip(1_u32..).find(|(text, _)| text.trim_start().starts_with("datasource_list"));
            let place = line.map_or((1, String::new()), |(text, line)| (line, text.to_owned()));
            list = Some((path.clone(), place, names));
        }
        // A network of the system's own (curtin's, or `config: disabled`) comes before EC2's.
        network &= value.get("network").is_none();
    }
    if let Some((path, (line, text), names)) = list
        && !names.iter().any(|name| name.eq_ignore_ascii_case("ec2"))
    {
        findings.push(
            warns("cloud_init_without_ec2", "cloud-init's list of data sources leaves EC2 out")
                .at(&path, line, &text)
                .advice("Keys and user data of the instance will not reach the guest; add `Ec2` to the list if they should."),
        );
        return Ok(false);
    }
    findings.push(
        informs("cloud_init", "cloud-init is installed and will see a new instance at the first boot")
            .seen(last_instance(draft))
            .advice("It may set the host name, host keys and authorized keys anew; disable it in the guest when that is not wanted."),
    );
    Ok(network)
}

/// What switches cloud-init off: a file of its own, or ds-identify's policy (cloud-init's
/// documentation, "How to disable cloud-init" and "ds-identify").
fn disabled(draft: &Draft<'_>) -> Option<(&'static str, u32, String)> {
    const SWITCH: &str = "/etc/cloud/cloud-init.disabled";
    const POLICY: &str = "/etc/cloud/ds-identify.cfg";
    if draft.exists(SWITCH) {
        return Some((SWITCH, 1, draft.text(SWITCH).unwrap_or_default()));
    }
    let text = draft.text(POLICY)?;
    let found = text.lines().zip(1_u32..).find(|(line, _)| {
        line.trim().strip_prefix("policy:").is_some_and(|policy| policy.trim().starts_with("disabled"))
    })?;
    Some((POLICY, found.1, found.0.to_owned()))
}

/// Which instance it believes to be.
fn last_instance(draft: &Draft<'_>) -> String {
    let known = draft.text("/var/lib/cloud/data/instance-id").unwrap_or_default();
    match known.trim() {
        "" => MAIN.to_owned(),
        id => format!("/var/lib/cloud/data/instance-id: it was last {id}"),
    }
}

/// Sets aside files that hold nothing but the network of the old machine, as installers write them:
/// cloud-init would bring it back on the new instance, and stops where its cards are missing.
///
/// # Errors
/// When the directory cannot be listed.
pub fn set_aside_installers(draft: &mut Draft<'_>, findings: &mut Findings) -> Result<(), TreeError> {
    for entry in draft.tree().list(DIRECTORY)?.entries.into_iter().take(256) {
        let path = format!("{DIRECTORY}/{}", entry.name);
        if !entry.name.ends_with(".cfg") || entry.name.starts_with('.') {
            continue;
        }
        let Some(text) = draft.text(&path) else { continue };
        let Ok(value) = serde_yaml_ng::from_str::<serde_yaml_ng::Value>(&text) else { continue };
        let alone = value.as_mapping().is_some_and(|top| top.len() == 1);
        let Some(network) = value.get("network").filter(|_| alone) else { continue };
        let disabled = network.get("config").is_some_and(|config| config.as_str() == Some("disabled"));
        if network.is_mapping() && !disabled {
            findings.push(
                informs("cloud_init_network", "the old machine's network is among cloud-init's settings")
                    .seen(path.clone())
                    .remedy("it is set aside; cloud-init then asks EC2"),
            );
            draft.set_aside(&path, "let cloud-init take the network from EC2");
        }
    }
    Ok(())
}
