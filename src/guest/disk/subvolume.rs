//! Which subvolume of a btrfs is mounted, as the kernel says it.

use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};

/// The filesystem's top, which holds all others (`BTRFS_FS_TREE_OBJECTID`).
pub const TOP: u64 = 5;
/// The inode of a subvolume's root directory (`BTRFS_FIRST_FREE_OBJECTID`).
pub const ROOT_INODE: u64 = 256;

/// A subvolume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subvolume {
    /// Its id.
    pub id: u64,
    /// Its path from the filesystem's top, which is `/`.
    pub path: String,
}

/// The subvolume that is mounted at a directory; `None` when that is no btrfs.
///
/// # Errors
/// When the kernel's list of mounts cannot be read.
pub fn mounted(at: &Path) -> io::Result<Option<Subvolume>> {
    // The list has the place's real path, whatever links led here.
    let directory = rustix::fs::open(at, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let real = rustix::fs::readlinkat(CWD, format!("/proc/self/fd/{}", raw(&directory)), Vec::new())?;
    let list = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(list.lines().rev().find_map(|line| of_line(line, &real.to_string_lossy())))
}

fn raw(descriptor: &impl std::os::fd::AsRawFd) -> i32 {
    descriptor.as_raw_fd()
}

/// A line of `/proc/PID/mountinfo` (proc(5)): the place is its fifth field, the filesystem's own
/// options stand last.
fn of_line(line: &str, place: &str) -> Option<Subvolume> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut fields = filesystem.split(' ');
    if mount.split(' ').nth(4) != Some(place) || fields.next() != Some("btrfs") {
        return None;
    }
    let options = fields.nth(1)?;
    let after = options.split_once("subvolid=")?.1;
    let (id, rest) = after.split_once(',')?;
    Some(Subvolume { id: id.parse().ok()?, path: rest.strip_prefix("subvol=")?.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel() {
        let line = "31 20 0:24 /@/x /run/look ro,nosuid - btrfs /dev/vda1 ro,space_cache=v2,subvolid=258,subvol=/@/x";
        let found = Subvolume { id: 258, path: "/@/x".to_owned() };
        assert_eq!(of_line(line, "/run/look"), Some(found));
        assert_eq!(of_line(line, "/run"), None);
        assert_eq!(of_line("31 20 0:24 / /run/look ro - ext4 /dev/vda1 ro", "/run/look"), None);
        assert_eq!(of_line("31 - btrfs", "/run/look"), None);
        assert_eq!(of_line("", ""), None);
        assert_eq!(mounted(Path::new("/proc")).unwrap(), None);
    }
}
