//! What is reported beside the findings of a review: facts, and what keeps a guest from being looked into.

use crate::diagnostic::chain;
use crate::guest::disk::layout::Layout;
use crate::guest::findings::{Findings, blocks, informs, warns};
use crate::guest::report::{FileDiff, Finding, GuestFacts, PROTOCOL, Recipe, Report};
use crate::guest::windows::drives;
use crate::guest::windows::files::Files;
use crate::guest::windows::look::Look;
use crate::guest::windows::registry::{HiveFile, RegistryError};
use crate::model::Bytes;

/// A report without disks.
pub(super) fn report(
    facts: Option<GuestFacts>,
    findings: Findings,
    recipe: Recipe,
    diffs: Vec<FileDiff>,
) -> Report {
    Report {
        protocol: PROTOCOL,
        facts,
        disks: Vec::new(),
        stacked: Vec::new(),
        findings: findings.into_sorted(),
        recipe,
        diffs,
    }
}

/// What could not be read or edited.
pub(super) fn damaged(error: &RegistryError) -> Finding {
    let text = chain(error);
    if let RegistryError::File(_) = error {
        return blocks(
            "windows_filesystem",
            "A file of Windows cannot be read or written; the guest is not prepared",
        )
        .seen(text)
        .advice(
            "Make room on that partition, or run chkdsk /f, in the source machine; then make a new backup.",
        );
    }
    blocks("windows_registry", "The registry of Windows cannot be read or edited; the guest is not prepared")
        .seen(text)
        .advice("Make a new backup with the guest shut down or quiesced. To restore the disk as it is, set\nguest { drivers = \"none\" }")
}

/// Logs that were replayed.
pub(super) fn logs(hive: &HiveFile) -> Finding {
    let entries: usize = hive.applied.iter().map(|applied| applied.entries).sum();
    let bytes: u64 = hive.applied.iter().map(|applied| applied.bytes).sum();
    informs(
        "windows_registry_logs",
        "A part of the registry was still in its transaction logs when the guest was backed up",
    )
    .seen(format!("{}: {entries} entries, {}", hive.shown(), Bytes(bytes)))
    .remedy("it is read with them, and where it is edited they are put in first, as Windows does")
}

/// Hives that are no Windows'.
pub(super) fn unknown(files: &Files) -> Finding {
    blocks("unknown_system", "no operating system that Replant knows was found")
        .seen(format!("{} has no control set or build number", files.shown("/Windows/System32/config")))
        .advice("To write the disks as they are, set\nguest { drivers = \"none\" }")
}

/// NTFS is not made larger offline: Windows does it at the first boot, where nothing lies behind it.
pub(super) fn grown(look: &Look, layout: &Layout, findings: &mut Findings) {
    let (drives, others) = drives::growing(&look.letters, layout);
    for drive in drives {
        findings.push(
            informs("windows_grow", "The disk of a drive becomes larger")
                .seen(format!("{drive}: is the last partition of its disk"))
                .remedy("the first boot extends the drive over the new space (diskpart)"),
        );
    }
    for disk in others {
        findings.push(
            warns("windows_not_grown", "A disk becomes larger, and no drive of it can be extended")
                .seen(format!("disk {disk}: its last partition is no drive of Windows (often it is the recovery partition)"))
                .advice("Move or remove what lies behind the drive when the guest is up, then extend it:\npowershell Resize-Partition -DriveLetter C -Size (Get-PartitionSupportedSize -DriveLetter C).SizeMax"),
        );
    }
}
