//! All boot loader files of a guest, the kernels that they list, and the edit of their arguments.

use std::cmp::Ordering;

use super::arguments::{self, Wanted};
use super::config::{self, Dialect, Entry};
use super::{environment, kernel};
use crate::guest::draft::Draft;
use crate::guest::linux::devices::Device;
use crate::guest::report::DiskFacts;
use crate::guest::tree::{Kind, Tree, TreeError};

/// Most bytes of a boot loader file.
const MOST: u64 = 2 << 20;
/// Most kernels that are looked at; a default installation keeps three at most.
pub const MOST_KERNELS: usize = 16;
/// Where GRUB 2 keeps its files.
const GRUB2: [&str; 2] = ["/boot/grub", "/boot/grub2"];
const LEGACY: [&str; 3] = ["/boot/grub/grub.conf", "/boot/grub/menu.lst", "/etc/grub.conf"];
const BLS: &str = "/boot/loader/entries";
/// What the generators of new entries read.
pub const DEFAULTS: &str = "/etc/default/grub";
const KERNEL_CMDLINE: &str = "/etc/kernel/cmdline";
/// Directories in which a kernel's path may really lie: a boot partition of its own, and the
/// subvolumes of btrfs as SUSE, Fedora, Debian and Ubuntu lay them out.
const PREFIXES: [&str; 6] =
    ["/@/.snapshots/1/snapshot", "/@rootfs", "/@", "/root", "/.snapshots/1/snapshot", ""];

/// A kernel that a boot loader lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// Its release.
    pub release: String,
    /// Its file, from the guest's root.
    pub image: String,
    /// Its initramfs, from the guest's root.
    pub initramfs: Option<String>,
    /// Its arguments as they stand in its first entry.
    pub arguments: String,
    /// The file that lists it, and the line.
    pub listed: (String, u32),
}

/// The boot loader files that were found.
#[derive(Debug, Default)]
pub struct Loader {
    grub2: Vec<String>,
    legacy: Vec<String>,
    bls: Vec<String>,
    environments: Vec<String>,
    uses_bls: bool,
    /// The kernels, the default first.
    pub kernels: Vec<Kernel>,
    /// Listed kernels whose file is not there: file and line, and the path.
    pub dangling: Vec<(String, u32, String)>,
}

impl Loader {
    /// What people call it.
    #[must_use]
    pub fn name(&self) -> Option<&'static str> {
        match (self.uses_bls, self.grub2.is_empty(), self.legacy.is_empty()) {
            (true, ..) => Some("GRUB 2 (boot loader specification)"),
            (_, false, _) => Some("GRUB 2"),
            (_, _, false) => Some("GRUB legacy"),
            _ => None,
        }
    }

    /// Reads all of them.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn read(tree: &Tree) -> Result<Self, TreeError> {
        let mut loader = Self::default();
        let mut seen = Vec::new();
        let mut add = |list: &mut Vec<String>, path: String| {
            // The same file by two paths (a link to the ESP) counts once.
            if let Ok(Some(found)) = tree.metadata(&path)
                && found.kind == Kind::File
                && !seen.contains(&(found.device, found.inode))
            {
                seen.push((found.device, found.inode));
                list.push(path);
            }
        };
        let vendors = vendors(tree);
        for directory in GRUB2.iter().map(|directory| (*directory).to_owned()).chain(vendors) {
            add(&mut loader.grub2, format!("{directory}/grub.cfg"));
            add(&mut loader.environments, format!("{directory}/grubenv"));
        }
        for path in LEGACY {
            add(&mut loader.legacy, path.to_owned());
        }
        for entry in tree.list(BLS)?.entries.iter().filter(|entry| entry.name.ends_with(".conf")).take(256) {
            add(&mut loader.bls, format!("{BLS}/{}", entry.name));
        }
        loader.collect(tree)?;
        Ok(loader)
    }

    fn collect(&mut self, tree: &Tree) -> Result<(), TreeError> {
        let text = |path: &String| -> Result<String, TreeError> {
            Ok(String::from_utf8_lossy(&tree.read(path, MOST)?).into_owned())
        };
        let environment: Vec<String> = self.environments.iter().map(text).collect::<Result<_, _>>()?;
        let variable = |name: &str| environment.iter().find_map(|block| environment::value(block, name));
        let saved = variable("saved_entry");
        let kernelopts = variable("kernelopts").map(str::to_owned);
        let mut listed: Vec<(String, Entry, bool)> = Vec::new();
        let mut mentions_bls = false;
        for path in &self.grub2 {
            let content = text(path)?;
            mentions_bls |= content.contains("blscfg");
            let default = config::default_entry(&content, saved).unwrap_or_else(|| "0".to_owned());
            for entry in config::entries(&content, Dialect::Grub2) {
                let is_default = config::is_default(&entry, &default);
                listed.push((path.clone(), entry, is_default));
            }
        }
        self.uses_bls = !self.bls.is_empty() && (mentions_bls || listed.is_empty());
        if self.uses_bls {
            let mut entries = Vec::new();
            for path in &self.bls {
                let stem = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".conf");
                if let Some(mut entry) = config::bls(stem, &text(path)?) {
                    if let Some(options) = &kernelopts {
                        entry.arguments = entry.arguments.replace("$kernelopts", options);
                    }
                    entries.push((path.clone(), entry));
                }
            }
            // GRUB shows BLS entries with the newest first.
            entries.sort_by(|a, b| compare_versions(&b.1.title, &a.1.title));
            let default = saved.filter(|saved| entries.iter().any(|(_, entry)| entry.title == **saved));
            for (index, (path, entry)) in entries.into_iter().enumerate() {
                let is_default = default.map_or(index == 0, |default| entry.title == default);
                listed.push((path, entry, is_default));
            }
        } else {
            self.bls.clear();
        }
        for path in &self.legacy {
            let content = text(path)?;
            let default = config::default_entry(&content, None).unwrap_or_else(|| "0".to_owned());
            for entry in config::entries(&content, Dialect::Legacy) {
                let is_default = config::is_default(&entry, &default);
                listed.push((path.clone(), entry, is_default));
            }
        }
        listed.sort_by_key(|(_, _, is_default)| !is_default);
        for (path, entry, _) in listed {
            self.add(tree, path, entry);
        }
        if self.kernels.is_empty() {
            self.look_in_boot(tree)?;
        }
        Ok(())
    }

    fn add(&mut self, tree: &Tree, path: String, entry: Entry) {
        let Some(image) = locate(tree, &entry.kernel) else {
            if self.dangling.len() < MOST_KERNELS && !entry.kernel.contains('$') {
                self.dangling.push((path, entry.line, entry.kernel));
            }
            return;
        };
        // memtest and the like have no release and no modules.
        let Some(release) = kernel::release(tree, &image) else { return };
        // Of several files (microcode, then the system) the last holds the system.
        let initramfs = entry.initramfs.iter().rev().find_map(|initramfs| locate(tree, initramfs));
        let same = |known: &Kernel| known.image == image && known.initramfs == initramfs;
        if self.kernels.len() < MOST_KERNELS && !self.kernels.iter().any(same) {
            let arguments = entry.arguments;
            self.kernels.push(Kernel { release, image, initramfs, arguments, listed: (path, entry.line) });
        }
    }

    /// Without a readable menu: the kernels in /boot.
    fn look_in_boot(&mut self, tree: &Tree) -> Result<(), TreeError> {
        let mut names: Vec<String> =
            tree.list("/boot")?.entries.into_iter().map(|entry| entry.name).collect();
        names.sort_by(|a, b| compare_versions(b, a));
        for name in names.iter().filter(|name| name.starts_with("vmlinuz-")).take(MOST_KERNELS) {
            let image = format!("/boot/{name}");
            let Some(release) = kernel::release(tree, &image) else { continue };
            let candidates = [
                format!("/boot/initrd.img-{release}"),
                format!("/boot/initramfs-{release}.img"),
                format!("/boot/initrd-{release}"),
            ];
            let initramfs = candidates.into_iter().find(|path| tree.is_file(path));
            let listed = ("/boot".to_owned(), 0);
            self.kernels.push(Kernel { release, image, initramfs, arguments: String::new(), listed });
        }
        Ok(())
    }

    /// Edits the arguments wherever they stand. `timeout` gives a kernel's own NVMe argument;
    /// what stands for all kernels gets `wanted`'s.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn edit(
        &self,
        draft: &mut Draft<'_>,
        wanted: &Wanted<'_>,
        timeout: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(), TreeError> {
        const PURPOSE: &str =
            "kernel arguments: root by UUID, serial console, NVMe time-out, interface names";
        let of_kernel = |image: Option<String>, arguments: &str| {
            let own = image.map(|image| timeout(&image));
            let nvme_timeout = own.as_ref().map_or(wanted.nvme_timeout, |own| own.as_deref());
            arguments::edit(arguments, &Wanted { nvme_timeout, ..*wanted })
        };
        let kernel_at = |path: &str, line: u32| {
            let mut kernels = self.kernels.iter();
            kernels.find(|kernel| kernel.listed == (path.to_owned(), line)).map(|kernel| kernel.image.clone())
        };
        for (paths, dialect) in [(&self.grub2, Dialect::Grub2), (&self.legacy, Dialect::Legacy)] {
            for path in paths {
                let Some(text) = draft.text(path) else { continue };
                let entries = config::entries(&text, dialect);
                let is_linux = |line| {
                    let entry: Option<&Entry> = entries.iter().find(|entry| entry.line == line);
                    // What has no root= is no Linux kernel: memtest, a chain loader.
                    entry.is_some_and(|entry| entry.arguments.contains("root="))
                };
                let change = |line, arguments: &str| {
                    if is_linux(line) {
                        of_kernel(kernel_at(path, line), arguments)
                    } else {
                        arguments.to_owned()
                    }
                };
                let mut edited = config::edit(&text, dialect, &change);
                let kernelopts = |value: &str| of_kernel(None, value);
                if let Some(with) = config::edit_assignment(&edited, "kernelopts", &kernelopts) {
                    edited = with;
                }
                draft.write(path, edited.into_bytes(), 0o600, PURPOSE)?;
            }
        }
        let environment_has = |draft: &Draft<'_>| {
            let mut blocks = self.environments.iter().filter_map(|path| draft.text(path));
            blocks.any(|block| environment::value(&block, "kernelopts").is_some())
        };
        for path in &self.environments {
            let Some(block) = draft.text(path) else { continue };
            let Some(options) = environment::value(&block, "kernelopts") else { continue };
            if let Some(edited) = environment::with_value(&block, "kernelopts", &of_kernel(None, options)) {
                draft.write(path, edited.into_bytes(), 0o644, PURPOSE)?;
            }
        }
        for path in &self.bls {
            let Some(text) = draft.text(path) else { continue };
            let image = kernel_in(path, &self.kernels);
            let change = |options: &str| {
                if options.contains("$kernelopts") && environment_has(draft) {
                    arguments::rename_devices(options, wanted.disks)
                } else {
                    of_kernel(image.clone(), options)
                }
            };
            let edited = config::edit_bls(&text, &change);
            draft.write(path, edited.into_bytes(), 0o644, PURPOSE)?;
        }
        self.edit_defaults(draft, wanted)
    }

    /// What the next kernel's entry is made from.
    fn edit_defaults(&self, draft: &mut Draft<'_>, wanted: &Wanted<'_>) -> Result<(), TreeError> {
        const PURPOSE: &str = "the same arguments for the entries of later kernels";
        const NAMES: [&str; 2] = ["GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT"];
        if let Some(text) = draft.text(DEFAULTS) {
            let [all, normal] =
                NAMES.map(|name| config::assigned(&text, name).unwrap_or_default().to_owned());
            let missing = arguments::missing(&all, &normal, wanted);
            let add =
                |value: &str| arguments::append(&arguments::rename_devices(value, wanted.disks), &missing);
            let mut edited = match config::edit_assignment(&text, NAMES[0], &add) {
                Some(edited) => edited,
                None if missing.is_empty() => text,
                None => format!("{}\n{}=\"{}\"\n", text.trim_end_matches('\n'), NAMES[0], missing.join(" ")),
            };
            let rename = |value: &str| arguments::rename_devices(value, wanted.disks);
            if let Some(renamed) = config::edit_assignment(&edited, NAMES[1], &rename) {
                edited = renamed;
            }
            draft.write(DEFAULTS, edited.into_bytes(), 0o644, PURPOSE)?;
        }
        if let Some(text) = draft.text(KERNEL_CMDLINE) {
            let line = text.trim_end_matches('\n');
            let edited = format!("{}{}", arguments::edit(line, wanted), &text[line.len()..]);
            draft.write(KERNEL_CMDLINE, edited.into_bytes(), 0o644, PURPOSE)?;
        }
        Ok(())
    }

    /// Arguments whose device names nothing leads to: place, argument.
    #[must_use]
    pub fn lost_devices(&self, disks: &[DiskFacts]) -> Vec<(String, u32, String)> {
        let mut lost = Vec::new();
        for kernel in &self.kernels {
            for (argument, device) in arguments::changing_devices(&kernel.arguments, disks) {
                if device == Device::Unknown {
                    lost.push((kernel.listed.0.clone(), kernel.listed.1, argument.to_owned()));
                }
            }
        }
        lost
    }
}

fn kernel_in(path: &str, kernels: &[Kernel]) -> Option<String> {
    kernels.iter().find(|kernel| kernel.listed.0 == path).map(|kernel| kernel.image.clone())
}

/// The vendor directories of the EFI system partition.
#[must_use]
pub fn vendors(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for root in ["/boot/efi/EFI", "/efi/EFI", "/boot/EFI"] {
        for entry in tree.list(root).unwrap_or_default().entries.into_iter().take(64) {
            let path = format!("{root}/{}", entry.name);
            if tree.is_directory(&path) {
                found.push(path);
            }
        }
    }
    found
}

/// Where a path of a boot loader's filesystem is in the guest. Links are resolved by name so far
/// as they stay in the same directory (`/boot/vmlinuz` → `vmlinuz-6.1`).
fn locate(tree: &Tree, path: &str) -> Option<String> {
    // `(hd0,0)/vmlinuz` and `($root)/vmlinuz`.
    let path = if path.starts_with('(') { path.split_once(')')?.1 } else { path };
    if !path.starts_with('/') || path.contains('$') || path.contains("/../") {
        return None;
    }
    let mut candidates = Vec::new();
    for prefix in PREFIXES {
        if let Some(rest) = path.strip_prefix(prefix).filter(|rest| rest.starts_with('/')) {
            candidates.push(rest.to_owned());
            candidates.push(format!("/boot{rest}"));
        }
    }
    let found = candidates.into_iter().find(|candidate| tree.is_file(candidate))?;
    match tree.read_link(&found) {
        Ok(Some(target)) => {
            let directory = found.rsplit_once('/').map_or("", |(directory, _)| directory);
            let real = if target.starts_with('/') { target } else { format!("{directory}/{target}") };
            Some(if tree.is_file(&real) { real } else { found })
        }
        _ => Some(found),
    }
}

/// Versions by their runs of digits and letters, numbers as numbers.
fn compare_versions(a: &str, b: &str) -> Ordering {
    let runs = |text: &str| -> Vec<(bool, u64, String)> {
        let mut found: Vec<(bool, u64, String)> = Vec::new();
        for part in text.split(|c: char| !c.is_ascii_alphanumeric()) {
            let mut rest = part;
            while let Some(first) = rest.chars().next() {
                let digits = first.is_ascii_digit();
                let end = rest.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(rest.len());
                let (run, after) = rest.split_at(end);
                found.push((
                    digits,
                    if digits { run.parse().unwrap_or(u64::MAX) } else { 0 },
                    run.to_owned(),
                ));
                rest = after;
            }
        }
        found
    };
    let (a, b) = (runs(a), runs(b));
    for ((a_digits, a_number, a_text), (b_digits, b_number, b_text)) in a.iter().zip(&b) {
        let order = match (a_digits, b_digits) {
            (true, true) => a_number.cmp(b_number),
            (false, false) => a_text.cmp(b_text),
            (digits, _) => {
                if *digits {
                    Ordering::Greater
                } else {
                    Ordering::Less
                }
            }
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_kernels_are_greater() {
        let pairs =
            [("6.1.0-9", "6.1.0-10"), ("5.14.0-70.el9", "5.14.0-362.el9"), ("abc-0-rescue", "abc-5.14.0")];
        for (older, newer) in pairs {
            assert_eq!(compare_versions(older, newer), Ordering::Less, "{older} {newer}");
        }
    }
}
