//! Assembling an array by the kernel's calls (`linux/raid/md_u.h`, `Documentation/admin-guide/md`).

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const SET_ARRAY_INFO: libc::c_ulong = 0x4048_0923;
const ADD_NEW_DISK: libc::c_ulong = 0x4014_0921;
const RUN_ARRAY: libc::c_ulong = 0x400c_0930;
const STOP_ARRAY: libc::c_ulong = 0x0932;
const PARAMETERS: &str = "/sys/module/md_mod/parameters";

/// A running array.
#[derive(Debug)]
pub struct Array {
    name: String,
    device: File,
}

impl Array {
    /// Assembles the array `md<number>` of these devices, whose superblocks have this version.
    /// The module of its level must be loaded. Nothing is rebuilt or compared in the sandbox:
    /// that is the guest's affair, and would change whole disks.
    ///
    /// # Errors
    /// When the kernel refuses: too few members, or superblocks that do not fit each other.
    pub fn assemble(number: usize, version: (u32, u32), members: &[PathBuf]) -> io::Result<Self> {
        let name = format!("md{number}");
        // Read-only until the first write, so that there is time to forbid rebuilding.
        fs::write(Path::new(PARAMETERS).join("start_ro"), "1")?;
        fs::write(Path::new(PARAMETERS).join("new_array"), &name)?;
        let device = File::options().read(true).write(true).open(Path::new("/dev").join(&name))?;
        let array = Self { name, device };
        match array.run(version, members) {
            Ok(()) => Ok(array),
            Err(error) => {
                let _gone = array.stop();
                Err(error)
            }
        }
    }

    fn run(&self, version: (u32, u32), members: &[PathBuf]) -> io::Result<()> {
        // 18 numbers, of which only the version is said: the superblocks hold the rest.
        let mut info = [0_u32; 18];
        (info[0], info[1]) = version;
        self.call(SET_ARRAY_INFO, info.as_ptr().cast())?;
        for member in members {
            let device = fs::metadata(member)?.rdev();
            let disk = [0, libc::major(device), libc::minor(device), 0, 0];
            self.call(ADD_NEW_DISK, disk.as_ptr().cast())?;
        }
        self.call(RUN_ARRAY, std::ptr::null())?;
        let action = Path::new("/sys/block").join(&self.name).join("md/sync_action");
        // RAID 0 and linear arrays have nothing to rebuild, and no such file.
        if action.exists() { fs::write(action, "frozen") } else { Ok(()) }
    }

    /// The array's device.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }

    /// How many members it runs without.
    #[must_use]
    pub fn missing(&self) -> u32 {
        let path = Path::new("/sys/block").join(&self.name).join("md/degraded");
        fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    /// Ends it; the members' superblocks are then clean and equal.
    ///
    /// # Errors
    /// When it is in use.
    pub fn stop(&self) -> io::Result<()> {
        self.call(STOP_ARRAY, std::ptr::null())
    }

    fn call(&self, number: libc::c_ulong, argument: *const libc::c_void) -> io::Result<()> {
        // SAFETY: each call's argument is of the kernel's layout and lives until it returns; the
        // calls with none take none.
        let outcome = unsafe { libc::ioctl(self.device.as_raw_fd(), number, argument) };
        if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
