//! The kernel calls about partitions and filesystem sizes that have no safe wrapper. Numbers and
//! structures are the kernel's: `linux/blkpg.h`, `fs/ext4/ext4.h`, `fs/xfs/libxfs/xfs_fs.h`,
//! `linux/btrfs.h`.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// What to tell the kernel about a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionCall {
    /// It exists.
    Add,
    /// It has another size.
    Resize,
    /// It is no more.
    Remove,
}

const BLKPG: libc::c_ulong = 0x1269;
const EXT4_RESIZE: libc::c_ulong = 0x4008_6610;
const XFS_GROW: libc::c_ulong = 0x4010_586e;
const BTRFS_RESIZE: libc::c_ulong = 0x5000_9403;

#[repr(C)]
struct BlkpgPartition {
    start: libc::c_longlong,
    length: libc::c_longlong,
    number: libc::c_int,
    device_name: [u8; 64],
    volume_name: [u8; 64],
}

#[repr(C)]
struct BlkpgArgument {
    operation: libc::c_int,
    flags: libc::c_int,
    length: libc::c_int,
    data: *mut BlkpgPartition,
}

#[repr(C)]
struct XfsGrow {
    blocks: u64,
    inode_percent: u32,
    padding: u32,
}

#[repr(C)]
struct BtrfsArguments {
    descriptor: i64,
    name: [u8; 4088],
}

fn outcome(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Tells the kernel about a partition of a disk (bytes, whole sectors).
///
/// # Errors
/// When the kernel refuses.
pub fn partition(disk: &File, call: PartitionCall, number: u32, offset: u64, size: u64) -> io::Result<()> {
    let field = |value: u64| i64::try_from(value).map_err(io::Error::other);
    let mut partition = BlkpgPartition {
        start: field(offset)?,
        length: field(size)?,
        number: libc::c_int::try_from(number).map_err(io::Error::other)?,
        device_name: [0; 64],
        volume_name: [0; 64],
    };
    let mut argument = BlkpgArgument {
        operation: match call {
            PartitionCall::Add => 1,
            PartitionCall::Remove => 2,
            PartitionCall::Resize => 3,
        },
        flags: 0,
        length: size_of::<BlkpgPartition>() as libc::c_int,
        data: &raw mut partition,
    };
    // SAFETY: the argument and the partition it points to are of the kernel's layout and live
    // until the call returns.
    outcome(unsafe { libc::ioctl(disk.as_raw_fd(), BLKPG, &raw mut argument) })
}

/// Grows the mounted ext4 that a file or directory is on to so many of its blocks.
///
/// # Errors
/// When the kernel refuses.
pub fn grow_ext4(on: &File, blocks: u64) -> io::Result<()> {
    // SAFETY: the kernel reads one number of 64 bits from the pointer.
    outcome(unsafe { libc::ioctl(on.as_raw_fd(), EXT4_RESIZE, &raw const blocks) })
}

/// Grows the mounted XFS that a file or directory is on to so many of its blocks.
///
/// # Errors
/// When the kernel refuses.
pub fn grow_xfs(on: &File, blocks: u64, inode_percent: u8) -> io::Result<()> {
    let argument = XfsGrow { blocks, inode_percent: inode_percent.into(), padding: 0 };
    // SAFETY: the kernel reads the structure, which is of its layout, from the pointer.
    outcome(unsafe { libc::ioctl(on.as_raw_fd(), XFS_GROW, &raw const argument) })
}

/// Grows one device, by its number, of the mounted btrfs that a file or directory is on to the
/// device's size.
///
/// # Errors
/// When the kernel refuses.
pub fn grow_btrfs(on: &File, device: u64) -> io::Result<()> {
    let mut argument = BtrfsArguments { descriptor: 0, name: [0; 4088] };
    let text = format!("{device}:max");
    argument.name[..text.len()].copy_from_slice(text.as_bytes());
    // SAFETY: the kernel reads the structure, which is of its layout, from the pointer.
    outcome(unsafe { libc::ioctl(on.as_raw_fd(), BTRFS_RESIZE, &raw const argument) })
}
