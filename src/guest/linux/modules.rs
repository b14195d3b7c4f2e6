//! A kernel's modules in the guest's root: where a driver is, what it depends on.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use super::index::module_name;
use super::initramfs::compression::Compression;
use crate::guest::tree::{Tree, TreeError};

/// Most bytes of a text index that are read; a distribution's `modules.alias` has about 1.5 MB.
const MOST_INDEX: u64 = 16 << 20;
/// Most bytes that one module may have, packed or not; the largest known (amdgpu) has 30 MB.
const MOST_MODULE: u64 = 64 << 20;
/// Most bytes of a kernel's `config-…`.
const MOST_CONFIG: u64 = 2 << 20;
/// Most modules that come along with the drivers; the largest known closure has 12.
const MOST_NEEDED: usize = 256;
/// Most soft dependencies of one module that are looked at.
const MOST_SOFT: usize = 64;
/// The endings that a module's file may have.
pub const ENDINGS: [&str; 4] = [".ko", ".ko.xz", ".ko.zst", ".ko.gz"];

/// The drivers that matter on EC2, with the kernel's configuration option.
pub const DRIVERS: [(&str, &str); 4] = [
    ("nvme", "CONFIG_BLK_DEV_NVME"),
    ("ena", "CONFIG_ENA_ETHERNET"),
    ("xen-blkfront", "CONFIG_XEN_BLKDEV_FRONTEND"),
    ("xen-netfront", "CONFIG_XEN_NETDEV_FRONTEND"),
];

/// A parameter of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parameter {
    /// The module's modinfo cannot be read.
    Unknown,
    /// The module has none of that name.
    Absent,
    /// It is of this type (`uint`, `byte` …).
    Typed(String),
}

/// The modules of one kernel release.
#[derive(Debug, Default)]
pub struct ModuleSet {
    /// `uname -r`'s text.
    pub release: String,
    /// Where they are, from the guest's root.
    pub directory: String,
    modules: BTreeMap<String, Module>,
    aliases: String,
    soft_dependencies: String,
    /// Module name → the words of its line in `modules.softdep`.
    soft: BTreeMap<String, Vec<String>>,
    builtin: BTreeSet<String>,
    builtin_info: Vec<u8>,
}

/// A line of `modules.dep`.
#[derive(Debug)]
struct Module {
    /// As it stands there: below the set's directory, or absolute (module-init-tools on EL6).
    path: String,
    /// What it needs; what must be loaded first stands last.
    needs: Vec<String>,
    /// The line's number: depmod's order, by which it resolves conflicts.
    position: usize,
}

impl ModuleSet {
    /// Reads the indexes of a release. What is missing is taken as empty.
    ///
    /// # Errors
    /// An index that is too long or cannot be read.
    pub fn load(tree: &Tree, release: &str) -> Result<Self, TreeError> {
        let directory = format!("/lib/modules/{release}");
        let text = |name: &str| -> Result<String, TreeError> {
            let content = tree.read_if_there(&format!("{directory}/{name}"), MOST_INDEX)?.unwrap_or_default();
            Ok(String::from_utf8_lossy(&content).into_owned())
        };
        let mut set = Self { release: release.to_owned(), ..Self::default() };
        for (position, line) in text("modules.dep")?.lines().enumerate() {
            if let Some((path, needs)) = line.split_once(':') {
                let needs = needs.split_ascii_whitespace().map(str::to_owned).collect();
                let module = Module { path: path.trim().to_owned(), needs, position };
                // depmod names each module once, the one that its search order prefers.
                set.modules.entry(module_name(path)).or_insert(module);
            }
        }
        set.aliases = text("modules.alias")?;
        set.soft_dependencies = text("modules.softdep")?;
        for line in set.soft_dependencies.lines() {
            let mut words = line.split_ascii_whitespace();
            if let (Some("softdep"), Some(name)) = (words.next(), words.next()) {
                let wanted = words.filter(|word| !word.ends_with(':')).take(MOST_SOFT).map(module_name);
                set.soft.entry(module_name(name)).or_default().extend(wanted);
            }
        }
        set.builtin = text("modules.builtin")?.lines().map(module_name).collect();
        let config = tree.read_if_there(&format!("/boot/config-{release}"), MOST_CONFIG)?.unwrap_or_default();
        let config = String::from_utf8_lossy(&config);
        for (driver, option) in DRIVERS {
            if config.lines().any(|line| line.strip_prefix(option).is_some_and(|value| value.trim() == "=y"))
            {
                set.builtin.insert(module_name(driver));
            }
        }
        let info = tree.read_if_there(&format!("{directory}/modules.builtin.modinfo"), MOST_INDEX)?;
        set.builtin_info = info.unwrap_or_default();
        set.directory = directory;
        Ok(set)
    }

    /// Whether there is any module at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.modules.is_empty() && self.builtin.is_empty()
    }

    /// Whether a driver is in the kernel itself.
    #[must_use]
    pub fn is_builtin(&self, driver: &str) -> bool {
        self.builtin.contains(&module_name(driver))
    }

    /// A module's path below the directory.
    #[must_use]
    pub fn path(&self, driver: &str) -> Option<&str> {
        self.modules.get(&module_name(driver)).map(|module| module.path.as_str())
    }

    /// Whether a module's file is there: an index may name a link of `weak-updates` whose kernel is
    /// gone.
    #[must_use]
    pub fn has_file(&self, tree: &Tree, driver: &str) -> bool {
        self.path(driver).is_some_and(|path| tree.is_file(&self.located(tree, path)))
    }

    /// A module's place in depmod's order.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.modules.get(name).map(|module| module.position)
    }

    /// What a module needs, as paths below the directory, as `modules.dep` has it: what must be
    /// loaded first stands last.
    #[must_use]
    pub fn needs(&self, path: &str) -> &[String] {
        self.modules.get(&module_name(path)).map_or(&[], |module| module.needs.as_slice())
    }

    /// The paths of some drivers and of everything they need (also by soft dependency), each
    /// once, in the order in which they must be loaded. Drivers that are no module are left out.
    #[must_use]
    pub fn closure(&self, drivers: &[&str]) -> Vec<String> {
        let mut order = Vec::new();
        let mut visited = BTreeSet::new();
        for driver in drivers {
            self.visit(&module_name(driver), &mut visited, &mut order);
        }
        order
    }

    fn visit(&self, name: &str, visited: &mut BTreeSet<String>, order: &mut Vec<String>) {
        // `visited` is marked before the recursion: a cycle in a hostile index ends here, and the
        // depth is bounded with the count.
        let Some(module) = self.modules.get(name) else { return };
        if visited.len() >= MOST_NEEDED || !visited.insert(name.to_owned()) {
            return;
        }
        for need in module.needs.iter().rev() {
            self.visit(&module_name(need), visited, order);
        }
        for soft in self.soft(name) {
            self.visit(&soft, visited, order);
        }
        order.push(module.path.clone());
    }

    /// The modules that stand for a module's soft dependencies; those may be aliases.
    fn soft(&self, name: &str) -> Vec<String> {
        let mut found = Vec::new();
        for wanted in self.soft.get(name).into_iter().flatten() {
            if self.modules.contains_key(wanted) {
                found.push(wanted.clone());
            } else {
                found.extend(self.aliased(wanted));
            }
        }
        found
    }

    fn aliased<'s>(&'s self, alias: &'s str) -> impl Iterator<Item = String> + 's {
        self.aliases.lines().filter_map(move |line| {
            let mut words = line.split_ascii_whitespace();
            let found = words.next() == Some("alias") && words.next()?.replace('-', "_") == alias;
            if found { words.next().map(module_name) } else { None }
        })
    }

    /// The lines of `modules.alias` about these modules (by name).
    pub fn alias_lines<'s>(&'s self, names: &'s BTreeSet<String>) -> impl Iterator<Item = &'s str> {
        self.aliases.lines().filter(|line| {
            line.starts_with("alias ") && line.rsplit(' ').next().is_some_and(|module| names.contains(module))
        })
    }

    /// The lines of `modules.softdep` about these modules (by name).
    pub fn softdep_lines<'s>(&'s self, names: &'s BTreeSet<String>) -> impl Iterator<Item = &'s str> {
        self.soft_dependencies.lines().filter(|line| {
            let mut words = line.split_ascii_whitespace();
            words.next() == Some("softdep")
                && words.next().is_some_and(|name| names.contains(&module_name(name)))
        })
    }

    /// A module's plain content, unpacked when it is compressed.
    ///
    /// # Errors
    /// When it cannot be read or unpacked, or is longer than 64 MiB.
    pub fn content(&self, tree: &Tree, path: &str) -> Result<Vec<u8>, TreeError> {
        let full = self.located(tree, path);
        let packed = tree.read(&full, MOST_MODULE)?;
        let Some(compression) = Compression::recognize(&packed) else { return Ok(packed) };
        let mut plain = Vec::new();
        compression
            .reader(packed.as_slice())
            .and_then(|reader| reader.take(MOST_MODULE + 1).read_to_end(&mut plain))
            .map_err(|source| TreeError::Read { path: full.clone(), source })?;
        if plain.len() as u64 > MOST_MODULE {
            return Err(TreeError::TooLarge { path: full, length: plain.len() as u64, limit: MOST_MODULE });
        }
        Ok(plain)
    }

    /// A module's content as it stands in the root.
    ///
    /// # Errors
    /// When it cannot be read or is longer than 64 MiB.
    pub fn raw_content(&self, tree: &Tree, path: &str) -> Result<Vec<u8>, TreeError> {
        tree.read(&self.located(tree, path), MOST_MODULE)
    }

    /// Where a module's file is. An index may be older than the packing of what it names, so the
    /// other endings are tried too.
    fn located(&self, tree: &Tree, path: &str) -> String {
        let full = if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", self.directory) };
        let Some(stem) = full.rfind(".ko").map(|end| &full[..end]).filter(|_| !tree.is_file(&full)) else {
            return full;
        };
        let mut others = ENDINGS.iter().map(|ending| format!("{stem}{ending}"));
        others.find(|other| tree.is_file(other)).unwrap_or(full)
    }

    /// What a module's modinfo says of a parameter.
    #[must_use]
    pub fn parameter(&self, tree: &Tree, driver: &str, parameter: &str) -> Parameter {
        let key = format!("parmtype={parameter}:");
        let name = module_name(driver);
        let (found, is_whole) = if self.is_builtin(driver) {
            let info = &self.builtin_info;
            // Every module that is listed there has a license.
            (find_value(info, &format!("{name}.{key}")), find_value(info, &format!("{name}.license=")))
        } else {
            let content =
                self.path(driver).and_then(|path| self.content(tree, path).ok()).unwrap_or_default();
            (find_value(&content, &key), find_value(&content, "vermagic="))
        };
        match (found, is_whole) {
            (Some(kind), _) => Parameter::Typed(kind),
            (None, Some(_)) => Parameter::Absent,
            (None, None) => Parameter::Unknown,
        }
    }

    /// The version that a driver gives itself in its modinfo, where it does.
    #[must_use]
    pub fn version(&self, tree: &Tree, driver: &str) -> Option<String> {
        // The field stands at the section's start or behind another one's end; `srcversion=` is another.
        let found = if self.is_builtin(driver) {
            find_value(&self.builtin_info, &format!("{}.version=", module_name(driver)))
        } else {
            let content = self.content(tree, self.path(driver)?).ok()?;
            find_value(&content, "\0version=")
        };
        found.filter(|version| version.starts_with(|c: char| c.is_ascii_digit()))
    }
}

/// What follows a key in NUL-separated text, up to the NUL.
fn find_value(bytes: &[u8], key: &str) -> Option<String> {
    let start = bytes.windows(key.len()).position(|window| window == key.as_bytes())? + key.len();
    let value: Vec<u8> = bytes[start..].iter().copied().take(32).take_while(|byte| *byte != 0).collect();
    String::from_utf8(value).ok()
}
