//! Locks against other programs: `flock`, and open-file-description locks as QEMU takes them.

use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// How often a lock is tried: udev holds one on a device for a moment while it looks at it.
const TRIES: u32 = 10;
const WAIT: Duration = Duration::from_millis(100);

/// Takes both locks of the whole file, or says that someone else has one. They last until the
/// file is closed.
pub(super) fn exclusive(file: &File) -> io::Result<bool> {
    for attempt in 0..TRIES {
        if attempt > 0 {
            std::thread::sleep(WAIT);
        }
        match file.try_lock() {
            Ok(()) => return open_file_description(file),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) if unsupported(&error) => return open_file_description(file),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(false)
}

fn open_file_description(file: &File) -> io::Result<bool> {
    // QEMU locks single bytes from 100 on for what it does with an image; the whole file
    // conflicts with every one of them.
    let lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open for the call's duration, and `lock` is a valid `flock`
    // that the kernel only reads.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    if result == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EACCES) => Ok(false),
        _ if unsupported(&error) => Ok(true),
        _ => Err(error),
    }
}

/// Filesystems without locks say one of these; there is then nobody to keep out.
fn unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOLCK | libc::ENOSYS | libc::EOPNOTSUPP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_one_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let first = File::options().write(true).open(file.path()).unwrap();
        let second = File::options().write(true).open(file.path()).unwrap();
        assert!(exclusive(&first).unwrap());
        assert!(!exclusive(&second).unwrap());
        drop(first);
        assert!(exclusive(&second).unwrap());
    }
}
