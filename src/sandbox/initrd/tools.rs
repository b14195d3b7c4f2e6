//! Other people's programs that the sandbox has where the host has them: what NTFS and the
//! registry are written with, and what replays JFS's journal.

use std::path::{Path, PathBuf};

use super::elf;

/// A file of the host's and where it stands in the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tool {
    /// The host's file.
    pub file: PathBuf,
    /// Its place in the sandbox.
    pub place: String,
}

/// Programs by name: those of NTFS from Debian's package `ntfs-3g`, JFS's from `jfsutils`.
const PROGRAMS: [&str; 5] = ["ntfs-3g", "ntfs-3g.probe", "ntfsfix", "ntfsrecover", "jfs_fsck"];
/// Where programs are.
const DIRECTORIES: [&str; 4] = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"];
/// Libraries that are looked up when they are needed: Debian's package `libhivex0`.
const LIBRARIES: [&str; 1] = ["libhivex.so.0"];

/// What libhivex turns names to Latin-1 with: a module of the C library, which finds it by a list.
pub const CONVERTER: &str = "gconv/ISO8859-1.so";
/// That list, beside the module.
pub const CONVERTERS: (&str, &[u8]) = (
    "gconv/gconv-modules",
    b"alias LATIN1// ISO-8859-1//\nmodule ISO-8859-1// INTERNAL ISO8859-1 1\nmodule INTERNAL ISO-8859-1// ISO8859-1 1\n",
);

/// Those that are there. The guest's program says what it misses when it meets a guest that needs
/// it.
#[must_use]
pub fn find() -> Vec<Tool> {
    let program = |name: &str| {
        let mut places = DIRECTORIES.iter().map(|directory| Path::new(directory).join(name));
        let file = places.find(|path| path.is_file())?;
        Some(Tool { file, place: format!("/bin/{name}") })
    };
    let library = |name: &str| {
        let file = elf::library(name)?;
        Some(Tool { place: file.display().to_string(), file })
    };
    let programs = PROGRAMS.iter().filter_map(|name| program(name));
    programs.chain(LIBRARIES.iter().filter_map(|name| library(name))).chain(converter()).collect()
}

/// The C library's own directory is a part of its path; `/lib` may be a link to `/usr/lib`.
fn converter() -> Option<Tool> {
    let home = elf::library("libc.so.6")?.parent()?.canonicalize().ok()?;
    let file = home.join(CONVERTER);
    file.is_file().then(|| Tool { place: file.display().to_string(), file })
}
