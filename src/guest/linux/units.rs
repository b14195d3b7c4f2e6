//! Mount units of the administrator's own (systemd.mount(5)): as in the fstab, device names become
//! UUIDs.

use super::devices::{self, Device};
use crate::guest::draft::Draft;
use crate::guest::findings::{Findings, informs, warns};
use crate::guest::report::DiskFacts;
use crate::guest::tree::TreeError;

const DIRECTORY: &str = "/etc/systemd/system";
/// Most units that are looked at.
const MOST_UNITS: usize = 1024;
const PURPOSE: &str = "name the filesystem by UUID, so that the controller does not matter";

/// Edits them.
///
/// # Errors
/// When a file cannot be read.
pub fn prepare(draft: &mut Draft<'_>, disks: &[DiskFacts], findings: &mut Findings) -> Result<(), TreeError> {
    let entries = draft.tree().list(DIRECTORY)?.entries;
    for entry in entries.into_iter().filter(|entry| entry.name.ends_with(".mount")).take(MOST_UNITS) {
        let path = format!("{DIRECTORY}/{}", entry.name);
        let Some(text) = draft.text(&path) else { continue };
        let (Some((line, what)), place) = (setting(&text, "What"), setting(&text, "Where")) else { continue };
        let filesystem = setting(&text, "Type").map(|(_, kind)| kind);
        let evidence = text.lines().nth(line).unwrap_or_default();
        let number = u32::try_from(line).unwrap_or(u32::MAX).saturating_add(1);
        match devices::find(disks, what, place.map_or("none", |(_, place)| place), filesystem) {
            Device::Renamed(name) => {
                findings.push(
                    informs(
                        "fstab_device_names",
                        "a filesystem is named by its controller's device, which EC2 does not have",
                    )
                    .at(&path, number, evidence)
                    .remedy("it is named by its UUID"),
                );
                let by_uuid = format!("/dev/disk/by-uuid/{}", name.trim_start_matches("UUID="));
                let lines = text.split_inclusive('\n').enumerate();
                let edited: String = lines
                    .map(
                        |(index, text)| {
                            if index == line { text.replacen(what, &by_uuid, 1) } else { text.to_owned() }
                        },
                    )
                    .collect();
                draft.write(&path, edited.into_bytes(), 0o644, PURPOSE)?;
            }
            Device::Unknown => findings.push(
                warns("mount_unmatched", "a filesystem is named by a device that no restored disk holds")
                    .at(&path, number, evidence)
                    .advice("Restore the disk it is on too, or take the unit out."),
            ),
            Device::Stable | Device::Removable => {}
        }
    }
    Ok(())
}

/// The last value of a key in the section `[Mount]`, and its line from 0.
fn setting<'t>(text: &'t str, key: &str) -> Option<(usize, &'t str)> {
    let mut inside = false;
    let mut found = None;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            inside = line == "[Mount]";
        } else if let Some((name, value)) = line.split_once('=').filter(|_| inside)
            && name.trim() == key
        {
            found = Some((number, value.trim())).filter(|(_, value)| !value.is_empty());
        }
    }
    found
}
