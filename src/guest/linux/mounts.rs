//! fstab and crypttab: device names become UUIDs, what cannot be found does not stop the boot.

use super::devices::{self, Device};
use super::fstab::{self, Mount};
use crate::guest::draft::Draft;
use crate::guest::findings::{Findings, blocks, informs, warns};
use crate::guest::report::{DiskFacts, Finding};
use crate::guest::tree::{Tree, TreeError};

const FSTAB: &str = "/etc/fstab";
/// Ubuntu's, before systemd: its word for a mount that the boot does not wait for is `nobootwait`.
const MOUNTALL: &str = "/sbin/mountall";
const CRYPTTAB: &str = "/etc/crypttab";
/// Mount points without which a guest does not reach its login prompt.
const ESSENTIAL: [&str; 4] = ["/", "/usr", "/var", "/boot"];

/// The guest's mounts as its fstab names them; none when there is no fstab. Of a huge file only
/// the first MiB counts.
///
/// # Errors
/// When it is there and cannot be read.
pub fn read(tree: &Tree) -> Result<Vec<Mount>, TreeError> {
    if !tree.is_file(FSTAB) {
        return Ok(Vec::new());
    }
    Ok(fstab::parse(&tree.read_at(FSTAB, 0, fstab::MOST_BYTES)?))
}

/// Edits both files.
///
/// # Errors
/// When one cannot be read.
pub fn prepare(draft: &mut Draft<'_>, disks: &[DiskFacts], findings: &mut Findings) -> Result<(), TreeError> {
    if let Some(metadata) = draft.tree().metadata(FSTAB)?
        && metadata.length > fstab::MOST_BYTES
    {
        findings.push(
            blocks("fstab_too_long", "the fstab is too long to be edited")
                .seen(format!("{FSTAB}: {} bytes, at most {} are read", metadata.length, fstab::MOST_BYTES))
                .advice("Shorten the file in the guest and back it up again, or restore with `drivers = \"none\"`."),
        );
        return Ok(());
    }
    let optional = if draft.exists(MOUNTALL) { "nofail,nobootwait" } else { "nofail" };
    if let Some(mut text) = draft.text(FSTAB) {
        for mount in fstab::parse(text.as_bytes()) {
            if let Some(edited) = mount_edit(&text, &mount, disks, optional, findings) {
                text = edited;
            }
        }
        draft.write(
            FSTAB,
            text.into_bytes(),
            0o644,
            "name filesystems by UUID, so that the controller does not matter",
        )?;
    } else if draft.exists(FSTAB) {
        findings.push(
            warns("fstab_unreadable", "the fstab is no text that can be edited")
                .seen(FSTAB)
                .advice("See that it names filesystems by UUID or label; it is left as it is."),
        );
    }
    let Some(mut text) = draft.text(CRYPTTAB) else { return Ok(()) };
    for mapping in fstab::parse_crypttab(text.as_bytes()) {
        match devices::find(disks, &mapping.source, "none", None) {
            Device::Renamed(uuid) => {
                findings.push(device_names().at(CRYPTTAB, mapping.line, &mapping.text));
                text = fstab::replace_field(&text, mapping.line, 1, &uuid).unwrap_or(text);
            }
            Device::Unknown => {
                findings.push(unmatched().at(CRYPTTAB, mapping.line, &mapping.text));
                let optional = mapping.options.as_ref().is_some_and(|options| options.contains("nofail"));
                if !optional {
                    text = fstab::add_options(&text, mapping.line, 3, "nofail").unwrap_or(text);
                }
            }
            Device::Stable | Device::Removable => {}
        }
    }
    draft.write(CRYPTTAB, text.into_bytes(), 0o600, "name encrypted devices by UUID")
}

fn mount_edit(
    text: &str,
    mount: &Mount,
    disks: &[DiskFacts],
    optional: &str,
    findings: &mut Findings,
) -> Option<String> {
    let place = |finding: Finding| finding.at(FSTAB, mount.line, &mount.text);
    let with_nofail = || fstab::add_options(text, mount.line, 3, optional);
    if ["vmhgfs", "fuse.vmhgfs-fuse"].contains(&mount.filesystem.as_str()) && !mount.is_optional() {
        findings.push(place(
            informs("vmware_shared_folder", "a folder of the VMware host is mounted at boot")
                .remedy("the mount gets `nofail`, so that the guest boots without it"),
        ));
        return with_nofail();
    }
    let found = devices::find(disks, &mount.source, &mount.target, Some(&mount.filesystem));
    // It comes over the network: no disk of the guest's is missing.
    if mount.is_remote() && !matches!(found, Device::Renamed(_)) {
        return None;
    }
    let found = if devices::is_missing(disks, &mount.source) { Device::Unknown } else { found };
    match found {
        Device::Stable => None,
        Device::Renamed(uuid) => {
            findings.push(place(device_names()));
            fstab::replace_field(text, mount.line, 0, &uuid)
        }
        Device::Removable if mount.is_optional() => None,
        Device::Removable => {
            findings.push(place(
                informs(
                    "removable_mount",
                    "a CD or floppy drive is mounted at boot, which the instance does not have",
                )
                .remedy("the mount gets `nofail`"),
            ));
            with_nofail()
        }
        Device::Unknown if ESSENTIAL.contains(&mount.target.as_str()) => {
            findings.push(place(
                blocks(
                    "mount_unmatched",
                    "a filesystem needed to boot is named by a device that no disk holds",
                )
                .advice("Name it by UUID in the guest's fstab, or restore all disks of the machine."),
            ));
            None
        }
        Device::Unknown if mount.is_optional() => {
            findings.push(place(unmatched()));
            None
        }
        Device::Unknown => {
            findings.push(place(
                unmatched().remedy("the mount gets `nofail`, so that the guest boots without it"),
            ));
            with_nofail()
        }
    }
}

fn device_names() -> Finding {
    informs("fstab_device_names", "a filesystem is named by its controller's device, which EC2 does not have")
        .remedy("it is named by its UUID")
}

fn unmatched() -> Finding {
    warns("mount_unmatched", "a filesystem is named by a device that no restored disk holds")
        .advice("Restore the disk it is on too, or take the line out.")
}
