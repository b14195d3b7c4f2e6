//! What a jail is to hold and to run: plain data from the parent to the jail's helper process.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A jail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JailSpec {
    /// The parent's process id: when it is gone, so is the jail.
    pub parent: i32,
    /// The files it holds; nothing else is there.
    pub files: Vec<JailFile>,
    /// How many sockets named [`socket_path`] are made in it.
    pub sockets: usize,
    /// The program, by its path in the jail, and its arguments.
    pub program: Vec<String>,
    /// The whole environment.
    pub environment: Vec<(String, String)>,
    /// Bytes of its writable directory `/tmp`.
    pub scratch_bytes: u64,
    /// Seconds until it is ended, however busy.
    pub seconds: u32,
}

/// A file of a jail: a copy, so that no file of the host is within reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JailFile {
    /// The host's file.
    pub from: PathBuf,
    /// Its path in the jail, absolute, below existing or new directories.
    pub to: String,
    /// Whether it can be run.
    pub executable: bool,
}

/// The path of a jail's socket.
#[must_use]
pub fn socket_path(index: usize) -> String {
    format!("/s/{index}")
}
