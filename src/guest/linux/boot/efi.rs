//! The EFI system partition: whether the guest boots from it, and the removable path
//! `EFI/BOOT/BOOTX64.EFI` (UEFI specification 3.5.1.1), the only one that an instance without
//! the old machine's NVRAM looks at.

use crate::guest::draft::{Draft, MOST_FILE};
use crate::guest::findings::{Findings, blocks, informs};
use crate::guest::linux::boot::entries::vendors;
use crate::guest::tree::{Tree, TreeError};
use crate::model::Architecture;

/// Loaders, the first found is used: shim starts GRUB under Secure Boot and without it.
const LOADERS: [&str; 3] = ["shim", "grub", "systemd-boot"];
/// What BIOS boot code leaves in the filesystem.
const BIOS: [&str; 6] = [
    "/boot/grub/i386-pc",
    "/boot/grub2/i386-pc",
    "/boot/grub/stage2",
    "/boot/grub/e2fs_stage1_5",
    "/boot/extlinux/extlinux.conf",
    "/boot/syslinux/syslinux.cfg",
];

/// How the guest's disk can be booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ways {
    /// By BIOS.
    pub bios: bool,
    /// By UEFI.
    pub uefi: bool,
}

/// Looks at the boot files. A disk's boot code itself is not read here.
#[must_use]
pub fn ways(tree: &Tree) -> Ways {
    let uefi = vendors(tree).iter().any(|directory| {
        let names = tree.list(directory).unwrap_or_default().entries;
        names.iter().any(|entry| entry.name.to_lowercase().ends_with(".efi"))
    });
    Ways { bios: BIOS.iter().any(|path| tree.exists(path)), uefi }
}

/// Makes the removable path when it is missing.
///
/// # Errors
/// When a loader cannot be read.
pub fn prepare(
    draft: &mut Draft<'_>,
    architecture: Architecture,
    findings: &mut Findings,
) -> Result<(), TreeError> {
    let suffix = match architecture {
        Architecture::X86_64 => "x64",
        Architecture::I386 => "ia32",
        Architecture::Arm64 => "aa64",
    };
    let directories = vendors(draft.tree());
    let removable = |directory: &&String| directory.to_lowercase().ends_with("/boot");
    let fallback = format!("boot{suffix}.efi");
    if let Some(boot) = directories.iter().find(removable)
        && name_in(draft.tree(), boot, &fallback).is_some()
    {
        return Ok(());
    }
    for loader in LOADERS {
        let wanted = format!("{loader}{suffix}.efi");
        let mut vendors = directories.iter().filter(|directory| !removable(directory));
        let Some((vendor, name)) =
            vendors.find_map(|vendor| Some((vendor, name_in(draft.tree(), vendor, &wanted)?)))
        else {
            continue;
        };
        let boot = directories
            .iter()
            .find(removable)
            .cloned()
            .unwrap_or_else(|| format!("{}/BOOT", vendor.rsplit_once('/').map_or("", |(root, _)| root)));
        let purpose =
            format!("the loader where firmware without the old machine's NVRAM looks: {vendor}/{name}");
        let content = draft.tree().read(&format!("{vendor}/{name}"), MOST_FILE)?;
        draft.write(&format!("{boot}/{}", fallback.to_uppercase()), content, 0o644, &purpose)?;
        // shim starts the GRUB that stands beside it.
        if loader == "shim"
            && let Some(grub) = name_in(draft.tree(), vendor, &format!("grub{suffix}.efi"))
        {
            let content = draft.tree().read(&format!("{vendor}/{grub}"), MOST_FILE)?;
            draft.write(&format!("{boot}/grub{suffix}.efi"), content, 0o644, &purpose)?;
        }
        findings.push(
            informs("efi_fallback_missing", "the EFI system partition has no loader at the removable path")
                .seen(format!("{boot}/{}", fallback.to_uppercase()))
                .remedy(format!("{vendor}/{name} is copied there")),
        );
        return Ok(());
    }
    findings.push(
        blocks("efi_loader_missing", "the EFI system partition holds no loader that is known")
            .seen(format!("looked for {} of {suffix} in {}", LOADERS.join(", "), directories.join(", ")))
            .advice("Install the distribution's GRUB for EFI with its removable-path option, and back the guest up again."),
    );
    Ok(())
}

/// A name in a directory, whatever its case: FAT does not distinguish.
fn name_in(tree: &Tree, directory: &str, wanted: &str) -> Option<String> {
    let entries = tree.list(directory).ok()?.entries;
    entries.into_iter().map(|entry| entry.name).find(|name| name.eq_ignore_ascii_case(wanted))
}
