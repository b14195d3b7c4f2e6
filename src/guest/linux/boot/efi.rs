//! The EFI system partition: whether the guest boots from it, and the removable path
//! `EFI/BOOT/BOOTX64.EFI` (UEFI specification 3.5.1.1), the only one that an instance without
//! the old machine's NVRAM looks at.

use crate::guest::draft::{Draft, MOST_FILE};
use crate::guest::findings::{Findings, blocks, informs};
use crate::guest::linux::boot::entries::vendors;
use crate::guest::tree::{Tree, TreeError};
use crate::model::Architecture;

/// Loaders, the first found is used: shim starts GRUB under Secure Boot and without it. SUSE's
/// and older Red Hat's shim has no suffix.
const LOADERS: [&str; 5] = ["shim{}.efi", "shim.efi", "grub{}.efi", "grub.efi", "systemd-boot{}.efi"];
/// What a shim starts, as it stands in the shim itself: beside the shim, by name.
const SECOND: [&str; 2] = ["grub{}.efi", "grub.efi"];
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

/// Makes the removable path when it is missing, and the second stage beside it when that is.
///
/// Signed GRUBs find their configuration by the vendor's directory that is built in (`/EFI/redhat`,
/// `/EFI/debian`), those that grub-install makes by the filesystem's UUID: a copy elsewhere on the
/// same partition finds it too.
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
        && let Some(name) = name_in(draft.tree(), boot, &fallback)
    {
        return complete(draft, &directories, boot, &name, suffix, findings);
    }
    for loader in LOADERS {
        let wanted = loader.replace("{}", suffix);
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
        let mut seconds = second_stages(&content, suffix);
        if seconds.is_empty() && loader.starts_with("shim") {
            seconds.extend(SECOND.map(|name| name.replace("{}", suffix)));
        }
        for second in seconds {
            if let Some(grub) = name_in(draft.tree(), vendor, &second) {
                let content = draft.tree().read(&format!("{vendor}/{grub}"), MOST_FILE)?;
                draft.write(&format!("{boot}/{grub}"), content, 0o644, &purpose)?;
            }
        }
        draft.write(&format!("{boot}/{}", fallback.to_uppercase()), content, 0o644, &purpose)?;
        findings.push(
            informs("efi_fallback_missing", "the EFI system partition has no loader at the removable path")
                .seen(format!("{boot}/{}", fallback.to_uppercase()))
                .remedy(format!("{vendor}/{name} is copied there")),
        );
        return Ok(());
    }
    findings.push(
        blocks("efi_loader_missing", "the EFI system partition holds no loader that is known")
            .seen(format!("looked for {} in {}", LOADERS.join(", ").replace("{}", suffix), directories.join(", ")))
            .advice("Install the distribution's GRUB for EFI with its removable-path option, and back the guest up again."),
    );
    Ok(())
}

/// A shim at the removable path starts what stands beside it: its fallback program, which reads
/// the vendors' `BOOTX64.CSV`, else GRUB. Without either, GRUB is put there.
fn complete(
    draft: &mut Draft<'_>,
    directories: &[String],
    boot: &str,
    name: &str,
    suffix: &str,
    findings: &mut Findings,
) -> Result<(), TreeError> {
    let tree = draft.tree();
    let stages = second_stages(&tree.read_at(&format!("{boot}/{name}"), 0, MOST_FILE)?, suffix);
    let lists = |directory: &String| {
        let names = tree.list(directory).unwrap_or_default().entries;
        names.iter().any(|entry| entry.name.to_lowercase().ends_with(".csv"))
    };
    let fallback = ["fb{}.efi", "fallback.efi"].iter().any(|program| {
        name_in(tree, boot, &program.replace("{}", suffix)).is_some() && directories.iter().any(lists)
    });
    if stages.is_empty() || fallback || stages.iter().any(|stage| name_in(tree, boot, stage).is_some()) {
        return Ok(());
    }
    for stage in stages {
        let mut vendors = directories.iter().filter(|directory| *directory != boot);
        let found = vendors.find_map(|vendor| Some(format!("{vendor}/{}", name_in(tree, vendor, &stage)?)));
        if let Some(grub) = found {
            findings.push(
                informs("efi_second_stage_missing", "the loader at the removable path has nothing to start")
                    .seen(format!("{boot}/{name} starts {stage}"))
                    .remedy(format!("{grub} is copied beside it")),
            );
            let content = tree.read(&grub, MOST_FILE)?;
            let purpose = format!("what the loader at the removable path starts: {grub}");
            return draft.write(&format!("{boot}/{stage}"), content, 0o644, &purpose);
        }
    }
    Ok(())
}

/// The names of second stages that stand in a loader as UTF-16: a shim has one.
fn second_stages(loader: &[u8], suffix: &str) -> Vec<String> {
    let names = SECOND.iter().map(|name| name.replace("{}", suffix));
    let named = names.filter(|name| {
        let wide: Vec<u8> = format!("\\{name}").encode_utf16().flat_map(u16::to_le_bytes).collect();
        memmem(loader, &wide)
    });
    named.collect()
}

fn memmem(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// A name in a directory, whatever its case: FAT does not distinguish.
fn name_in(tree: &Tree, directory: &str, wanted: &str) -> Option<String> {
    let entries = tree.list(directory).ok()?.entries;
    entries.into_iter().map(|entry| entry.name).find(|name| name.eq_ignore_ascii_case(wanted))
}
