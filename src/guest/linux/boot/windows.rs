//! Windows's boot manager on the EFI system partition of a Linux guest.

use super::efi::{memmem, name_in, wide};
use crate::guest::draft::MOST_FILE;
use crate::guest::tree::Tree;

/// What the boot manager calls itself in its version resource. Linux's loaders name its file,
/// `bootmgfw.efi`, to offer it in their menus.
const NAME: &str = "bootmgr.exe";

/// Whether an EFI program is Windows's boot manager: a copy of the one in `EFI/Microsoft/Boot`, or
/// one that says so of itself. Tools that have firmware start Linux put Linux's loader there too: a
/// program that a vendor has is none. `vendors` are the partition's directories below `EFI`.
#[must_use]
pub fn is_manager(tree: &Tree, vendors: &[String], path: &str) -> bool {
    let read = |path: &str| tree.read(path, MOST_FILE).ok();
    let Some(program) = read(path) else { return false };
    let manager = vendors.iter().filter(|vendor| vendor.to_lowercase().ends_with("/microsoft"));
    let manager = manager.into_iter().find_map(|vendor| {
        let boot = format!("{vendor}/{}", name_in(tree, vendor, "boot")?);
        read(&format!("{boot}/{}", name_in(tree, &boot, "bootmgfw.efi")?))
    });
    if manager.as_ref() != Some(&program) && !memmem(&program, &wide(NAME)) {
        return false;
    }
    let others = vendors.iter().filter(|vendor| !path.starts_with(&format!("{vendor}/")));
    !others.into_iter().any(|vendor| {
        let entries = tree.list(vendor).unwrap_or_default().entries;
        let programs = entries.iter().filter(|entry| entry.name.to_lowercase().ends_with(".efi")).take(32);
        programs.into_iter().any(|entry| read(&format!("{vendor}/{}", entry.name)).as_ref() == Some(&program))
    })
}
