//! Mounting NTFS by ntfs-3g, behind its own gate: nothing is ever cleared on the way, and only what
//! Windows would put in place itself is.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::mount::UnmountFlags;

use super::files::Files;
use crate::guest::kernel;
use crate::guest::program;
use crate::guest::tree::Tree;

/// Where the sandbox has the programs.
const NTFS_3G: &str = "/bin/ntfs-3g";
const PROBE: &str = "/bin/ntfs-3g.probe";
const FIX: &str = "/bin/ntfsfix";
const RECOVER: &str = "/bin/ntfsrecover";
/// Longest that ntfsrecover may take; the largest logs that Windows makes by itself have 64 MiB.
const RECOVERING: Duration = Duration::from_secs(50);
/// Where a volume is mounted to tell why it is closed.
const ASIDE: &str = "/run/gate";
/// Where a hibernated session lies, and how it begins (both are seen); one that is shorter than its
/// header is another volume's, which says that this one is part of the session.
const SESSION: &str = "/hiberfil.sys";
const SESSIONS: [&[u8]; 2] = [b"hibr", b"HIBR"];
const SESSION_HEADER: u64 = 4096;

/// What stands between a volume and changing it (`ntfs-3g.probe(8)`, "EXIT CODES").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Nothing.
    Open,
    /// Windows is hibernated, or was shut down by Fast Startup, which is the same.
    Hibernated,
    /// Windows was running: what its log holds is not in place yet.
    Unclean,
    /// It is damaged, or no NTFS that ntfs-3g knows; the program's own number.
    Damaged(i32),
    /// The sandbox has no ntfs-3g.
    NoTools,
}

/// Asks whether a volume can be mounted to be changed.
pub fn gate(device: &Path) -> Gate {
    if !Path::new(PROBE).is_file() || !Path::new(NTFS_3G).is_file() {
        return Gate::NoTools;
    }
    let status = Command::new(PROBE)
        .arg("--readwrite")
        .arg(device)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match status.ok().and_then(|status| status.code()) {
        Some(0) => Gate::Open,
        // What ntfs-3g also says when Windows 8 or later was running: its log is then of version 2.0.
        Some(14) if !has_session(device) => Gate::Unclean,
        Some(14) => Gate::Hibernated,
        Some(15) => Gate::Unclean,
        Some(code) => Gate::Damaged(code),
        None => Gate::Damaged(-1),
    }
}

/// Whether a session lies on a volume; where that cannot be told, it does.
fn has_session(device: &Path) -> bool {
    let Ok(ntfs) = Ntfs::mount(device, Path::new(ASIDE), false) else { return true };
    let found = Tree::open(Path::new(ASIDE)).map_or(true, |tree| {
        let files = Files::new(tree, "");
        match files.find(SESSION) {
            Ok(Some(path)) => files.tree().read_at(&path, 0, SESSION_HEADER).map_or(true, |header| {
                (header.len() as u64) < SESSION_HEADER
                    || SESSIONS.iter().any(|magic| header.starts_with(magic))
            }),
            Ok(None) => false,
            Err(_) => true,
        }
    });
    ntfs.unmount().is_err() || found
}

/// Puts what waits in the log of an NTFS in place: the changes of transactions that were committed, as
/// Windows does when it mounts the volume. Only works out whether it can be done unless `write`. Gives
/// how many records of the log that are (`ntfsrecover(8)`).
///
/// # Errors
/// When ntfsrecover is not there, cannot read the log, or does not come to an end.
pub fn apply_log(device: &Path, write: bool) -> io::Result<u32> {
    let mut command = Command::new(RECOVER);
    // Asked for by logs of version 2.0, which Windows 8 and later keep while they run. What it gives up is a
    // hibernated session, and there is none: the gate says so.
    command.arg("--kill-fast-restart");
    if !write {
        command.arg("--no-action");
    }
    let (status, said) = program::bounded(command.arg(device), RECOVERING)?;
    let said = String::from_utf8_lossy(&said);
    if !status.success() {
        let last = said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("ntfsrecover failed");
        return Err(io::Error::other(last.to_owned()));
    }
    let played = said.split("after playing ").nth(1).and_then(|rest| rest.split(' ').next());
    Ok(played.and_then(|count| count.parse().ok()).unwrap_or_default())
}

/// Clears the log of an NTFS, and marks the volume so that Windows checks it when it starts.
///
/// # Errors
/// When ntfsfix is not there or finds what it cannot mend. Of a hibernated volume it says so, too, once
/// it has done both.
pub fn clear_log(device: &Path) -> io::Result<()> {
    let output = Command::new(FIX).arg(device).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("ntfsfix failed");
    Err(io::Error::other(said.to_owned()))
}

/// A mounted NTFS, unmounted when it is dropped.
#[derive(Debug)]
pub struct Ntfs {
    at: PathBuf,
    is_mounted: bool,
}

impl Ntfs {
    /// Mounts a volume.
    ///
    /// # Errors
    /// When FUSE or ntfs-3g refuses, with what it said.
    pub fn mount(device: &Path, at: &Path, writable: bool) -> io::Result<Self> {
        Self::mount_with(device, at, writable, "")
    }

    /// Mounts a volume to be changed, and removes the session of a hibernated Windows.
    ///
    /// # Errors
    /// As [`Ntfs::mount`].
    pub fn mount_without_session(device: &Path, at: &Path) -> io::Result<Self> {
        Self::mount_with(device, at, true, ",remove_hiberfile")
    }

    fn mount_with(device: &Path, at: &Path, writable: bool, more: &str) -> io::Result<Self> {
        kernel::want("fuse").map_err(io::Error::other)?;
        std::fs::create_dir_all(at)?;
        // `norecover`: without it a volume that was in use has its log cleared.
        // `big_writes`: else every 4 KiB are a round trip.
        let access = if writable { "rw,big_writes" } else { "ro" };
        let options = format!("{access},windows_names,norecover,noatime,streams_interface=none{more}");
        let output =
            Command::new(NTFS_3G).arg("-o").arg(options).arg(device).arg(at).stdin(Stdio::null()).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("ntfs-3g refused");
            return Err(io::Error::other(said.to_owned()));
        }
        let mounted = Self { at: at.to_owned(), is_mounted: true };
        // ntfs-3g falls back to that without failing.
        if writable && statvfs(at)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
            return Err(io::Error::other("ntfs-3g mounts it only to be read"));
        }
        Ok(mounted)
    }

    /// Unmounts it: everything is then on the device (the kernel waits for the program, since the
    /// filesystem has a block device: `FUSE_DESTROY`).
    ///
    /// # Errors
    /// When it is busy.
    pub fn unmount(mut self) -> io::Result<()> {
        self.is_mounted = false;
        Ok(rustix::mount::unmount(&self.at, UnmountFlags::NOFOLLOW)?)
    }
}

impl Drop for Ntfs {
    fn drop(&mut self) {
        if self.is_mounted {
            // Only on the way out of an error, which is what is said.
            let _unmounted = rustix::mount::unmount(&self.at, UnmountFlags::DETACH);
        }
    }
}
