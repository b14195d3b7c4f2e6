//! What a person should know of a guest's disks.

use super::layout::{Layout, Volume};
use crate::guest::report::{Finding, FindingSeverity};

fn finding(severity: FindingSeverity, code: &str, summary: impl Into<String>) -> Finding {
    Finding {
        code: format!("disk::{code}"),
        severity,
        summary: summary.into(),
        evidence: Vec::new(),
        remedy: None,
        advice: None,
    }
}

fn advised(mut finding: Finding, advice: &str) -> Finding {
    finding.advice = Some(advice.to_owned());
    finding
}

fn seen(mut finding: Finding, evidence: impl Into<String>) -> Finding {
    finding.evidence.push(evidence.into());
    finding
}

const WITHOUT: &str =
    "Restore it as it is with `guest { drivers = \"none\" }`, when it has the drivers for EC2 already.";

/// What the partition tables have wrong.
pub fn of_tables(layout: &Layout) -> Vec<Finding> {
    let of = |name: &str, problem: &String| {
        seen(
            finding(FindingSeverity::Warns, "table_damaged", "A partition table has something wrong with it"),
            format!("disk {name}: {problem}"),
        )
    };
    let large = layout.disks.iter().filter(|disk| disk.table.large_sectors);
    let large = large.map(|disk| large_sectors(&disk.job.name));
    let disks = layout.disks.iter();
    disks
        .flat_map(|disk| disk.table.problems.iter().map(|problem| of(&disk.job.name, problem)))
        .chain(large)
        .collect()
}

/// A disk's partition table counts in sectors that EC2's volumes do not have.
fn large_sectors(disk: &str) -> Finding {
    let found = finding(
        FindingSeverity::Blocks,
        "sectors_4096",
        "A disk's partition table is for sectors of 4,096 bytes; EC2's volumes have sectors of 512",
    );
    let advice = "Copy the machine onto a disk with sectors of 512 bytes in the source, and make its backup from that.";
    seen(advised(found, advice), format!("disk {disk}: its GPT stands at byte 4096"))
}

/// Why no root filesystem was found, as far as the disks' content explains it.
pub fn no_root(layout: &Layout) -> Vec<Finding> {
    let mut found: Vec<Finding> =
        layout.volumes.iter().filter_map(|volume| container(layout, volume)).collect();
    if found.is_empty() {
        found.push(advised(
            finding(FindingSeverity::Blocks, "no_guest", "No operating system was found that Replant knows"),
            WITHOUT,
        ));
    }
    found
}

fn container(layout: &Layout, volume: &Volume) -> Option<Finding> {
    let (code, summary, advice) = match volume.content.kind {
        "luks" => (
            "encrypted",
            "A partition is encrypted with LUKS; Replant cannot look into it",
            "Restore it with `guest { drivers = \"none\" }` when the guest has the drivers for EC2, and be ready to type the passphrase on the serial console.",
        ),
        "bitlocker" => (
            "encrypted",
            "A partition is encrypted with BitLocker; Replant cannot look into it",
            "Suspend BitLocker in the guest before its backup is made.",
        ),
        "lvm2" => (
            "lvm",
            "A partition is an LVM physical volume; Replant does not prepare guests on LVM yet",
            WITHOUT,
        ),
        "md" => (
            "raid",
            "A partition is part of a Linux software RAID; Replant does not prepare guests on RAID",
            WITHOUT,
        ),
        "ntfs" => ("windows", "A partition holds NTFS; Replant does not prepare Windows guests yet", WITHOUT),
        _ => return None,
    };
    let found = finding(FindingSeverity::Blocks, code, summary);
    Some(seen(advised(found, advice), layout.name(volume.place)))
}

/// A filesystem cannot be mounted by the kernel.
pub fn cannot_mount(layout: &Layout, volume: &Volume, error: &std::io::Error, needed: bool) -> Finding {
    let severity = if needed { FindingSeverity::Blocks } else { FindingSeverity::Warns };
    let found = finding(severity, "cannot_mount", "A filesystem cannot be mounted; it may be damaged");
    let evidence = format!("{} ({}): {error}", layout.name(volume.place), volume.content.kind);
    seen(advised(found, "Check the filesystem in the source machine and make a new backup."), evidence)
}

/// The guest's files could not be read or edited.
pub fn cannot_edit(error: &(dyn std::error::Error + 'static)) -> Finding {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(cause) = below {
        text.push_str(&format!(": {cause}"));
        below = cause.source();
    }
    let found = finding(
        FindingSeverity::Blocks,
        "cannot_edit",
        "The guest's files cannot be edited; a filesystem may be damaged or full",
    );
    seen(advised(found, "Check the filesystem in the source machine and make a new backup."), text)
}

/// More than one root filesystem was found.
pub fn several_roots(layout: &Layout, volumes: &[&Volume]) -> Finding {
    let mut found = finding(
        FindingSeverity::Warns,
        "several_systems",
        "There is more than one operating system; the first is prepared",
    );
    found.evidence = volumes.iter().map(|volume| layout.name(volume.place)).collect();
    found
}

/// A line of fstab names what is not there.
pub fn not_there(line: u32, text: &str) -> Finding {
    seen(
        finding(
            FindingSeverity::Warns,
            "mount_source_missing",
            "A filesystem that the guest mounts is not on its disks",
        ),
        format!("/etc/fstab:{line}: {text}"),
    )
}

/// A larger disk, and nothing is to grow.
pub fn unused_space(disk: &str, bytes: u64) -> Finding {
    let text = crate::model::Bytes(bytes);
    seen(
        advised(
            finding(
                FindingSeverity::Informs,
                "unused_space",
                "The volume is larger than its image; the guest will not use the rest",
            ),
            "Let the last partition and its filesystem grow with `grow = true`.",
        ),
        format!("disk {disk}: {text} more"),
    )
}

/// A disk that is to grow cannot.
pub fn cannot_grow(disk: &str, why: &str) -> Finding {
    seen(
        advised(
            finding(
                FindingSeverity::Warns,
                "cannot_grow",
                "A disk's filesystem cannot be made larger offline",
            ),
            "Grow it in the restored guest, or leave `grow` out.",
        ),
        format!("disk {disk}: {why}"),
    )
}
