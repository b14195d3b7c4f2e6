//! Load hints: a few lines of shell that the generator's init sources before it starts udev.
//! The merged index lets udev find the drivers by itself; the hint is the second way.

use super::unpack::{Archive, Member};

/// What made an initramfs, and so what its init sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generator {
    /// Debian's: sources `conf/conf.d/*`.
    InitramfsTools,
    /// dracut: sources `lib/dracut/hooks/pre-udev/*.sh`.
    Dracut,
    /// dracut 004 of EL6: sources `/pre-udev/*.sh`.
    DracutOld,
    /// Something else; it has to do with the index.
    Other,
}

impl Generator {
    /// Recognizes one by what an archive holds.
    #[must_use]
    pub fn of(archive: &Archive) -> Self {
        let directory = |path: &str| matches!(archive.get(path), Some(Member::Directory));
        if directory("conf/conf.d") || matches!(archive.get("conf/initramfs.conf"), Some(Member::File(_))) {
            Self::InitramfsTools
        } else if directory("lib/dracut/hooks") || directory("usr/lib/dracut") {
            Self::Dracut
        } else if directory("pre-udev") || directory("initqueue") {
            Self::DracutOld
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
            Self::Other => "unknown",
        }
    }

    /// Where the hint stands in the archive, before links are resolved.
    #[must_use]
    pub fn hint_path(self) -> Option<&'static str> {
        match self {
            // `zz`: after the conf files of packages, which only set variables.
            Self::InitramfsTools => Some("conf/conf.d/zz-replant"),
            Self::Dracut => Some("lib/dracut/hooks/pre-udev/05-replant.sh"),
            Self::DracutOld => Some("pre-udev/05-replant.sh"),
            Self::Other => None,
        }
    }
}

/// The hint: modprobe by the index below `root` (empty for the archive's own), else insmod of
/// the files in load order. Every line succeeds: the init must go on whatever happens.
#[must_use]
pub fn script(root: &str, drivers: &[&str], files: &[String]) -> String {
    let mut text =
        String::from("# Replant: the disk drivers of the machine that this guest was restored to.\n");
    let directory = if root.is_empty() { String::new() } else { format!("-d {root} ") };
    for driver in drivers {
        text.push_str(&format!("modprobe -q {directory}{driver} >/dev/null 2>&1 || :\n"));
    }
    text.push_str("for replant_module in");
    for file in files {
        text.push_str(&format!(" \\\n    /{file}"));
    }
    text.push_str("\ndo insmod \"$replant_module\" >/dev/null 2>&1 || :; done\nunset replant_module\n");
    text
}
