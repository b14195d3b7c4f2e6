//! The manifest: digests of an appliance's files.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Sha256, Sha384, Sha512};

use super::super::error::ImageError;
use super::super::opener::Opener;
use super::super::window::Window;
use super::read::open_container;
use crate::model::Location;

/// Most bytes of a manifest.
pub(super) const MOST_BYTES: u64 = 1 << 20;
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
    #[error("the appliance has no manifest to check it by")]
    Missing,
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
    /// The manifest uses an algorithm that proves nothing or is not known.
    #[error("the manifest's digest of `{file}` is by {algorithm}, which is not checked")]
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
}

/// Reads a manifest; lines of another form are left out.
pub(super) fn parse(text: &[u8]) -> Vec<FileDigest> {
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

/// Reads all files of an appliance, and compares them with its manifest. Slow: a full read.
///
/// # Errors
/// At the first file that differs, is not there, or cannot be checked.
pub fn check_manifest(image: impl Into<Location>) -> Result<(), ManifestError> {
    let (mut opener, file) = Opener::new(&image.into())?;
    let container = open_container(&mut opener, &file)?;
    let digests = container.manifest(&mut opener, &file)?;
    if digests.is_empty() {
        return Err(ManifestError::Missing);
    }
    for line in &digests {
        let content = container.file(&mut opener, &line.file)?;
        let content = content.ok_or_else(|| ManifestError::NoFile { file: line.file.clone() })?;
        let found = match line.algorithm.to_ascii_uppercase().replace('-', "").as_str() {
            "SHA256" => digest::<Sha256>(&content)?,
            "SHA384" => digest::<Sha384>(&content)?,
            "SHA512" => digest::<Sha512>(&content)?,
            _ => {
                return Err(ManifestError::Algorithm {
                    file: line.file.clone(),
                    algorithm: line.algorithm.clone(),
                });
            }
        };
        if found != line.digest {
            return Err(ManifestError::Differs {
                file: line.file.clone(),
                expected: line.digest.clone(),
                found,
            });
        }
    }
    Ok(())
}

fn digest<H: sha2::Digest>(file: &Window) -> Result<String, ImageError> {
    let mut hasher = H::new();
    let mut place = 0;
    while place < file.len() {
        let piece = file.read_up_to(place, PIECE)?;
        hasher.update(&piece);
        place += piece.len() as u64;
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
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
