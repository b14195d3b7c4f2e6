//! The kernel modules that the sandbox loads, with what they depend on, from the engine's module
//! directory (`modules.dep`, written by depmod).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// What is loaded where the engine's kernel does not have it built in: disks; FAT with the
/// character sets that EFI system partitions use.
const ALWAYS: &[&str] = &["virtio_blk", "vfat", "nls_cp437", "nls_ascii", "nls_iso8859-1", "nls_utf8"];
/// What is there for guests that need it: LVM's and RAID's targets and levels; FUSE for NTFS.
const WANTED: &[&str] = &[
    "fuse",
    "dm-mod",
    "dm-mirror",
    "dm-raid",
    "dm-snapshot",
    "dm-thin-pool",
    "linear",
    "md-mod",
    "raid0",
    "raid1",
    "raid10",
    "raid456",
];

/// Most bytes of one module once it is decompressed.
const MAX_MODULE: u64 = 64 << 20;

/// The modules of one kernel version.
#[derive(Debug)]
pub struct Modules {
    /// The version, which is `uname -r` in the sandbox.
    pub version: String,
    /// Names and contents.
    pub modules: Vec<(String, Vec<u8>)>,
    /// The names of those that every sandbox loads, in order.
    pub order: Vec<String>,
    /// Module to the names of what to load for it, in order.
    pub wanted: Vec<(String, Vec<String>)>,
}

/// Reads the modules of every version under `directory`.
///
/// # Errors
/// When the directory or a module cannot be read.
pub fn collect(directory: &Path) -> Result<Vec<Modules>, (PathBuf, io::Error)> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(directory).map_err(|error| (directory.to_owned(), error))?;
    for entry in entries.flatten() {
        let path = entry.path();
        let list = path.join("modules.dep");
        if !list.is_file() {
            continue;
        }
        let text = std::fs::read_to_string(&list).map_err(|error| (list.clone(), error))?;
        let order = load_order(&text, ALWAYS);
        let wanted: Vec<(String, Vec<&str>)> =
            WANTED.iter().map(|name| ((*name).to_owned(), load_order(&text, &[name]))).collect();
        let mut modules = Vec::new();
        let files: BTreeSet<&str> =
            order.iter().chain(wanted.iter().flat_map(|(_, files)| files)).copied().collect();
        for file in files {
            let from = path.join(file);
            let content = read_module(&from).map_err(|error| (from.clone(), error))?;
            modules.push((stored_name(file), content));
        }
        let stored = |files: Vec<&str>| files.into_iter().map(stored_name).collect();
        found.push(Modules {
            version: entry.file_name().to_string_lossy().into_owned(),
            modules,
            order: stored(order),
            wanted: wanted.into_iter().map(|(name, files)| (name, stored(files))).collect(),
        });
    }
    found.sort_by(|a, b| a.version.cmp(&b.version));
    Ok(found)
}

/// The files of the wanted modules, what they depend on first. Each line of `modules.dep` names a
/// module and all it depends on, to be loaded from right to left.
fn load_order<'t>(text: &'t str, names: &[&str]) -> Vec<&'t str> {
    let lines: BTreeMap<String, (&str, &str)> = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(file, needs)| (module_name(file), (file, needs)))
        .collect();
    let mut order = Vec::new();
    let mut seen = BTreeSet::new();
    for (file, needs) in names.iter().filter_map(|name| lines.get(&module_name(name))) {
        for file in needs.split_whitespace().rev().chain([*file]) {
            if seen.insert(file) {
                order.push(file);
            }
        }
    }
    order
}

/// What a module's file is called in the sandbox.
fn stored_name(file: &str) -> String {
    format!("{}.ko", module_name(file))
}

/// The name of a module's file, `-` and `_` alike, as the kernel takes them.
fn module_name(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.split(".ko").next().unwrap_or(name).replace('-', "_")
}

fn read_module(file: &Path) -> io::Result<Vec<u8>> {
    let raw = std::fs::File::open(file)?;
    let mut content = Vec::new();
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => liblzma::read::XzDecoder::new(raw).take(MAX_MODULE).read_to_end(&mut content)?,
        Some("zst") => zstd::Decoder::new(raw)?.take(MAX_MODULE).read_to_end(&mut content)?,
        Some("gz") => flate2::read::GzDecoder::new(raw).take(MAX_MODULE).read_to_end(&mut content)?,
        _ => raw.take(MAX_MODULE).read_to_end(&mut content)?,
    };
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_come_first_and_once() {
        let text = "kernel/fs/fat/vfat.ko: kernel/fs/fat/fat.ko kernel/b.ko\n\
                    kernel/fs/fat/fat.ko: kernel/b.ko\nkernel/b.ko:\n\
                    kernel/drivers/block/virtio_blk.ko.xz:\nkernel/other.ko:\n\
                    kernel/fs/nls/nls_iso8859-1.ko: kernel/b.ko\n";
        assert_eq!(
            load_order(text, ALWAYS),
            [
                "kernel/drivers/block/virtio_blk.ko.xz",
                "kernel/b.ko",
                "kernel/fs/fat/fat.ko",
                "kernel/fs/fat/vfat.ko",
                "kernel/fs/nls/nls_iso8859-1.ko",
            ]
        );
    }
}
