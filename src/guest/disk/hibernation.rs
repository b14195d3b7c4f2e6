//! Swap space that holds the memory of a hibernated machine. Resumed on an instance, over
//! filesystems that were edited, it would destroy them; so it is made plain swap space again,
//! which is also what the kernel does when it is told `noresume`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::findings;
use super::layout::Layout;
use crate::guest::report::{Edit, EditKind, Finding};
use crate::model::Digest;

/// Where the signature stands: at the end of the first page (`union swap_header` of the kernel's
/// `include/linux/swap.h`), for the page of 4,096 bytes of every x86 and of EC2's ARM kernels.
pub const OFFSET: u64 = 4086;
/// Bytes of a signature.
pub const LENGTH: u64 = 10;
/// Plain swap space.
pub const SWAP: &[u8; 10] = b"SWAPSPACE2";
/// A memory image's: the kernel's own (`kernel/power/swap.c`), uswsusp's.
const IMAGES: [&[u8]; 3] = [b"S1SUSPEND", b"S2SUSPEND", b"ULSUSPEND"];
/// What is done about it.
pub const PURPOSE: &str = "forget the hibernated machine's memory image";

/// Whether a signature is one of a memory image.
#[must_use]
pub fn is_image(signature: &[u8]) -> bool {
    IMAGES.iter().any(|known| signature.starts_with(known))
}

fn replace(device: &File, offset: u64, before: &mut [u8], write: bool) -> io::Result<()> {
    device.read_exact_at(before, offset)?;
    if write {
        device.write_all_at(SWAP, offset)?;
        device.sync_all()?;
    }
    Ok(())
}

/// Makes hibernated swap space plain again on the layout's partitions and logical volumes; only
/// says so unless `write`.
///
/// # Errors
/// When a device cannot be written.
pub fn forget(
    layout: &Layout,
    write: bool,
    edits: &mut Vec<Edit>,
    notes: &mut Vec<Finding>,
) -> io::Result<()> {
    for volume in layout.volumes.iter().filter(|volume| volume.content.hibernated) {
        let mut before = [0; LENGTH as usize];
        // A partition through its disk, as everything else that is written outside filesystems:
        // the kernel caches the two apart.
        let of_disk = volume.place.disk().and_then(|disk| layout.disks.get(disk));
        let start = volume.partition.as_ref().map_or(0, |partition| partition.offset);
        match of_disk {
            Some(disk) => replace(&disk.device.file, start.saturating_add(OFFSET), &mut before, write)?,
            None => {
                let device = File::options().read(true).write(write).open(layout.device(volume)?)?;
                replace(&device, OFFSET, &mut before, write)?;
            }
        }
        let name = layout.name(volume.place);
        notes.push(findings::hibernated(&name));
        edits.push(Edit {
            path: name,
            purpose: PURPOSE.to_owned(),
            kind: EditKind::Overwrite {
                offset: OFFSET,
                before: Digest::of(&before),
                after: Digest::of(SWAP),
            },
        });
    }
    Ok(())
}
