//! All boot loader files of a guest, and the kernels that they list.

use super::config::{self, Dialect, Entry};
use super::{bls, environment, extlinux, kernel, versions};
use crate::guest::linux::fstab::Mount;
use crate::guest::linux::{devices, mounts};
use crate::guest::report::DiskFacts;
use crate::guest::tree::{Kind, Tree, TreeError};

/// Most bytes of a boot loader file.
const MOST: u64 = 2 << 20;
/// Most kernels that are looked at; a default installation keeps three at most.
pub const MOST_KERNELS: usize = 16;
/// Where GRUB 2 keeps its files.
const GRUB2: [&str; 2] = ["/boot/grub", "/boot/grub2"];
const LEGACY_BOOT: [&str; 2] = ["/boot/grub/grub.conf", "/boot/grub/menu.lst"];
/// EL6's link to the one that is read.
const LEGACY_LINK: &str = "/etc/grub.conf";
/// Where GRUB legacy keeps the entry that was saved as default.
const SAVED: u64 = 512;
const LEGACY_SAVED: &str = "/boot/grub/default";
const EXTLINUX: [&str; 6] = [
    "/boot/extlinux/extlinux.conf",
    "/boot/extlinux/linux.cfg",
    "/boot/extlinux.conf",
    "/boot/syslinux/syslinux.cfg",
    "/extlinux.conf",
    "/syslinux.cfg",
];
/// Where boot loader specification entries are: on the boot filesystem, or on the EFI system
/// partition (systemd-boot).
pub(super) const LOADER: [&str; 3] = ["/boot/loader", "/boot/efi/loader", "/efi/loader"];
/// Where the filesystems that a boot loader reads are mounted in the guest.
const MOUNTED: [&str; 4] = ["", "/boot", "/boot/efi", "/efi"];
/// Subvolumes of btrfs that hold the root, as Fedora, Debian, Ubuntu and SUSE lay them out.
const SUBVOLUMES: [&str; 4] = ["/@rootfs", "/root", "/.snapshots", "/@"];

/// Most directories that are left off a path's beginning.
const MOST_TAILS: usize = 16;

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

/// The entry that starts by itself, whether or not its kernel is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The file that lists it.
    pub path: String,
    /// Its line there, from 1.
    pub line: u32,
    /// Its arguments as they stand.
    pub arguments: String,
}

/// The boot loader files that were found.
#[derive(Debug, Default)]
pub struct Loader {
    pub(super) grub2: Vec<String>,
    pub(super) legacy: Vec<String>,
    pub(super) bls: Vec<String>,
    pub(super) extlinux: Vec<String>,
    pub(super) environments: Vec<String>,
    uses_bls: bool,
    pub(super) systemd_boot: bool,
    subvolumes: Vec<String>,
    /// Whether the root or /boot is on a btrfs: a boot loader may count from its top.
    on_btrfs: bool,
    /// The entry of Linux that is the default, else the first.
    pub default: Option<Started>,
    /// The kernels, the default first.
    pub kernels: Vec<Kernel>,
    /// Listed kernels whose file is not there: file and line, and the path.
    pub dangling: Vec<(String, u32, String)>,
    /// Entries that start a hypervisor: file, line, title, and whether it is the default.
    pub hypervisors: Vec<(String, u32, String, bool)>,
    /// The default entry, when it starts another boot loader: file, line, title.
    pub other_default: Option<(String, u32, String)>,
    /// Files that are too long to be read.
    pub too_long: Vec<String>,
    /// Unified kernel images on the EFI system partition.
    pub unified: Vec<String>,
    /// Environment blocks with `kernelopts`: path and content.
    options: Vec<(String, String)>,
}

impl Loader {
    /// What people call it.
    #[must_use]
    pub fn name(&self) -> Option<&'static str> {
        match (self.uses_bls, self.grub2.is_empty(), self.legacy.is_empty()) {
            _ if self.systemd_boot && self.grub2.is_empty() => Some("systemd-boot"),
            (true, ..) => Some("GRUB 2 (boot loader specification)"),
            (_, false, _) => Some("GRUB 2"),
            (_, _, false) => Some("GRUB legacy"),
            _ if !self.extlinux.is_empty() => Some("extlinux"),
            _ => None,
        }
    }

    /// Reads all of them.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn read(tree: &Tree) -> Result<Self, TreeError> {
        let mut loader = Self::default();
        let (mut seen, mut too_long) = (Vec::new(), Vec::new());
        let mut add = |list: &mut Vec<String>, path: String| {
            // The same file by two paths (a link to the ESP) counts once.
            if let Ok(Some(found)) = tree.metadata(&path)
                && found.kind == Kind::File
                && !seen.contains(&(found.device, found.inode))
            {
                seen.push((found.device, found.inode));
                if found.length > MOST {
                    too_long.push(path);
                } else {
                    list.push(path);
                }
            }
        };
        let vendors = vendors(tree);
        for directory in &vendors {
            let name = directory.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
            let files = tree.list(directory)?.entries.into_iter().map(|entry| entry.name);
            let programs = files.filter(|file| file.to_ascii_lowercase().ends_with(".efi"));
            match name.as_str() {
                "systemd" => loader.systemd_boot |= programs.count() > 0,
                "linux" => loader
                    .unified
                    .extend(programs.take(MOST_KERNELS).map(|file| format!("{directory}/{file}"))),
                _ => {}
            }
        }
        for directory in GRUB2.iter().map(|directory| (*directory).to_owned()).chain(vendors.iter().cloned())
        {
            add(&mut loader.grub2, format!("{directory}/grub.cfg"));
            add(&mut loader.environments, format!("{directory}/grubenv"));
        }
        for path in LEGACY_BOOT {
            add(&mut loader.legacy, path.to_owned());
        }
        // EL6's GRUB for EFI reads the file beside itself that has its own name.
        for directory in &vendors {
            for name in ["grub.conf", "BOOTX64.conf", "bootx64.conf"] {
                add(&mut loader.legacy, format!("{directory}/{name}"));
            }
        }
        add(&mut loader.legacy, LEGACY_LINK.to_owned());
        for path in EXTLINUX {
            add(&mut loader.extlinux, path.to_owned());
        }
        for directory in LOADER {
            let entries = tree.list(&format!("{directory}/entries"))?.entries;
            for entry in entries.iter().filter(|entry| entry.name.ends_with(".conf")).take(256) {
                add(&mut loader.bls, format!("{directory}/entries/{}", entry.name));
            }
        }
        loader.too_long = too_long;
        let mounts = mounts::read(tree).unwrap_or_default();
        loader.subvolumes = subvolumes(&mounts);
        loader.on_btrfs = boot(&mounts).any(|mount| mount.filesystem == "btrfs");
        loader.collect(tree)?;
        Ok(loader)
    }

    fn collect(&mut self, tree: &Tree) -> Result<(), TreeError> {
        let text = |path: &String| -> Result<String, TreeError> {
            Ok(String::from_utf8_lossy(&tree.read(path, MOST)?).into_owned())
        };
        let environment: Vec<String> = self.environments.iter().map(text).collect::<Result<_, _>>()?;
        let variable = |name: &str| {
            environment.iter().find_map(|block| environment::value(block, name)).map(str::to_owned)
        };
        for (path, block) in self.environments.iter().zip(&environment) {
            if environment::value(block, "kernelopts").is_some() {
                self.options.push((path.clone(), block.clone()));
            }
        }
        let mut listed: Vec<(String, Entry, bool)> = Vec::new();
        let (mut mentions_bls, mut default) = (false, None);
        for path in &self.grub2 {
            let content = text(path)?;
            mentions_bls |= content.contains("blscfg");
            let of_file = config::default_entry(&content, &variable);
            let key = of_file.as_deref().unwrap_or("0");
            for entry in config::entries(&content, Dialect::Grub2) {
                let is_default = entry.is_default(key);
                listed.push((path.clone(), entry, is_default));
            }
            default = default.or(of_file);
        }
        self.uses_bls = !self.bls.is_empty() && (mentions_bls || self.systemd_boot || listed.is_empty());
        if self.uses_bls {
            if self.systemd_boot && !mentions_bls {
                let files = LOADER.iter().map(|directory| format!("{directory}/loader.conf"));
                let settings =
                    files.filter(|path| tree.is_file(path)).map(|path| tree.read_at(&path, 0, MOST));
                let settings = settings.collect::<Result<Vec<_>, _>>()?;
                let patterns = settings.iter().map(|text| String::from_utf8_lossy(text));
                default =
                    patterns.into_iter().find_map(|text| bls::default_pattern(&text).map(str::to_owned));
            }
            listed.extend(self.specified(&text, default.as_deref())?);
        } else {
            self.bls.clear();
        }
        for path in &self.legacy {
            let content = text(path)?;
            let saved =
                tree.is_file(LEGACY_SAVED).then(|| tree.read_at(LEGACY_SAVED, 0, SAVED)).transpose()?;
            let saved = saved.map(|saved| String::from_utf8_lossy(&saved).into_owned());
            let default =
                config::legacy_default(&content, saved.as_deref()).unwrap_or_else(|| "0".to_owned());
            for entry in config::entries(&content, Dialect::Legacy) {
                let is_default = entry.is_default(&default);
                listed.push((path.clone(), entry, is_default));
            }
        }
        for path in &self.extlinux {
            let (entries, default) = extlinux::entries(&text(path)?);
            for entry in entries {
                let is_default = default.as_ref().is_some_and(|default| entry.id.as_ref() == Some(default));
                listed.push((path.clone(), entry, is_default));
            }
        }
        listed.sort_by_key(|(_, _, is_default)| !is_default);
        let first = listed.iter().find(|(path, entry, _)| entry.is_linux() || self.bls.contains(path));
        self.default = first.map(|(path, entry, _)| Started {
            path: path.clone(),
            line: entry.line,
            arguments: entry.arguments.clone(),
        });
        for (path, entry, is_default) in listed {
            self.add(tree, path, entry, is_default);
        }
        if self.kernels.is_empty() {
            self.look_in_boot(tree)?;
        }
        Ok(())
    }

    /// The entries of the boot loader specification: the newest first, as GRUB and systemd-boot
    /// show them. The default is an index, a file's name (a pattern for systemd-boot) or a title.
    fn specified(
        &self,
        text: &dyn Fn(&String) -> Result<String, TreeError>,
        default: Option<&str>,
    ) -> Result<Vec<(String, Entry, bool)>, TreeError> {
        let mut entries = Vec::new();
        for path in &self.bls {
            let stem = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".conf");
            if let Some(mut entry) = bls::parse(stem, &text(path)?) {
                let options =
                    self.options.first().and_then(|(_, block)| environment::value(block, "kernelopts"));
                if let Some(options) = options {
                    entry.arguments = entry.arguments.replace("$kernelopts", options);
                }
                entries.push((path.clone(), entry));
            }
        }
        let key = |entry: &Entry| entry.id.clone().unwrap_or_default();
        entries.sort_by(|a, b| versions::compare(&key(&b.1), &key(&a.1)));
        for (index, (_, entry)) in entries.iter_mut().enumerate() {
            entry.index = u32::try_from(index).unwrap_or(u32::MAX);
        }
        let pattern = default.and_then(|default| globset::Glob::new(default.trim_end_matches(".conf")).ok());
        let pattern = pattern.map(|glob| glob.compile_matcher());
        let named = |entry: &Entry| {
            let matches = pattern.as_ref().is_some_and(|pattern| pattern.is_match(key(entry)));
            default.is_some_and(|default| entry.is_default(default)) || (self.systemd_boot && matches)
        };
        let chosen = entries.iter().position(|(_, entry)| named(entry)).unwrap_or(0);
        let marked =
            entries.into_iter().enumerate().map(|(index, (path, entry))| (path, entry, index == chosen));
        Ok(marked.collect())
    }

    fn add(&mut self, tree: &Tree, path: String, entry: Entry, is_default: bool) {
        if entry.hypervisor && self.hypervisors.len() < MOST_KERNELS {
            self.hypervisors.push((path.clone(), entry.line, entry.title.clone(), is_default));
        }
        // Beside entries of the specification, those of a menu's file have other numbers.
        if entry.chain && is_default && !self.uses_bls {
            self.other_default.get_or_insert((path.clone(), entry.line, entry.title.clone()));
        }
        // memtest and chain loaders.
        if !entry.is_linux() && !self.bls.contains(&path) {
            return;
        }
        let Some(image) = self.locate(tree, &entry.kernel) else {
            if self.dangling.len() < MOST_KERNELS && !entry.kernel.contains('$') {
                self.dangling.push((path, entry.line, entry.kernel));
            }
            return;
        };
        let by_version = |release: &String| tree.is_directory(&format!("/lib/modules/{release}"));
        let release = kernel::named_release(tree, &image)
            .or_else(|| {
                entry.version.clone().filter(|version| kernel::is_release(version)).filter(by_version)
            })
            .or_else(|| kernel::only_release(tree));
        let Some(release) = release else { return };
        // Of several files (microcode, then the system) the last holds the system.
        let initramfs = entry.initramfs.iter().rev().find_map(|initramfs| self.locate(tree, initramfs));
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
        names.sort_by(|a, b| versions::compare(b, a));
        for name in names.iter().filter(|name| name.starts_with("vmlinuz-")).take(MOST_KERNELS) {
            let image = format!("/boot/{name}");
            let release = kernel::named_release(tree, &image).or_else(|| kernel::only_release(tree));
            let Some(release) = release else { continue };
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

    /// Where a path of a boot loader's filesystem is in the guest. Links are resolved by name so
    /// far as they stay in the same directory (`/boot/vmlinuz` → `vmlinuz-6.1`).
    fn locate(&self, tree: &Tree, path: &str) -> Option<String> {
        // `(hd0,0)/vmlinuz` and `($root)/vmlinuz`; extlinux's paths may lack the slash.
        let path = if path.starts_with('(') { path.split_once(')')?.1 } else { path };
        let path = path.trim_start_matches("../");
        let mut path = format!("/{}", path.trim_start_matches('/'));
        while path.contains("//") {
            path = path.replace("//", "/");
        }
        if path.contains('$') || path.contains("/../") {
            return None;
        }
        let mut rests: Vec<&str> = self.subvolumes.iter().filter_map(|prefix| below(&path, prefix)).collect();
        rests.extend(SUBVOLUMES.iter().filter_map(|prefix| below(&path, prefix)));
        // A snapshot of snapper's: the root is one of them.
        for rest in rests.clone() {
            let snapshot = rest.strip_prefix("/.snapshots").unwrap_or(rest);
            rests.extend(snapshot.split_once("/snapshot/").map(|(head, _)| &snapshot[head.len() + 9..]));
        }
        rests.push(&path);
        if self.on_btrfs {
            // A subvolume that the fstab does not name: the default one, or one by its id.
            let tails = path.match_indices('/').skip(1).take(MOST_TAILS);
            rests.extend(tails.map(|(position, _)| &path[position..]));
        }
        let candidates =
            rests.iter().flat_map(|rest| MOUNTED.iter().map(move |root| format!("{root}{rest}")));
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

    /// Arguments whose device names nothing leads to: place, argument.
    #[must_use]
    pub fn lost_devices(&self, disks: &[DiskFacts]) -> Vec<(String, u32, String)> {
        let mut lost = Vec::new();
        for kernel in &self.kernels {
            for (argument, device) in super::arguments::changing_devices(&kernel.arguments, disks) {
                if device == devices::Device::Unknown {
                    lost.push((kernel.listed.0.clone(), kernel.listed.1, argument.to_owned()));
                }
            }
        }
        lost
    }

    /// Environment blocks that cannot hold their `kernelopts` once its devices are renamed: path
    /// and the value that is wanted.
    #[must_use]
    pub fn full_environments(&self, disks: &[DiskFacts]) -> Vec<(String, String)> {
        let wanted = self.options.iter().filter_map(|(path, block)| {
            let old = environment::value(block, "kernelopts")?;
            let new = super::arguments::rewrite(old, disks);
            let full = new != old && environment::with_value(block, "kernelopts", &new).is_none();
            full.then(|| (path.clone(), new))
        });
        wanted.collect()
    }
}

/// What stands below a directory in a path, with the slash.
fn below<'p>(path: &'p str, directory: &str) -> Option<&'p str> {
    path.strip_prefix(directory).filter(|rest| rest.starts_with('/'))
}

/// The lines of `/` and `/boot`.
fn boot(mounts: &[Mount]) -> impl Iterator<Item = &Mount> {
    mounts.iter().filter(|mount| mount.target == "/" || mount.target == "/boot").take(8)
}

/// The subvolumes that the guest's fstab names for its root and boot filesystems, with a slash.
fn subvolumes(mounts: &[Mount]) -> Vec<String> {
    let named = boot(mounts).filter_map(Mount::subvolume);
    let named = named.filter_map(|options| {
        options.split(',').find_map(|option| option.strip_prefix("subvol=")).map(str::to_owned)
    });
    named.map(|name| format!("/{}", name.trim_matches('/'))).filter(|name| name != "/").collect()
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
