//! How a guest's own names for its filesystems lead to them.

use std::path::Path;

use super::layout::{Layout, Place, Volume};
use super::table::Partition;

impl Layout {
    /// The volume that a source in the guest's fstab names: by UUID, label, partition id or name,
    /// as a logical volume or array, or by a device name of the guest's own, whose letters count
    /// the disks.
    #[must_use]
    pub fn resolve(&self, source: &str) -> Option<&Volume> {
        let source = source.trim_matches('"');
        let tagged = |tag: &str, link: &str| {
            let value = source.strip_prefix(tag).or_else(|| source.strip_prefix(link))?;
            Some(value.trim_matches('"').to_owned())
        };
        let same = |found: &Option<String>, wanted: &str| {
            found.as_ref().is_some_and(|found| found.eq_ignore_ascii_case(wanted))
        };
        let find = |matches: &dyn Fn(&Volume) -> bool| self.volumes.iter().find(|volume| matches(volume));
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
        let place = device_place(source).or_else(|| self.stack.find(source).map(Place::Stacked))?;
        find(&|volume| volume.place == place)
    }
}

/// The place that a device name of the guest's means: `/dev/sda1`, `/dev/xvdb`, `/dev/nvme0n1p2`.
fn device_place(source: &str) -> Option<Place> {
    let name = Path::new(source.strip_prefix("/dev/")?).to_str()?;
    let number = |text: &str| -> Option<Option<u32>> {
        if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) }
    };
    if let Some(rest) = name.strip_prefix("nvme") {
        let (disk, rest) = rest.split_once("n1")?;
        let partition = number(rest.strip_prefix('p').unwrap_or(rest))?;
        return Some(Place::Disk { disk: disk.parse().ok()?, partition });
    }
    let rest = ["sd", "vd", "hd", "xvd"].iter().find_map(|prefix| name.strip_prefix(prefix))?;
    let letter = rest.bytes().next().filter(u8::is_ascii_lowercase)?;
    Some(Place::Disk { disk: usize::from(letter - b'a'), partition: number(&rest[1..])? })
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
            ("/dev/mapper/vg-root", None),
            ("/dev/sdé1", None),
            ("/dev/sd", None),
            ("tmpfs", None),
        ] {
            assert_eq!(device_place(name), expected, "{name}");
        }
    }
}
