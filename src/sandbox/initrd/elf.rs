//! What a program needs to run: its loader and libraries, found as the loader finds them
//! (`DT_NEEDED`, `ld.so.conf`), without running anything.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

/// Why a program's libraries are not known.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is no program or library of this kind of machine.
    #[error("{} is no 64-bit little-endian ELF file", path.display())]
    NotElf {
        /// The file.
        path: PathBuf,
    },
    /// A library that it needs is nowhere.
    #[error("{} needs the library {library}, which is not installed", path.display())]
    Missing {
        /// The program or library.
        path: PathBuf,
        /// The library's name.
        library: String,
    },
}

/// A library that a program needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// The host's file.
    pub file: PathBuf,
    /// Where the program will look for it when there is no cache of libraries: absolute.
    pub place: String,
}

#[derive(Debug, Default)]
struct Elf {
    machine: u16,
    interpreter: Option<String>,
    needed: Vec<String>,
    search: Vec<String>,
    /// Where the last loaded segment ends; what follows is only for debuggers.
    loaded_end: usize,
}

/// The loader and all libraries that a program needs, each once.
///
/// # Errors
/// When a file cannot be read, is no ELF file, or needs a library that is not installed.
pub fn needed(program: &Path) -> Result<Vec<Library>, ElfError> {
    let directories = library_directories();
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let mut queue = VecDeque::from([program.to_owned()]);
    // The loader looks in its own default directories; the C library surely lies in one of them.
    let mut home = None;
    while let Some(path) = queue.pop_front() {
        let elf = parse(&path, &read(&path)?)?;
        if let Some(interpreter) = &elf.interpreter
            && seen.insert(file_name(interpreter))
        {
            found.push(Library { file: interpreter.into(), place: interpreter.clone() });
        }
        let own: Vec<PathBuf> = elf.search.iter().map(|directory| origin(directory, &path)).collect();
        for name in &elf.needed {
            if !seen.insert(name.clone()) {
                continue;
            }
            let file = own
                .iter()
                .chain(&directories)
                .map(|directory| directory.join(name))
                .find(|file| is_for(file, elf.machine))
                .ok_or_else(|| ElfError::Missing { path: path.clone(), library: name.clone() })?;
            if name.starts_with("libc.so") {
                home = file.parent().map(Path::to_owned);
            }
            queue.push_back(file.clone());
            found.push(Library { place: file.display().to_string(), file });
        }
    }
    if let Some(home) = home {
        for library in &mut found {
            let loader = file_name(&library.place).starts_with("ld-");
            if !loader {
                library.place = home.join(file_name(&library.place)).display().to_string();
            }
        }
    }
    Ok(found)
}

/// A library of this kind of machine by its name, where the loader would find it.
#[must_use]
pub fn library(name: &str) -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let machine = parse(&own, &read(&own).ok()?).ok()?.machine;
    let mut files = library_directories().into_iter().map(|directory| directory.join(name));
    files.find(|file| is_for(file, machine))
}

/// A program's bytes without what follows the parts that are loaded (symbols, line tables): what
/// runs is the same, in a fraction of the memory.
///
/// # Errors
/// When it is no ELF file.
pub fn trimmed(path: &Path) -> Result<Vec<u8>, ElfError> {
    let mut bytes = read(path)?;
    let elf = parse(path, &bytes)?;
    bytes.truncate(elf.loaded_end);
    // No section headers any more: e_shoff, e_shnum, e_shstrndx.
    for range in [0x28..0x30, 0x3c..0x3e, 0x3e..0x40] {
        if let Some(field) = bytes.get_mut(range) {
            field.fill(0);
        }
    }
    Ok(bytes)
}

fn read(path: &Path) -> Result<Vec<u8>, ElfError> {
    std::fs::read(path).map_err(|source| ElfError::Read { path: path.to_owned(), source })
}

fn file_name(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

fn origin(directory: &str, path: &Path) -> PathBuf {
    let own = path.parent().unwrap_or(Path::new("/")).display().to_string();
    PathBuf::from(directory.replace("${ORIGIN}", &own).replace("$ORIGIN", &own))
}

fn is_for(file: &Path, machine: u16) -> bool {
    read(file).ok().and_then(|bytes| parse(file, &bytes).ok()).is_some_and(|elf| elf.machine == machine)
}

/// The directories of `/etc/ld.so.conf`, then the loader's defaults.
fn library_directories() -> Vec<PathBuf> {
    let mut directories = Vec::new();
    read_configuration(Path::new("/etc/ld.so.conf"), &mut directories, 0);
    directories.extend(
        [
            "/lib/x86_64-linux-gnu",
            "/usr/lib/x86_64-linux-gnu",
            "/lib/aarch64-linux-gnu",
            "/usr/lib/aarch64-linux-gnu",
            "/lib64",
            "/usr/lib64",
            "/lib",
            "/usr/lib",
        ]
        .map(PathBuf::from),
    );
    directories
}

fn read_configuration(file: &Path, directories: &mut Vec<PathBuf>, depth: u32) {
    let Ok(text) = std::fs::read_to_string(file) else { return };
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(pattern) = line.strip_prefix("include ") {
            let pattern = Path::new(pattern.trim());
            let (Some(parent), Some(name)) = (pattern.parent(), pattern.file_name()) else { continue };
            let suffix = name.to_string_lossy().trim_start_matches('*').to_owned();
            let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
            let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
            files.sort();
            for file in files.iter().filter(|file| depth < 4 && file.to_string_lossy().ends_with(&suffix)) {
                read_configuration(file, directories, depth + 1);
            }
        } else if line.starts_with('/') {
            directories.push(line.into());
        }
    }
}

/// The fields of an ELF file that matter here (System V ABI, chapters 4 and 5).
fn parse(path: &Path, bytes: &[u8]) -> Result<Elf, ElfError> {
    fields(bytes).ok_or_else(|| ElfError::NotElf { path: path.to_owned() })
}

fn fields(bytes: &[u8]) -> Option<Elf> {
    // 64 bits, little-endian.
    if bytes.get(..6)? != [0x7f, b'E', b'L', b'F', 2, 1] {
        return None;
    }
    let mut elf = Elf { machine: u16_at(bytes, 0x12)?, ..Elf::default() };
    let table = u64_at(bytes, 0x20)?;
    let (entry, count) = (usize::from(u16_at(bytes, 0x36)?), usize::from(u16_at(bytes, 0x38)?));
    let mut loads = Vec::new();
    let mut dynamic = None;
    for index in 0..count {
        let header = bytes.get(table.checked_add(index.checked_mul(entry)?)?..)?;
        let (kind, offset) = (u32_at(header, 0)?, u64_at(header, 8)?);
        let (address, length) = (u64_at(header, 16)?, u64_at(header, 32)?);
        let end = offset.checked_add(length)?;
        match kind {
            1 => {
                elf.loaded_end = elf.loaded_end.max(end);
                loads.push((address, offset, length));
            }
            2 => dynamic = bytes.get(offset..end),
            3 => elf.interpreter = text_at(bytes, offset),
            _ => {}
        }
    }
    elf.loaded_end = elf.loaded_end.max(table.checked_add(entry.checked_mul(count)?)?).min(bytes.len());
    let Some(dynamic) = dynamic else { return Some(elf) };
    let entries: Vec<(usize, usize)> = dynamic
        .chunks_exact(16)
        .map_while(|pair| Some((u64_at(pair, 0)?, u64_at(pair, 8)?)))
        .take_while(|(tag, _)| *tag != 0)
        .collect();
    let table = entries.iter().find(|(tag, _)| *tag == 5).map(|(_, address)| *address);
    let strings = table.and_then(|address| {
        let (start, offset, _) =
            loads.iter().find(|(start, _, length)| address >= *start && address - start < *length)?;
        offset.checked_add(address - start)
    });
    let Some(strings) = strings else { return Some(elf) };
    for (tag, value) in entries {
        let text = || text_at(bytes, strings.checked_add(value)?);
        match tag {
            1 => elf.needed.push(text()?),
            15 | 29 => elf.search.extend(text()?.split(':').map(str::to_owned)),
            _ => {}
        }
    }
    Some(elf)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<usize> {
    let number = u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?);
    usize::try_from(number).ok()
}

fn text_at(bytes: &[u8], at: usize) -> Option<String> {
    let text = bytes.get(at..)?;
    let end = text.iter().position(|byte| *byte == 0)?;
    String::from_utf8(text[..end].to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_libraries_are_the_ones_that_ldd_names() {
        let program = std::env::current_exe().unwrap();
        let ours: BTreeSet<String> =
            needed(&program).unwrap().iter().map(|library| file_name(&library.place)).collect();
        let output = Command::new("ldd").arg(&program).output().unwrap();
        let theirs: BTreeSet<String> = String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .map(file_name)
            .filter(|name| !name.starts_with("linux-vdso"))
            .collect();
        assert_eq!(ours, theirs);
    }

    #[test]
    fn a_trimmed_program_still_runs() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("true");
        std::fs::write(&copy, trimmed(Path::new("/bin/true")).unwrap()).unwrap();
        std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(Command::new(&copy).status().unwrap().success());
    }

    #[test]
    fn other_files_are_refused() {
        assert!(matches!(needed(Path::new("/etc/passwd")), Err(ElfError::NotElf { .. })));
        for length in 0..200 {
            let _judged = fields(&read(Path::new("/bin/true")).unwrap()[..length]);
        }
    }
}
