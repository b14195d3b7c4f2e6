//! Edits that belong to no other stage: LVM's device list, the clock, a hibernated swap file.

use crate::guest::disk::hibernation;
use crate::guest::draft::Draft;
use crate::guest::findings::{Findings, informs, warns};
use crate::guest::linux::mounts;
use crate::guest::linux::release::{Release, value};
use crate::guest::tree::TreeError;

/// EL9's list of the devices that LVM may use; it holds the serial numbers of VMware's disks.
const LVM_DEVICES: &str = "/etc/lvm/devices/system.devices";
/// How the hardware's clock is read (hwclock(8)).
const ADJTIME: &str = "/etc/adjtime";
/// Where older systems say so: Debian 7, EL5 and 6, SLES 11.
const OLD_CLOCKS: [(&str, &str, &str, &str); 3] = [
    ("/etc/default/rcS", "UTC", "no", "UTC=yes"),
    ("/etc/sysconfig/clock", "UTC", "false", "UTC=true"),
    ("/etc/sysconfig/clock", "HWCLOCK", "--localtime", "HWCLOCK=\"-u\""),
];

/// Makes them.
///
/// # Errors
/// When a file cannot be read.
pub fn prepare(draft: &mut Draft<'_>, release: &Release, findings: &mut Findings) -> Result<(), TreeError> {
    lvm_devices(draft, findings)?;
    clock(draft, findings)?;
    swap_files(draft, findings)?;
    if matches!(release.id.as_str(), "rhel" | "centos" | "ol" | "scientific") && release.major() <= 6 {
        findings.push(
            informs("old_release", "the distribution has no more updates").seen(release.product.clone()).advice(
                "Let nobody reach it who need not, and plan to move its service to a release that has them.",
            ),
        );
    }
    Ok(())
}

fn lvm_devices(draft: &mut Draft<'_>, findings: &mut Findings) -> Result<(), TreeError> {
    let Some(text) = draft.text(LVM_DEVICES) else { return Ok(()) };
    let tied = text.lines().zip(1_u32..).find(|(line, _)| {
        let line = line.trim();
        line.contains("IDTYPE=") && !line.starts_with('#') && !line.contains("IDTYPE=lvmlv_uuid")
    });
    let Some((line, number)) = tied else { return Ok(()) };
    findings.push(
        informs("lvm_devices_file", "LVM's device list names the old machine's disks")
            .at(LVM_DEVICES, number, line)
            .remedy("it is removed; LVM then looks at all disks"),
    );
    draft.remove(LVM_DEVICES, "let LVM find its volumes on the instance's disks")
}

/// EC2's clock is in UTC; a guest that takes it for local time is wrong by its zone's offset until
/// NTP puts it right, and Kerberos, TLS and cron are wrong with it.
fn clock(draft: &mut Draft<'_>, findings: &mut Findings) -> Result<(), TreeError> {
    const PURPOSE: &str = "the instance's clock is in UTC";
    let found = || {
        warns("clock_local_time", "the hardware's clock is taken for local time; the instance's is in UTC")
            .remedy("it is set to UTC")
    };
    if let Some(text) = draft.text(ADJTIME)
        && let Some((line, number)) = text.lines().zip(1_u32..).nth(2)
        && line.trim() == "LOCAL"
    {
        findings.push(found().at(ADJTIME, number, line));
        let lines = text.lines().enumerate().map(|(index, line)| if index == 2 { "UTC" } else { line });
        let edited: String = lines.flat_map(|line| [line, "\n"]).collect();
        draft.write(ADJTIME, edited.into_bytes(), 0o644, PURPOSE)?;
    }
    for (path, key, wrong, right) in OLD_CLOCKS {
        let Some(text) = draft.text(path) else { continue };
        let is_wrong = |line: &str| value(line, key).is_some_and(|value| value.eq_ignore_ascii_case(wrong));
        let Some((line, number)) = text.lines().zip(1_u32..).find(|(line, _)| is_wrong(line)) else {
            continue;
        };
        findings.push(found().at(path, number, line));
        let lines = text.lines().map(|line| if is_wrong(line) { right } else { line });
        let edited: String = lines.flat_map(|line| [line, "\n"]).collect();
        draft.write(path, edited.into_bytes(), 0o644, PURPOSE)?;
    }
    Ok(())
}

/// A memory image in a swap file: resumed on another machine and over edited filesystems, it would
/// destroy them.
fn swap_files(draft: &mut Draft<'_>, findings: &mut Findings) -> Result<(), TreeError> {
    let mounts = mounts::read(draft.tree()).unwrap_or_default();
    let swaps = mounts.iter().filter(|mount| mount.is_swap() && mount.source.starts_with('/'));
    for mount in swaps.filter(|mount| !mount.source.starts_with("/dev/")) {
        if !draft.tree().is_file(&mount.source) {
            continue;
        }
        let signature = draft.tree().read_at(&mount.source, hibernation::OFFSET, hibernation::LENGTH)?;
        if !hibernation::is_image(&signature) {
            continue;
        }
        findings.push(
            warns("hibernated", "the machine was hibernated when it was backed up")
                .seen(format!("{}: {}", mount.source, String::from_utf8_lossy(&signature)))
                .remedy("its memory image is forgotten, so that the guest starts afresh"),
        );
        draft.overwrite(
            &mount.source,
            hibernation::OFFSET,
            signature,
            hibernation::SWAP.to_vec(),
            hibernation::PURPOSE,
        );
    }
    Ok(())
}
