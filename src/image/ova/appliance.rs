//! What an appliance says of its machine.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::error::ImageError;
use super::manifest::FileDigest;
use crate::model::Firmware;

/// A virtual appliance: one machine and its disks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Appliance {
    /// The file it was read from.
    pub path: PathBuf,
    /// The machine's name.
    pub name: String,
    /// Its disks, the one that it boots from first.
    pub disks: Vec<ApplianceDisk>,
    /// Its memory in MiB.
    pub memory_mib: Option<u64>,
    /// Its processors.
    pub vcpus: Option<u32>,
    /// Its firmware, when the appliance says.
    pub firmware: Option<Firmware>,
    /// Its network interfaces.
    pub nics: Vec<Nic>,
    /// The operating system that it is said to run; a hint, the guest's disks know better.
    pub os: Option<OsHint>,
    /// The digests of its manifest; nothing was checked against them yet.
    pub digests: Vec<FileDigest>,
}

/// One disk of an appliance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApplianceDisk {
    /// Its id in the appliance: names it when the image is opened.
    pub id: String,
    /// A name to give it: `root`, `data1`, `data2` …
    pub name: String,
    /// Its file; `None` for an empty disk.
    pub file: Option<String>,
    /// The bytes of that file. (What the description says of its size is often wrong.)
    pub stored_bytes: u64,
    /// The URI of its format, as the description says it.
    pub format: String,
    /// Its size in bytes, as the description says it; the image itself knows better.
    pub capacity: u64,
    /// What it is attached to: `scsi 0:0`, `ide 0:1`; empty when it is not said.
    pub attached_to: String,
    /// Its place in the order that the machine tries to boot from, from 0.
    pub boot_order: u32,
}

/// One network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Nic {
    /// What the appliance calls it.
    pub name: String,
    /// The network it is connected to.
    pub network: Option<String>,
    /// Its model, as the appliance calls it: `VmxNet3`, `E1000`.
    pub model: Option<String>,
    /// Its hardware address.
    pub mac: Option<String>,
}

/// The operating system that an appliance is said to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OsHint {
    /// CIM's number of it.
    pub id: Option<u32>,
    /// What it is called.
    pub description: String,
}

impl Appliance {
    /// The disk of that id, name or file; without a word the only disk that has a file.
    ///
    /// # Errors
    /// When there is none of it, or several without a word.
    pub fn disk(&self, member: Option<&str>) -> Result<&ApplianceDisk, ImageError> {
        let stored = || self.disks.iter().filter(|disk| disk.file.is_some());
        let disks = || stored().map(|disk| disk.name.clone()).collect();
        match member {
            Some(member) => stored()
                .find(|disk| disk.name == member)
                .or_else(|| stored().find(|disk| disk.id == member || disk.file.as_deref() == Some(member)))
                .ok_or_else(|| ImageError::NoMember {
                    file: self.path.clone(),
                    member: member.to_owned(),
                    disks: stored().map(|disk| format!("{} ({})", disk.name, disk.id)).collect(),
                }),
            None => match stored().collect::<Vec<_>>().as_slice() {
                [disk] => Ok(disk),
                _ => Err(ImageError::WhichMember { file: self.path.clone(), disks: disks() }),
            },
        }
    }
}
