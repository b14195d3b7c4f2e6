//! Where the sandbox's programs are.

use std::path::{Path, PathBuf};

use super::error::SandboxError;

/// The programs and modules that a sandbox is made of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Programs {
    /// `replant` itself, which is started again for the helper processes.
    pub replant: PathBuf,
    /// `replant-guest`, the sandbox's init.
    pub guest: PathBuf,
    /// User-mode Linux.
    pub uml: PathBuf,
    /// The directory that holds user-mode Linux's modules, one directory a version.
    pub modules: PathBuf,
}

impl Programs {
    /// Finds them: `replant-guest` beside the running program, user-mode Linux where Debian's
    /// package puts it.
    ///
    /// # Errors
    /// When one of them is not there.
    pub fn find() -> Result<Self, SandboxError> {
        let replant = std::env::current_exe()
            .map_err(|source| SandboxError::Start { step: "find the running program", source })?;
        let guest = replant.with_file_name("replant-guest");
        Self::with(replant, guest)
    }

    /// Where `replant-guest` is when it is beside the running program.
    #[must_use]
    pub fn guest_beside_this() -> Option<PathBuf> {
        std::env::current_exe().ok().map(|path| path.with_file_name("replant-guest"))
    }

    /// With these two programs of Replant's.
    ///
    /// # Errors
    /// When one of them or user-mode Linux is not there.
    pub fn with(replant: PathBuf, guest: PathBuf) -> Result<Self, SandboxError> {
        for (name, path) in [("replant", &replant), ("replant-guest", &guest)] {
            if !path.is_file() {
                return Err(SandboxError::NoProgram { name, looked: path.clone() });
            }
        }
        let uml = std::env::var_os("PATH")
            .iter()
            .flat_map(std::env::split_paths)
            .chain([PathBuf::from("/usr/bin")])
            .map(|directory| directory.join("linux.uml"))
            .find(|path| path.is_file())
            .ok_or_else(|| SandboxError::NoEngine { looked: PathBuf::from("/usr/bin/linux.uml") })?;
        let modules = Path::new("/usr/lib/uml/modules");
        if !modules.is_dir() {
            return Err(SandboxError::NoModules { looked: modules.to_owned() });
        }
        Ok(Self { replant, guest, uml, modules: modules.to_owned() })
    }
}
