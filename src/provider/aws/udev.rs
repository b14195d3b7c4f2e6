//! The access node's udev, which is told to leave the guests' disks alone.
//!
//! udev looks into every disk that appears and, through its `watch`, again whenever one that was
//! open for writing is closed ("Locking Block Device Access", systemd.io). Rules of lvm2, mdadm,
//! bcache and multipath-tools then put what they find there to use: a guest's volume group becomes
//! active on the access node, between two steps of Replant, and its device is held. A rule of our
//! own, of exactly one volume and in udev's directory of runtime rules, keeps each of them off.
//!
//! There is one file a volume: a volume is of one workspace and in one slot, so that nobody ever
//! changes a file of somebody else.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::client::Cloud;
use super::device::{self, MODEL};
use crate::provider::slots;
use crate::provider::types::{InstanceId, VolumeId};

/// Before the rules that probe what is on a disk (60-persistent-storage.rules), that look for paths
/// (60-multipath.rules), and that act on what was found (64-… and 69-…).
const PREFIX: &str = "59-replant-";
const SUFFIX: &str = ".rules";
/// A rule is placed before its volume is attached. One without a device is left over after this
/// time: twice what an attachment may take.
const LEFT_OVER: Duration = Duration::from_secs(20 * 60);
/// Seconds for udev's daemon to answer.
const ANSWER: &str = "--timeout=20";
/// Where rules of packages and of the administrator are (udev(7)).
const INSTALLED: [&str; 3] = ["/etc/udev/rules.d", "/usr/lib/udev/rules.d", "/lib/udev/rules.d"];
/// Parts of the names of rules that put disks to use, with whose they are.
const USERS: [(&str, &str); 6] = [
    ("-lvm", "lvm2"),
    ("-dm-lvm", "lvm2"),
    ("md-raid-assembly", "mdadm"),
    ("md-incremental", "mdadm"),
    ("multipath", "multipath-tools"),
    ("bcache", "bcache-tools"),
];

/// Where udev is.
#[derive(Debug, Clone)]
pub(super) struct Udev {
    /// Its runtime directory.
    directory: PathBuf,
    sysfs: PathBuf,
}

impl Cloud {
    pub(super) fn udev(&self) -> Udev {
        Udev { directory: self.spec.udev_directory.clone(), sysfs: self.spec.sysfs_directory.clone() }
    }

    /// Places the rule of a volume that comes into a slot, when that is a slot of this machine.
    /// Whether it was not there before. Where none can be placed the plan has said so, and a disk
    /// that was put to use is refused when it is to be written.
    pub(super) async fn keep_udev_off(&self, id: &VolumeId, instance: &InstanceId, slot: &str) -> bool {
        let udev = self.udev();
        if !udev.is_there() || self.this_machine().await != Some(instance) {
            return false;
        }
        let (id, slot) = (id.clone(), slot.to_owned());
        let placed = tokio::task::spawn_blocking(move || udev.place(&id, &slot)).await;
        placed.is_ok_and(|placed| placed.unwrap_or(false))
    }

    /// Takes the rule of a volume away whose device is gone.
    pub(super) async fn release_udev(&self, id: &VolumeId) {
        let (udev, id) = (self.udev(), id.clone());
        // What is left over is swept later.
        let _ = tokio::task::spawn_blocking(move || udev.remove(&id)).await;
    }
}

impl Udev {
    /// Whether udev's daemon runs here: it listens there as long as it does.
    pub(super) fn is_there(&self) -> bool {
        self.directory.join("control").exists()
    }

    fn rules(&self) -> PathBuf {
        self.directory.join("rules.d")
    }

    fn file(&self, id: &VolumeId) -> Option<PathBuf> {
        let digits = id.0.strip_prefix("vol-")?;
        let is_id = (8..=17).contains(&digits.len()) && digits.bytes().all(|c| c.is_ascii_hexdigit());
        is_id.then(|| self.rules().join(format!("{PREFIX}{}{SUFFIX}", device::serial_of(id))))
    }

    /// Xen's devices have no mark but their names; only where this machine has such devices do
    /// names count.
    fn is_xen(&self) -> bool {
        fs::read_to_string(self.sysfs.join("hypervisor/type")).is_ok_and(|kind| kind.trim() == "xen")
    }

    /// Places a volume's rule, and has udev read it. `false`: it was there.
    fn place(&self, id: &VolumeId, slot: &str) -> io::Result<bool> {
        let Some(file) = self.file(id) else { return Ok(false) };
        self.sweep();
        let name = slots::slot(slot).filter(|_| self.is_xen());
        let text = rule(id, name.as_deref());
        if fs::read_to_string(&file).is_ok_and(|is| is == text) {
            return Ok(false);
        }
        let rules = self.rules();
        fs::create_dir_all(&rules)?;
        // udev reads what ends in `.rules` only: never half a file.
        let mut temporary = tempfile::Builder::new().prefix(".replant-").tempfile_in(&rules)?;
        temporary.write_all(text.as_bytes())?;
        temporary.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
        temporary.persist(&file).map_err(|error| error.error)?;
        udevadm(&["control", "--reload", ANSWER])?;
        Ok(true)
    }

    fn remove(&self, id: &VolumeId) {
        if let Some(file) = self.file(id)
            && fs::remove_file(file).is_ok()
        {
            // A rule that is still known names a device that is gone.
            let _ = udevadm(&["control", "--reload", ANSWER]);
        }
    }

    /// Takes away what a run left that did not come to its end.
    fn sweep(&self) {
        for entry in fs::read_dir(self.rules()).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let serial = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX));
            let Some(serial) = serial else { continue };
            let age = entry.metadata().and_then(|facts| facts.modified()).map(|time| time.elapsed());
            if !age.is_ok_and(|age| age.is_ok_and(|age| age >= LEFT_OVER)) {
                continue;
            }
            let is_here = device::with_serial(&self.sysfs, serial).is_ok_and(|found| !found.is_empty())
                || named(&entry.path()).is_some_and(|name| self.sysfs.join("block").join(name).exists());
            if !is_here {
                // Somebody else may sweep too.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Has udev look again at a disk and its partitions, now that the rule is there: what it found
    /// before is forgotten, and it no longer watches them.
    pub(super) fn look_again(&self, device: &Path) -> io::Result<()> {
        let Some(name) = device.file_name() else { return Ok(()) };
        let parent = format!("--parent-match={}", self.sysfs.join("block").join(name).display());
        udevadm(&["trigger", "--action=change", "--settle", &parent])
    }

    /// Whose rules put disks to use here, when udev runs and no rule of ours can be placed; and why
    /// none can.
    pub(super) fn hindrance(&self) -> Option<(Vec<&'static str>, String)> {
        if !self.is_there() {
            return None;
        }
        let places = INSTALLED.iter().map(PathBuf::from).chain([self.rules()]);
        let names = places.flat_map(|place| fs::read_dir(place).into_iter().flatten().flatten());
        let mut users: Vec<&str> = names
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.ends_with(SUFFIX))
            .filter_map(|name| USERS.iter().find(|(part, _)| name.contains(part)))
            .map(|(_, whose)| *whose)
            .collect();
        users.sort_unstable();
        users.dedup();
        if users.is_empty() {
            return None;
        }
        let why = self.unwritable().or_else(|| {
            udevadm(&["--version"]).err().map(|error| format!("udevadm cannot be run: {error}"))
        })?;
        Some((users, why))
    }

    fn unwritable(&self) -> Option<String> {
        let rules = self.rules();
        let there = rules.ancestors().find(|place| place.exists()).unwrap_or(&rules);
        if !there.is_dir() {
            return Some(format!("{} is no directory", there.display()));
        }
        let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        let refused = rustix::fs::access(there, access).err()?;
        Some(format!("{} cannot be written to: {}", there.display(), io::Error::from(refused)))
    }
}

/// The device's name in a rule of a Xen machine.
fn named(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let (_, rest) = text.split_once("KERNEL==\"")?;
    Some(rest.split_once('|')?.0.to_owned())
}

/// What is not probed has no `ID_FS_TYPE`, by which lvm2 and mdadm know their members, and no links
/// by a label or UUID, which a copy of the access node's own disk would share with it. bcache-tools
/// and udisks2 look by themselves unless they are told not to; so does systemd, which would wait
/// for nothing and start nothing. `:=`, since 60-block.rules asks for the watch later.
fn rule(id: &VolumeId, xen: Option<&str>) -> String {
    let serial = device::serial_of(id);
    let by_name = xen.map_or_else(String::new, |name| {
        format!("KERNEL==\"{name}|{name}[0-9]*\", GOTO=\"replant_volume\"\n")
    });
    format!(
        "# Replant made this file and removes it when {id} leaves its slot: a guest's disk,\n\
         # which nothing on this machine may look into or put to use.\n\
         SUBSYSTEM!=\"block\", GOTO=\"replant_end\"\n\
         ATTRS{{serial}}==\"{serial}\", ATTRS{{model}}==\"{MODEL}\", GOTO=\"replant_volume\"\n\
         {by_name}\
         GOTO=\"replant_end\"\n\
         \n\
         LABEL=\"replant_volume\"\n\
         ENV{{UDEV_DISABLE_PERSISTENT_STORAGE_RULES_FLAG}}=\"1\"\n\
         ENV{{UDEV_DISABLE_PERSISTENT_STORAGE_BLKID_FLAG}}=\"1\"\n\
         ENV{{DM_UDEV_DISABLE_OTHER_RULES_FLAG}}=\"1\"\n\
         ENV{{SYSTEMD_READY}}=\"0\"\n\
         ENV{{UDISKS_IGNORE}}=\"1\"\n\
         OPTIONS:=\"nowatch\"\n\
         \n\
         LABEL=\"replant_end\"\n"
    )
}

fn udevadm(arguments: &[&str]) -> io::Result<()> {
    let mut command = Command::new("udevadm");
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("udevadm ended with {status}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new() -> Self {
            let machine = Self(tempfile::tempdir().unwrap());
            fs::create_dir_all(machine.0.path().join("udev/rules.d")).unwrap();
            fs::create_dir_all(machine.0.path().join("sys/block")).unwrap();
            machine
        }

        fn udev(&self) -> Udev {
            Udev { directory: self.0.path().join("udev"), sysfs: self.0.path().join("sys") }
        }

        fn old_rule(&self, id: &str, xen: Option<&str>) -> PathBuf {
            let id = VolumeId(id.to_owned());
            let file = self.udev().file(&id).unwrap();
            fs::write(&file, rule(&id, xen)).unwrap();
            let then = std::time::SystemTime::now() - LEFT_OVER;
            fs::File::options().write(true).open(&file).unwrap().set_modified(then).unwrap();
            file
        }
    }

    #[test]
    fn what_is_left_over_goes_and_what_is_in_use_stays() {
        let machine = Machine::new();
        let gone = machine.old_rule("vol-0aaaaaaaaaaaaaaaa", None);
        let here = machine.old_rule("vol-0bbbbbbbbbbbbbbbb", None);
        let device = machine.0.path().join("sys/block/nvme1n1/device");
        fs::create_dir_all(&device).unwrap();
        fs::write(device.join("serial"), "vol0bbbbbbbbbbbbbbbb\n").unwrap();
        let xen = machine.old_rule("vol-0cccccccccccccccc", Some("xvdf"));
        let xen_gone = machine.old_rule("vol-0dddddddddddddddd", Some("xvdg"));
        fs::create_dir_all(machine.0.path().join("sys/block/xvdf")).unwrap();
        let rules = machine.udev().rules();
        let awaited = VolumeId("vol-0eeeeeeeeeeeeeeee".to_owned());
        let awaited = machine.udev().file(&awaited).unwrap();
        fs::write(&awaited, "").unwrap();
        fs::write(rules.join("60-other.rules"), "").unwrap();
        machine.udev().sweep();
        assert!(!gone.exists() && !xen_gone.exists());
        assert!(here.exists() && xen.exists() && awaited.exists());
        assert!(rules.join("60-other.rules").exists());
    }

    #[test]
    fn only_an_id_becomes_a_name() {
        let machine = Machine::new();
        for id in ["vol-../../x", "vol-", "i-0aaaaaaaaaaaaaaaa", "vol-0aaaaaaaaaaaaaaaa\n"] {
            assert_eq!(machine.udev().file(&VolumeId(id.to_owned())), None, "{id}");
        }
    }

    #[test]
    fn names_count_only_where_devices_have_nothing_else() {
        let id = VolumeId("vol-0123456789abcdef0".to_owned());
        assert!(!rule(&id, None).contains("KERNEL"));
        assert!(rule(&id, Some("xvdf")).contains("KERNEL==\"xvdf|xvdf[0-9]*\""));
        let machine = Machine::new();
        assert!(!machine.udev().is_xen());
        fs::create_dir_all(machine.0.path().join("sys/hypervisor")).unwrap();
        fs::write(machine.0.path().join("sys/hypervisor/type"), "xen\n").unwrap();
        assert!(machine.udev().is_xen());
    }

    #[test]
    fn without_a_daemon_there_is_nothing_to_say() {
        assert_eq!(Machine::new().udev().hindrance(), None);
    }
}
