//! Whether a driver package is for a guest, and sound.

use std::collections::HashSet;
use std::fmt;

use super::catalog::{Kind, Limit};
use super::files::{ComponentError, FoundFile};
use super::inventory::Package;
use crate::guest::windows::inf::{Install, Model, Target, Version};
use crate::guest::windows::pe::{DigestAlgorithm, Machine, Pe};

/// Most sections of a package that install something.
const MOST_INSTALLS: usize = 64;
/// Most bytes of a driver's program.
const MOST_DRIVER: u64 = 64 << 20;

/// A driver package that is for a guest.
#[derive(Debug, Clone)]
pub struct Driver {
    /// Which driver.
    pub kind: Kind,
    /// Where its setup information file is, below the folder.
    pub place: String,
    /// What the package says of itself.
    pub version: Version,
    /// The devices it is for on this Windows.
    pub models: Vec<Model>,
    /// What installing it does.
    pub install: Install,
    /// The program of the device's service.
    pub program: FoundFile,
    /// All files of the package, the setup information file first, with their paths below its
    /// directory.
    pub files: Vec<(String, FoundFile)>,
}

/// Something about a component that was found, or a reason why it is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Which component.
    pub kind: Kind,
    /// Where it was found, below the folder; empty when it is about all of them.
    pub place: String,
    /// What there is to say.
    pub why: Why,
}

/// What there is to say of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Its setup information file has no model for this Windows.
    NotForThisWindows,
    /// This Windows needs an older one.
    TooNew {
        /// Its version.
        version: [u16; 4],
        /// The last that runs.
        limit: [u16; 3],
    },
    /// It is known to damage data.
    TooOld {
        /// Its version.
        version: [u16; 4],
        /// The first that is sound.
        sound: [u16; 3],
    },
    /// Amazon publishes none for this Windows.
    Unsupported,
    /// A file of the package is not there.
    NoFile {
        /// Its name.
        name: String,
    },
    /// The setup information file names no service for the device.
    NoService,
    /// Its program is for another processor, or none.
    Machine,
    /// Its program carries no signature; Windows would not start it while booting.
    Unsigned,
    /// Its program was changed after it was signed.
    Altered,
    /// Something cannot be read.
    Damaged {
        /// What, for people.
        reason: String,
    },
    /// It is signed under SHA-256 alone: Windows 7 and Server 2008 R2 need their SHA-2 update.
    Sha2,
    /// No catalog: Windows installs the package only where unsigned drivers are allowed.
    NoCatalog,
    /// It was signed by somebody whom an installer of Amazon's is not signed by.
    Signer {
        /// Who.
        signer: String,
    },
    /// An installer carries no signature.
    NoSignature,
    /// Its version is not known, and not every version runs.
    VersionUnknown {
        /// The last that runs.
        limit: [u16; 3],
    },
}

impl Why {
    /// Whether the component is not taken because of it.
    #[must_use]
    pub fn refuses(&self) -> bool {
        !matches!(
            self,
            Self::TooOld { .. } | Self::Sha2 | Self::NoCatalog | Self::Signer { .. } | Self::NoSignature
        )
    }
}

impl fmt::Display for Why {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotForThisWindows => write!(formatter, "it has no model for this Windows"),
            Self::TooNew { version, limit } => {
                write!(
                    formatter,
                    "it is version {}, and {} is the last that runs on this Windows",
                    dotted(version),
                    dotted(limit)
                )
            }
            Self::TooOld { version, sound } => {
                write!(
                    formatter,
                    "it is version {}, and before {} data could be lost",
                    dotted(version),
                    dotted(sound)
                )
            }
            Self::Unsupported => write!(formatter, "Amazon publishes none for this Windows"),
            Self::NoFile { name } => write!(formatter, "its file {name} is not there"),
            Self::NoService => write!(formatter, "it names no service for the device"),
            Self::Machine => write!(formatter, "its program is not for 64-bit x86"),
            Self::Unsigned => write!(formatter, "its program carries no signature"),
            Self::Altered => write!(formatter, "its program was changed after it was signed"),
            Self::Damaged { reason } => write!(formatter, "{reason}"),
            Self::Sha2 => {
                write!(
                    formatter,
                    "it is signed under SHA-256, for which this Windows needs an update (KB4474419)"
                )
            }
            Self::NoCatalog => {
                write!(formatter, "its catalog is not there, so Windows may refuse to install it")
            }
            Self::Signer { signer } => {
                write!(formatter, "it is signed by {signer}, not by Amazon or Microsoft")
            }
            Self::NoSignature => write!(formatter, "it carries no signature"),
            Self::VersionUnknown { limit } => {
                write!(
                    formatter,
                    "its version is not known, and {} is the last that runs on this Windows",
                    dotted(limit)
                )
            }
        }
    }
}

/// A version with its dots.
fn dotted(parts: &[u16]) -> String {
    parts.iter().map(u16::to_string).collect::<Vec<_>>().join(".")
}

/// What a version is to a limit and to what is known of it; the fourth number counts builds of the
/// same version.
pub(super) fn judged(kind: Kind, version: Option<[u16; 4]>, target: &Target) -> Option<Why> {
    let first = |[one, two, three, _]: [u16; 4]| [one, two, three];
    match (kind.limit(target), version) {
        (Limit::Unsupported, _) => Some(Why::Unsupported),
        (Limit::UpTo(limit), None) => Some(Why::VersionUnknown { limit }),
        (Limit::UpTo(limit), Some(version)) if first(version) > limit => Some(Why::TooNew { version, limit }),
        (_, Some(version)) => {
            let sound = kind.oldest_sound().filter(|sound| first(version) < *sound);
            sound.map(|sound| Why::TooOld { version, sound })
        }
        (Limit::Latest, None) => None,
    }
}

impl Package {
    /// The package as a driver for a guest, with what there is to say of it; or why it is none.
    ///
    /// # Errors
    /// The driver's program cannot be read from the folder.
    pub fn driver(
        &self,
        kind: Kind,
        target: &Target,
    ) -> Result<Result<(Driver, Vec<Why>), Why>, ComponentError> {
        let damaged = |reason: String| Why::Damaged { reason };
        let inf = &self.inf;
        let (version, models) = match (inf.version(target), inf.models(target)) {
            (Ok(version), Ok(models)) => (version, models),
            (Err(error), _) | (_, Err(error)) => return Ok(Err(damaged(error.to_string()))),
        };
        let of_kind = |model: &Model| model.ids().any(|id| Kind::of_device(id) == Some(kind));
        let (all, models): (_, Vec<Model>) = (models.clone(), models.into_iter().filter(of_kind).collect());
        let Some(first) = models.first() else { return Ok(Err(Why::NotForThisWindows)) };
        let mut seen = HashSet::from([first.install.to_ascii_lowercase()]);
        let mut notes: Vec<Why> = judged(kind, Some(version.version), target).into_iter().collect();
        if let Some(why) = notes.iter().find(|why| why.refuses()) {
            return Ok(Err(why.clone()));
        }
        let install = match inf.install(first, target) {
            Ok(install) => install,
            Err(error) => return Ok(Err(damaged(error.to_string()))),
        };
        let Some((_, binary)) = install.service().and_then(|service| service.binary.as_ref()) else {
            return Ok(Err(Why::NoService));
        };
        let mut files = vec![(self.file.name().to_owned(), self.file.clone())];
        let mut program = None;
        for copied in &install.files {
            let Some(found) = self.beside(&copied.source) else {
                return Ok(Err(Why::NoFile { name: copied.source.clone() }));
            };
            if copied.name.eq_ignore_ascii_case(binary) {
                program = Some(found.clone());
            }
            files.push((copied.source.replace('\\', "/"), found.clone()));
        }
        let Some(program) = program.or_else(|| self.beside(binary).cloned()) else {
            return Ok(Err(Why::NoFile { name: binary.clone() }));
        };
        // Windows takes a package as a whole: what other models copy belongs to it.
        for model in
            all.iter().filter(|model| seen.insert(model.install.to_ascii_lowercase())).take(MOST_INSTALLS)
        {
            for copied in inf.install(model, target).map(|install| install.files).unwrap_or_default() {
                if let Some(found) = self.beside(&copied.source) {
                    files.push((copied.source.replace('\\', "/"), found.clone()));
                }
            }
        }
        match version.catalog.as_deref().and_then(|name| Some((name, self.beside(name)?))) {
            Some((name, found)) => files.push((name.to_owned(), found.clone())),
            None => notes.push(Why::NoCatalog),
        }
        let mut seen = HashSet::new();
        files.retain(|(path, _)| seen.insert(path.to_lowercase()));
        match checked(&program, target)? {
            Ok(more) => notes.extend(more),
            Err(why) => return Ok(Err(why)),
        }
        let driver = Driver { kind, place: self.file.path.clone(), version, models, install, program, files };
        Ok(Ok((driver, notes)))
    }
}

/// Whether Windows starts a program while it boots.
fn checked(program: &FoundFile, target: &Target) -> Result<Result<Option<Why>, Why>, ComponentError> {
    let content = program.read(MOST_DRIVER)?;
    let pe = match Pe::read(&content) {
        Ok(pe) => pe,
        Err(error) => return Ok(Err(Why::Damaged { reason: error.to_string() })),
    };
    if pe.machine() != Machine::Amd64 {
        return Ok(Err(Why::Machine));
    }
    Ok(match pe.signatures() {
        Err(error) => Err(Why::Damaged { reason: error.to_string() }),
        Ok(signatures) if signatures.is_empty() => Err(Why::Unsigned),
        Ok(signatures) if !signatures.iter().any(|signature| signature.matches) => Err(Why::Altered),
        Ok(signatures) => {
            let mut sound = signatures.iter().filter(|signature| signature.matches);
            let old = sound.any(|signature| signature.algorithm == DigestAlgorithm::Sha1);
            Ok(((target.major, target.minor) <= (6, 1) && !old).then_some(Why::Sha2))
        }
    })
}
