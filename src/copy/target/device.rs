//! What Linux says of a block device: who uses it, and what it is part of.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor};

use super::TargetError;

/// A device's number, as in `/sys/dev/block/8:0`.
type Number = (u32, u32);

fn number(device: u64) -> Number {
    (major(device), minor(device))
}

fn sysfs((major, minor): Number) -> io::Result<PathBuf> {
    fs::canonicalize(format!("/sys/dev/block/{major}:{minor}"))
}

fn read_number(directory: &Path) -> Option<Number> {
    let text = fs::read_to_string(directory.join("dev")).ok()?;
    let (major, minor) = text.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn name(directory: &Path) -> String {
    let name = directory.file_name().map_or_else(Default::default, |name| name.to_string_lossy());
    // sysfs writes `!` where the name of the node has a slash.
    format!("/dev/{}", name.replace('!', "/"))
}

/// A block device in sysfs.
#[derive(Debug)]
pub(super) struct Device {
    number: Number,
    directory: PathBuf,
}

impl Device {
    /// The device with this number, as `st_rdev` gives it.
    pub(super) fn find(device: u64) -> io::Result<Self> {
        let number = number(device);
        Ok(Self { number, directory: sysfs(number)? })
    }

    /// Whether it is set read-only.
    pub(super) fn is_read_only(&self) -> bool {
        fs::read_to_string(self.directory.join("ro")).is_ok_and(|text| text.trim() == "1")
    }

    /// The file that a loop device shows.
    pub(super) fn backing_file(&self) -> Option<PathBuf> {
        let whole = self.whole_disk().unwrap_or_else(|| self.directory.clone());
        loop_backing_file(&whole)
    }

    /// What is known of it that stays the same when it is attached again.
    pub(super) fn serial(&self) -> Option<String> {
        ["dm/uuid", "device/serial", "serial", "wwid", "device/wwid", "loop/backing_file"]
            .iter()
            .filter_map(|name| fs::read_to_string(self.directory.join(name)).ok())
            .map(|text| text.trim().to_owned())
            .find(|text| !text.is_empty())
    }

    /// Its name under `/dev`.
    pub(super) fn name(&self) -> String {
        name(&self.directory)
    }

    /// The disk of which it is a partition.
    fn whole_disk(&self) -> Option<PathBuf> {
        self.directory.join("partition").exists().then(|| self.directory.parent().map(Path::to_owned))?
    }

    /// The device, its partitions, and the disk of which it is a partition.
    fn family(&self) -> io::Result<Vec<(Number, PathBuf)>> {
        let mut family = vec![(self.number, self.directory.clone())];
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if path.join("partition").exists()
                && let Some(number) = read_number(&path)
            {
                family.push((number, path));
            }
        }
        if let Some(disk) = self.whole_disk()
            && let Some(number) = read_number(&disk)
        {
            family.push((number, disk));
        }
        Ok(family)
    }

    /// Refuses it when anything uses it, a partition of it, or the disk it is part of.
    pub(super) fn refuse_if_used(&self, path: &Path) -> Result<(), TargetError> {
        let inspect = |place: &Path| {
            let place = place.to_owned();
            move |source| TargetError::Inspect { path: place, source }
        };
        let family = self.family().map_err(inspect(&self.directory))?;
        let numbers: BTreeSet<Number> = family.iter().map(|(number, _)| *number).collect();

        if root_devices().map_err(inspect(Path::new("/")))?.intersection(&numbers).next().is_some() {
            return Err(TargetError::BacksRoot { path: path.to_owned() });
        }
        let mountinfo = Path::new("/proc/self/mountinfo");
        for mount in mounts(&fs::read(mountinfo).map_err(inspect(mountinfo))?) {
            let mounted = mount.devices().into_iter().find(|number| numbers.contains(number));
            if let Some((_, place)) = family.iter().find(|(number, _)| Some(*number) == mounted) {
                return Err(TargetError::Mounted {
                    path: path.to_owned(),
                    device: name(place),
                    mount_point: mount.point,
                });
            }
        }
        for swap in swaps().map_err(inspect(Path::new("/proc/swaps")))? {
            let device = fs::metadata(&swap).ok().filter(|m| m.file_type().is_block_device());
            if device.is_some_and(|metadata| numbers.contains(&number(metadata.rdev()))) {
                let device = swap.display().to_string();
                return Err(TargetError::Swap { path: path.to_owned(), device });
            }
        }
        for place in entries(Path::new("/sys/block")).map_err(inspect(Path::new("/sys/block")))? {
            // A loop device over a device is no holder of it, and does not claim it.
            let backing = loop_backing_file(&place).and_then(|path| fs::metadata(path).ok());
            let shown = backing.filter(|of| of.file_type().is_block_device()).map(|of| number(of.rdev()));
            if let Some((_, shown)) = family.iter().find(|(number, _)| shown == Some(*number)) {
                let (path, device, holder) = (path.to_owned(), name(shown), name(&place));
                return Err(TargetError::Held { path, device, holder });
            }
        }
        for (_, place) in &family {
            if let Some(holder) = entries(&place.join("holders")).map_err(inspect(place))?.first() {
                return Err(TargetError::Held {
                    path: path.to_owned(),
                    device: name(place),
                    holder: name(holder),
                });
            }
        }
        Ok(())
    }
}

/// Flushes what the page cache holds of a block device and gives it up.
pub(super) fn drop_cache(device: &File) {
    // SAFETY: `BLKFLSBUF` takes no argument and touches no memory of ours; the descriptor is open
    // for the call's duration. Its result is not needed: without the right to it, or on something
    // that does not know it, the cache stays as it is.
    unsafe {
        libc::ioctl(device.as_raw_fd(), BLKFLSBUF, 0);
    }
}

/// `_IO(0x12, 97)` of linux/fs.h.
const BLKFLSBUF: libc::Ioctl = 0x1261;

/// The loop device that shows this file (by device and inode), if any.
pub(super) fn loop_over(file: &fs::Metadata) -> io::Result<Option<String>> {
    for place in entries(Path::new("/sys/block"))? {
        let backing = loop_backing_file(&place).and_then(|path| fs::metadata(path).ok());
        if backing.is_some_and(|backing| (backing.dev(), backing.ino()) == (file.dev(), file.ino())) {
            return Ok(Some(name(&place)));
        }
    }
    Ok(None)
}

/// Whether this file is swap space.
pub(super) fn is_swap_file(file: &fs::Metadata) -> io::Result<bool> {
    Ok(swaps()?
        .iter()
        .filter_map(|path| fs::metadata(path).ok())
        .any(|swap| (swap.dev(), swap.ino()) == (file.dev(), file.ino())))
}

fn loop_backing_file(directory: &Path) -> Option<PathBuf> {
    let mut text = fs::read(directory.join("loop/backing_file")).ok()?;
    while text.last() == Some(&b'\n') {
        text.pop();
    }
    Some(PathBuf::from(OsString::from_vec(text)))
}

fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The devices that carry `/`, with everything they are built on.
fn root_devices() -> io::Result<BTreeSet<Number>> {
    let mut found = BTreeSet::new();
    let mut next = vec![number(fs::metadata("/")?.dev())];
    while let Some(number) = next.pop() {
        // Root on a filesystem without a device (overlay, tmpfs, NFS) has no such directory.
        let Ok(directory) = sysfs(number) else { continue };
        if !found.insert(number) {
            continue;
        }
        let device = Device { number, directory };
        next.extend(device.whole_disk().as_deref().and_then(read_number));
        next.extend(entries(&device.directory.join("slaves"))?.iter().filter_map(|path| read_number(path)));
    }
    Ok(found)
}

/// One line of `/proc/self/mountinfo`.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    number: Option<Number>,
    point: PathBuf,
    source: PathBuf,
}

impl Mount {
    /// The devices it stands for: btrfs shows a number of its own, so its source counts too.
    fn devices(&self) -> Vec<Number> {
        let source = fs::metadata(&self.source).ok().filter(|m| m.file_type().is_block_device());
        self.number.into_iter().chain(source.map(|metadata| number(metadata.rdev()))).collect()
    }
}

fn mounts(mountinfo: &[u8]) -> Vec<Mount> {
    let line = |line: &[u8]| {
        let mut fields = line.split(|byte| *byte == b' ').skip(2);
        let number = std::str::from_utf8(fields.next()?).ok()?.split_once(':')?;
        let point = unescape(fields.nth(1)?);
        let source = unescape(fields.skip_while(|field| *field != b"-").nth(2)?);
        let number = number.0.parse().ok().zip(number.1.parse().ok());
        Some(Mount { number, point, source })
    };
    mountinfo.split(|byte| *byte == b'\n').filter_map(line).collect()
}

fn swaps() -> io::Result<Vec<PathBuf>> {
    match fs::read("/proc/swaps") {
        Ok(text) => Ok(text
            .split(|byte| *byte == b'\n')
            .skip(1)
            .filter_map(|line| line.split(|byte| matches!(byte, b' ' | b'\t')).next())
            .filter(|path| !path.is_empty())
            .map(unescape)
            .collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Undoes the octal escapes (`\040`) of the kernel's tables.
fn unescape(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = rest.get(1..4).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(value) if byte == b'\\' => {
                bytes.push(value);
                rest = &rest[4..];
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    PathBuf::from(std::ffi::OsStr::from_bytes(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_is_read_with_escapes_and_optional_fields() {
        let text = b"36 35 98:0 / /mnt/a\\040b rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n\
            37 35 0:40 /sub /data rw shared:2 master:3 - btrfs /dev/sdb1 rw\nnonsense\n";
        let found = mounts(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].number, Some((98, 0)));
        assert_eq!(found[0].point, Path::new("/mnt/a b"));
        assert_eq!(found[1].source, Path::new("/dev/sdb1"));
    }

    #[test]
    fn a_backslash_that_escapes_nothing_stays() {
        assert_eq!(unescape(b"/a\\b\\0"), Path::new("/a\\b\\0"));
    }

    #[test]
    fn the_devices_of_the_root_are_refused() {
        for number in root_devices().unwrap() {
            let device = Device { number, directory: sysfs(number).unwrap() };
            let refused = device.refuse_if_used(Path::new("/dev/root"));
            assert!(matches!(refused, Err(TargetError::BacksRoot { .. })), "{refused:?}");
        }
    }

    #[test]
    fn a_holder_of_the_device_its_disk_or_a_partition_is_a_refusal() {
        let place = |root: &Path, name: &str, number: &str| {
            let directory = root.join(name);
            fs::create_dir_all(directory.join("holders")).unwrap();
            fs::write(directory.join("dev"), number).unwrap();
            directory
        };
        for held in ["", "sdz1"] {
            let root = tempfile::tempdir().unwrap();
            let disk = place(root.path(), "sdz", "4000:0\n");
            let partition = place(&disk, "sdz1", "4000:1\n");
            fs::write(partition.join("partition"), "1\n").unwrap();
            let holders = disk.join(held).join("holders");
            let devices = [
                Device { number: (4000, 0), directory: disk },
                Device { number: (4000, 1), directory: partition },
            ];
            for device in &devices {
                assert!(device.refuse_if_used(Path::new("target")).is_ok(), "{device:?}");
            }
            fs::create_dir(holders.join("dm-7")).unwrap();
            for device in &devices {
                let refused = device.refuse_if_used(Path::new("target"));
                let Err(TargetError::Held { holder, .. }) = &refused else { panic!("{refused:?}") };
                assert_eq!(holder, "/dev/dm-7");
            }
        }
    }
}
