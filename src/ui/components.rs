//! What `replant components` gives: what was fetched, and what a folder holds.

use std::path::PathBuf;

use serde::Serialize;

use crate::guest::windows::components::{Entry, Kind, Need, Signing};
use crate::model::Hypervisor;

/// The version of the JSON of [`Fetching`] and [`Folder`].
pub const VERSION: u32 = 1;

/// What `replant components fetch` did, or would do.
#[derive(Debug, Clone, Serialize)]
pub struct Fetching {
    /// [`VERSION`].
    pub version: u32,
    /// Whose components these are.
    pub guests: Vec<Guest>,
    /// The components with their files.
    pub components: Vec<Component>,
}

/// A guest that gets components.
#[derive(Debug, Clone, Serialize)]
pub struct Guest {
    /// Its address, its image, or its version of Windows.
    pub name: String,
    /// Which Windows it is.
    pub windows: String,
    /// What it comes up on.
    pub hypervisor: Hypervisor,
    /// The folder of its components.
    pub folder: PathBuf,
}

/// One component.
#[derive(Debug, Clone, Serialize)]
pub struct Component {
    /// What people call it.
    pub name: &'static str,
    /// The guests that need it.
    pub guests: Vec<String>,
    /// What they cannot do without it: `boot`, `network`, `recommended`.
    pub need: Option<&'static str>,
    /// Why it is needed.
    pub why: Option<&'static str>,
    /// Its files: where each is published, and where it is or goes.
    pub files: Vec<PublishedFile>,
    /// What became of it.
    pub status: Status,
    /// Its version, where it says one.
    pub version: Option<String>,
    /// Who signed it.
    pub signer: Option<String>,
    /// What there is to say of it.
    pub notes: Vec<String>,
    /// Why it could not be fetched: the code.
    pub code: Option<String>,
    /// Why it could not be fetched.
    pub error: Option<String>,
}

/// A published file.
#[derive(Debug, Clone, Serialize)]
pub struct PublishedFile {
    /// Where Amazon publishes it; none for one that was found under a name of its own.
    pub address: Option<String>,
    /// Where it is, or goes.
    pub path: PathBuf,
    /// Its bytes, when it was downloaded.
    pub bytes: Option<u64>,
}

/// What became of a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It is to be fetched.
    Missing,
    /// It was there.
    Kept,
    /// It was downloaded.
    Fetched,
    /// It could not be.
    Failed,
}

/// What `replant components list` found in a folder.
#[derive(Debug, Clone, Serialize)]
pub struct Folder {
    /// [`VERSION`].
    pub version: u32,
    /// The folder.
    pub folder: PathBuf,
    /// What it holds.
    pub components: Vec<Found>,
}

/// A component of a folder.
#[derive(Debug, Clone, Serialize)]
pub struct Found {
    /// Where it is, below the folder.
    pub path: String,
    /// What people call it.
    pub name: Option<&'static str>,
    /// Its version.
    pub version: Option<String>,
    /// The versions of Windows that it is taken for.
    pub windows: Vec<&'static str>,
    /// How it is signed: `signed`, `unsigned`, `altered`, `damaged`; none for archives and scripts.
    pub signature: Option<&'static str>,
    /// Who signed it, as its certificate says.
    pub signer: Option<String>,
    /// What there is to say of it, or why it is not taken.
    pub notes: Vec<String>,
}

impl Found {
    /// Whether a guest could be given it.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        !self.windows.is_empty()
    }
}

impl From<Entry> for Found {
    fn from(entry: Entry) -> Self {
        let mut notes = entry.notes;
        let signature = match &entry.signing {
            Signing::By(_) | Signing::Unnamed => Some("signed"),
            Signing::Unsigned => Some("unsigned"),
            Signing::Altered => Some("altered"),
            Signing::Damaged(reason) => {
                notes.push(format!("its signature cannot be read: {reason}"));
                Some("damaged")
            }
            Signing::None => None,
        };
        Self {
            path: entry.path,
            name: entry.kind.map(Kind::name),
            version: entry.version.as_ref().map(dotted),
            windows: entry.releases.iter().map(|release| release.id).collect(),
            signature,
            signer: signer(&entry.signing),
            notes,
        }
    }
}

/// Who signed, where that is known.
#[must_use]
pub fn signer(signing: &Signing) -> Option<String> {
    match signing {
        Signing::By(signer) => Some(signer.clone()),
        _ => None,
    }
}

/// A version with its dots.
#[must_use]
pub fn dotted(version: &[u16; 4]) -> String {
    version.map(|part| part.to_string()).join(".")
}

/// A need's name for programs.
#[must_use]
pub fn need(need: Need) -> &'static str {
    match need {
        Need::Boot => "boot",
        Need::Network => "network",
        Need::Recommended => "recommended",
    }
}
