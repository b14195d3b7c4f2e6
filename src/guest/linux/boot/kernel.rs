//! A kernel image: its release, from the header of a bzImage or from its name.

use crate::guest::tree::Tree;

/// Where a bzImage says `HdrS` and where its version text starts
/// (the kernel's Documentation/arch/x86/boot.rst: `header` and `kernel_version`).
const HEADER: usize = 0x202;
const VERSION: usize = 0x20e;
/// The setup part of a bzImage is at most this long, in bytes.
const SETUP: u64 = 64 << 10;

/// The release of a kernel image: from its header, else from its file's name.
#[must_use]
pub fn named_release(tree: &Tree, image: &str) -> Option<String> {
    from_header(tree, image).or_else(|| from_name(image)).filter(|release| is_release(release))
}

/// The release of the only set of modules, when there is just one.
#[must_use]
pub fn only_release(tree: &Tree) -> Option<String> {
    match module_directories(tree).as_slice() {
        [only] => Some(only.clone()),
        _ => None,
    }
}

/// The releases that have a directory of modules.
#[must_use]
pub fn module_directories(tree: &Tree) -> Vec<String> {
    let listing = tree.list("/lib/modules").unwrap_or_default();
    let names = listing.entries.into_iter().map(|entry| entry.name);
    names.filter(|name| is_release(name) && tree.is_directory(&format!("/lib/modules/{name}"))).collect()
}

fn from_header(tree: &Tree, image: &str) -> Option<String> {
    let setup = tree.read_at(image, 0, SETUP).ok()?;
    if setup.get(HEADER..HEADER + 4)? != b"HdrS" {
        return None;
    }
    let pointer = u16::from_le_bytes([*setup.get(VERSION)?, *setup.get(VERSION + 1)?]);
    let text = setup.get(usize::from(pointer).checked_add(0x200)?..)?;
    let word: Vec<u8> = text.iter().copied().take(128).take_while(|byte| byte.is_ascii_graphic()).collect();
    String::from_utf8(word).ok()
}

fn from_name(image: &str) -> Option<String> {
    let name = image.rsplit('/').next()?;
    let rest =
        ["vmlinuz-", "vmlinux-", "kernel-", "Image-"].iter().find_map(|prefix| name.strip_prefix(prefix))?;
    (!rest.starts_with("0-rescue")).then(|| rest.to_owned())
}

/// Whether a text can be a release: it becomes a part of paths.
#[must_use]
pub fn is_release(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+~".contains(&byte);
    (3..=64).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_digit())
        && text.bytes().all(allowed)
}
