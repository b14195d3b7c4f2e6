//! Putting the initial filesystem together.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::archive::Archive;
use super::elf::{self, ElfError};
use super::modules;
use super::tools::{self, Tool};

/// Why there is no initial filesystem.
#[derive(Debug, thiserror::Error)]
pub enum InitrdError {
    /// A program's libraries are not known.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// A kernel module cannot be read.
    #[error("cannot read {}", path.display())]
    Module {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The archive cannot be kept.
    #[error("cannot keep the archive in memory")]
    Keep(#[from] io::Error),
}

/// Where the sandbox's init finds a kernel version's modules, below which `order` and `wanted` list them.
pub const MODULES: &str = "/modules";

type Key = (PathBuf, PathBuf);
type Kept = HashMap<Key, Arc<File>>;

static KEPT: Mutex<Option<Kept>> = Mutex::new(None);

/// The archive with this program as its init and these modules, in a file in memory. Built once a
/// process: several sandboxes share it.
///
/// # Errors
/// When a file it is made of cannot be read.
pub fn build(init: &Path, module_directory: &Path) -> Result<Arc<File>, InitrdError> {
    let key = (init.to_owned(), module_directory.to_owned());
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(file) = kept.get_or_insert_default().get(&key) {
        return Ok(Arc::clone(file));
    }
    let file = Arc::new(keep(&assemble(init, module_directory)?)?);
    kept.get_or_insert_default().insert(key, Arc::clone(&file));
    Ok(file)
}

fn assemble(init: &Path, module_directory: &Path) -> Result<Vec<u8>, InitrdError> {
    let mut archive = Archive::default();
    for directory in ["dev", "proc", "sys", "run", "tmp", "guest"] {
        archive.directory(directory);
    }
    archive.file("init", true, &elf::trimmed(init)?);
    let mut libraries = elf::needed(init)?;
    for Tool { file, place } in tools::find() {
        archive.file(&place, true, &elf::trimmed(&file)?);
        if let Some(home) = place.strip_suffix(tools::CONVERTER) {
            let (name, list) = tools::CONVERTERS;
            archive.file(&format!("{home}{name}"), false, list);
        }
        libraries.extend(elf::needed(&file)?);
    }
    let mut placed = BTreeSet::new();
    for library in libraries.iter().filter(|library| placed.insert(&library.place)) {
        archive.file(&library.place, true, &elf::trimmed(&library.file)?);
    }
    let versions =
        modules::collect(module_directory).map_err(|(path, source)| InitrdError::Module { path, source })?;
    for version in versions {
        let directory = format!("{MODULES}/{}", version.version);
        let order: String = version.order.iter().map(|name| format!("{name}\n")).collect();
        archive.file(&format!("{directory}/order"), false, order.as_bytes());
        let wanted: String =
            version.wanted.iter().map(|(name, files)| format!("{name}: {}\n", files.join(" "))).collect();
        archive.file(&format!("{directory}/wanted"), false, wanted.as_bytes());
        for (name, content) in &version.modules {
            archive.file(&format!("{directory}/{name}"), false, content);
        }
    }
    Ok(archive.finish())
}

fn keep(bytes: &[u8]) -> io::Result<File> {
    let descriptor = rustix::fs::memfd_create("replant-initrd", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = File::from(descriptor);
    file.write_all(bytes)?;
    Ok(file)
}
