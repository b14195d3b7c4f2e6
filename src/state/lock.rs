//! The lock: held by a run that changes things, released by the kernel when its process ends,
//! however it ends.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::StateError;
use super::files;
use super::paths::Paths;

/// The most that is read of a lock file; ours has about 200 bytes.
const LIMIT: u64 = 16 * 1024;

/// Who holds a lock, as the lock file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// The machine it runs on.
    pub host: String,
    /// Whose process it is.
    pub user: String,
    /// The command: `apply`.
    pub command: String,
    /// Since when (RFC 3339, UTC).
    pub since: String,
}

impl Holder {
    fn me(command: &str) -> Self {
        let user = std::env::var("USER")
            .or_else(|_| std::env::var("LOGNAME"))
            .unwrap_or_else(|_| format!("user {}", rustix::process::getuid().as_raw()));
        Self {
            pid: std::process::id(),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            user,
            command: command.to_owned(),
            since: Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        }
    }
}

/// The right to change a state, while it lives.
#[derive(Debug)]
pub struct Lock {
    file: File,
    paths: Paths,
}

impl Lock {
    /// Takes the lock without waiting. `command` is shown to whoever finds it taken.
    ///
    /// # Errors
    /// [`StateError::Locked`] when another process holds it (a retry can help); else the file
    /// cannot be made or locked.
    pub fn acquire(paths: &Paths, command: &str) -> Result<Self, StateError> {
        let file = files::open_or_create(&paths.lock)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StateError::Locked {
                    path: paths.lock.clone(),
                    holder: read_holder(file).map(Box::new),
                });
            }
            Err(TryLockError::Error(source)) => {
                return Err(StateError::Lock { path: paths.lock.clone(), source });
            }
        }
        let lock = Self { file, paths: paths.clone() };
        // The lock is held whether or not the file can say by whom (a full disk).
        let _held_anyway = lock.write_holder(&Holder::me(command));
        Ok(lock)
    }

    /// The lock's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.paths.lock
    }

    fn write_holder(&self, holder: &Holder) -> std::io::Result<()> {
        let text = serde_json::to_vec(holder)?;
        let mut file = &self.file;
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(&text)?;
        file.write_all(b"\n")
    }
}

impl Drop for Lock {
    /// Forgets the holder; the file stays, since removing it would let two processes lock two files
    /// of the same name.
    fn drop(&mut self) {
        let _the_lock_is_what_counts = self.file.set_len(0);
        // A child process that was forked a moment ago has the file open too, and would keep the
        // lock until it runs its program.
        let _closing_unlocks_too = self.file.unlock();
    }
}

fn read_holder(file: File) -> Option<Holder> {
    let mut text = Vec::new();
    file.take(LIMIT).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_holds_it() {
        let directory = tempfile::tempdir().unwrap();
        let paths = Paths::in_directory(directory.path());
        let first = Lock::acquire(&paths, "apply").unwrap();
        let error = Lock::acquire(&paths, "destroy").unwrap_err();
        assert!(error.is_retryable());
        let StateError::Locked { holder: Some(holder), .. } = error else { panic!("{error}") };
        assert_eq!((holder.pid, holder.command.as_str()), (std::process::id(), "apply"));
        drop(first);
        Lock::acquire(&paths, "destroy").unwrap();
    }

    #[test]
    fn it_is_free_though_a_child_of_the_moment_has_the_file_open() {
        let directory = tempfile::tempdir().unwrap();
        let paths = Paths::in_directory(directory.path());
        let first = Lock::acquire(&paths, "apply").unwrap();
        // What a fork does: one more descriptor of the same open file.
        let _child = first.file.try_clone().unwrap();
        drop(first);
        Lock::acquire(&paths, "destroy").unwrap();
    }

    #[test]
    fn a_lock_file_with_anything_in_it_can_be_taken() {
        let directory = tempfile::tempdir().unwrap();
        let paths = Paths::in_directory(directory.path());
        std::fs::write(&paths.lock, vec![0xff; 100_000]).unwrap();
        let _lock = Lock::acquire(&paths, "apply").unwrap();
        assert!(std::fs::metadata(&paths.lock).unwrap().len() < 1000);
    }

    #[test]
    fn a_link_in_its_place_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let paths = Paths::in_directory(directory.path());
        let victim = directory.path().join("victim");
        std::fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, &paths.lock).unwrap();
        assert!(matches!(Lock::acquire(&paths, "apply"), Err(StateError::SymbolicLink { .. })));
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    }
}
