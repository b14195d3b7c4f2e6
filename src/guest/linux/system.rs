//! The system as a whole: processor, filesystems, LVM's device list, SELinux, firmware.

use super::boot::efi::Ways;
use super::release::{Release, value};
use super::{fstab, mounts};
use crate::guest::draft::Draft;
use crate::guest::findings::{Findings, blocks, informs, warns};
use crate::guest::report::{DiskFacts, PartitionFacts, RecipeInputs};
use crate::guest::tree::{Tree, TreeError};
use crate::model::{Architecture, Firmware, Hypervisor};

/// EL9's list of the devices that LVM may use; it holds the serial numbers of VMware's disks.
const LVM_DEVICES: &str = "/etc/lvm/devices/system.devices";
/// Root filesystems that are known to come up.
const ROOTS: [&str; 7] = ["ext2", "ext3", "ext4", "xfs", "btrfs", "jfs", "reiserfs"];

/// Edits that belong to no other stage.
///
/// # Errors
/// When a file cannot be read.
pub fn prepare(draft: &mut Draft<'_>, release: &Release, findings: &mut Findings) -> Result<(), TreeError> {
    if let Some(text) = draft.text(LVM_DEVICES) {
        let tied = text.lines().zip(1_u32..).find(|(line, _)| {
            let line = line.trim();
            line.contains("IDTYPE=") && !line.starts_with('#') && !line.contains("IDTYPE=lvmlv_uuid")
        });
        if let Some((line, number)) = tied {
            findings.push(
                informs("lvm_devices_file", "LVM's device list names the old machine's disks")
                    .at(LVM_DEVICES, number, line)
                    .remedy("it is removed; LVM then looks at all disks"),
            );
            draft.remove(LVM_DEVICES, "let LVM find its volumes on the instance's disks")?;
        }
    }
    if let Some(text) = draft.text("/etc/selinux/config")
        && value(&text, "SELINUX").as_deref() == Some("enforcing")
    {
        // Without labels to copy, the guest has to label what was written by itself.
        let labelled = draft.tree().selinux_label("/etc").is_some();
        if !labelled && !draft.is_empty() {
            draft.write("/.autorelabel", Vec::new(), 0o644, "label the files at the next start")?;
        }
        findings.push(
            informs("selinux", "SELinux is enforcing").seen("/etc/selinux/config: SELINUX=enforcing").remedy(
                if labelled {
                    "edited files keep their labels, new ones get their neighbour's"
                } else {
                    "the files have no labels; the guest makes them when it first starts, and restarts"
                },
            ),
        );
    }
    if release.id == "rhel" && release.major() == 6 || release.id == "centos" && release.major() == 6 {
        findings.push(
            informs(
                "old_release",
                "the distribution has no more updates, and runs on Xen instance types only",
            )
            .seen(release.product.clone()),
        );
    }
    Ok(())
}

/// Looks at what cannot be edited.
pub fn inspect(
    tree: &Tree,
    disks: &[DiskFacts],
    architecture: Option<Architecture>,
    inputs: &RecipeInputs,
    firmware: Firmware,
    ways: Ways,
    findings: &mut Findings,
) {
    match architecture {
        Some(Architecture::I386) if inputs.hypervisor == Hypervisor::Nitro => findings.push(
            blocks("architecture", "the guest is a 32-bit system, which Nitro instance types do not run")
                .advice(
                    "Choose a Xen instance type that lists i386, or migrate the service to a 64-bit system.",
                ),
        ),
        Some(_) => {}
        None => findings.push(
            warns("architecture_unknown", "no program was found that tells the guest's processor")
                .advice("Check that all disks of the machine are restored: /usr may be on another one."),
        ),
    }
    match root_filesystem(tree, disks) {
        Some(kind) if !ROOTS.contains(&kind.as_str()) => findings.push(
            warns("root_filesystem", format!("the root filesystem is {kind}, which is not known to come up"))
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
    if firmware == Firmware::Uefi && inputs.hypervisor == Hypervisor::Xen {
        findings.push(
            blocks("uefi_on_xen", "the guest boots by UEFI only, which Xen instance types do not have")
                .advice("Choose a Nitro instance type."),
        );
    }
    if ways.uefi && ways.bios {
        findings.push(informs("either_firmware", "the disk boots by BIOS and by UEFI"));
    }
    if tree.exists("/usr/bin/vmtoolsd") || tree.exists("/usr/sbin/vmtoolsd") {
        findings.push(informs("vmware_tools", "VMware's guest tools are installed; they do nothing on EC2"));
    }
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
