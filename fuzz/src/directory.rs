//! Directories in memory, one for each thread and name.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

thread_local! {
    static DIRECTORIES: RefCell<HashMap<String, TempDir>> = RefCell::default();
}

/// This thread's directory of a name, made when it is first asked for and removed when the thread
/// ends. A process that a finding ends leaves its own; `fuzz/run` removes those.
///
/// # Panics
/// When it cannot be made.
pub fn directory(name: &str) -> PathBuf {
    DIRECTORIES.with_borrow_mut(|directories| {
        if let Some(directory) = directories.get(name) {
            return directory.path().to_owned();
        }
        let memory = Path::new("/dev/shm");
        let in_memory = std::env::var_os("TMPDIR").is_none() && memory.is_dir();
        let made = if in_memory { TempDir::with_prefix_in("replant-fuzz-", memory) } else { TempDir::new() };
        let made = made.expect("a directory");
        let path = made.path().to_owned();
        directories.insert(name.to_owned(), made);
        path
    })
}
