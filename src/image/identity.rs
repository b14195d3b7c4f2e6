//! What tells one image from another without reading all of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rustix::fs::Stat;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::Digest;

/// What the file system says of one file of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileIdentity {
    /// Its name, from the image's directory on.
    pub name: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last written, in whole seconds since 1970. 0 for a block device, whose node
    /// does not follow its content.
    pub modified_seconds: i64,
    /// The nanoseconds of that time.
    pub modified_nanoseconds: u32,
    /// Its inode; for a block device the device's number.
    pub inode: u64,
    /// The device of its file system.
    pub device: u64,
    /// What the server it lies on calls this version of it (an ETag, a version id); `None` for
    /// files of this machine, which inode and device tell apart. Of a file on a server those are 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

impl FileIdentity {
    pub(super) fn new(name: PathBuf, stat: &Stat, size: u64, is_device: bool) -> Self {
        Self {
            name,
            size,
            modified_seconds: if is_device { 0 } else { stat.st_mtime },
            modified_nanoseconds: if is_device { 0 } else { u32::try_from(stat.st_mtime_nsec).unwrap_or(0) },
            inode: if is_device { stat.st_rdev } else { stat.st_ino },
            device: stat.st_dev,
            version: None,
        }
    }

    /// Whether it is one file of this machine with another, whatever their names.
    pub(super) fn is_same_file(&self, other: &Self) -> bool {
        let is_local = self.version.is_none() && other.version.is_none();
        is_local && (self.inode, self.device) == (other.inode, other.device)
    }

    /// What of it is different in `now`, in words.
    pub(super) fn difference(&self, now: &Self) -> Option<String> {
        if self.size != now.size {
            Some(format!("it had {} bytes, now it has {}", self.size, now.size))
        } else if (self.modified_seconds, self.modified_nanoseconds)
            != (now.modified_seconds, now.modified_nanoseconds)
        {
            Some("it was written to".to_owned())
        } else if self.version != now.version {
            Some("its server has another version of it".to_owned())
        } else if (self.inode, self.device) != (now.inode, now.device) {
            Some("it was replaced by another file".to_owned())
        } else if self.name != now.name {
            Some("it was renamed".to_owned())
        } else {
            None
        }
    }
}

/// What tells one image from another: what the file system says of its files, its format's own
/// ids, and a digest of the metadata that opening it reads. Never a full read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Identity {
    /// The format, with its sub-format.
    pub format: String,
    /// The disk's size in bytes.
    pub size: u64,
    /// The disk of an appliance.
    pub member: Option<String>,
    /// Every file it consists of, the one that was named first.
    pub files: Vec<FileIdentity>,
    /// The format's own ids (a VMDK's content id, for example).
    pub ids: BTreeMap<String, String>,
    /// The digest of headers, descriptors and directories of tables.
    pub metadata: Digest,
}

impl Identity {
    /// One digest of all of it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        // Field by field with lengths, so that it depends on no serialisation.
        let mut hasher = blake3::Hasher::new_derive_key("replant image identity 1");
        let mut text = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        text(self.format.as_bytes());
        text(&self.size.to_le_bytes());
        text(self.member.as_deref().unwrap_or_default().as_bytes());
        for file in &self.files {
            text(file.name.as_os_str().as_encoded_bytes());
            text(&file.size.to_le_bytes());
            text(&file.modified_seconds.to_le_bytes());
            text(&file.modified_nanoseconds.to_le_bytes());
            text(&file.inode.to_le_bytes());
            text(&file.device.to_le_bytes());
        }
        for (name, value) in &self.ids {
            text(name.as_bytes());
            text(value.as_bytes());
        }
        text(&self.metadata.0);
        for file in self.files.iter().filter(|file| file.version.is_some()) {
            text(file.version.as_deref().unwrap_or_default().as_bytes());
        }
        Digest(*hasher.finalize().as_bytes())
    }
}
