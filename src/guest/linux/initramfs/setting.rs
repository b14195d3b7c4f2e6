//! A settings file inside an initramfs that keeps the instance's disks from being found, and what
//! it becomes.

use std::collections::BTreeMap;

use crate::guest::report::Finding;

/// One such file. A later file of the same name replaces an earlier one when the kernel unpacks
/// them, so that only an archive that can be added to behind its end can have another.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Its path in the archive, links resolved.
    pub member: String,
    /// As it is.
    pub before: String,
    /// As it will be: the same count of lines.
    pub after: String,
    /// Whether it only forbids drivers, which a load hint of ours loads by their files all the same.
    pub only_drivers: bool,
    /// What is found where it is changed.
    pub mended: Finding,
    /// What is found where it cannot be.
    pub stuck: Finding,
}

/// Path of an initramfs → the files in it that are changed.
pub type Settings = BTreeMap<String, Vec<Setting>>;

impl Setting {
    /// The change as a diff shows it: the file, and each changed line before and after.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let changed = self.before.lines().zip(self.after.lines()).filter(|(before, after)| before != after);
        let shown = changed.flat_map(|(before, after)| [format!("  - {before}"), format!("  + {after}")]);
        std::iter::once(format!("~ {}", self.member)).chain(shown).collect()
    }
}
