//! What else a boot loader's tools keep of the old machine's disks.

use crate::guest::draft::Draft;
use crate::guest::findings::{Findings, informs};

/// GRUB's map from BIOS drives to devices, read by grub-install only.
const MAPS: [&str; 2] = ["/boot/grub/device.map", "/boot/grub2/device.map"];
/// debconf's answers; grub-pc's script installs GRUB on the devices named there.
const DEBCONF: &str = "/var/cache/debconf/config.dat";
/// Names of devices that an instance does not have.
const OLD: [&str; 5] = ["/dev/sd", "/dev/hd", "/dev/vd", "/dev/disk/by-id/", "/dev/disk/by-path/"];

/// Sets device maps of the old machine aside: without one, GRUB's tools look at the disks.
pub fn prepare(draft: &mut Draft<'_>, findings: &mut Findings) {
    for path in MAPS {
        let Some(text) = draft.text(path) else { continue };
        let old = text.lines().zip(1_u32..).find(|(line, _)| OLD.iter().any(|name| line.contains(name)));
        let Some((line, number)) = old else { continue };
        findings.push(
            informs("grub_device_map", "GRUB's device map names the old machine's disks")
                .at(path, number, line)
                .remedy("it is set aside; GRUB's tools then look at the disks themselves"),
        );
        draft.set_aside(path, "no names for disks that are gone");
    }
}

/// Says when the next update of GRUB will not know where to install it.
pub fn inspect(draft: &Draft<'_>, findings: &mut Findings) {
    let Some(text) = draft.text(DEBCONF).filter(|text| text.contains("Name: grub-pc/install_devices\n"))
    else {
        return;
    };
    let mut record =
        text.lines().zip(1_u32..).skip_while(|(line, _)| *line != "Name: grub-pc/install_devices");
    let value = record.find(|(line, _)| line.is_empty() || line.starts_with("Value: "));
    if let Some((line, number)) = value.filter(|(line, _)| OLD.iter().any(|name| line.contains(name))) {
        findings.push(
            informs("grub_install_devices", "updates of GRUB will be installed on a disk of the old machine")
                .at(DEBCONF, number, line)
                .advice("After the restore, choose the instance's disk once:\ndpkg-reconfigure grub-pc"),
        );
    }
}
