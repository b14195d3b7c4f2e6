//! Device names that a restore does not keep, and the names that it does.
//!
//! `/dev/sda1` names a controller's order; on EC2 it is another one. The filesystem's UUID is
//! the same everywhere. The name leads to the disk by its letter: VMware numbers disks in the
//! order of their slots, which is the order of the machine's disks.

use crate::guest::report::{DiskFacts, PartitionFacts};

/// What a device name leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    /// It keeps its meaning: `UUID=…`, `LABEL=…`, a logical volume, a network path.
    Stable,
    /// It changes, and is this from now on.
    Renamed(String),
    /// It changes, and nothing says what it was.
    Unknown,
    /// A CD, floppy or the like: the instance has none.
    Removable,
}

/// Looks a device name up among the guest's disks. `mount_point` and `filesystem` say what the
/// guest expects there: a partition that holds something else is not the one meant.
#[must_use]
pub fn find(disks: &[DiskFacts], name: &str, mount_point: &str, filesystem: Option<&str>) -> Device {
    let Some(path) = name.strip_prefix("/dev/") else { return Device::Stable };
    if ["sr", "scd", "cdrom", "dvd", "fd0", "floppy"].iter().any(|word| path.starts_with(word)) {
        return Device::Removable;
    }
    let place = match place(disks.len(), path) {
        Named::Place(disk, partition) => Some((disk, partition)),
        Named::Unclear => None,
        Named::Other => return Device::Stable,
    };
    let found = place.and_then(|(disk, partition)| on_disk(disks.get(disk)?, partition));
    let fits = |partition: &&PartitionFacts| holds(partition, filesystem);
    // The sandbox mounted this very mount point from somewhere: then that is it.
    let mounted = || {
        let all = disks.iter().flat_map(|disk| &disk.partitions);
        let mut at = all.filter(|partition| partition.mount_point.as_deref() == Some(mount_point));
        at.next().filter(|_| mount_point.starts_with('/'))
    };
    match found.filter(fits).or_else(mounted).and_then(|partition| partition.uuid.as_deref()) {
        Some(uuid) => Device::Renamed(format!("UUID={uuid}")),
        None => Device::Unknown,
    }
}

/// What a path below `/dev` says of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// It names this disk, from 0, and this partition of it, or the whole disk.
    Place(usize, Option<u32>),
    /// It names one of the machine's disks, and there is no telling which.
    Unclear,
    /// It names no disk by its controller.
    Other,
}

/// The disk and partition that a path below `/dev` names on a machine with so many disks.
#[must_use]
pub fn place(disks: usize, path: &str) -> Named {
    let found = if let Some(rest) = path.strip_prefix("disk/by-path/") {
        if ["iscsi", "fc-", "usb-", "-fc"].iter().any(|word| rest.contains(word)) {
            return Named::Unclear;
        }
        by_path(disks, rest)
    } else if let Some(rest) = path.strip_prefix("disk/by-id/") {
        // The id names VMware's own serial numbers. With one disk there is no doubt.
        if ["dm-", "md-", "lvm-"].iter().any(|prefix| rest.starts_with(prefix)) {
            return Named::Other;
        }
        (disks == 1).then(|| (0, partition_number(rest)))
    } else if let Some(found) = by_letter(path).or_else(|| by_namespace(path)) {
        Some(found)
    } else {
        return Named::Other;
    };
    found.map_or(Named::Unclear, |(disk, partition)| Named::Place(disk, partition))
}

/// Whether a filesystem that is named by its UUID or label is on one of the disks. What is inside
/// LVM, RAID and encryption is not known here: then nothing is missing.
#[must_use]
pub fn is_missing(disks: &[DiskFacts], name: &str) -> bool {
    const KNOWN: [&str; 10] =
        ["ext2", "ext3", "ext4", "xfs", "btrfs", "jfs", "reiserfs", "vfat", "ntfs", "swap"];
    let all = || disks.iter().flat_map(|disk| &disk.partitions);
    let plain = |found: &PartitionFacts| {
        found.content == "bios-grub" || (KNOWN.contains(&found.content.as_str()) && found.uuid.is_some())
    };
    if all().next().is_none() || !all().all(plain) {
        return false;
    }
    let tagged = |tag: &str, link: &str| name.strip_prefix(tag).or_else(|| name.strip_prefix(link));
    if let Some(uuid) = tagged("UUID=", "/dev/disk/by-uuid/") {
        !all().any(|found| found.uuid.as_ref().is_some_and(|found| found.eq_ignore_ascii_case(uuid)))
    } else if let Some(label) = tagged("LABEL=", "/dev/disk/by-label/") {
        !all().any(|found| found.label.as_deref() == Some(label))
    } else {
        false
    }
}

/// The partition with a number, or the whole disk's filesystem.
fn on_disk(disk: &DiskFacts, partition: Option<u32>) -> Option<&PartitionFacts> {
    match partition {
        Some(number) => disk.partitions.iter().find(|found| found.number == number),
        None if disk.table == "none" => disk.partitions.first(),
        None => None,
    }
}

/// Whether a partition can be what is mounted as a filesystem of this type.
fn holds(partition: &PartitionFacts, filesystem: Option<&str>) -> bool {
    let content = partition.content.as_str();
    match filesystem {
        None | Some("auto" | "") => true,
        // The ext4 driver mounts all three, and a disk's ext3 may be written as ext4 in fstab.
        Some("ext2" | "ext3" | "ext4") => matches!(content, "ext2" | "ext3" | "ext4"),
        Some("vfat" | "msdos") => matches!(content, "vfat" | "fat" | "fat12" | "fat16" | "fat32" | "msdos"),
        Some(wanted) => content == wanted,
    }
}

/// `sda1` → disk 0, partition 1.
fn by_letter(path: &str) -> Option<(usize, Option<u32>)> {
    let rest = ["xvd", "sd", "vd", "hd"].iter().find_map(|prefix| path.strip_prefix(prefix))?;
    let letters = rest.bytes().take_while(u8::is_ascii_lowercase).count();
    let (letters, digits) = rest.split_at(letters);
    if letters.is_empty() || letters.len() > 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // a…z, aa…zz, aaa…: bijective base 26.
    let disk = letters.bytes().fold(0_usize, |disk, letter| disk * 26 + usize::from(letter - b'a') + 1) - 1;
    let partition = if digits.is_empty() { None } else { Some(digits.parse().ok()?) };
    Some((disk, partition))
}

/// `nvme0n1p2` → disk 0, partition 2. VMware gives one controller several namespaces, others give
/// each disk a controller: either way the disks are counted.
fn by_namespace(path: &str) -> Option<(usize, Option<u32>)> {
    let (controller, rest) = path.strip_prefix("nvme")?.split_once('n')?;
    let (namespace, partition) = match rest.split_once('p') {
        Some((namespace, partition)) => (namespace, Some(partition.parse().ok()?)),
        None => (rest, None),
    };
    let (controller, namespace): (usize, usize) = (controller.parse().ok()?, namespace.parse().ok()?);
    Some((controller.checked_add(namespace)?.checked_sub(1)?, partition))
}

/// The PCI addresses of VMware's first disk controller: PVSCSI and SAS, LSI Logic parallel.
const FIRST_CONTROLLERS: [&str; 2] = ["pci-0000:03:00.0-scsi-", "pci-0000:00:10.0-scsi-"];

/// `pci-0000:03:00.0-scsi-0:0:1:0-part2` → the disk of target 1, partition 2. Unit 7 is the
/// controller's own, so later targets move up by one. Targets of a second controller say nothing
/// of the disks' order.
fn by_path(disks: usize, name: &str) -> Option<(usize, Option<u32>)> {
    let partition = partition_number(name);
    if disks == 1 {
        return Some((0, partition));
    }
    let address = FIRST_CONTROLLERS.iter().find_map(|controller| name.strip_prefix(controller))?;
    let address = address.split('-').next()?;
    let target: usize = address.split(':').nth(2)?.parse().ok()?;
    Some((if target > 7 { target - 1 } else { target }, partition))
}

fn partition_number(name: &str) -> Option<u32> {
    name.rsplit_once("-part")?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(number: u32, content: &str, uuid: &str) -> PartitionFacts {
        PartitionFacts {
            number,
            offset: 0,
            size: 0,
            content: content.to_owned(),
            uuid: Some(uuid.to_owned()),
            label: None,
            mount_point: None,
        }
    }

    fn disks() -> Vec<DiskFacts> {
        let disk = |name: &str, table: &str, partitions| DiskFacts {
            name: name.to_owned(),
            table: table.to_owned(),
            partitions,
        };
        vec![
            disk("root", "mbr", vec![partition(1, "ext4", "r"), partition(5, "swap", "s")]),
            disk("data", "none", vec![partition(1, "xfs", "d")]),
        ]
    }

    #[test]
    fn names_lead_to_uuids() {
        let disks = disks();
        let find = |name, filesystem| find(&disks, name, "none", filesystem);
        let uuid = |uuid: &str| Device::Renamed(format!("UUID={uuid}"));
        assert_eq!(find("/dev/sda1", Some("ext4")), uuid("r"));
        assert_eq!(find("/dev/xvda5", Some("swap")), uuid("s"));
        assert_eq!(find("/dev/sdb", Some("xfs")), uuid("d"));
        assert_eq!(find("/dev/sdb", Some("ext4")), Device::Unknown);
        assert_eq!(find("/dev/sdc1", None), Device::Unknown);
        assert_eq!(find("/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:0:0-part1", None), uuid("r"));
        assert_eq!(find("/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:1:0", None), uuid("d"));
        assert_eq!(find("/dev/disk/by-path/pci-0000:0b:00.0-scsi-0:0:0:0-part1", None), Device::Unknown);
        assert_eq!(find("/dev/disk/by-path/ip-10.0.0.9:3260-iscsi-iqn.x-lun-0-part1", None), Device::Unknown);
        assert_eq!(find("/dev/nvme0n1p1", Some("ext4")), uuid("r"));
        assert_eq!(find("/dev/nvme1n1", Some("xfs")), uuid("d"));
        assert_eq!(find("/dev/nvme0n2", Some("xfs")), uuid("d"));
        assert_eq!(find("/dev/disk/by-id/scsi-36000c29-part1", None), Device::Unknown);
        assert_eq!(find("/dev/sr0", None), Device::Removable);
        for stable in
            ["UUID=x", "LABEL=y", "/dev/mapper/vg-root", "/dev/vg/root", "host:/export", "tmpfs", "/dev/md0"]
        {
            assert_eq!(find(stable, None), Device::Stable, "{stable}");
        }
    }

    #[test]
    fn what_is_on_no_disk_is_missing() {
        let mut disks = disks();
        assert!(!is_missing(&disks, "UUID=R") && is_missing(&disks, "UUID=other"));
        assert!(is_missing(&disks, "/dev/disk/by-label/data") && !is_missing(&disks, "PARTUUID=x"));
        disks[1].partitions[0].label = Some("data".to_owned());
        assert!(!is_missing(&disks, "LABEL=data"));
        disks[1].partitions[0].content = "lvm2".to_owned();
        assert!(!is_missing(&disks, "UUID=other") && !is_missing(&[], "UUID=other"));
    }

    #[test]
    fn namespaces_are_counted() {
        assert_eq!(by_namespace("nvme2n1p3"), Some((2, Some(3))));
        for odd in ["nvme", "nvme0", "nvme0n", "nvme0n0", "nvme0n1p", "nvmexn1", "nvme99999999999999999999n1"]
        {
            assert_eq!(by_namespace(odd), None, "{odd}");
        }
    }

    #[test]
    fn letters_count_on() {
        assert_eq!(by_letter("sdz9"), Some((25, Some(9))));
        assert_eq!(by_letter("sdaa"), Some((26, None)));
        assert_eq!(by_letter("sdaaaaaaaaaaaaaaaaa"), None);
        assert_eq!(by_letter("sd"), None);
        assert_eq!(by_letter("sda1x"), None);
    }
}
