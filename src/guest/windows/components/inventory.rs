//! What a folder of components holds.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::catalog::Kind;
use super::files::{ComponentError, FoundFile, Refused, unparcel, walk};
use super::product;
use crate::diagnostic::chain;
use crate::guest::report::Parcel;
use crate::guest::windows::inf::Inf;
use crate::guest::windows::pe::Pe;

/// Most bytes of a setup information file.
const MOST_INF: u64 = 4 << 20;
/// Most driver packages of a folder: each is held in memory.
const MOST_PACKAGES: usize = 256;
/// Most bytes of an installer: it is held in the sandbox's memory twice when its signature is looked at.
pub(super) const MOST_INSTALLER: u64 = 128 << 20;

/// A driver package: a setup information file and what lies beside it.
#[derive(Debug, Clone)]
pub struct Package {
    /// The setup information file.
    pub file: FoundFile,
    /// What it says.
    pub inf: Inf,
    /// The drivers that it has, by the devices it names for any Windows.
    pub kinds: Vec<Kind>,
    /// All that was found with it.
    all: Arc<All>,
}

/// Everything that was found, by its path in lower case: Windows' names have no case.
#[derive(Debug, Default)]
struct All {
    files: HashMap<String, FoundFile>,
}

impl All {
    fn get(&self, directory: &str, path: &str) -> Option<&FoundFile> {
        let path = path.replace('\\', "/").to_lowercase();
        if directory.is_empty() {
            return self.files.get(&path);
        }
        self.files.get(&format!("{}/{path}", directory.to_lowercase()))
    }
}

impl Package {
    /// A file of the package, by its path from the setup information file, in any case.
    pub(super) fn beside(&self, path: &str) -> Option<&FoundFile> {
        self.all.get(self.file.directory(), path)
    }
}

/// An installer, known by its name.
#[derive(Debug, Clone)]
pub struct Installer {
    /// What it installs.
    pub kind: Kind,
    /// The installer.
    pub file: FoundFile,
    /// The script that it needs beside it, for EC2Launch.
    pub script: Option<FoundFile>,
    /// Its version: what it says itself, else what its directory is named after.
    pub version: Option<[u16; 4]>,
}

/// All components of a folder.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// The folder; none when the user named none.
    pub folder: Option<PathBuf>,
    /// Driver packages, also those of other devices.
    pub packages: Vec<Package>,
    /// Installers of agents and drivers.
    pub installers: Vec<Installer>,
    /// What could not be taken, and why.
    pub refused: Vec<Refused>,
}

impl Inventory {
    /// Looks through a folder and the zip archives in it; a path of one archive does too.
    ///
    /// # Errors
    /// The folder cannot be read, or holds more files than any. What is wrong with a single file
    /// is in [`Self::refused`].
    pub fn read(folder: &Path) -> Result<Self, ComponentError> {
        let (files, refused) = walk(folder)?;
        Self::of(folder.to_owned(), &files, refused)
    }

    /// The same of a folder whose files are on a device, in a sandbox.
    ///
    /// # Errors
    /// The device cannot be read, or a file is not on it; else as [`Self::read`].
    pub fn of_parcel(device: &Path, parcel: &Parcel) -> Result<Self, ComponentError> {
        let (files, refused) = unparcel(device, parcel)?;
        Self::of(PathBuf::from(&parcel.folder), &files, refused)
    }

    fn of(folder: PathBuf, files: &[FoundFile], refused: Vec<Refused>) -> Result<Self, ComponentError> {
        let too_many = || ComponentError::TooMany { path: folder.display().to_string() };
        let mut inventory = Self { folder: Some(folder.clone()), refused, ..Self::default() };
        let mut all = All::default();
        for file in files {
            all.files.entry(file.path.to_lowercase()).or_insert_with(|| file.clone());
        }
        let all = Arc::new(all);
        for file in files {
            if let Some(kind) = Kind::of_installer(file.name()) {
                inventory.installer(kind, file, all.get(file.directory(), "install.ps1"));
            } else if file.name().to_lowercase().ends_with(".inf") {
                let content = file.read(MOST_INF).map_err(|error| chain(&error));
                let read = content.and_then(|content| Inf::parse(&content).map_err(|error| chain(&error)));
                match read {
                    Ok(inf) if inf.section("Manufacturer").is_some() => {
                        if inventory.packages.len() == MOST_PACKAGES {
                            return Err(too_many());
                        }
                        let kinds = kinds(&inf);
                        inventory.packages.push(Package {
                            file: file.clone(),
                            inf,
                            kinds,
                            all: Arc::clone(&all),
                        });
                    }
                    // Setup information without devices: of autoplay, of programs.
                    Ok(_) => {}
                    Err(reason) => inventory.refused.push(Refused { path: file.path.clone(), reason }),
                }
            }
        }
        Ok(inventory)
    }

    /// What was found, in a few words.
    #[must_use]
    pub fn summary(&self) -> String {
        let drivers = self.packages.iter().filter(|package| !package.kinds.is_empty()).count();
        let installers = self.installers.len();
        match (drivers, installers) {
            (0, 0) => "nothing of Amazon's".to_owned(),
            _ => format!("driver packages: {drivers}, installers: {installers}"),
        }
    }

    fn installer(&mut self, kind: Kind, file: &FoundFile, script: Option<&FoundFile>) {
        match version(file) {
            Ok(version) => {
                let script = script.filter(|_| kind == Kind::Ec2Launch).cloned();
                self.installers.push(Installer { kind, file: file.clone(), script, version });
            }
            Err(reason) => self.refused.push(Refused { path: file.path.clone(), reason }),
        }
    }
}

/// The version of an installer; or why it is none.
fn version(file: &FoundFile) -> Result<Option<[u16; 4]>, String> {
    let content = || file.read(MOST_INSTALLER).map_err(|error| chain(&error));
    let name = file.name().to_ascii_lowercase();
    let said = if name.ends_with(".exe") {
        Pe::read(&content()?).map(|pe| pe.file_version()).map_err(|error| chain(&error))?
    } else if name.ends_with(".msi") {
        product::version(&content()?).map_err(|error| chain(&error))?
    } else {
        None
    };
    // Amazon's directories are named after versions, and so are those that are fetched: `AWSPV/8.3.5`.
    let named = || file.directory().rsplit('/').find_map(product::dotted);
    Ok(said.or_else(named))
}

/// The drivers whose devices a file names, for whatever Windows.
fn kinds(inf: &Inf) -> Vec<Kind> {
    let values =
        inf.sections().iter().flat_map(|section| &section.lines).flat_map(|line| line.values.iter().skip(1));
    let ids = values.filter(|value| value.len() >= 4 && value.as_bytes()[..4].eq_ignore_ascii_case(b"PCI\\"));
    let mut kinds = Vec::new();
    for kind in ids.filter_map(|id| Kind::of_device(&id.to_ascii_uppercase())) {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds
}
