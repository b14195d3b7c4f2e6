//! From an appliance's file to its machine and its disks' bytes.

use std::path::Path;

use super::super::detect::detect;
use super::super::error::ImageError;
use super::super::format::Format;
use super::super::opener::Opener;
use super::super::source::SourceError;
use super::super::window::Window;
use super::appliance::{Appliance, ApplianceDisk};
use super::archive::{Member, members};
use super::description::{Description, DescriptionError, FileRef, MOST_BYTES};
use super::hardware::machine;
use super::manifest;
use crate::model::Location;

/// Where an appliance's files are.
#[derive(Debug)]
enum Place {
    /// In its tar file.
    Archive(Vec<Member>),
    /// In its directory.
    Directory,
}

/// An appliance and where its files are.
#[derive(Debug)]
pub(in super::super) struct Content {
    pub appliance: Appliance,
    place: Place,
    path: std::path::PathBuf,
    files: std::collections::BTreeMap<String, FileRef>,
}

/// Reads what an appliance (`.ova` or `.ovf`) says of its machine.
///
/// # Errors
/// When it cannot be read, is damaged, or describes what is not supported.
pub fn read(image: impl Into<Location>) -> Result<Appliance, ImageError> {
    let image = image.into();
    let (mut opener, file) = Opener::new(&image)?;
    match detect(&file, None, opener.is_device())? {
        Format::Ova | Format::Ovf => {
            let mut content = open_container(&mut opener, &file)?;
            content.find_sizes(&mut opener)?;
            content.appliance.digests = content.manifest(&mut opener, &file)?;
            Ok(content.appliance)
        }
        other => {
            Err(ImageError::OtherFormat { file: image.called(), said: Format::Ova, found: other.to_string() })
        }
    }
}

/// Opens an appliance.
pub(in super::super) fn open_container(opener: &mut Opener, file: &Window) -> Result<Content, ImageError> {
    let is_archive = file.read_up_to(257, 5)? == b"ustar";
    let (place, description) = if is_archive {
        let members = members(file)?;
        let description = members.iter().find(|member| has_extension(&member.name, "ovf"));
        let description = description.ok_or_else(|| no_description(file, &members))?.content.clone();
        (Place::Archive(members), description)
    } else {
        (Place::Directory, file.clone())
    };
    let xml = small(&description, MOST_BYTES, "description")?;
    opener.metadata(&xml);
    let parsed = parse(file.path(), &xml)?;
    let mut content = Content {
        appliance: Appliance { path: file.path().to_owned(), ..machine(&parsed) },
        place,
        path: file.path().to_owned(),
        files: parsed.files,
    };
    content.name_files()?;
    Ok(content)
}

/// Reads the description of the appliance in `file`.
fn parse(file: &Path, xml: &[u8]) -> Result<Description, ImageError> {
    Description::parse(xml).map_err(|error| match error {
        DescriptionError::Bad(what) => {
            let (file, what) = (file.to_owned(), format!("its OVF description: {what}"));
            SourceError::Damaged { file, offset: 0, what }.into()
        }
        DescriptionError::Unsupported(what) => ImageError::Unsupported {
            file: file.to_owned(),
            what,
            help: "Export every machine as an appliance of its own.".to_owned(),
        },
    })
}

/// The id and the file of the disk that is meant, by the description alone.
pub(in super::super) fn described_disk(
    file: &Path,
    xml: &[u8],
    member: Option<&str>,
) -> Result<(String, String), ImageError> {
    let parsed = parse(file, xml)?;
    let mut appliance = Appliance { path: file.to_owned(), ..machine(&parsed) };
    for disk in &mut appliance.disks {
        let reference = disk.file.take();
        disk.file = reference.map(|id| parsed.files.get(&id).map_or(id, |file| file.href.clone()));
    }
    let disk = appliance.disk(member)?;
    Ok((disk.id.clone(), disk.file.clone().unwrap_or_default()))
}

impl Content {
    /// Replaces the references of its disks by the files' names.
    fn name_files(&mut self) -> Result<(), ImageError> {
        let mut disks = std::mem::take(&mut self.appliance.disks);
        for disk in &mut disks {
            let Some(reference) = disk.file.take() else { continue };
            let file = self.files.get(&reference).ok_or_else(|| self.missing(&reference))?;
            self.refuse_packed(file)?;
            disk.file = Some(file.href.clone());
        }
        self.appliance.disks = disks;
        Ok(())
    }

    /// Looks how large the files of its disks are.
    fn find_sizes(&mut self, opener: &mut Opener) -> Result<(), ImageError> {
        let mut disks = std::mem::take(&mut self.appliance.disks);
        for disk in disks.iter_mut().filter(|disk| disk.file.is_some()) {
            disk.stored_bytes = self.disk(opener, disk)?.len();
        }
        self.appliance.disks = disks;
        Ok(())
    }

    fn missing(&self, name: &str) -> ImageError {
        ImageError::Part {
            file: self.path.clone(),
            name: name.to_owned(),
            source: std::io::ErrorKind::NotFound.into(),
        }
    }

    fn refuse_packed(&self, file: &FileRef) -> Result<(), ImageError> {
        let packed = file.compression.is_some() || has_extension(&file.href, "gz");
        if packed {
            let unpack = match self.place {
                Place::Archive(_) => format!("tar -xf {} && gunzip {}", self.path.display(), file.href),
                Place::Directory => format!("gunzip --keep {}", file.href),
            };
            return Err(ImageError::Compressed {
                file: self.path.with_file_name(&file.href),
                compressor: "gzip",
                command: unpack,
            });
        }
        if file.chunked {
            return Err(ImageError::Unsupported {
                file: self.path.clone(),
                what: format!("has its disk `{}` cut in several files", file.href),
                help: "Join the files first (`cat` in the order of their numbers), and export without chunks next time."
                    .to_owned(),
            });
        }
        Ok(())
    }

    /// A file of the appliance by its name there; `None` when there is none.
    pub(in super::super) fn file(
        &self,
        opener: &mut Opener,
        href: &str,
    ) -> Result<Option<Window>, ImageError> {
        match &self.place {
            Place::Archive(members) => {
                let by_name = |name: &str| members.iter().find(|member| member.name == name);
                let found = by_name(href).or_else(|| by_name(&unescaped(href)));
                Ok(found.map(|member| member.content.clone()))
            }
            Place::Directory => match opener.beside(href.as_bytes(), &self.path) {
                Err(ImageError::Part { .. }) if unescaped(href) != href => {
                    opener.beside(unescaped(href).as_bytes(), &self.path).map(Some)
                }
                other => other.map(Some),
            },
        }
    }

    /// The bytes of one of its disks.
    pub(in super::super) fn disk(
        &self,
        opener: &mut Opener,
        disk: &ApplianceDisk,
    ) -> Result<Window, ImageError> {
        let href = disk.file.as_deref().unwrap_or_default();
        self.file(opener, href)?.ok_or_else(|| self.missing(href))
    }

    /// Whether its files are members of one tar file.
    pub(in super::super) fn is_archive(&self) -> bool {
        matches!(self.place, Place::Archive(_))
    }

    /// The digests of its manifest; none when it has no manifest.
    pub(in super::super) fn manifest(
        &self,
        opener: &mut Opener,
        file: &Window,
    ) -> Result<Vec<manifest::FileDigest>, ImageError> {
        let found = match &self.place {
            Place::Archive(members) => members
                .iter()
                .find(|member| has_extension(&member.name, "mf"))
                .map(|member| member.content.clone()),
            Place::Directory => {
                let name = file.name().with_extension("mf");
                let name =
                    name.file_name().map(std::ffi::OsStr::as_encoded_bytes).unwrap_or_default().to_vec();
                match opener.beside(&name, &self.path) {
                    Ok(window) => Some(window),
                    Err(ImageError::Part { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                        None
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        match found {
            Some(window) => Ok(manifest::parse(&small(&window, manifest::MOST_BYTES, "manifest")?)),
            None => Ok(Vec::new()),
        }
    }
}

/// What a tar file is that is no appliance.
fn no_description(file: &Window, members: &[Member]) -> ImageError {
    if members.iter().any(|member| member.name == "ova.xml") {
        return ImageError::Unsupported {
            file: file.path().to_owned(),
            what: "is a XenServer export (XVA)".to_owned(),
            help: "Export the machine's disks as VHD instead, or put the blocks in it together with xva-img, and name the disk."
                .to_owned(),
        };
    }
    file.damaged(0, "it is a tar file without an OVF description in it").into()
}

/// Reads a file that must be small.
fn small(file: &Window, most: u64, what: &str) -> Result<Vec<u8>, ImageError> {
    if file.len() > most {
        let what = format!("its {what} has {} bytes, at most {most} are possible", file.len());
        return Err(file.damaged(0, what).into());
    }
    Ok(file.read_up_to(0, usize::try_from(most).unwrap_or(usize::MAX))?)
}

fn has_extension(name: &str, extension: &str) -> bool {
    Path::new(name).extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

/// A name in which `%20` and the like stand for bytes, as in a URI.
pub(in super::super) fn unescaped(href: &str) -> String {
    let mut bytes = Vec::with_capacity(href.len());
    let mut rest = href.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| *first == b'%').and_then(|digits| {
            std::str::from_utf8(digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok())
        });
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_be_escaped() {
        assert_eq!(unescaped("my%20disk%2.vmdk"), "my disk%2.vmdk");
        assert_eq!(unescaped("%"), "%");
    }
}
