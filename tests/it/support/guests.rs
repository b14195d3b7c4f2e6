//! Real guests, made by `tests/guests/build` and kept from run to run, and booting disks.
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A guest in all the formats it is kept in.
pub struct Guest {
    directory: PathBuf,
}

/// The guest of that variant (a file's name in `tests/guests/variants`); made when it is not there.
#[track_caller]
pub fn guest(variant: &str) -> Guest {
    let build = guests().join("build");
    let output = Command::new(build).arg(variant).output().expect("the builder starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Guest { directory: PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()) }
}

impl Guest {
    /// Sparse, raw.
    pub fn raw(&self) -> PathBuf {
        self.directory.join("guest.raw")
    }

    /// streamOptimized.
    pub fn vmdk(&self) -> PathBuf {
        self.directory.join("guest.vmdk")
    }

    /// The second disk of a machine that has two, as streamOptimized VMDK.
    pub fn second_vmdk(&self) -> PathBuf {
        self.directory.join("guest2.vmdk")
    }

    /// The same VMDK in an appliance.
    pub fn ova(&self) -> PathBuf {
        self.directory.join("guest.ova")
    }

    /// What the builder says of it: `KERNEL`, `FIRMWARE`, `ROOT_UUID`, …
    #[track_caller]
    pub fn fact(&self, name: &str) -> String {
        let facts = fs::read_to_string(self.directory.join("facts.env")).expect("facts");
        let prefix = format!("{name}=");
        let line = facts.lines().find_map(|line| line.strip_prefix(&prefix));
        line.unwrap_or_else(|| panic!("no fact {name}")).to_owned()
    }
}

/// What a boot came to: `login`, `failed` or `neither`, and what the console showed.
pub struct Boot {
    pub verdict: String,
    pub console: String,
}

/// Held while a guest boots. One at a time: an emulated processor takes a whole core.
pub fn one_boot() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Boots a disk from NVMe.
pub fn boot_from_nvme(image: &Path, firmware: &str) -> Boot {
    boot_disks_from_nvme(&[image], firmware)
}

/// Boots the first of one or two disks from NVMe, with the other beside it.
pub fn boot_disks_from_nvme(images: &[&Path], firmware: &str) -> Boot {
    let _one = one_boot();
    let directory = tempfile::tempdir().expect("a directory");
    let console = directory.path().join("console");
    let output = Command::new(guests().join("boot"))
        .arg(images[0])
        .arg(&console)
        .args(["300", "nvme", firmware])
        .args(&images[1..])
        .output()
        .expect("the boot script starts");
    Boot {
        verdict: String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        console: String::from_utf8_lossy(&fs::read(&console).unwrap_or_default()).into_owned()
            + &String::from_utf8_lossy(&output.stderr),
    }
}

fn guests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests")
}
