//! What an init must do: mounts of its own, modules, devices, the end.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::MountFlags;

use crate::guest::kernel::{self, KernelError};

/// Why the sandbox's system does not stand.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// One of the kernel's own filesystems cannot be mounted.
    #[error("cannot mount {what}: {source}")]
    Mount {
        /// Which.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A module is missing.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// Mounts what the kernel offers of itself and loads the modules.
///
/// # Errors
/// When a mount or a module is refused.
pub fn set_up() -> Result<(), SystemError> {
    for (kind, target) in [("proc", c"/proc"), ("sysfs", c"/sys"), ("devtmpfs", c"/dev"), ("tmpfs", c"/run")]
    {
        rustix::mount::mount(kind, target, kind, MountFlags::empty(), None)
            .map_err(|errno| SystemError::Mount { what: kind, source: errno.into() })?;
    }
    kernel::start()?;
    Ok(())
}

/// The block devices by the serial that the block server gave them.
///
/// # Errors
/// When the kernel's list cannot be read.
pub fn disks() -> io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/sys/block")? {
        let entry = entry?;
        if let Ok(serial) = fs::read_to_string(entry.path().join("serial")) {
            found.push((serial.trim().to_owned(), Path::new("/dev").join(entry.file_name())));
        }
    }
    Ok(found)
}

/// Writes a line on the console.
pub fn tell(text: &str) {
    // The console is all there is; without it there is nobody to tell.
    let _unheard = rustix::io::write(rustix::stdio::stdout(), format!("{text}\n").as_bytes());
}

/// Writes everything out and ends the kernel.
pub fn power_off() {
    rustix::fs::sync();
    // Process 1 ends right after, which ends the kernel too, if less politely.
    let _refused = rustix::system::reboot(rustix::system::RebootCommand::PowerOff);
}
