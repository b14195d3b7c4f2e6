//! An OVA in order: its description, then the disk that was chosen; its manifest before or after.

use super::super::error::ImageError;
use super::super::ova::{self, FileDigest};
use super::tar::{Hasher, Shared, Tar};
use super::{Compression, StreamError, Watch};
use std::path::Path;
use std::sync::Arc;

/// An appliance's archive, read up to the disk that was chosen.
pub(super) struct Appliance {
    archive: Shared,
    watch: Arc<Watch>,
    /// The disk's id.
    pub disk: String,
    /// The disk's file.
    pub file: String,
    /// Bytes of that file.
    pub size: u64,
    /// The digest of the description.
    pub metadata: [u8; 32],
    manifest: Option<Vec<FileDigest>>,
}

impl Appliance {
    /// Reads up to the disk's file.
    pub(super) fn open(
        tar: Tar,
        watch: &Arc<Watch>,
        compression: Option<Compression>,
        member: Option<&str>,
    ) -> Result<Self, StreamError> {
        let name = || watch.name().to_owned();
        let damaged = |what: String| StreamError::Damaged { name: name(), offset: 0, what };
        let archive = Shared::new(tar);
        let (mut chosen, mut manifest): (Option<Chosen>, Option<Vec<FileDigest>>) = (None, None);
        let mut before: Vec<String> = Vec::new();
        let part = |name: String| ImageError::Part {
            file: watch.name().to_owned(),
            name,
            source: std::io::ErrorKind::NotFound.into(),
        };
        loop {
            let mut tar = archive.tar();
            let Some(found) = tar.next()? else {
                return Err(match chosen {
                    Some(chosen) => part(chosen.file).into(),
                    None => damaged("it is a tar file without an OVF description in it".to_owned()),
                });
            };
            if let Some(chosen) = chosen.take_if(|chosen| chosen.is(&found.name)) {
                let said = manifest.as_deref().and_then(|lines| line_of(lines, &found.name));
                // A manifest that comes later is by SHA-256 nearly always.
                let hasher = Hasher::named(said.map_or("SHA256", |line| &line.algorithm));
                if let Some(hasher) = hasher.filter(|_| manifest.is_none() || said.is_some()) {
                    tar.digest_with(hasher);
                }
                drop(tar);
                let Chosen { disk, metadata, .. } = chosen;
                let watch = Arc::clone(watch);
                return Ok(Self {
                    archive,
                    watch,
                    disk,
                    file: found.name,
                    size: found.size,
                    metadata,
                    manifest,
                });
            }
            match extension(&found.name).as_deref() {
                Some("ovf") if chosen.is_none() => {
                    if let Some(hasher) = Hasher::named("SHA256") {
                        tar.digest_with(hasher);
                    }
                    let xml = tar.small(ova::MOST_DESCRIPTION, "description")?;
                    let described = Chosen::read(watch, &xml, member)?;
                    if before.iter().any(|name| described.is(name)) {
                        return Err(StreamError::NeedsFile {
                            name: name(),
                            compression,
                            what: "is an appliance whose description does not come before its disks"
                                .to_owned(),
                        });
                    }
                    chosen = Some(described);
                }
                Some("mf") => {
                    let text = tar.small(ova::MOST_MANIFEST, "manifest")?;
                    manifest = Some(ova::parse_manifest(&text));
                }
                _ => before.push(found.name),
            }
        }
    }

    /// The disk's file, from its first byte to its last.
    pub(super) fn content(&self) -> Shared {
        self.archive.clone()
    }

    /// Reads the archive to its end, and compares the digests of what was used with its manifest.
    pub(super) fn finish(&mut self) -> Result<(), StreamError> {
        let mut tar = self.archive.tar();
        while let Some(found) = tar.next()? {
            if extension(&found.name).as_deref() == Some("mf") && self.manifest.is_none() {
                let text = tar.small(ova::MOST_MANIFEST, "manifest")?;
                self.manifest = Some(ova::parse_manifest(&text));
            }
        }
        tar.finish()?;
        let lines = self.manifest.as_deref().unwrap_or_default();
        for found in tar.digests() {
            let Some(line) = line_of(lines, &found.name) else { continue };
            let same_algorithm =
                Hasher::named(&line.algorithm).is_some_and(|hasher| hasher.name() == found.algorithm);
            if same_algorithm && line.digest != found.digest {
                return Err(StreamError::Digest {
                    name: self.watch.name().to_owned(),
                    file: found.name.clone(),
                    algorithm: line.algorithm.clone(),
                    expected: line.digest.clone(),
                    found: found.digest.clone(),
                });
            }
        }
        Ok(())
    }

    /// Whether the disk's file was compared with a manifest; known once it is
    /// [finished](Self::finish).
    pub(super) fn is_checked(&self) -> bool {
        let lines = self.manifest.as_deref().unwrap_or_default();
        let tar = self.archive.tar();
        tar.digests().iter().filter(|found| found.name == self.file).any(|found| {
            line_of(lines, &found.name)
                .and_then(|line| Hasher::named(&line.algorithm))
                .is_some_and(|hasher| hasher.name() == found.algorithm)
        })
    }
}

/// The disk that was chosen by the description.
struct Chosen {
    disk: String,
    file: String,
    metadata: [u8; 32],
}

impl Chosen {
    fn read(watch: &Watch, xml: &[u8], member: Option<&str>) -> Result<Self, StreamError> {
        let (disk, file) = ova::described_disk(watch.name(), xml, member)?;
        Ok(Self { disk, file, metadata: *blake3::hash(xml).as_bytes() })
    }

    fn is(&self, name: &str) -> bool {
        name == self.file || name == ova::unescaped(&self.file)
    }
}

fn extension(name: &str) -> Option<String> {
    Some(Path::new(name).extension()?.to_str()?.to_ascii_lowercase())
}

fn line_of<'a>(lines: &'a [FileDigest], name: &str) -> Option<&'a FileDigest> {
    lines.iter().find(|line| line.file == name || ova::unescaped(&line.file) == name)
}
