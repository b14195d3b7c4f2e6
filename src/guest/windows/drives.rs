//! Drive letters: which volume of the restored disks each belongs to.
//!
//! `MountedDevices` (facts of real hives): a disk's signature and the partition's first byte on MBR
//! disks, `DMIO:ID:` and the partition's GUID on GPT disks. Both survive a change of controller.

use super::bytes::{u32_at, u64_at};
use super::hive::{Data, Hive, HiveError};
use crate::guest::disk::layout::Layout;
use crate::guest::disk::table::Partition;

/// What stands before a partition's GUID.
const GPT: &[u8] = b"DMIO:ID:";

/// What a drive letter is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Bound {
    /// A partition of an MBR disk.
    Mbr { signature: u32, offset: u64 },
    /// A partition of a GPT disk, as `PARTUUID=` writes it.
    Gpt(String),
    /// A CD, a diskette, a USB stick: a device's path.
    Device,
}

/// A drive letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// `C`.
    pub letter: char,
    bound: Bound,
}

/// A GUID from the order in which Windows stores it ([MS-DTYP] 2.3.4.2).
fn guid(bytes: &[u8]) -> Option<String> {
    let [a, b, c, d, e, f, g, h, rest @ ..] = <&[u8; 16]>::try_from(bytes).ok()?;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (clock, node) = rest.split_at(2);
    Some([&[*d, *c, *b, *a][..], &[*f, *e], &[*h, *g], clock, node].map(hex).join("-"))
}

fn bound(data: &[u8]) -> Bound {
    if let Some(id) = data.strip_prefix(GPT).and_then(guid) {
        return Bound::Gpt(id);
    }
    match (data.len(), u32_at(data, 0), u64_at(data, 4)) {
        (12, Some(signature), Some(offset)) => Bound::Mbr { signature, offset },
        _ => Bound::Device,
    }
}

/// The letters that the registry remembers, in their order.
///
/// # Errors
/// When the hive is damaged there.
pub fn letters(system: &Hive<'_>) -> Result<Vec<Letter>, HiveError> {
    let Some(key) = system.key("MountedDevices")? else { return Ok(Vec::new()) };
    let mut letters = Vec::new();
    for letter in 'A'..='Z' {
        let Some(value) = key.value(&format!("\\DosDevices\\{letter}:"))? else { continue };
        if let Data::Binary(data) = value.data() {
            letters.push(Letter { letter, bound: bound(&data) });
        }
    }
    Ok(letters)
}

impl Letter {
    /// The volume it belongs to; `None` when that is on none of these disks.
    #[must_use]
    pub fn place(&self, layout: &Layout) -> Option<String> {
        let volume = layout.volumes.iter().find(|volume| {
            let Some(partition) = &volume.partition else { return false };
            let Some(id) = partition.id.as_deref() else { return false };
            match &self.bound {
                Bound::Mbr { signature, offset } => {
                    *offset == partition.offset && id.starts_with(&format!("{signature:08x}-"))
                }
                Bound::Gpt(bound) => id.eq_ignore_ascii_case(bound),
                Bound::Device => false,
            }
        })?;
        Some(layout.name(volume.place))
    }

    /// Whether it belongs to a disk's partition, wherever that is.
    #[must_use]
    pub fn is_partition(&self) -> bool {
        self.bound != Bound::Device
    }
}

/// The drives that end where a disk did end before it became larger, and the disks that became larger
/// without one: behind their last drive lies another partition, or they have none.
#[must_use]
pub fn growing(letters: &[Letter], layout: &Layout) -> (Vec<char>, Vec<String>) {
    let (mut drives, mut others) = (Vec::new(), Vec::new());
    for (index, disk) in layout.disks.iter().enumerate() {
        if !disk.job.grow || disk.job.size <= disk.job.image_size {
            continue;
        }
        let last = (layout.volumes.iter())
            .filter(|volume| volume.place.disk() == Some(index) && volume.partition.is_some())
            .max_by_key(|volume| volume.partition.as_ref().map(Partition::end));
        let drive = last.filter(|last| last.content.kind == "ntfs").and_then(|last| {
            let name = layout.name(last.place);
            letters.iter().find(|letter| letter.place(layout).as_deref() == Some(&name))
        });
        match drive {
            Some(drive) => drives.push(drive.letter),
            None => others.push(disk.job.name.clone()),
        }
    }
    (drives, others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_letters_are_bound_to() {
        let mut mbr = 0x1b2c_3d4e_u32.to_le_bytes().to_vec();
        mbr.extend(0x10_0000_u64.to_le_bytes());
        assert_eq!(bound(&mbr), Bound::Mbr { signature: 0x1b2c_3d4e, offset: 0x10_0000 });
        let mut gpt = GPT.to_vec();
        gpt.extend([
            0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
        ]);
        assert_eq!(bound(&gpt), Bound::Gpt("c12a7328-f81f-11d2-ba4b-00a0c93ec93b".to_owned()));
        assert_eq!(bound(b"\\\0?\0?\0\\\0S\0C\0S\0I\0"), Bound::Device);
        assert_eq!(bound(&gpt[..20]), Bound::Device);
        assert_eq!(bound(&[]), Bound::Device);
    }
}
