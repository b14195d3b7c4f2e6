//! Mounting a guest's filesystems by the sandbox's kernel, at places that the guest's own
//! symbolic links cannot bend.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::{MountFlags, UnmountFlags};

use super::jfs;
use super::layout::{Layout, Source, Volume};
use crate::guest::linux::fstab;

/// Mounts that are undone in reverse order.
#[derive(Debug, Default)]
pub struct Mounts {
    done: Vec<PathBuf>,
}

/// What to mount.
#[derive(Debug, Clone, Copy)]
pub struct Filesystem<'a> {
    /// Its device.
    pub device: &'a Path,
    /// Its kind, as probed.
    pub kind: &'a str,
    /// The other devices of a btrfs that has several.
    pub members: &'a [PathBuf],
    /// Of a btrfs, the options that choose its subvolume: `subvol=@`, `subvolid=258`.
    pub subvolume: Option<&'a str>,
    /// Whether it is to be changed.
    pub writable: bool,
}

impl<'a> Filesystem<'a> {
    /// A volume's filesystem.
    #[must_use]
    pub fn of(source: &'a Source, volume: &Volume, subvolume: Option<&'a str>, writable: bool) -> Self {
        let Source { device, members } = source;
        Self { device, kind: volume.content.kind, members, subvolume, writable }
    }
}

impl Mounts {
    /// Mounts at a directory of the sandbox's own, which is made.
    ///
    /// # Errors
    /// When the kernel refuses: the filesystem is damaged or of a kind that it does not know.
    pub fn mount(&mut self, filesystem: Filesystem<'_>, at: &Path) -> io::Result<()> {
        fs::create_dir_all(at)?;
        self.mount_at(filesystem, at, at)
    }

    /// Mounts at `target`, a path from the guest's root, which is mounted at `root`. Symbolic
    /// links are followed within the guest's root only.
    ///
    /// # Errors
    /// When the directory does not exist in the guest or the kernel refuses.
    pub fn mount_below(&mut self, filesystem: Filesystem<'_>, root: &Path, target: &str) -> io::Result<()> {
        let base = rustix::fs::openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        let relative = Path::new(target.trim_start_matches('/'));
        let directory = rustix::fs::openat2(
            &base,
            relative,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )?;
        let opened = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
        // The place's real path is what unmounting needs; the descriptor is closed by then.
        let real = fs::read_link(&opened)?;
        self.mount_at(filesystem, &opened, &real)
    }

    /// Mounts what a line of the guest's fstab names, which is this volume.
    ///
    /// # Errors
    /// Those of [`Layout::source`] and [`Mounts::mount_below`].
    pub fn mount_line(
        &mut self,
        layout: &Layout,
        volume: &Volume,
        line: &fstab::Mount,
        root: &Path,
        writable: bool,
    ) -> io::Result<()> {
        let source = layout.source(volume)?;
        let subvolume = line.subvolume();
        self.mount_below(Filesystem::of(&source, volume, subvolume.as_deref(), writable), root, &line.target)
    }

    fn mount_at(&mut self, filesystem: Filesystem<'_>, at: &Path, real: &Path) -> io::Result<()> {
        let Filesystem { device, kind, members, subvolume, writable } = filesystem;
        let options = match kind {
            // Whatever the superblock says: a guest's damage must not stop the sandbox's kernel.
            "ext2" | "ext3" | "ext4" => "errors=remount-ro".to_owned(),
            "xfs" => "nouuid".to_owned(),
            "vfat" => "codepage=437,iocharset=iso8859-1,shortname=mixed".to_owned(),
            "btrfs" => {
                let members = members.iter().map(|member| format!("device={}", member.display()));
                members.chain(subvolume.map(str::to_owned)).collect::<Vec<_>>().join(",")
            }
            _ => String::new(),
        };
        let options = CString::new(options).map_err(io::Error::other)?;
        let mut flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::NOATIME;
        if !writable {
            flags |= MountFlags::RDONLY;
        }
        let mount = || rustix::mount::mount(device, at, kind, flags, options.as_c_str());
        match mount() {
            Err(_) if kind == "jfs" && writable && jfs::can_mend() => {
                jfs::mend(device)?;
                mount()?;
            }
            mounted => mounted?,
        }
        self.done.push(real.to_owned());
        Ok(())
    }

    /// Unmounts all, the last first. Everything is then on the devices.
    ///
    /// # Errors
    /// When a filesystem cannot be unmounted; the rest still is.
    pub fn unmount(&mut self) -> io::Result<()> {
        let mut outcome = Ok(());
        while let Some(place) = self.done.pop() {
            if let Err(errno) = rustix::mount::unmount(&place, UnmountFlags::NOFOLLOW) {
                outcome = Err(errno.into());
            }
        }
        outcome
    }
}
