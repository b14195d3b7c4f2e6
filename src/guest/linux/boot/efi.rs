//! The EFI system partition: whether the guest boots from it, and the removable path
//! `EFI/BOOT/BOOTX64.EFI` (UEFI specification 3.5.1.1), the only one that an instance without
//! the old machine's NVRAM looks at.

use super::windows;
use crate::guest::disk::boot_code::BootCode;
use crate::guest::draft::{Draft, MOST_FILE};
use crate::guest::findings::{Findings, blocks, informs, warns};
use crate::guest::linux::boot::entries::vendors;
use crate::guest::linux::release::Release;
use crate::guest::tree::{Tree, TreeError};
use crate::model::{Architecture, Firmware};

/// Loaders, the first found is used: shim starts GRUB under Secure Boot and without it. SUSE's
/// and older Red Hat's shim has no suffix.
const LOADERS: [&str; 5] = ["shim{}.efi", "shim.efi", "grub{}.efi", "grub.efi", "systemd-boot{}.efi"];
/// What a shim starts, as it stands in the shim itself: beside the shim, by name.
const SECOND: [&str; 2] = ["grub{}.efi", "grub.efi"];
/// SUSE's GRUB is built without a place of its own and reads `grub.cfg` beside itself; EL6's, which
/// is GRUB legacy, reads its own name with `.conf`.
const BESIDE: &str = "grub.efi";
/// Where grub-install copies GRUB's modules for a BIOS. The directory alone says nothing: YaST
/// makes a subvolume for it on every machine.
const MODULES: [&str; 2] = ["/boot/grub/i386-pc", "/boot/grub2/i386-pc"];
const INSTALLED: [&str; 2] = ["core.img", "normal.mod"];
/// What other BIOS boot code leaves in the filesystem.
const BIOS: [&str; 6] = [
    "/boot/grub/stage2",
    "/boot/grub/e2fs_stage1_5",
    "/boot/extlinux/extlinux.conf",
    "/boot/syslinux/syslinux.cfg",
    "/boot/extlinux.conf",
    "/boot/ldlinux.sys",
];

/// How the guest's disk can be booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ways {
    /// By BIOS.
    pub bios: bool,
    /// By UEFI.
    pub uefi: bool,
    code: BootCode,
}

impl Ways {
    /// The firmware that it is made for. Where both would do, boot code of GRUB's says that a BIOS
    /// was the last to be provided for; a partitioning tool or Windows leave other code.
    #[must_use]
    pub fn firmware(self) -> Firmware {
        match (self.bios, self.uefi) {
            (_, false) => Firmware::Bios,
            (true, true) if self.code != BootCode::Other => Firmware::Bios,
            (_, true) => Firmware::Uefi,
        }
    }

    /// What was looked for, when nothing was found.
    #[must_use]
    pub fn missing(self) -> String {
        let code = match self.code {
            BootCode::Absent => "boot code on the disks, where there is none",
            _ => "GRUB's files for BIOS in /boot",
        };
        format!("looked for {code}, and for loaders on the EFI system partition")
    }
}

/// Looks at the boot files. A BIOS needs code on a disk too.
#[must_use]
pub fn ways(tree: &Tree, code: BootCode) -> Ways {
    let directories = vendors(tree);
    let uefi = directories.iter().any(|directory| {
        let names = tree.list(directory).unwrap_or_default().entries.into_iter().map(|entry| entry.name);
        let mut programs = names.filter(|name| name.to_lowercase().ends_with(".efi"));
        programs.any(|name| {
            !is_removable(directory)
                || !windows::is_manager(tree, &directories, &format!("{directory}/{name}"))
        })
    });
    let modules = MODULES
        .iter()
        .any(|directory| INSTALLED.iter().any(|file| tree.is_file(&format!("{directory}/{file}"))));
    let files = modules || BIOS.iter().any(|path| tree.exists(path));
    Ways { bios: files && code != BootCode::Absent, uefi, code }
}

/// A configuration that a loader at the removable path reads beside itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beside {
    from: String,
    to: String,
}

/// The removable path on an EFI system partition, and what there is to put there.
struct Removable {
    /// The vendors' directories, the guest's own first.
    vendors: Vec<String>,
    /// `…/EFI/BOOT`, there or not.
    directory: String,
    /// The path of the loader there, where there is one.
    loader: Option<String>,
    suffix: &'static str,
}

/// Makes the removable path when it is missing or starts Windows, and the second stage beside it
/// when that is missing. What must be copied once it is edited comes back.
///
/// Signed GRUBs find their configuration by the vendor's directory that is built in (`/EFI/redhat`,
/// `/EFI/debian`), those that grub-install makes by the filesystem's UUID: a copy elsewhere on the
/// same partition finds it too.
///
/// # Errors
/// When a loader cannot be read.
pub fn prepare(
    draft: &mut Draft<'_>,
    ways: Ways,
    architecture: Architecture,
    release: &Release,
    findings: &mut Findings,
) -> Result<Vec<Beside>, TreeError> {
    let tree = draft.tree();
    let removable = Removable::find(tree, architecture, release);
    let all = vendors(tree);
    let windows = removable.loader.clone().filter(|path| windows::is_manager(tree, &all, path));
    if windows.is_none() && removable.loader.is_some() {
        return removable.complete(draft, findings);
    }
    let Some((vendor, name)) = removable.source(tree) else {
        let looked = LOADERS.join(", ").replace("{}", removable.suffix);
        let summary = "the EFI system partition holds no loader that is known";
        let finding = if ways.bios {
            warns("efi_loader_missing", summary)
        } else {
            blocks("efi_loader_missing", summary)
        };
        findings.push(
            finding
                .seen(format!("looked for {looked} in {}", all.join(", ")))
                .advice("Install the distribution's GRUB for EFI with its removable-path option, and back the guest up again."),
        );
        return Ok(Vec::new());
    };
    let from = format!("{vendor}/{name}");
    let to = windows.clone().unwrap_or_else(|| removable.path());
    let purpose = format!("the loader where firmware without the old machine's NVRAM looks: {from}");
    let content = tree.read(&from, MOST_FILE)?;
    let mut seconds = second_stages(&content, removable.suffix);
    if seconds.is_empty() && name.to_ascii_lowercase().starts_with("shim") {
        seconds.extend(SECOND.map(|name| name.replace("{}", removable.suffix)));
    }
    let mut beside: Vec<Beside> = removable.beside(draft, &vendor, &name).into_iter().collect();
    for second in seconds {
        if let Some(grub) = name_in(tree, &vendor, &second) {
            let content = tree.read(&format!("{vendor}/{grub}"), MOST_FILE)?;
            draft.write(&format!("{}/{grub}", removable.directory), content, 0o644, &purpose)?;
            beside.extend(removable.beside(draft, &vendor, &grub));
        }
    }
    draft.write(&to, content, 0o644, &purpose)?;
    findings.push(match windows {
        Some(path) => {
            informs("efi_fallback_windows", "the loader at the removable path starts Windows, not Linux")
                .seen(path)
                .remedy(format!("{from} takes its place; Windows's own stays in EFI/Microsoft"))
        }
        None => {
            informs("efi_fallback_missing", "the EFI system partition has no loader at the removable path")
                .seen(to)
                .remedy(format!("{from} is copied there"))
        }
    });
    Ok(beside)
}

/// Copies what loaders read beside themselves, as it is after its edits.
///
/// # Errors
/// When a file cannot be read.
pub fn configure(draft: &mut Draft<'_>, beside: &[Beside], findings: &mut Findings) -> Result<(), TreeError> {
    for Beside { from, to } in beside {
        let Some(content) = draft.read(from)? else { continue };
        let mut finding = informs(
            "efi_configuration_missing",
            "the loader at the removable path reads its configuration beside itself, where there is none",
        )
        .seen(to.clone())
        .remedy(format!("{from} is copied there"));
        if to.ends_with(".conf") {
            finding =
                finding.advice(format!("Updates of the kernel change {from} only: copy it again after one."));
        }
        findings.push(finding);
        draft.write(to, content, 0o644, "what the loader at the removable path reads")?;
    }
    Ok(())
}

impl Removable {
    fn find(tree: &Tree, architecture: Architecture, release: &Release) -> Self {
        let suffix = match architecture {
            Architecture::X86_64 => "x64",
            Architecture::I386 => "ia32",
            Architecture::Arm64 => "aa64",
        };
        let mut directories = vendors(tree);
        let boot = directories.iter().position(|directory| is_removable(directory));
        let boot = boot.map(|position| directories.remove(position));
        directories.retain(|directory| !is_removable(directory));
        directories.sort_by_key(|directory| !is_own(directory, &release.id));
        let loader = boot
            .as_ref()
            .and_then(|boot| Some(format!("{boot}/{}", name_in(tree, boot, &format!("boot{suffix}.efi"))?)));
        let directory = boot.unwrap_or_else(|| {
            let vendor = directories.first().map_or("", String::as_str);
            format!("{}/BOOT", vendor.rsplit_once('/').map_or("", |(root, _)| root))
        });
        Self { vendors: directories, directory, loader, suffix }
    }

    /// The removable path as it is made.
    fn path(&self) -> String {
        format!("{}/BOOT{}.EFI", self.directory, self.suffix.to_uppercase())
    }

    /// The loader that belongs there: the vendor's directory and the file's name.
    fn source(&self, tree: &Tree) -> Option<(String, String)> {
        LOADERS.iter().find_map(|loader| {
            let wanted = loader.replace("{}", self.suffix);
            self.vendors.iter().find_map(|vendor| Some((vendor.clone(), name_in(tree, vendor, &wanted)?)))
        })
    }

    /// What a vendor's GRUB reads beside itself, when it is not there.
    fn beside(&self, draft: &Draft<'_>, vendor: &str, grub: &str) -> Option<Beside> {
        let tree = draft.tree();
        if !grub.eq_ignore_ascii_case(BESIDE) {
            return None;
        }
        let (from, to) = match name_in(tree, vendor, "grub.conf") {
            Some(name) => (name, format!("BOOT{}.conf", self.suffix.to_uppercase())),
            None => (name_in(tree, vendor, "grub.cfg")?, "grub.cfg".to_owned()),
        };
        name_in(tree, &self.directory, &to)
            .is_none()
            .then(|| Beside { from: format!("{vendor}/{from}"), to: format!("{}/{to}", self.directory) })
    }

    /// A shim at the removable path starts what stands beside it: its fallback program, which
    /// reads the vendors' `BOOTX64.CSV`, else GRUB. Without either, GRUB is put there.
    fn complete(&self, draft: &mut Draft<'_>, findings: &mut Findings) -> Result<Vec<Beside>, TreeError> {
        let (tree, boot) = (draft.tree(), &self.directory);
        let Some(loader) = &self.loader else { return Ok(Vec::new()) };
        let content = tree.read_at(loader, 0, MOST_FILE)?;
        let stages = second_stages(&content, self.suffix);
        if stages.is_empty() {
            // GRUB itself, as a vendor has it.
            let vendor = self.vendors.iter().find_map(|vendor| {
                let name = name_in(tree, vendor, BESIDE)?;
                let same =
                    tree.read(&format!("{vendor}/{name}"), MOST_FILE).is_ok_and(|grub| grub == content);
                same.then_some(vendor)
            });
            return Ok(vendor.and_then(|vendor| self.beside(draft, vendor, BESIDE)).into_iter().collect());
        }
        let lists = |directory: &String| {
            let names = tree.list(directory).unwrap_or_default().entries;
            names.iter().any(|entry| entry.name.to_lowercase().ends_with(".csv"))
        };
        let fallback = ["fb{}.efi", "fallback.efi"].iter().any(|program| {
            let is_there = name_in(tree, boot, &program.replace("{}", self.suffix)).is_some();
            is_there && (lists(boot) || self.vendors.iter().any(lists))
        });
        if fallback {
            return Ok(Vec::new());
        }
        for stage in &stages {
            let found = self.vendors.iter().find_map(|vendor| Some((vendor, name_in(tree, vendor, stage)?)));
            let is_there = name_in(tree, boot, stage).is_some();
            let Some((vendor, name)) = found else {
                if is_there {
                    break;
                }
                continue;
            };
            let grub = format!("{vendor}/{name}");
            if !is_there {
                findings.push(
                    informs(
                        "efi_second_stage_missing",
                        "the loader at the removable path has nothing to start",
                    )
                    .seen(format!("{loader} starts {stage}"))
                    .remedy(format!("{grub} is copied beside it")),
                );
                let content = tree.read(&grub, MOST_FILE)?;
                let purpose = format!("what the loader at the removable path starts: {grub}");
                draft.write(&format!("{boot}/{stage}"), content, 0o644, &purpose)?;
            }
            return Ok(self.beside(draft, vendor, &name).into_iter().collect());
        }
        Ok(Vec::new())
    }
}

/// Whether a vendor's directory is the removable path's.
fn is_removable(directory: &str) -> bool {
    directory.to_lowercase().ends_with("/boot")
}

/// Whether a vendor's directory is the one of the distribution with this id (os-release(5)).
fn is_own(directory: &str, id: &str) -> bool {
    let own = match id {
        "rhel" | "ol" => "redhat",
        "sles_sap" | "sled" => "sles",
        "opensuse-leap" | "opensuse-tumbleweed" => "opensuse",
        id => id,
    };
    directory.rsplit('/').next().is_some_and(|name| name.eq_ignore_ascii_case(own))
}

/// The names of second stages that stand in a loader as UTF-16: a shim has one.
fn second_stages(loader: &[u8], suffix: &str) -> Vec<String> {
    let names = SECOND.iter().map(|name| name.replace("{}", suffix));
    let named = names.filter(|name| memmem(loader, &wide(&format!("\\{name}"))));
    named.collect()
}

/// Whether bytes stand somewhere in others.
pub(super) fn memmem(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// A text as EFI programs have it, UTF-16.
pub(super) fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// A name in a directory, whatever its case: FAT does not distinguish.
pub(super) fn name_in(tree: &Tree, directory: &str, wanted: &str) -> Option<String> {
    let entries = tree.list(directory).ok()?.entries;
    entries.into_iter().map(|entry| entry.name).find(|name| name.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn seen(files: &[&str], directories: &[&str], code: BootCode) -> (bool, bool, Firmware) {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file.rsplit('/').next().unwrap()).unwrap();
        }
        for directory in directories {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        let ways = ways(&Tree::open(root.path()).unwrap(), code);
        (ways.bios, ways.uefi, ways.firmware())
    }

    #[test]
    fn boot_files_and_boot_code_together() {
        use BootCode::{Absent, Grub, Other, Unknown};
        const SHIM: &str = "boot/efi/EFI/sles/shim.efi";
        const CORE: &str = "boot/grub2/i386-pc/core.img";
        let suse = ["boot/grub2/i386-pc", "boot/grub2/x86_64-efi"];
        for code in [Unknown, Absent, Other, Grub] {
            assert_eq!(seen(&[SHIM], &suse, code), (false, true, Firmware::Uefi), "{code:?}");
        }
        assert_eq!(seen(&[CORE], &suse, Grub), (true, false, Firmware::Bios));
        assert_eq!(seen(&[CORE], &[], Absent), (false, false, Firmware::Bios));
        assert_eq!(seen(&[CORE, SHIM], &[], Absent), (false, true, Firmware::Uefi));
        assert_eq!(seen(&[CORE, SHIM], &[], Other), (true, true, Firmware::Uefi));
        assert_eq!(seen(&[CORE, SHIM], &[], Grub), (true, true, Firmware::Bios));
        assert_eq!(seen(&[CORE, SHIM], &[], Unknown), (true, true, Firmware::Bios));
        assert_eq!(seen(&[], &suse, Grub), (false, false, Firmware::Bios));
    }

    #[test]
    fn the_partition_of_windows_says_nothing_of_linux() {
        let root = tempfile::tempdir().unwrap();
        let efi = root.path().join("boot/efi/EFI");
        let write = |path: &str, content: &[u8]| {
            fs::create_dir_all(efi.join(path).parent().unwrap()).unwrap();
            fs::write(efi.join(path), content).unwrap();
        };
        let uefi = || ways(&Tree::open(root.path()).unwrap(), BootCode::Other).uefi;
        write("Microsoft/Boot/bootmgfw.efi", b"manager");
        write("Boot/bootx64.efi", b"manager");
        assert!(!uefi(), "a copy");
        write("Boot/bootx64.efi", &wide("OriginalFilename\0bootmgr.exe"));
        assert!(!uefi(), "an older one");
        write("Boot/bootx64.efi", &wide("\\EFI\\Microsoft\\Boot\\bootmgfw.efi"));
        assert!(uefi(), "systemd-boot only offers it");
        // Linux's loader in Windows's place, for firmware that starts nothing else.
        for path in ["Boot/bootx64.efi", "Microsoft/Boot/bootmgfw.efi", "debian/grubx64.efi"] {
            write(path, b"grub");
        }
        let tree = Tree::open(root.path()).unwrap();
        assert!(!windows::is_manager(&tree, &vendors(&tree), "/boot/efi/EFI/Boot/bootx64.efi"));
        assert!(uefi());
    }
}
