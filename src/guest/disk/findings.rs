//! What a person should know of a guest's disks.

use super::layout::{Layout, Place, Volume};
use super::lvm::activate::ActivateError;
use super::stack::Trouble;
use super::table::TableKind;
use crate::diagnostic::chain;
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
            advised(
                finding(
                    FindingSeverity::Warns,
                    "table_damaged",
                    "A partition table has something wrong with it",
                ),
                "What could be read of it is used. Check it in the source machine (fdisk -l, sgdisk -v).",
            ),
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

/// What a Linux root may be inside of.
pub fn closed(layout: &Layout) -> Vec<Finding> {
    let windows = |volume: &&Volume| ["ntfs", "bitlocker", "ldm"].contains(&volume.content.kind);
    let volumes = layout.volumes.iter().filter(|volume| !windows(volume));
    volumes.filter_map(|volume| container(layout, volume)).collect()
}

/// Why no root filesystem was found, as far as the disks' content explains it. `explained` says
/// that other findings do.
pub fn no_root(layout: &Layout, explained: bool) -> Vec<Finding> {
    let mut found: Vec<Finding> =
        layout.volumes.iter().filter_map(|volume| container(layout, volume)).collect();
    if found.is_empty() && !explained {
        found.push(nothing(layout));
    }
    found
}

/// No operating system at all: what is there instead.
fn nothing(layout: &Layout) -> Finding {
    let data: Vec<String> = layout
        .volumes
        .iter()
        .filter(|volume| volume.content.kind != "unknown")
        .map(|volume| format!("{}: {}", layout.name(volume.place), volume.content.kind))
        .collect();
    if data.is_empty() {
        let mut found = advised(
            finding(FindingSeverity::Blocks, "no_guest", "No operating system was found that Replant knows"),
            "Check that this is the machine's system disk and that its backup is whole. To restore it as it is: `guest { drivers = \"none\" }`.",
        );
        let seen = |disk: &super::layout::Disk| {
            let table = disk.table.kind.as_str();
            format!("disk {}: partition table {table}, nothing known on it", disk.job.name)
        };
        found.evidence = layout.disks.iter().map(seen).collect();
        return found;
    }
    let mut found = advised(
        finding(FindingSeverity::Blocks, "data_only", "The disks hold data, but no operating system"),
        "Restore them together with the machine's system disk, which comes first. A data disk alone is restored with `guest { drivers = \"none\" }`, to be attached to another instance.",
    );
    found.evidence = data;
    found
}

fn container(layout: &Layout, volume: &Volume) -> Option<Finding> {
    let (code, summary, advice) = match volume.content.kind {
        "luks" => (
            "encrypted",
            "A partition is encrypted with LUKS; Replant cannot look into it, and does not prepare the guest",
            "Restore it with `guest { drivers = \"none\" }` when the guest has the drivers for EC2, and be ready to type the passphrase on the serial console at every boot; or decrypt the root in the guest (cryptsetup reencrypt --decrypt) and make a new backup.",
        ),
        "bitlocker" => (
            "encrypted",
            "A partition is encrypted with BitLocker; Replant cannot look into it, and does not prepare the guest",
            "Decrypt it in the guest, and make a new backup when that is done (suspending is not enough: the data stays encrypted):\nmanage-bde -off C:\nOr restore it as it is with `guest { drivers = \"none\" }`, when it has the drivers for EC2 already; on EC2 it then wants its recovery key at every start, since the TPM that held its key is not there.",
        ),
        "ldm" => (
            "dynamic_disk",
            "A disk is a Windows dynamic disk; Replant does not look into it, and does not prepare the guest",
            "Restore it as it is with `guest { drivers = \"none\" }`, when it has the drivers for EC2 already; or convert the system disk to a basic disk in the guest and make a new backup.",
        ),
        kind @ ("zfs" | "bcache" | "bcachefs" | "f2fs" | "nilfs2" | "reiser4" | "vxfs" | "gfs2" | "ufs"
        | "squashfs" | "erofs" | "apfs") => {
            let found = finding(
                FindingSeverity::Blocks,
                "filesystem_unknown",
                format!(
                    "A partition holds {kind}, which Replant does not look into; the guest is not prepared"
                ),
            );
            return Some(seen(
                advised(
                    found,
                    "Restore it as it is with `guest { drivers = \"none\" }`, when it has the drivers for EC2 already (NVMe and ENA, in its initramfs too); test that by a drill. Else move the system to ext4, XFS or btrfs in the source and make a new backup.",
                ),
                layout.name(volume.place),
            ));
        }
        "ntfs" => {
            ("windows", "A partition holds NTFS, but no Windows that could be started was found", WITHOUT)
        }
        _ => return None,
    };
    let found = finding(FindingSeverity::Blocks, code, summary);
    Some(seen(advised(found, advice), layout.name(volume.place)))
}

/// A machine that was hibernated.
pub fn hibernated(name: &str) -> Finding {
    let mut found =
        finding(FindingSeverity::Warns, "hibernated", "The machine was hibernated when it was backed up");
    found.remedy = Some(
        "its memory image is forgotten, so that the guest starts afresh; what was not saved in it is lost"
            .to_owned(),
    );
    seen(found, format!("{name}: swap space with a memory image"))
}

/// Filesystems with errors that nobody mended: the first boot's fsck may stop for an answer.
pub fn with_errors(layout: &Layout) -> Vec<Finding> {
    let of = |volume: &Volume| {
        let errors = volume.content.errors.as_ref()?;
        let found = finding(
            FindingSeverity::Warns,
            "filesystem_errors",
            "A filesystem has errors that no fsck has mended",
        );
        let advice = "The first boot checks it, and stops in an emergency shell on the serial console when e2fsck cannot mend it by itself. Check it in the source machine (e2fsck -f) and make a new backup; a drill shows what becomes of it.";
        let kind = volume.content.kind;
        Some(seen(advised(found, advice), format!("{} ({kind}): {errors}", layout.name(volume.place))))
    };
    layout.volumes.iter().filter_map(of).collect()
}

/// A partition table that cannot tell of the end of its disk, and a first disk that does not boot
/// while another does.
pub fn of_order(layout: &Layout) -> Vec<Finding> {
    let mut found = Vec::new();
    for disk in &layout.disks {
        if disk.table.kind == TableKind::Mbr && disk.job.size > MBR_LIMIT {
            let large = finding(
                FindingSeverity::Warns,
                "mbr_limit",
                "A disk is larger than its partition table (MBR) can tell: what is beyond 2 TiB cannot be used",
            );
            found.push(seen(
                advised(large, "Leave the volume at 2 TiB and put more data on a volume of its own; or convert the disk to GPT in the source."),
                format!("disk {}: {}", disk.job.name, crate::model::Bytes(disk.job.size)),
            ));
        }
    }
    let mut disks = layout.disks.iter();
    if let Some(first) = disks.next()
        && !first.boots()
        && let Some(other) = disks.find(|disk| disk.boots())
    {
        let order = finding(
            FindingSeverity::Warns,
            "disk_order",
            "The first disk has no boot loader, another one has; EC2 boots from the first",
        );
        found.push(seen(
            advised(order, "Name the disk that boots first: as the first image of the command, or as the disk \"root\" of the configuration."),
            format!("disk {} has boot code or an EFI system partition, disk {} neither", other.job.name, first.job.name),
        ));
    }
    found
}

/// What an MBR can tell of: 2^32 sectors of 512 bytes.
const MBR_LIMIT: u64 = 2 << 40;

/// Other systems beside the Linux that was found.
pub fn other_systems(layout: &Layout) -> Vec<Finding> {
    let of = |kinds: &[&str]| -> Vec<String> {
        let volumes = layout.volumes.iter().filter(|volume| kinds.contains(&volume.content.kind));
        volumes.map(|volume| layout.name(volume.place)).collect()
    };
    let mut found = Vec::new();
    let windows = of(&["ntfs", "bitlocker", "ldm"]);
    if !windows.is_empty() {
        let mut both = finding(
            FindingSeverity::Warns,
            "dual_boot",
            "There are Windows partitions beside the Linux system; only Linux is prepared",
        );
        both.evidence = windows;
        found.push(advised(
            both,
            "The partitions are restored as they are; a Windows on them will not start on EC2. Make Linux the default of the boot loader's menu, which nobody sees there. With UEFI, Linux's loader is put where the instance's firmware looks (`guest::efi_fallback_windows`).",
        ));
    }
    found
}

/// What of RAID and LVM could not be made, or only in part. `needed` says that the root was not
/// found elsewhere; `root` is where it was found.
pub fn of_stack(layout: &Layout, needed: bool, root: Option<Place>) -> Vec<Finding> {
    layout.stack.troubles.iter().map(|trouble| of_trouble(layout, trouble, needed, root)).collect()
}

fn of_trouble(layout: &Layout, trouble: &Trouble, needed: bool, root: Option<Place>) -> Finding {
    let weight = if needed { FindingSeverity::Blocks } else { FindingSeverity::Warns };
    let all_disks = "Restore all disks of the machine together.";
    match trouble {
        Trouble::Array { name, why } => seen(
            advised(finding(weight, "raid", "A RAID array cannot be assembled"), all_disks),
            format!("{name}: {why}"),
        ),
        Trouble::Degraded { name, missing } => seen(
            advised(
                finding(FindingSeverity::Warns, "raid_degraded", "A RAID array runs without all its members"),
                "It is prepared as it is. Restore all disks of the machine together, or let the guest rebuild the array; a member that is left out must not be put back as if it were current.",
            ),
            format!("{name}: {missing} missing or behind"),
        ),
        Trouble::Physical { place, why } => seen(
            advised(finding(weight, "lvm", "An LVM physical volume cannot be used"), all_disks),
            format!("{}: {why}", layout.name(*place)),
        ),
        Trouble::Copy { place, id } => {
            let group = root.and_then(|root| layout.stack.group_of(root)).map(|(group, _)| group);
            let of_root = group.is_some_and(|group| group.labels.values().any(|label| label.id == *id));
            let weight = if of_root { FindingSeverity::Blocks } else { weight };
            let found = finding(
                weight,
                "lvm_copy",
                "Another disk holds a copy of an LVM physical volume; LVM does not activate such a group",
            );
            let advice = "Leave out the disk with the copy; or give it other ids in the source, and make a new backup:\nvgimportclone /dev/COPY";
            seen(advised(found, advice), layout.name(*place))
        }
        Trouble::Group { place, why } => seen(
            advised(
                finding(weight, "lvm", "The description of an LVM volume group cannot be read"),
                "Check it in the source machine (vgck) and make a new backup.",
            ),
            format!("{}: {why}", layout.name(*place)),
        ),
        Trouble::Logical { name, why } => {
            let advice = match why {
                ActivateError::NoDisk { .. } => all_disks,
                _ => WITHOUT,
            };
            let mut text = format!("{name}: {why}");
            if let ActivateError::Kernel(error) = why {
                text.push_str(&format!(" ({error})"));
            }
            seen(advised(finding(weight, "lvm", "A logical volume cannot be used"), advice), text)
        }
    }
}

/// A filesystem cannot be mounted by the kernel.
pub fn cannot_mount(layout: &Layout, volume: &Volume, error: &std::io::Error, needed: bool) -> Finding {
    let severity = if needed { FindingSeverity::Blocks } else { FindingSeverity::Warns };
    let kind = volume.content.kind;
    let evidence = format!("{} ({kind}): {error}", layout.name(volume.place));
    let (code, summary, advice) = if error.kind() == std::io::ErrorKind::Unsupported {
        ("not_mounted", "A filesystem is of a kind that the sandbox does not mount", WITHOUT)
    } else if kind == "jfs" {
        (
            "cannot_mount",
            "A JFS cannot be mounted: after a crash only its own fsck can mend it, which is not here or does not",
            "Install jfsutils on this machine; where it is installed, check the filesystem in the source (fsck.jfs) and make a new backup.",
        )
    } else {
        (
            "cannot_mount",
            "A filesystem cannot be mounted; it may be damaged",
            match kind {
                "xfs" => {
                    "Check it in the source machine (xfs_repair, after mounting and unmounting it once, which replays its log) and make a new backup; or restore an older recovery point."
                }
                "btrfs" => {
                    "Check it in the source machine (btrfs check, btrfs scrub) and make a new backup; or restore an older recovery point."
                }
                _ => {
                    "Check it in the source machine (e2fsck -f) and make a new backup; or restore an older recovery point."
                }
            },
        )
    };
    seen(advised(finding(severity, code, summary), advice), evidence)
}

/// The guest's files could not be read or edited.
pub fn cannot_edit(error: &(dyn std::error::Error + 'static)) -> Finding {
    let found = finding(
        FindingSeverity::Blocks,
        "cannot_edit",
        "The guest's files cannot be edited; a filesystem may be damaged or full",
    );
    seen(advised(found, "Check the filesystem in the source machine and make a new backup."), chain(error))
}

/// More than one root filesystem was found, and it is known which boots: `why` says from what.
pub fn one_of_several(prepared: &str, why: &str, others: &[String]) -> Finding {
    let mut found = finding(
        FindingSeverity::Informs,
        "several_systems",
        "There is more than one operating system; the one that boots is prepared",
    );
    found.remedy = Some("the others are restored as they are".to_owned());
    found = found.seen(format!("{prepared} is prepared: {why}"));
    others.iter().fold(found, |found, other| found.seen(format!("{other} is not")))
}

/// More than one root filesystem was found; `said` is what each is and what its files say.
pub fn several_roots(said: &[String]) -> Finding {
    let found = finding(
        FindingSeverity::Blocks,
        "several_systems",
        "There is more than one operating system, and it cannot be told which of them boots",
    );
    let advice = "Let the boot loader on the first disk and the fstab of the system that it starts name the same root filesystem; or leave out the disk with the other system (restored alone with `guest { drivers = \"none\" }` it can be attached later); or take the other system off in the source (its /etc/os-release and /etc/fstab make it one) and make a new backup.";
    said.iter().fold(advised(found, advice), |found, said| found.seen(said))
}

/// Several filesystems have the name that the root is mounted by.
pub fn root_twice(roots: &[String]) -> Finding {
    let found = finding(
        FindingSeverity::Blocks,
        "root_twice",
        "Several filesystems answer to the root's name; which of them is mounted at boot would be chance",
    );
    let advice = "Leave out the disk with the copy, and attach it later, when it is wanted; or give the copy another UUID and label in the source while it is not mounted (tune2fs -U random, xfs_admin -U generate, btrfstune -u; e2label, xfs_admin -L), and make a new backup.";
    roots.iter().fold(advised(found, advice), |found, root| found.seen(root))
}

/// A line of fstab names what is not there.
pub fn not_there(line: u32, text: &str) -> Finding {
    seen(
        advised(
            finding(
                FindingSeverity::Warns,
                "mount_source_missing",
                "A filesystem that the guest mounts is not on its disks",
            ),
            "Restore the disk that it is on too; without it the boot may stop in an emergency shell.",
        ),
        format!("/etc/fstab:{line}: {text}"),
    )
}

/// An EFI system partition that no line of fstab names.
pub fn efi_unlisted(layout: &Layout, volume: &Volume, target: &str) -> Finding {
    seen(
        finding(
            FindingSeverity::Informs,
            "efi_unlisted",
            "The EFI system partition is not in fstab; it is found by its type",
        ),
        format!("{}, looked at as {target}", layout.name(volume.place)),
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

/// Why a disk's filesystem is not made larger, and what the user can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoGrowth {
    /// Why, as a part of a sentence.
    pub why: String,
    /// What makes it larger.
    pub how: &'static str,
}

impl NoGrowth {
    /// For a logical volume of a kind that LVM itself has to extend.
    pub const BY_LVM: &str = "Leave `grow` out, let the partition grow in the restored guest (growpart), and then LVM (of a thin volume, extend the pool first):\npvresize /dev/PARTITION && lvextend --resizefs -l +100%FREE GROUP/VOLUME";
    /// For the members of an array.
    pub const BY_MDADM: &str = "Leave `grow` out, let the partitions of all members grow in the restored guest (growpart), then the array and its filesystem (`resize2fs`, `xfs_growfs`):\nmdadm --grow --size=max /dev/md0";
    /// ext2 has no journal, which growing while it is mounted takes.
    pub const OF_EXT2: &str = "Make it ext3 in the guest and its fstab before it is backed up, and it grows here:\ntune2fs -j /dev/PARTITION";
    /// JFS grows by its own kernel's driver only.
    pub const OF_JFS: &str = "Leave `grow` out, let the partition grow in the restored guest (growpart), and then JFS:\nmount -o remount,resize /";
}

impl<T: Into<String>> From<T> for NoGrowth {
    fn from(why: T) -> Self {
        Self { why: why.into(), how: "Grow it in the restored guest, or leave `grow` out." }
    }
}

/// A disk that is to grow cannot.
pub fn cannot_grow(disk: &str, no: &NoGrowth) -> Finding {
    seen(
        advised(
            finding(
                FindingSeverity::Warns,
                "cannot_grow",
                "A disk's filesystem cannot be made larger offline",
            ),
            no.how,
        ),
        format!("disk {disk}: {}", no.why),
    )
}
