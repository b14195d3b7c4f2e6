//! Load hints: a few lines of shell that the generator's init sources before it starts udev.
//! The merged index lets udev find the drivers by itself; the hint is the second way.

use super::archive::{Archive, Member};
use crate::guest::linux::index::module_name;

/// SUSE mkinitrd's list of what its init sources, one script after the other.
pub const RUN_ALL: &str = "run_all.sh";

/// What made an initramfs, and so what its init sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generator {
    /// Debian's: sources `conf/conf.d/*`.
    InitramfsTools,
    /// dracut from 009: sources `lib/dracut/hooks/pre-udev/*.sh`; from 110 `var/lib/dracut/hooks`
    /// is the first of several such directories.
    Dracut,
    /// dracut 004 of EL6: sources `/pre-udev/*.sh`.
    DracutOld,
    /// SUSE's mkinitrd (to SLES 11): sources `run_all.sh`, which sources `boot/NN-….sh` by name.
    Mkinitrd,
    /// Something else; it has to do with the index.
    Other,
}

impl Generator {
    /// Recognizes one by what an archive holds.
    #[must_use]
    pub fn of(archive: &Archive) -> Self {
        let directory = |path: &str| matches!(archive.get(path), Some(Member::Directory));
        let file = |path: &str| matches!(archive.get(path), Some(Member::File(_)));
        if directory("conf/conf.d") || file("conf/initramfs.conf") {
            Self::InitramfsTools
        } else if directory("lib/dracut") || directory("usr/lib/dracut") || directory("var/lib/dracut/hooks")
        {
            Self::Dracut
        } else if file("lib/dracut-lib.sh") || directory("pre-udev") || directory("initqueue") {
            Self::DracutOld
        } else if file(RUN_ALL) && directory("boot") {
            Self::Mkinitrd
        } else {
            Self::Other
        }
    }

    /// Its everyday name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InitramfsTools => "initramfs-tools",
            Self::Dracut | Self::DracutOld => "dracut",
            Self::Mkinitrd => "mkinitrd",
            Self::Other => "unknown",
        }
    }

    /// Where the hint stands in the archive, before links are resolved.
    #[must_use]
    pub fn hint_path(self, archive: &Archive) -> Option<String> {
        let directory = |path: &str| matches!(archive.get(path), Some(Member::Directory));
        match self {
            // `zz`: after the conf files of packages, which only set variables.
            Self::InitramfsTools => Some("conf/conf.d/zz-replant".to_owned()),
            Self::Dracut if !directory("lib/dracut/hooks") && directory("var/lib/dracut/hooks") => {
                Some("var/lib/dracut/hooks/pre-udev/05-replant.sh".to_owned())
            }
            Self::Dracut => Some("lib/dracut/hooks/pre-udev/05-replant.sh".to_owned()),
            Self::DracutOld => Some("pre-udev/05-replant.sh".to_owned()),
            // Scripts are sourced in the order of their names (always so with `slow_boot`), and
            // this name comes before `NN-udev.sh`.
            Self::Mkinitrd => Some(format!("boot/{}-replant.sh", udev_number(archive).unwrap_or("04"))),
            Self::Other => None,
        }
    }
}

/// The number of mkinitrd's script that starts udev.
fn udev_number(archive: &Archive) -> Option<&str> {
    let names = archive.members.keys().filter_map(|path| path.strip_prefix("boot/"));
    let mut numbers = names.filter_map(|name| name.strip_suffix("-udev.sh"));
    numbers.find(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// mkinitrd's list with the hint in it: before udev is started, else at the end of what is there
/// to set the system up. `None` when there is no place for it, or it is in already.
#[must_use]
pub fn in_run_all(list: &str, hint: &str) -> Option<String> {
    let sourced = format!("source {hint}");
    let lines: Vec<&str> = list.lines().collect();
    let script = |line: &str, ending: &str| line.starts_with("source boot/") && line.ends_with(ending);
    if lines.contains(&sourced.as_str()) {
        return None;
    }
    let place = lines
        .iter()
        .position(|line| script(line, "-udev.sh"))
        .or_else(|| lines.iter().position(|line| script(line, "-mount.sh")))?;
    let mut text = String::with_capacity(list.len() + sourced.len() + 1);
    for (index, line) in lines.iter().enumerate() {
        if index == place {
            text.push_str(&sourced);
            text.push('\n');
        }
        text.push_str(line);
        text.push('\n');
    }
    Some(text)
}

/// The hint: modprobe by the index below `root` (empty for the archive's own), else insmod of
/// the files in load order. Every line succeeds: the init must go on whatever happens.
///
/// What is loaded already is left alone: insmod hands a packed module to the kernel as it is, and
/// the kernel says "Invalid ELF header magic" before it looks whether it has the module.
#[must_use]
pub fn script(root: &str, drivers: &[&str], files: &[String]) -> String {
    let mut text =
        String::from("# Replant: the disk drivers of the machine that this guest was restored to.\n");
    let directory = if root.is_empty() { String::new() } else { format!("-d {root} ") };
    for driver in drivers {
        text.push_str(&format!("modprobe -q {directory}{driver} >/dev/null 2>&1 || :\n"));
    }
    for file in files {
        let loaded = module_name(file);
        text.push_str(&format!("[ -e /sys/module/{loaded} ] || insmod /{file} >/dev/null 2>&1 || :\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_comes_before_udev() {
        let list = "[ \"$debug\" ] && echo running 03-start.sh\nsource boot/03-start.sh\n[ \"$modules\" ] && load_modules\n\
                    [ \"$debug\" ] && echo running 04-udev.sh\nsource boot/04-udev.sh\nsource boot/84-mount.sh\n";
        let with = in_run_all(list, "boot/04-replant.sh").unwrap();
        assert!(with.contains("source boot/04-replant.sh\nsource boot/04-udev.sh\n"), "{with}");
        assert_eq!(with.lines().count(), list.lines().count() + 1);
        assert_eq!(in_run_all(&with, "boot/04-replant.sh"), None);
        assert_eq!(in_run_all("echo nothing\n", "boot/04-replant.sh"), None);
        let without_udev = in_run_all("source boot/84-mount.sh\n", "boot/04-replant.sh").unwrap();
        assert!(without_udev.starts_with("source boot/04-replant.sh\n"));
    }

    /// Run by a real shell, with programs of ours in the place of kmod's.
    #[test]
    fn the_hint_inserts_what_is_not_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        for program in ["modprobe", "insmod"] {
            let text = format!("#!/bin/sh\necho {program} \"$@\" >>{}\nexit 1\n", log.display());
            std::fs::write(directory.path().join(program), text).unwrap();
            let runs = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(directory.path().join(program), runs).unwrap();
        }
        let loaded = std::fs::read_dir("/sys/module").unwrap().next().unwrap().unwrap().file_name();
        let files =
            [format!("lib/{}.ko.xz", loaded.to_str().unwrap()), "lib/not-loaded-here.ko.xz".to_owned()];
        let text = script("/replant", &["nvme"], &files);
        let status = std::process::Command::new("/bin/sh")
            .args(["-e", "-c", &text])
            .env("PATH", directory.path())
            .status()
            .unwrap();
        assert!(status.success());
        let said = std::fs::read_to_string(log).unwrap();
        assert_eq!(said, "modprobe -q -d /replant nvme\ninsmod /lib/not-loaded-here.ko.xz\n");
    }
}
