//! Real guests, made by `tests/guests/build` and kept from run to run, and booting disks.
#![allow(dead_code)]

use std::ffi::OsString;
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

/// One thing of a guest's layout that holds data; see `tests/guests/lib/layout.sh`.
#[derive(Debug)]
pub struct Row {
    /// `sda1`, `group/volume`, `md0`.
    pub device: String,
    /// `ext4`, `pv:group`, …
    pub kind: String,
    /// Empty when it is not mounted.
    pub mount: String,
    /// As `@=/,@home=/home`.
    pub subvolumes: String,
}

impl Row {
    /// Where it is mounted, all subvolumes.
    pub fn mounts(&self) -> Vec<&str> {
        if self.subvolumes.is_empty() {
            return [self.mount.as_str()].into_iter().filter(|mount| !mount.is_empty()).collect();
        }
        self.subvolumes.split(',').filter_map(|subvolume| Some(subvolume.split_once('=')?.1)).collect()
    }
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

    /// Every disk of it in its order, as streamOptimized VMDK.
    pub fn vmdks(&self) -> Vec<PathBuf> {
        let further = (2..).map(|number| self.directory.join(format!("guest{number}.vmdk")));
        std::iter::once(self.vmdk()).chain(further.take_while(|path| path.exists())).collect()
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

    /// What is on its disks.
    pub fn layout(&self) -> Vec<Row> {
        let rows = self.fact("LAYOUT");
        let rows = rows.split(';').filter(|row| !row.is_empty()).map(|row| {
            let mut fields = row.split_whitespace().map(str::to_owned);
            let mut next = || fields.next().unwrap_or_default();
            let (device, _size) = (next(), next());
            Row { device, kind: next(), mount: next(), subvolumes: next() }
        });
        rows.collect()
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

impl Boot {
    fn of(program: &str, until: &str, arguments: impl FnOnce(&Path) -> Vec<OsString>) -> Self {
        let _one = one_boot();
        let directory = tempfile::tempdir().expect("a directory");
        let console = directory.path().join("console");
        let mut script = Command::new(guests().join(program));
        let output = script.args(arguments(&console)).env("UNTIL", until).output();
        let output = output.expect("the boot script starts");
        let shown = fs::read(&console).unwrap_or_default();
        Self {
            verdict: String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            console: String::from_utf8_lossy(&shown).into_owned() + &String::from_utf8_lossy(&output.stderr),
        }
    }

    /// What the guest said of itself: `address`, `mounted`, `swap`.
    ///
    /// # Errors
    /// When it said nothing of that.
    pub fn said(&self, name: &str) -> Result<&str, String> {
        let prefix = format!("guest has {name}:");
        let line = self.console.lines().find_map(|line| Some(line.split_once(&prefix)?.1));
        line.map(str::trim).ok_or(format!("it says nothing of its {name}"))
    }
}

/// Boots a disk from NVMe.
pub fn boot_from_nvme(image: &Path, firmware: &str) -> Boot {
    boot_disks_from_nvme(&[image], firmware)
}

/// Boots the first of several disks from NVMe, with the others beside it.
pub fn boot_disks_from_nvme(images: &[&Path], firmware: &str) -> Boot {
    boot_disks_until(images, firmware, "")
}

/// The same, until the console has shown these words, too.
pub fn boot_disks_until(images: &[&Path], firmware: &str, words: &str) -> Boot {
    Boot::of("boot", words, |console| {
        let mut arguments: Vec<OsString> = vec![images[0].into(), console.into()];
        arguments.extend(["1200", "nvme", firmware].map(OsString::from));
        arguments.extend(images[1..].iter().map(OsString::from));
        arguments
    })
}

/// Boots a kernel and its initramfs under Xen, with a disk as `xvda`.
pub fn boot_from_xvda(image: &Path, kernel: &Path, initramfs: &Path, arguments: &str) -> Boot {
    Boot::of("xen", "", |console| {
        vec![image.into(), console.into(), "1200".into(), kernel.into(), initramfs.into(), arguments.into()]
    })
}

fn guests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests")
}
