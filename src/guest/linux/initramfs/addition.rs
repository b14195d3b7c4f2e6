//! What is put into a guest's initramfs: a segment with the drivers, the merged index and a hint.

use std::collections::{BTreeMap, BTreeSet};

use super::archive::{Archive, Member};
use super::compression::Compression;
use super::hint::{self, Generator};
use super::newc::Writer;
use super::setting::Setting;
use super::unpack::UnpackError;
use crate::guest::linux::index::{self, module_name};
use crate::guest::linux::modules::{ENDINGS, ModuleSet};
use crate::guest::linux::{modprobe, storage};
use crate::guest::tree::{Tree, TreeError};

/// The directory that our own files get in an archive that must not be merged with.
const OWN: &str = "replant";
/// The first kernel whose lz4 decoder accepts what follows an archive.
const LZ4_PADDING: (u32, u32) = (5, 11);

/// Why a segment cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum AdditionError {
    /// A module cannot be read from the guest.
    #[error("a module cannot be read")]
    Module(#[from] TreeError),
    /// The archive's links form a loop where the files belong.
    #[error("the initramfs has a loop of symbolic links at {path}")]
    Loop {
        /// The path in the archive.
        path: String,
    },
    /// Something other than a directory stands where a directory belongs.
    #[error("{path} in the initramfs is no directory")]
    NotADirectory {
        /// The path in the archive.
        path: String,
    },
    /// The index would be too large for its format.
    #[error("the module index would be too large")]
    Index,
    /// What was made does not read back as the kernel would read it.
    #[error("the extended initramfs does not read back")]
    ReadBack(#[source] UnpackError),
    /// What stands before the addition is not what it was.
    #[error("what was in the initramfs is not what it was")]
    Changed,
    /// Something is missing from what was made.
    #[error("the extended initramfs lacks {path}")]
    Missing {
        /// The path in the archive.
        path: String,
    },
}

/// Member path → its content's length; `None` for a directory.
pub type Members = BTreeMap<String, Option<u64>>;

/// A segment, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addition {
    /// Where it goes, in bytes from the start of the file; at its end or before the main archive.
    pub offset: u64,
    /// Padding and archive.
    pub bytes: Vec<u8>,
    /// Member path → its content's length (`None` for a directory), for the diff and the check.
    pub members: Members,
    /// The drivers it brings.
    pub drivers: Vec<String>,
    /// How many modules come along because those need them.
    pub dependencies: usize,
}

impl Addition {
    /// Whether it goes to the end of the file.
    #[must_use]
    pub fn appends(&self, archive: &Archive) -> bool {
        self.offset == archive.length
    }

    /// Checks an archive that was read back after the edit: everything that was in it still is,
    /// and everything of ours is there.
    ///
    /// # Errors
    /// [`AdditionError::Missing`].
    pub fn check(&self, before: &Archive, after: &Archive) -> Result<(), AdditionError> {
        let missing = |path: &String| AdditionError::Missing { path: path.clone() };
        for (path, length) in &self.members {
            let found = match (after.members.get(path), length) {
                (Some(Member::File(found)), Some(length)) => u64::from(*found) == *length,
                (Some(Member::Directory), None) => true,
                _ => false,
            };
            if !found {
                return Err(missing(path));
            }
        }
        for (path, member) in &before.members {
            if !self.members.contains_key(path) && after.members.get(path) != Some(member) {
                return Err(missing(path));
            }
        }
        Ok(())
    }
}

/// Which members of an initramfs have to be kept when it is read, so that it can be extended.
#[must_use]
pub fn keep(path: &str) -> bool {
    if path == hint::RUN_ALL {
        return true;
    }
    let in_modules = path.starts_with("lib/modules/") || path.starts_with("usr/lib/modules/");
    let index = matches!(path.rsplit('/').next(), Some("modules.dep" | "modules.alias" | "modules.softdep"));
    (in_modules && index) || storage::is_setting(path) || modprobe::is_setting(path)
}

/// Whether an archive holds a module, in whatever packing.
#[must_use]
pub fn holds(archive: &Archive, driver: &str) -> bool {
    let name = module_name(driver);
    archive.members.iter().any(|(path, member)| is_module(path, member) && module_name(path) == name)
}

fn is_module(path: &str, member: &Member) -> bool {
    let file = path.rsplit('/').next().unwrap_or(path);
    matches!(member, Member::File(_)) && ENDINGS.iter().any(|ending| file.ends_with(ending))
}

/// Where a segment must go that may not be the file's last: before 5.11 an lz4 stream must be that.
/// What stands before it is overwritten by it. `None`: a segment goes to the end.
#[must_use]
pub fn goes_before(archive: &Archive, modules: &ModuleSet) -> Option<u64> {
    let mut segments = archive.segments.iter();
    let lz4 = segments.rfind(|segment| segment.compression == Some(Compression::Lz4))?;
    version(&modules.release).is_none_or(|version| version < LZ4_PADDING).then_some(lz4.offset)
}

/// Makes the segment that brings these drivers into an initramfs, and settings as they are to be
/// (none where it goes before the archive that has them).
///
/// # Errors
/// [`AdditionError`].
pub fn make(
    tree: &Tree,
    archive: &Archive,
    modules: &ModuleSet,
    drivers: &[&str],
    settings: &[Setting],
) -> Result<Addition, AdditionError> {
    // What is overwritten by another archive goes to a directory of its own with an index of its own.
    let before_lz4 = goes_before(archive, modules);
    let root = if before_lz4.is_some() { OWN } else { "" };
    let maker = Maker { archive, modules, root };
    let mut files = BTreeMap::new();
    let directory = maker.module_directory()?;
    let plain = maker.plain_names(&directory);
    let needed = modules.closure(drivers);
    let mut loaded = Vec::new();
    for path in &needed {
        let target = format!("{directory}/{}", maker.named(path, plain));
        loaded.push(target.clone());
        if before_lz4.is_some() || !maker.has_module(&directory, path) {
            let content =
                if plain { modules.content(tree, path)? } else { modules.raw_content(tree, path)? };
            files.insert(target, content);
        }
    }
    let brought = files.len();
    if !drivers.is_empty() {
        maker.index(&directory, &needed, plain, &mut files)?;
    }
    let hint = Generator::of(archive).hint_path(archive).filter(|_| !drivers.is_empty());
    if let Some(hint) = hint {
        let path = maker.resolved(&hint)?;
        let prefix = if root.is_empty() { String::new() } else { format!("/{root}") };
        files.insert(path, hint::script(&prefix, drivers, &loaded).into_bytes());
        let list = archive.content(hint::RUN_ALL).map(String::from_utf8_lossy);
        if let Some(list) = list.and_then(|list| hint::in_run_all(&list, &hint)) {
            files.insert(hint::RUN_ALL.to_owned(), list.into_bytes());
        }
    }
    files.extend(settings.iter().map(|set| (set.member.clone(), set.after.clone().into_bytes())));
    let (bytes, members) =
        maker.segment(files, before_lz4.unwrap_or(archive.length), before_lz4.is_some())?;
    Ok(Addition {
        offset: before_lz4.unwrap_or(archive.length),
        bytes,
        members,
        drivers: drivers.iter().map(|driver| (*driver).to_owned()).collect(),
        dependencies: brought.saturating_sub(drivers.len()),
    })
}

/// The first two numbers of a release.
#[must_use]
pub fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

struct Maker<'m> {
    archive: &'m Archive,
    modules: &'m ModuleSet,
    root: &'m str,
}

impl Maker<'_> {
    fn resolved(&self, path: &str) -> Result<String, AdditionError> {
        self.archive.resolve(path).ok_or_else(|| AdditionError::Loop { path: path.to_owned() })
    }

    /// Where the modules go.
    fn module_directory(&self) -> Result<String, AdditionError> {
        let release = &self.modules.release;
        if self.root.is_empty() {
            self.resolved(&format!("lib/modules/{release}"))
        } else {
            Ok(format!("{}/lib/modules/{release}", self.root))
        }
    }

    /// Whether the archive's modules are unpacked ones. mkinitramfs unpacks what it copies, so the
    /// root's names say nothing; an archive without modules gets plain ones, which always load.
    fn plain_names(&self, directory: &str) -> bool {
        let mut names = self
            .archive
            .members
            .iter()
            .filter(|(path, member)| is_module(path, member))
            .map(|(path, _)| path);
        !self.root.is_empty()
            || names.clone().all(|path| path.ends_with(".ko"))
            || names.any(|path| path.starts_with(directory) && path.ends_with(".ko"))
    }

    fn named(&self, path: &str, plain: bool) -> String {
        let path = path.rsplit_once(&format!("{}/", self.modules.directory)).map_or(path, |(_, rest)| rest);
        let inside = !path.starts_with('/') && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
        // What lies elsewhere in the root gets a place of its own.
        let path = if inside {
            path.to_owned()
        } else {
            format!("extra/{}", path.rsplit('/').next().unwrap_or(path))
        };
        match path.rfind(".ko") {
            Some(end) if plain => path[..end + 3].to_owned(),
            _ => path,
        }
    }

    fn has_module(&self, directory: &str, path: &str) -> bool {
        let name = module_name(path);
        self.archive.members.iter().any(|(member_path, member)| {
            member_path.starts_with(directory)
                && is_module(member_path, member)
                && module_name(member_path) == name
        })
    }

    /// The merged index: what the archive has, and our modules behind it.
    fn index(
        &self,
        directory: &str,
        needed: &[String],
        plain: bool,
        files: &mut BTreeMap<String, Vec<u8>>,
    ) -> Result<(), AdditionError> {
        let (mut dependencies, mut aliases, mut soft) = (String::new(), String::new(), String::new());
        if self.root.is_empty() {
            let text = |name: &str| {
                let content = self.archive.kept.get(&format!("{directory}/{name}"));
                content.map(|content| String::from_utf8_lossy(content).into_owned())
            };
            let present = self.present(directory);
            dependencies = text("modules.dep").unwrap_or_else(|| self.root_lines(&present, plain));
            aliases = text("modules.alias").unwrap_or_else(|| joined(self.modules.alias_lines(&present)));
            soft = text("modules.softdep").unwrap_or_else(|| joined(self.modules.softdep_lines(&present)));
        }
        let known: BTreeSet<String> =
            dependencies.lines().filter_map(|line| Some(module_name(line.split_once(':')?.0))).collect();
        let ours: BTreeSet<String> =
            needed.iter().map(|path| module_name(path)).filter(|name| !known.contains(name)).collect();
        let dependencies = self.merged(&dependencies, &self.root_lines(&ours, plain), dependency_of);
        let aliases = self.merged(&aliases, &joined(self.modules.alias_lines(&ours)), alias_of);
        let soft = self.merged(&soft, &joined(self.modules.softdep_lines(&ours)), soft_of);
        let dependencies_index = index::dependencies(&dependencies).ok_or(AdditionError::Index)?;
        let aliases_index = index::aliases(&aliases, &dependencies).ok_or(AdditionError::Index)?;
        for (name, content) in [
            ("modules.dep", dependencies.into_bytes()),
            ("modules.dep.bin", dependencies_index),
            ("modules.alias", aliases.into_bytes()),
            ("modules.alias.bin", aliases_index),
            ("modules.softdep", soft.into_bytes()),
        ] {
            files.insert(format!("{directory}/{name}"), content);
        }
        Ok(())
    }

    /// Two texts of lines as depmod would have written one: by the modules' order in the root's
    /// index; comments first, modules that the root does not know last.
    fn merged(&self, present: &str, ours: &str, module: fn(&str) -> Option<String>) -> String {
        let mut comments: Vec<&str> = Vec::new();
        let mut lines: Vec<(usize, &str)> = Vec::new();
        for line in present.lines().chain(ours.lines()).filter(|line| !line.is_empty()) {
            if line.starts_with('#') {
                if !comments.contains(&line) {
                    comments.push(line);
                }
            } else {
                let position = module(line).and_then(|name| self.modules.position(&name));
                lines.push((position.unwrap_or(usize::MAX), line));
            }
        }
        lines.sort_by_key(|(position, _)| *position);
        joined(comments.into_iter().chain(lines.into_iter().map(|(_, line)| line)))
    }

    /// The names of the modules that the archive holds.
    fn present(&self, directory: &str) -> BTreeSet<String> {
        let members = self.archive.members.iter();
        members
            .filter(|(path, member)| path.starts_with(directory) && is_module(path, member))
            .map(|(path, _)| module_name(path))
            .collect()
    }

    /// `modules.dep` lines of the root for these modules, under the archive's names.
    fn root_lines(&self, names: &BTreeSet<String>, plain: bool) -> String {
        let mut text = String::new();
        for name in names {
            let Some(path) = self.modules.path(name) else { continue };
            text.push_str(&self.named(path, plain));
            text.push(':');
            for need in self.modules.needs(name) {
                text.push(' ');
                text.push_str(&self.named(need, plain));
            }
            text.push('\n');
        }
        text
    }

    /// The archive's bytes with their padding, and what is in it.
    fn segment(
        &self,
        files: BTreeMap<String, Vec<u8>>,
        offset: u64,
        inserted: bool,
    ) -> Result<(Vec<u8>, Members), AdditionError> {
        let mut members = Members::new();
        let mut writer = Writer::new();
        for path in files.keys() {
            let mut end = 0;
            while let Some(next) = path[end..].find('/') {
                let directory = &path[..end + next];
                end += next + 1;
                match self.archive.members.get(directory) {
                    Some(Member::Directory) if !inserted => {}
                    None | Some(Member::Directory) => {
                        if members.insert(directory.to_owned(), None).is_none() {
                            writer.directory(directory);
                        }
                    }
                    Some(_) => return Err(AdditionError::NotADirectory { path: directory.to_owned() }),
                }
            }
        }
        for (path, content) in &files {
            writer.file(path, 0o644, content);
            members.insert(path.clone(), Some(content.len() as u64));
        }
        // Trap 1: an archive starts at a multiple of four, and behind an lz4 stream four zero bytes
        // must stand, whatever the alignment.
        let alignment = usize::try_from(offset.next_multiple_of(4) - offset).unwrap_or(0);
        let padding = if inserted { alignment } else { alignment + 4 };
        let mut bytes = vec![0; padding];
        bytes.extend(writer.finish());
        Ok((bytes, members))
    }
}

/// The module that a line of `modules.dep` is about.
fn dependency_of(line: &str) -> Option<String> {
    Some(module_name(line.split_once(':')?.0))
}

/// The module that a line of `modules.alias` is about.
fn alias_of(line: &str) -> Option<String> {
    line.rsplit(' ').next().map(module_name)
}

/// The module that a line of `modules.softdep` is about.
fn soft_of(line: &str) -> Option<String> {
    line.split_ascii_whitespace().nth(1).map(module_name)
}

fn joined<'l>(lines: impl Iterator<Item = &'l str>) -> String {
    lines.flat_map(|line| [line, "\n"]).collect()
}
