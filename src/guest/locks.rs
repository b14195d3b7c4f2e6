//! `chattr +i` and `+a`: files that their administrator has locked against change. An edit takes the
//! lock off for its own duration and puts it back.

use std::os::fd::OwnedFd;

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

/// A file or directory whose lock is off; dropped, it is locked as before.
#[derive(Debug)]
pub struct Unlocked {
    file: OwnedFd,
    flags: IFlags,
}

impl Unlocked {
    /// Takes the lock off a file or directory that is open for reading; `None` when there is none, or
    /// the filesystem knows no such thing (the edit itself then says what is refused).
    #[must_use]
    pub fn new(file: OwnedFd) -> Option<Self> {
        let locks = IFlags::IMMUTABLE | IFlags::APPEND;
        let flags = ioctl_getflags(&file).ok().filter(|flags| flags.intersects(locks))?;
        ioctl_setflags(&file, flags.difference(locks)).ok()?;
        Some(Self { file, flags })
    }
}

impl Drop for Unlocked {
    fn drop(&mut self) {
        // A filesystem that let the lock be taken off a moment ago takes it back; one that fails in
        // between fails the edit, and with it the whole preparation.
        let _refused = ioctl_setflags(&self.file, self.flags);
    }
}
