//! Where a state lives.

use std::path::{Path, PathBuf};

/// The files of one state, beside the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// The directory of them all; paths inside the state are relative to it.
    pub directory: PathBuf,
    /// The state.
    pub state: PathBuf,
    /// The state before the last change, for people.
    pub backup: PathBuf,
    /// What happened since the state was written.
    pub journal: PathBuf,
    /// Held while a run changes things. A file of its own: locking the state itself would not
    /// survive the rename that replaces it.
    pub lock: PathBuf,
}

impl Paths {
    /// The state of the configuration in `directory`.
    #[must_use]
    pub fn in_directory(directory: impl AsRef<Path>) -> Self {
        Self::with_stem(directory.as_ref(), "replant.state")
    }

    /// A second state of the same configuration, such as `rehearsal`.
    #[must_use]
    pub fn named(directory: impl AsRef<Path>, name: &str) -> Self {
        Self::with_stem(directory.as_ref(), &format!("replant.{name}.state"))
    }

    fn with_stem(directory: &Path, stem: &str) -> Self {
        let file = |suffix: &str| directory.join(format!("{stem}.{suffix}"));
        Self {
            directory: directory.to_owned(),
            state: file("json"),
            backup: file("json.backup"),
            journal: file("journal"),
            lock: file("lock"),
        }
    }
}
