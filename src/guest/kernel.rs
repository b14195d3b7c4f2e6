//! The modules of the sandbox's kernel: some are loaded at the start, others when a guest needs
//! what they do.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Where the initial filesystem holds the modules, one directory a kernel version: `order` lists
/// what is loaded at the start, `wanted` has a line for each module that may be asked for, with
/// what to load for it.
const MODULES: &str = "/modules";

/// Why a module is not loaded.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The list of modules cannot be read.
    #[error("there are no modules for kernel {version}: {source}")]
    NoModules {
        /// The running kernel's version.
        version: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A module cannot be loaded.
    #[error("cannot load {name}: {source}")]
    Load {
        /// Its file.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Loads the modules that every sandbox needs.
///
/// # Errors
/// When one is refused.
pub fn start() -> Result<(), KernelError> {
    let (directory, order) = list("order")?;
    order.lines().try_for_each(|name| load(&directory, name))
}

/// Loads a module with what it needs. One that is built in, or unknown, is not missed here: what
/// needs it says so.
///
/// # Errors
/// When one is refused.
pub fn want(module: &str) -> Result<(), KernelError> {
    let (directory, wanted) = list("wanted")?;
    let lines: BTreeMap<&str, &str> = wanted.lines().filter_map(|line| line.split_once(": ")).collect();
    let files = lines.get(module).copied().unwrap_or_default();
    files.split_whitespace().try_for_each(|name| load(&directory, name))
}

fn list(name: &str) -> Result<(PathBuf, String), KernelError> {
    let uname = rustix::system::uname();
    let version = uname.release().to_string_lossy().into_owned();
    let directory = Path::new(MODULES).join(&version);
    let text = fs::read_to_string(directory.join(name))
        .map_err(|source| KernelError::NoModules { version, source })?;
    Ok((directory, text))
}

fn load(directory: &Path, name: &str) -> Result<(), KernelError> {
    let outcome = File::open(directory.join(name)).and_then(|module| {
        match rustix::system::finit_module(&module, c"", 0) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    });
    outcome.map_err(|source| KernelError::Load { name: name.to_owned(), source })
}
