//! How a guest's own names for its filesystems lead to them.

use super::layout::{Layout, Place, Volume};
use super::table::Partition;
use crate::guest::linux::devices;

impl Layout {
    /// The volume that a source in the guest's fstab names: by UUID, label, partition id or name,
    /// as a logical volume or array, or by a device name of the guest's own, whose letters count
    /// the disks.
    #[must_use]
    pub fn resolve(&self, source: &str) -> Option<&Volume> {
        self.named(source).into_iter().next()
    }

    /// All volumes that such a source names: copies share their UUIDs and labels.
    #[must_use]
    pub fn named(&self, source: &str) -> Vec<&Volume> {
        let source = source.trim_matches('"');
        let tagged = |tag: &str, link: &str| {
            let value = source.strip_prefix(tag).or_else(|| source.strip_prefix(link))?;
            Some(value.trim_matches('"').to_owned())
        };
        let same = |found: &Option<String>, wanted: &str| {
            found.as_ref().is_some_and(|found| found.eq_ignore_ascii_case(wanted))
        };
        let find = |matches: &dyn Fn(&Volume) -> bool| -> Vec<&Volume> {
            self.volumes.iter().filter(|volume| matches(volume)).collect()
        };
        if let Some(uuid) = tagged("UUID=", "/dev/disk/by-uuid/") {
            return find(&|volume| same(&volume.content.uuid, &uuid));
        }
        if let Some(label) = tagged("LABEL=", "/dev/disk/by-label/") {
            return find(&|volume| volume.content.label.as_deref() == Some(&label));
        }
        if let Some(id) = tagged("PARTUUID=", "/dev/disk/by-partuuid/") {
            return find(&|volume| volume.partition.as_ref().is_some_and(|found| same(&found.id, &id)));
        }
        if let Some(name) = tagged("PARTLABEL=", "/dev/disk/by-partlabel/") {
            let named = |found: &Partition| found.name.as_deref() == Some(&name);
            return find(&|volume| volume.partition.as_ref().is_some_and(named));
        }
        let place =
            device_place(source, self.disks.len()).or_else(|| self.stack.find(source).map(Place::Stacked));
        find(&|volume| Some(volume.place) == place)
    }
}

/// The place that a device name of the guest's means on a machine with so many disks:
/// `/dev/sda1`, `/dev/nvme0n1p2`, `/dev/disk/by-path/…`.
fn device_place(source: &str, disks: usize) -> Option<Place> {
    match devices::place(disks, source.strip_prefix("/dev/")?) {
        devices::Named::Place(disk, partition) => Some(Place::Disk { disk, partition }),
        devices::Named::Unclear | devices::Named::Other => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names_are_understood() {
        let place = |disk, partition| Some(Place::Disk { disk, partition });
        for (name, expected) in [
            ("/dev/sda1", place(0, Some(1))),
            ("/dev/xvdb", place(1, None)),
            ("/dev/nvme1n1p2", place(1, Some(2))),
            ("/dev/hdc12", place(2, Some(12))),
            ("/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:1:0-part2", place(1, Some(2))),
            ("/dev/disk/by-id/scsi-36000c29-part2", None),
            ("/dev/mapper/vg-root", None),
            ("/dev/sdé1", None),
            ("/dev/sd", None),
            ("tmpfs", None),
        ] {
            assert_eq!(device_place(name, 3), expected, "{name}");
        }
    }
}
