//! A folder's components for people: what each is, for which Windows, and who signed it.

use super::catalog::Kind;
use super::compound;
use super::driver::{Why, judged};
use super::files::{ComponentError, FoundFile};
use super::inventory::{Installer, Inventory, MOST_INSTALLER, Package};
use super::release::{RELEASES, Release};
use crate::guest::windows::pe::{Pe, Signature};

/// How a file is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signing {
    /// By this one, and it was not changed since; the name is what its certificate says.
    By(String),
    /// It was not changed since it was signed; who signed is not said.
    Unnamed,
    /// It carries no signature.
    Unsigned,
    /// It was changed after it was signed.
    Altered,
    /// Something is there that cannot be read.
    Damaged(String),
    /// It is of a kind that carries none: an archive, a script.
    None,
}

/// One component of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it is, below the folder.
    pub path: String,
    /// Which it is; none for another vendor's driver, and for what cannot be read.
    pub kind: Option<Kind>,
    /// Its version, where it says one.
    pub version: Option<[u16; 4]>,
    /// The versions of Windows that it would be taken for.
    pub releases: Vec<Release>,
    /// How its program is signed.
    pub signing: Signing,
    /// What there is to say of it, or why it is not taken.
    pub notes: Vec<String>,
}

/// How a file is signed: programs and Windows Installer packages carry their signatures.
///
/// # Errors
/// It cannot be read.
pub fn signing(file: &FoundFile) -> Result<Signing, ComponentError> {
    let name = file.name().to_ascii_lowercase();
    let signatures = if name.ends_with(".msi") {
        let content = file.read(MOST_INSTALLER)?;
        compound::signatures(&content).map_err(|error| error.to_string())
    } else if [".sys", ".exe", ".dll"].iter().any(|end| name.ends_with(end)) {
        let content = file.read(MOST_INSTALLER)?;
        Pe::read(&content).and_then(|pe| pe.signatures()).map_err(|error| error.to_string())
    } else {
        return Ok(Signing::None);
    };
    Ok(match signatures {
        Err(reason) => Signing::Damaged(reason),
        Ok(signatures) if signatures.is_empty() => Signing::Unsigned,
        Ok(signatures) => match signatures.iter().find(|signature| signature.matches) {
            None => Signing::Altered,
            Some(Signature { signer: Some(signer), .. }) => Signing::By(signer.clone()),
            Some(_) => Signing::Unnamed,
        },
    })
}

/// All that a folder holds, in the order of the paths; what was refused with the reason.
///
/// # Errors
/// A file that was found cannot be read any more.
pub fn entries(inventory: &Inventory) -> Result<Vec<Entry>, ComponentError> {
    let mut entries = Vec::new();
    for package in &inventory.packages {
        if package.kinds.is_empty() {
            entries.push(Entry {
                path: package.file.path.clone(),
                kind: None,
                version: package.inf.version(&RELEASES[0].target).ok().map(|version| version.version),
                releases: Vec::new(),
                signing: Signing::None,
                notes: vec!["it is a driver of other devices than EC2's".to_owned()],
            });
        }
        for kind in &package.kinds {
            entries.push(of_package(package, *kind)?);
        }
    }
    for installer in &inventory.installers {
        entries.push(of_installer(installer)?);
    }
    entries.extend(inventory.refused.iter().map(|refused| Entry {
        path: refused.path.clone(),
        kind: None,
        version: None,
        releases: Vec::new(),
        signing: Signing::None,
        notes: vec![refused.reason.clone()],
    }));
    entries.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(entries)
}

fn of_package(package: &Package, kind: Kind) -> Result<Entry, ComponentError> {
    let mut entry = Entry {
        path: package.file.path.clone(),
        kind: Some(kind),
        version: None,
        releases: Vec::new(),
        signing: Signing::None,
        notes: Vec::new(),
    };
    let mut passed: Vec<Why> = Vec::new();
    let mut program = None;
    for release in RELEASES {
        match package.driver(kind, &release.target)? {
            Ok((driver, notes)) => {
                entry.version = Some(driver.version.version);
                program = Some(driver.program);
                entry.releases.push(release);
                // KB4474419 concerns the oldest alone, and its version says nothing of the others.
                passed.extend(notes.into_iter().filter(|why| !matches!(why, Why::Sha2)));
            }
            Err(why) => passed.push(why),
        }
    }
    // What only says that a package is for some versions is in the list of these; where there are
    // none, and nothing else is wrong, it is the reason.
    let of_some = |why: &Why| matches!(why, Why::NotForThisWindows | Why::TooNew { .. } | Why::Unsupported);
    let none = entry.releases.is_empty();
    let only_some = passed.iter().all(of_some);
    for why in passed.iter().filter(|why| if none { only_some || !of_some(why) } else { !why.refuses() }) {
        let text = why.to_string();
        if !entry.notes.contains(&text) {
            entry.notes.push(text);
        }
    }
    if entry.version.is_none() {
        entry.version = package.inf.version(&RELEASES[0].target).ok().map(|version| version.version);
    }
    if let Some(program) = program {
        entry.signing = signing(&program)?;
    }
    Ok(entry)
}

fn of_installer(installer: &Installer) -> Result<Entry, ComponentError> {
    let judged = |release: &Release| judged(installer.kind, installer.version, &release.target);
    let releases: Vec<Release> = RELEASES
        .into_iter()
        .filter(|release| {
            super::select::takes(installer.kind, &release.target)
                && !judged(release).is_some_and(|why| why.refuses())
        })
        .collect();
    let mut notes = Vec::new();
    if installer.kind == Kind::Ec2Launch && installer.script.is_none() {
        notes.push(Why::NoFile { name: "install.ps1".to_owned() }.to_string());
    }
    if releases.is_empty() {
        notes.extend(RELEASES.iter().find_map(judged).map(|why| why.to_string()));
    }
    Ok(Entry {
        path: installer.file.path.clone(),
        kind: Some(installer.kind),
        version: installer.version,
        releases,
        signing: signing(&installer.file)?,
        notes,
    })
}
