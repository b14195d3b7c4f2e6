//! Whether files are what Amazon publishes, before they are taken into a folder.

use std::fs::{self, File};
use std::io::{Read, copy, sink};
use std::path::Path;

use super::catalog::Kind;
use super::driver::{Why, judged};
use super::entry::{Signing, signing};
use super::files::{ComponentError, FoundFile};
use super::inventory::Inventory;
use super::zip;
use crate::diagnostic::chain;
use crate::guest::windows::inf::Target;

/// Most bytes of a member that is unpacked to see whether it is whole.
pub(super) const MOST_MEMBER: u64 = 256 << 20;
/// Most bytes of a script.
const MOST_SCRIPT: u64 = 4 << 20;

/// Files are not what they should be.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// They cannot be read.
    #[error("it cannot be read")]
    Read(#[from] ComponentError),
    /// A web page came in place of the file: what proxies and portals answer that want something.
    #[error("it is a web page, not the file: a proxy or portal answered in its place")]
    Page,
    /// A file is damaged.
    #[error("{path}: {reason}")]
    Damaged {
        /// Which.
        path: String,
        /// How.
        reason: String,
    },
    /// Nothing of that kind is in it.
    #[error("it holds no {name}")]
    Nothing {
        /// What it should hold.
        name: &'static str,
    },
    /// It holds it, but not for this Windows, or damaged.
    #[error("{place}: {why}")]
    Component {
        /// Where.
        place: String,
        /// What is wrong.
        why: Why,
    },
    /// Somebody else signed it.
    #[error("{path} is signed by {signer}, not by Amazon or Microsoft")]
    Signer {
        /// Which file.
        path: String,
        /// Who.
        signer: String,
    },
}

/// What files are that are as they should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The version, where they say one.
    pub version: Option<[u16; 4]>,
    /// How they are signed.
    pub signing: Signing,
    /// What there is to say of them, for people.
    pub notes: Vec<String>,
}

/// Looks at the published files of a component, alone in a directory: whole, for this Windows,
/// signed by whom they should be.
///
/// # Errors
/// [`Unfit`]
pub fn prove(directory: &Path, kind: Kind, target: &Target) -> Result<Proof, Unfit> {
    for name in kind.files() {
        whole(&directory.join(name), name)?;
    }
    let inventory = Inventory::read(directory)?;
    let mut notes = Vec::new();
    let (version, file) = if matches!(kind, Kind::Nvme | Kind::Ena) {
        let mut passed = None;
        let mut found = None;
        for package in inventory.packages.iter().filter(|package| package.kinds.contains(&kind)) {
            match package.driver(kind, target)? {
                Ok(driver) => found = found.or(Some(driver)),
                Err(why) => passed = Some(Unfit::Component { place: package.file.path.clone(), why }),
            }
        }
        let Some((driver, whys)) = found else {
            return Err(passed.unwrap_or_else(|| nothing(kind, &inventory)));
        };
        notes.extend(whys.iter().map(ToString::to_string));
        (Some(driver.version.version), driver.program)
    } else {
        let found = inventory.installers.iter().find(|installer| installer.kind == kind);
        let found = found.ok_or_else(|| nothing(kind, &inventory))?;
        if let Some(why) = judged(kind, found.version, target).filter(Why::refuses) {
            return Err(Unfit::Component { place: found.file.path.clone(), why });
        }
        (found.version, found.file.clone())
    };
    let signing = signing(&file)?;
    match &signing {
        Signing::By(signer) if !is_known(signer) => {
            Err(Unfit::Signer { path: file.path, signer: signer.clone() })
        }
        Signing::Altered => Err(Unfit::Component { place: file.path, why: Why::Altered }),
        Signing::Damaged(reason) => Err(Unfit::Damaged { path: file.path, reason: reason.clone() }),
        _ => Ok(Proof { version, signing, notes }),
    }
}

/// What there is to say of an installer's signature, which Windows does not look at when a service runs
/// it; or why it is not run.
///
/// # Errors
/// It cannot be read.
pub(super) fn doubted(file: &FoundFile) -> Result<Result<Option<Why>, Why>, ComponentError> {
    Ok(match signing(file)? {
        Signing::By(signer) if !is_known(&signer) => Ok(Some(Why::Signer { signer })),
        Signing::By(_) | Signing::None => Ok(None),
        Signing::Unsigned | Signing::Unnamed => Ok(Some(Why::NoSignature)),
        Signing::Altered => Err(Why::Altered),
        Signing::Damaged(reason) => Err(Why::Damaged { reason }),
    })
}

/// Those who sign what Amazon publishes: itself, under the names of its companies, and Microsoft,
/// which signs drivers that passed its tests.
fn is_known(signer: &str) -> bool {
    let signer = signer.to_ascii_lowercase();
    ["amazon", "microsoft"].iter().any(|name| signer.contains(name))
}

/// Why nothing was found: what was refused, or that nothing is there.
fn nothing(kind: Kind, inventory: &Inventory) -> Unfit {
    match inventory.refused.first() {
        Some(refused) => Unfit::Damaged { path: refused.path.clone(), reason: refused.reason.clone() },
        None => Unfit::Nothing { name: kind.name() },
    }
}

/// Whether all of a file is there: each member of an archive has its checksum, a script is text.
fn whole(path: &Path, name: &str) -> Result<(), Unfit> {
    let failed = |source| ComponentError::Read { path: name.to_owned(), source };
    let damaged = |reason: String| Unfit::Damaged { path: name.to_owned(), reason };
    let mut file = File::open(path).map_err(failed)?;
    let mut begin = Vec::new();
    (&mut file).take(512).read_to_end(&mut begin).map_err(failed)?;
    if is_page(&begin) {
        return Err(Unfit::Page);
    }
    if begin.is_empty() {
        return Err(damaged("it is empty".to_owned()));
    }
    if name.ends_with(".zip") {
        let members = zip::members(&mut file).map_err(|error| damaged(error.to_string()))?;
        if members.is_empty() {
            return Err(damaged("it is an empty archive".to_owned()));
        }
        for member in members {
            let place = format!("{name}/{}", member.name.escape_default());
            if member.size > MOST_MEMBER {
                return Err(Unfit::Damaged { path: place, reason: "it is too large".to_owned() });
            }
            let read =
                member.content().open(&mut file).and_then(|mut content| copy(&mut content, &mut sink()));
            read.map_err(|error| Unfit::Damaged { path: place, reason: chain(&error) })?;
        }
    } else if name.ends_with(".ps1") {
        let length = fs::metadata(path).map_err(failed)?.len();
        // UTF-16 has NULs, and a mark in front of it.
        let is_text = begin.starts_with(&[0xff, 0xfe]) || !begin.contains(&0);
        if !is_text || length > MOST_SCRIPT {
            return Err(damaged("it is no script".to_owned()));
        }
    }
    Ok(())
}

/// Whether a file begins as HTML does.
fn is_page(begin: &[u8]) -> bool {
    let text = String::from_utf8_lossy(begin).to_ascii_lowercase();
    let text = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    ["<!doctype html", "<html", "<head", "<?xml"].iter().any(|sign| text.starts_with(sign))
}
