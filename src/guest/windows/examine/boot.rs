//! The volume that Windows is started from: the boot configuration, the boot manager's copy.

use std::io;
use std::path::{Path, PathBuf};

use super::run::{LOOK, Made, WINDOWS};
use super::way::Way;
use crate::guest::disk::layout::{Layout, Volume};
use crate::guest::disk::mount::{Filesystem, Mounts};
use crate::guest::draft::{Draft, MOST_FILE};
use crate::guest::findings::{Findings, blocks, informs, warns};
use crate::guest::report::{FileDiff, GiveUp};
use crate::guest::tree::Tree;
use crate::guest::windows::bcd;
use crate::guest::windows::files::Files;
use crate::guest::windows::mount::{self, Ntfs};
use crate::guest::windows::registry::{HiveFile, Planned, RegistryError};
use crate::model::Firmware;

/// Where it is mounted, when it is not C:.
const SYSTEM: &str = "/run/system";
/// The boot manager on an EFI system partition, and the path that firmware without a memory of this
/// machine looks at (UEFI specification 3.5.1.1).
const BOOTMGFW: &str = "/EFI/Microsoft/Boot/bootmgfw.efi";
const REMOVABLE: &str = "/EFI/Boot/bootx64.efi";
/// The boot configuration data, by firmware.
pub(super) const BCD_UEFI: &str = "/EFI/Microsoft/Boot/BCD";
pub(super) const BCD_BIOS: &str = "/Boot/BCD";

/// The volume that Windows is started from.
#[derive(Debug)]
pub(super) struct BootVolume {
    /// What starts it.
    pub firmware: Firmware,
    device: PathBuf,
    kind: &'static str,
    /// It is C: itself.
    is_windows: bool,
    bcd: &'static str,
}

impl BootVolume {
    /// An EFI system partition with Microsoft's boot manager, else the first volume with a BCD.
    pub fn find(layout: &Layout, windows: &Volume) -> io::Result<Option<Self>> {
        let disk = windows.place.disk();
        let mut places: Vec<(bool, &Volume)> = (layout.volumes.iter())
            .filter(|volume| volume.place.disk() == disk && matches!(volume.content.kind, "vfat" | "ntfs"))
            .map(|volume| (volume.partition.as_ref().is_some_and(|part| part.kind.is_efi_system()), volume))
            .collect();
        places.sort_by_key(|(is_efi, _)| !is_efi);
        for (is_efi, volume) in places {
            let device = layout.device(volume)?;
            let bcd = if is_efi { BCD_UEFI } else { BCD_BIOS };
            let is_windows = volume.place == windows.place;
            let at = if is_windows { WINDOWS } else { LOOK };
            let there = || Tree::open(Path::new(at)).is_ok_and(|tree| Files::new(tree, "").is_file(bcd));
            let is_boot = match (is_windows, volume.content.kind) {
                (true, _) => there(),
                (false, "ntfs") => match Ntfs::mount(&device, Path::new(LOOK), false) {
                    Ok(ntfs) => {
                        let found = there();
                        ntfs.unmount()?;
                        found
                    }
                    Err(_) => false,
                },
                (false, _) => {
                    let mut mounts = Mounts::default();
                    let source = layout.source(volume)?;
                    let mounted = mounts.mount(Filesystem::of(&source, volume, None, false), Path::new(LOOK));
                    let found = mounted.is_ok() && there();
                    mounts.unmount()?;
                    found
                }
            };
            if is_boot {
                let firmware = if is_efi { Firmware::Uefi } else { Firmware::Bios };
                let kind = volume.content.kind;
                return Ok(Some(Self { firmware, device, kind, is_windows, bcd }));
            }
        }
        Ok(None)
    }
}

/// The edits on the volume that Windows is started from.
pub(super) fn prepare_boot(
    boot: &BootVolume,
    windows: &Files,
    give_up: GiveUp,
    write: bool,
    made: &mut Made,
    findings: &mut Findings,
) -> Result<(), RegistryError> {
    if boot.is_windows {
        return console(windows, boot, write, made, findings);
    }
    let refused = |error: io::Error| {
        blocks("windows_boot_unusable", "The partition that Windows is started from cannot be used")
            .seen(format!("{}: {error}", boot.device.display()))
    };
    let at = Path::new(SYSTEM);
    if boot.kind == "ntfs" {
        const NAME: &str = "the partition that Windows is started from";
        let way = Way::new(mount::gate(&boot.device), &boot.device, give_up);
        if let Some(finding) = way.finding(NAME) {
            findings.push(finding);
        }
        if !way.is_open() {
            return Ok(());
        }
        way.note(NAME, made);
        let ntfs = match way.mount(&boot.device, at, write) {
            Ok(ntfs) => ntfs,
            Err(error) => {
                findings.push(refused(error));
                return Ok(());
            }
        };
        let files = Files::new(Tree::open(at)?, "the system partition:");
        let outcome = console(&files, boot, write, made, findings);
        drop(files);
        if let Err(error) = ntfs.unmount() {
            findings.push(refused(error));
        }
        return outcome;
    }
    let mut mounts = Mounts::default();
    let filesystem =
        Filesystem { device: &boot.device, kind: boot.kind, members: &[], subvolume: None, writable: write };
    if let Err(error) = mounts.mount(filesystem, at) {
        findings.push(refused(error));
        return Ok(());
    }
    let files = Files::new(Tree::open(at)?, "the EFI system partition:");
    let outcome =
        console(&files, boot, write, made, findings).and_then(|()| fallback(&files, write, made, findings));
    drop(files);
    if let Err(error) = mounts.unmount() {
        findings.push(refused(error));
    }
    outcome
}

/// The serial console and, for UEFI, the screen, in the boot configuration.
fn console(
    files: &Files,
    boot: &BootVolume,
    write: bool,
    made: &mut Made,
    findings: &mut Findings,
) -> Result<(), RegistryError> {
    let Some(bcd) = HiveFile::load(files, "BCD", boot.bcd)? else { return Ok(()) };
    let damaged = |source| RegistryError::Hive { path: bcd.shown().to_owned(), source };
    let mut planned: Vec<Planned> = {
        let hive = bcd.hive()?;
        bcd::console(&hive).map_err(damaged)?
    };
    if planned.is_empty() {
        findings.push(
            warns(
                "windows_console",
                "The boot configuration names no default loader; the serial console is not turned on",
            )
            .seen(bcd.shown()),
        );
    }
    if boot.firmware == Firmware::Uefi {
        planned.extend(bcd::graphics(&bcd.hive()?).map_err(damaged)?);
    }
    made.add(bcd.change(files, &planned, write)?);
    Ok(())
}

/// The path that firmware looks at which does not know this machine.
fn fallback(
    files: &Files,
    write: bool,
    made: &mut Made,
    findings: &mut Findings,
) -> Result<(), RegistryError> {
    if files.find(REMOVABLE)?.is_some() {
        return Ok(());
    }
    let Some(manager) = files.find(BOOTMGFW)? else { return Ok(()) };
    let content = files.tree().read(&manager, MOST_FILE)?;
    let mut draft = Draft::new(files.tree());
    draft.write(REMOVABLE, content, 0o755, "start Windows on firmware that does not know it")?;
    findings.push(
        informs("efi_fallback_missing", "The boot manager is not where an instance's firmware looks for it")
            .seen(files.shown(REMOVABLE))
            .remedy("a copy is put there"),
    );
    if write && let Err(error) = draft.carry_out() {
        made.forget();
        findings.push(
            blocks("windows_boot_unusable", "The boot manager cannot be copied")
                .seen(error.to_string())
                .advice("Copy it in the source and make a new backup:\nbcdboot C:\\Windows /f UEFI"),
        );
        return Ok(());
    }
    let shown = |path: &str| files.shown(path);
    made.recipe.edits.extend(draft.recipe().edits.into_iter().map(|mut edit| {
        edit.path = shown(&edit.path);
        edit
    }));
    made.diffs.extend(
        draft.diffs().into_iter().map(|diff| FileDiff { path: shown(&diff.path), change: diff.change }),
    );
    Ok(())
}
