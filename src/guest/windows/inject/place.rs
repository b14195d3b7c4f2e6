//! What lies below the first boot's directory: for whom it is, nobody else.

use std::collections::BTreeSet;

use crate::guest::windows::components::{Driver, FoundFile, Kind};
use crate::guest::windows::firstboot::{DIRECTORY, directory_descriptor, file_descriptor};
use crate::guest::windows::stage::{Access, Staged, StagedContent};

/// Files below the first boot's directory, with the directories above them.
#[derive(Debug, Default)]
pub struct Placed {
    /// In the order in which they are made.
    pub staged: Vec<Staged>,
    directories: BTreeSet<String>,
}

/// The directory of a driver's package: `drivers\ena`.
pub fn directory(driver: &Driver) -> String {
    let name = match driver.kind {
        Kind::Nvme => "nvme",
        Kind::Ena => "ena",
        _ => "other",
    };
    format!("drivers\\{name}")
}

/// Where a package's setup information file lies: `drivers\ena\ena.inf`.
pub fn inf(driver: &Driver) -> String {
    let name = driver.files.first().map_or("", |(name, _)| name.as_str());
    format!("{}\\{name}", directory(driver))
}

impl Placed {
    /// Places a file of the user's, by its path below the directory (`agents\AmazonEC2Launch.msi`).
    pub fn found(&mut self, path: &str, file: &FoundFile, purpose: &'static str) {
        self.add(path, StagedContent::Found(file.clone()), purpose);
    }

    /// Places bytes of our own.
    pub fn bytes(&mut self, path: &str, bytes: Vec<u8>, purpose: &'static str) {
        self.add(path, StagedContent::Bytes(bytes), purpose);
    }

    /// Places a driver's package.
    pub fn package(&mut self, driver: &Driver) {
        for (path, file) in &driver.files {
            let path = format!("{}\\{path}", directory(driver));
            self.found(&path, file, "a driver that the first boot installs");
        }
    }

    fn add(&mut self, path: &str, content: StagedContent, purpose: &'static str) {
        let path = format!("/{DIRECTORY}/{}", path.replace('\\', "/"));
        for (end, _) in path.match_indices('/').skip(1) {
            if self.directories.insert(path[..end].to_lowercase()) {
                self.staged.push(Staged::Directory {
                    path: path[..end].to_owned(),
                    access: Access::Descriptor(directory_descriptor()),
                    purpose: "what the first boot needs; only administrators get there",
                });
            }
        }
        let access = Access::Descriptor(file_descriptor());
        self.staged.push(Staged::File { path, content, access, purpose });
    }
}
