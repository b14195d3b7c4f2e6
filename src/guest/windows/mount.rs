//! Mounting NTFS by ntfs-3g, behind its own gate: nothing is ever cleared or mended on the way.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::mount::UnmountFlags;

use crate::guest::kernel;

/// Where the sandbox has the programs.
const NTFS_3G: &str = "/bin/ntfs-3g";
const PROBE: &str = "/bin/ntfs-3g.probe";

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
        Some(14) => Gate::Hibernated,
        Some(15) => Gate::Unclean,
        Some(code) => Gate::Damaged(code),
        None => Gate::Damaged(-1),
    }
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
        kernel::want("fuse").map_err(io::Error::other)?;
        std::fs::create_dir_all(at)?;
        // `norecover`: without it a volume that was in use has its log cleared.
        // `big_writes`: else every 4 KiB are a round trip.
        let access = if writable { "rw,big_writes" } else { "ro" };
        let options = format!("{access},windows_names,norecover,noatime,streams_interface=none");
        let output =
            Command::new(NTFS_3G).arg("-o").arg(options).arg(device).arg(at).stdin(Stdio::null()).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("ntfs-3g refused");
            return Err(io::Error::other(said.to_owned()));
        }
        Ok(Self { at: at.to_owned(), is_mounted: true })
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
