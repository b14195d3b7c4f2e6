//! Devices made of parts of other devices: the kernel's device mapper (`linux/dm-ioctl.h`, and the
//! kernel's `Documentation/admin-guide/device-mapper`).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// Bytes of the structure before a call's data.
const HEADER: usize = 312;
/// Most bytes of one call, of which the kernel takes 1 MiB and more.
const MAX_CALL: usize = 1 << 20;
const NAME: std::ops::Range<usize> = 48..176;
const RESIZABLE: libc::c_ulong = 0xc138_fd00;

const CREATE: libc::c_ulong = 3;
const REMOVE: libc::c_ulong = 4;
const SUSPEND: libc::c_ulong = 6;
const TABLE_LOAD: libc::c_ulong = 9;
const MESSAGE: libc::c_ulong = 14;

/// One line of a device's table, in sectors of 512 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Where it begins on the device.
    pub start: u64,
    /// How long it is.
    pub length: u64,
    /// What it is: `linear`, `striped`, `raid` …
    pub kind: &'static str,
    /// What it is made of, as the target's documentation says.
    pub parameters: String,
}

/// The device mapper.
#[derive(Debug)]
pub struct Mapper {
    control: File,
}

impl Mapper {
    /// Opens it; its module must be loaded.
    ///
    /// # Errors
    /// When it is not there.
    pub fn open() -> io::Result<Self> {
        Ok(Self { control: File::options().read(true).write(true).open("/dev/mapper/control")? })
    }

    /// Makes a device and gives its path.
    ///
    /// # Errors
    /// When the kernel refuses; nothing is left then.
    pub fn create(&self, name: &str, table: &[Target]) -> io::Result<PathBuf> {
        let header = self.call(CREATE, name, &[], 0)?;
        let made = self.load(name, table);
        if let Err(error) = made {
            let _gone = self.remove(name);
            return Err(error);
        }
        let number = header.get(40..48).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
        let minor = (number & 0xff) | ((number >> 12) & 0xfff00);
        Ok(Path::new("/dev").join(format!("dm-{minor}")))
    }

    /// Gives a device another table; who uses it waits a moment.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn load(&self, name: &str, table: &[Target]) -> io::Result<()> {
        let mut data = Vec::new();
        for target in table {
            let start = data.len();
            data.extend(target.start.to_le_bytes());
            data.extend(target.length.to_le_bytes());
            data.extend([0; 8]);
            let mut kind = [0; 16];
            let word = kind.get_mut(..target.kind.len()).ok_or(io::ErrorKind::InvalidInput)?;
            word.copy_from_slice(target.kind.as_bytes());
            data.extend(kind);
            data.extend(target.parameters.bytes());
            data.push(0);
            data.resize(data.len().next_multiple_of(8), 0);
            let length = u32::try_from(data.len() - start).map_err(io::Error::other)?;
            data[start + 20..start + 24].copy_from_slice(&length.to_le_bytes());
        }
        let count = u32::try_from(table.len()).map_err(io::Error::other)?;
        self.call(TABLE_LOAD, name, &data, count)?;
        // Without its flag, the call for suspending resumes, with the table that was loaded.
        self.call(SUSPEND, name, &[], 0).map(|_| ())
    }

    /// Tells a target of a device something.
    ///
    /// # Errors
    /// When the target does not take it.
    pub fn message(&self, name: &str, text: &str) -> io::Result<()> {
        let mut data = vec![0; 8];
        data.extend(text.bytes());
        data.push(0);
        self.call(MESSAGE, name, &data, 0).map(|_| ())
    }

    /// Takes a device away; what it held back is written before.
    ///
    /// # Errors
    /// When it is in use.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        self.call(REMOVE, name, &[], 0).map(|_| ())
    }

    fn call(&self, number: libc::c_ulong, name: &str, data: &[u8], targets: u32) -> io::Result<Vec<u8>> {
        let size = HEADER + data.len();
        let long = name.len() >= NAME.len() || name.contains('\0') || size > MAX_CALL;
        if long {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut buffer = vec![0; size];
        let fields = [4, 0, 0, size as u32, HEADER as u32, targets];
        for (field, value) in buffer.chunks_exact_mut(4).zip(fields) {
            field.copy_from_slice(&value.to_le_bytes());
        }
        buffer[NAME][..name.len()].copy_from_slice(name.as_bytes());
        buffer[HEADER..].copy_from_slice(data);
        // SAFETY: the buffer begins with the kernel's structure, which says how long it is; the
        // kernel writes no further.
        let outcome =
            unsafe { libc::ioctl(self.control.as_raw_fd(), RESIZABLE | number, buffer.as_mut_ptr()) };
        if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(buffer) }
    }
}
