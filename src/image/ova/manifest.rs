//! The manifest: digests of an appliance's files.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::error::ImageError;
use super::super::opener::Opener;
use super::super::window::Window;
use super::hasher::Hasher;
use super::read::{open_container, unescaped};
use crate::diagnostic::Diagnostic;
use crate::model::Location;

/// Most bytes of a manifest.
pub(in super::super) const MOST_BYTES: u64 = 1 << 20;
/// How much is read at once to check a file.
const PIECE: usize = 1 << 20;

/// A line of a manifest: `SHA256(disk.vmdk)= 9f86…`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileDigest {
    /// The algorithm as it is written there.
    pub algorithm: String,
    /// The file.
    pub file: String,
    /// The digest, in lowercase hexadecimal digits.
    pub digest: String,
}

/// Why an appliance does not pass its manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It cannot be opened.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// It has no manifest.
    #[error("{} has no manifest to check it by", appliance.display())]
    Missing {
        /// Which appliance.
        appliance: PathBuf,
    },
    /// A file that the manifest names is not there.
    #[error("the manifest names `{file}`, which is not there")]
    NoFile {
        /// Which file.
        file: String,
    },
    /// A file is not the one of the manifest.
    #[error("`{file}` is not the file that the manifest is of: its digest is {found}, not {expected}")]
    Differs {
        /// Which file.
        file: String,
        /// The manifest's digest.
        expected: String,
        /// The file's digest.
        found: String,
    },
    /// The manifest uses an algorithm that is not known.
    #[error("the manifest's digest of `{file}` is by {algorithm}, which Replant does not know")]
    Algorithm {
        /// Which file.
        file: String,
        /// The algorithm.
        algorithm: String,
    },
}

impl ManifestError {
    /// Whether checking again can help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Image(error) if error.is_retryable())
    }

    /// The error as it is shown to a user.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let (code, summary, help) = match self {
            Self::Image(error) => return error.diagnostic(),
            Self::Missing { .. } => (
                "image::manifest_missing",
                "the appliance has no manifest",
                "Leave the check out, or export the appliance again with a manifest.",
            ),
            Self::NoFile { .. } => (
                "image::manifest_file",
                "a file of the appliance's manifest is missing",
                "Copy the appliance again, with all its files.",
            ),
            Self::Differs { .. } => (
                "image::manifest_differs",
                "the appliance is not what its manifest says",
                "Copy the appliance again from its source. If the file was changed on purpose, write its manifest anew, for example with `sha256sum --tag`.",
            ),
            Self::Algorithm { .. } => (
                "image::manifest_algorithm",
                "the appliance's manifest cannot be checked",
                "SHA1, SHA256, SHA384 and SHA512 can be checked.",
            ),
        };
        Diagnostic::error(code, summary).detail(format!("{self}.")).help(help)
    }
}

/// Reads a manifest; lines of another form are left out.
pub(in super::super) fn parse(text: &[u8]) -> Vec<FileDigest> {
    String::from_utf8_lossy(text)
        .lines()
        .filter_map(|line| {
            let (algorithm, rest) = line.split_once('(')?;
            let (file, rest) = rest.rsplit_once(')')?;
            let digest = rest.trim_start().strip_prefix('=')?.trim().to_ascii_lowercase();
            let digits = digest.bytes().all(|byte| byte.is_ascii_hexdigit());
            (digits && !digest.is_empty()).then(|| FileDigest {
                algorithm: algorithm.trim().to_owned(),
                file: file.trim().to_owned(),
                digest,
            })
        })
        .collect()
}

/// A file of an appliance and its line in the manifest.
#[derive(Debug)]
pub(in super::super) struct Listed {
    pub line: FileDigest,
    content: Window,
}

impl Listed {
    /// The line of a manifest for a file, when there is one.
    pub(in super::super) fn find(lines: &[FileDigest], href: &str, content: &Window) -> Option<Self> {
        let line = lines.iter().find(|line| line.file == href || unescaped(href) == line.file)?;
        Some(Self { line: line.clone(), content: content.clone() })
    }

    /// Reads all of the file, and compares. Ends early, with `Ok(false)`, when `stop` says so.
    pub(in super::super) fn check(&self, stop: &dyn Fn() -> bool) -> Result<bool, ManifestError> {
        let line = &self.line;
        let mut hasher = Hasher::named(&line.algorithm).ok_or_else(|| ManifestError::Algorithm {
            file: line.file.clone(),
            algorithm: line.algorithm.clone(),
        })?;
        let mut piece = vec![0; PIECE];
        let mut place = 0;
        while place < self.content.len() {
            if stop() {
                return Ok(false);
            }
            let length = usize::try_from(self.content.len() - place).unwrap_or(PIECE).min(PIECE);
            self.content.read_exact_at(place, &mut piece[..length]).map_err(ImageError::from)?;
            hasher.update(&piece[..length]);
            place += length as u64;
        }
        let found = hasher.finish();
        if found == line.digest {
            return Ok(true);
        }
        Err(ManifestError::Differs { file: line.file.clone(), expected: line.digest.clone(), found })
    }
}

/// Reads all files of an appliance that its manifest names, and compares them with it. Slow: a
/// full read. Gives the manifest's lines. Ends early when `stop` says so.
///
/// # Errors
/// At the first file that differs, is not there, or cannot be checked.
pub fn check_manifest(
    image: impl Into<Location>,
    stop: &dyn Fn() -> bool,
) -> Result<Vec<FileDigest>, ManifestError> {
    let image = image.into();
    let (mut opener, file) = Opener::new(&image)?;
    let container = open_container(&mut opener, &file)?;
    let lines = container.manifest(&mut opener, &file)?;
    if lines.is_empty() {
        return Err(ManifestError::Missing { appliance: image.called() });
    }
    for line in &lines {
        let content = container.file(&mut opener, &line.file)?;
        let content = content.ok_or_else(|| ManifestError::NoFile { file: line.file.clone() })?;
        if !(Listed { line: line.clone(), content }).check(stop)? {
            break;
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_as_they_are_written() {
        let text = b"SHA256(a (1).ovf)= 00FF\r\nSHA1(b.vmdk)=12\nSHA256(c)= zz\nnothing\n";
        let line = |algorithm: &str, file: &str, digest: &str| FileDigest {
            algorithm: algorithm.to_owned(),
            file: file.to_owned(),
            digest: digest.to_owned(),
        };
        assert_eq!(parse(text), [line("SHA256", "a (1).ovf", "00ff"), line("SHA1", "b.vmdk", "12")]);
    }
}
