//! What is only looked at: processor, root filesystem, encryption, firmware.

use super::{agents, ties};
use crate::guest::draft::Draft;
use crate::guest::findings::{Findings, informs, warns};
use crate::guest::linux::access::Surroundings;
use crate::guest::linux::boot::efi::Ways;
use crate::guest::linux::{fstab, mounts};
use crate::guest::report::{DiskFacts, PartitionFacts};
use crate::guest::tree::{Tree, TreeError};
use crate::model::Architecture;

/// Root filesystems that are known to come up.
const ROOTS: [&str; 7] = ["ext2", "ext3", "ext4", "xfs", "btrfs", "jfs", "reiserfs"];

/// Looks at what cannot be edited.
///
/// # Errors
/// When a directory cannot be listed.
pub fn inspect(
    draft: &Draft<'_>,
    disks: &[DiskFacts],
    architecture: Option<Architecture>,
    ways: Ways,
    around: &Surroundings<'_>,
    findings: &mut Findings,
) -> Result<(), TreeError> {
    let tree = draft.tree();
    if architecture.is_none() {
        findings.push(
            warns("architecture_unknown", "no program was found that tells the guest's processor")
                .seen("looked for /bin/sh, /usr/bin/env, /sbin/init, /bin/bash and systemd")
                .advice("Check that all disks of the machine are restored: /usr may be on another one."),
        );
    }
    match root_filesystem(tree, disks) {
        Some(kind) if !ROOTS.contains(&kind.as_str()) => findings.push(
            warns("root_filesystem", format!("the root filesystem is {kind}, which is not known to come up"))
                .seen(format!("/ is {kind}; known are {}", ROOTS.join(", ")))
                .advice("Restore it as a drill first."),
        ),
        _ => {}
    }
    for (disk, partition) in partitions(disks).filter(|(_, partition)| partition.content == "luks") {
        findings.push(
            warns("luks", "a partition is encrypted; its passphrase must be typed at every boot")
                .seen(format!("disk {} partition {}", disk.name, partition.number))
                .advice("Type it on the EC2 serial console, or let the guest unlock it with a key file or a server."),
        );
    }
    if ways.uefi && ways.bios {
        findings.push(
            informs("either_firmware", "the disk boots by BIOS and by UEFI")
                .seen("an EFI loader, and GRUB's files for BIOS"),
        );
    }
    agents::inspect(draft, findings);
    ties::inspect(draft, around, findings)
}

fn partitions(disks: &[DiskFacts]) -> impl Iterator<Item = (&DiskFacts, &PartitionFacts)> {
    disks.iter().flat_map(|disk| disk.partitions.iter().map(move |partition| (disk, partition)))
}

/// The type of the root filesystem: from the disks, else from the fstab.
#[must_use]
pub fn root_filesystem(tree: &Tree, disks: &[DiskFacts]) -> Option<String> {
    let is_root = |partition: &PartitionFacts| partition.mount_point.as_deref() == Some("/");
    if let Some((_, partition)) = partitions(disks).find(|(_, partition)| is_root(partition))
        && !["lvm2", "luks", "raid"].contains(&partition.content.as_str())
    {
        return Some(partition.content.clone());
    }
    let mounts: Vec<fstab::Mount> = mounts::read(tree).ok()?;
    let root = mounts.into_iter().find(|mount| mount.target == "/").map(|mount| mount.filesystem);
    root.filter(|kind| kind != "auto")
}
