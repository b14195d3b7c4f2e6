//! The volume that Windows is started from: the boot configuration, the boot manager's copy.

use std::io;
use std::path::{Path, PathBuf};

use super::run::{LOOK, Made, WINDOWS};
use super::way::Way;
use crate::diagnostic::chain;
use crate::guest::disk::layout::{Layout, Volume};
use crate::guest::disk::mount::{Filesystem, Mounts};
use crate::guest::draft::{Draft, MOST_FILE};
use crate::guest::findings::{Findings, blocks, informs, warns};
use crate::guest::report::{FileDiff, GiveUp};
use crate::guest::tree::Tree;
use crate::guest::windows::bcd::{self, Console};
use crate::guest::windows::files::Files;
use crate::guest::windows::firstboot::Ems;
use crate::guest::windows::mount::{self, Ntfs};
use crate::guest::windows::registry::{HiveFile, RegistryError};
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
    /// Its disk's position.
    disk: Option<usize>,
    /// How the serial console stands; `None` without a default loader; a text: why it cannot be told.
    console: Result<Option<Console>, String>,
}

impl BootVolume {
    /// An EFI system partition with Microsoft's boot manager, else the first volume with a BCD; on the disk
    /// that Windows is on, else on any.
    pub fn find(layout: &Layout, windows: &Volume) -> io::Result<Option<Self>> {
        let disk = windows.place.disk();
        let mut places: Vec<(bool, &Volume)> = (layout.volumes.iter())
            .filter(|volume| volume.place.disk().is_some() && matches!(volume.content.kind, "vfat" | "ntfs"))
            .map(|volume| (volume.partition.as_ref().is_some_and(|part| part.kind.is_efi_system()), volume))
            .collect();
        places.sort_by_key(|(is_efi, volume)| (volume.place.disk() != disk, !is_efi));
        for (is_efi, volume) in places {
            let device = layout.device(volume)?;
            let bcd = if is_efi { BCD_UEFI } else { BCD_BIOS };
            let is_windows = volume.place == windows.place;
            let at = if is_windows { WINDOWS } else { LOOK };
            let look = || {
                let files = Files::new(Tree::open(Path::new(at)).ok()?, "");
                files.is_file(bcd).then(|| standing(&files, bcd))
            };
            let found = match (is_windows, volume.content.kind) {
                (true, _) => look(),
                (false, "ntfs") => match Ntfs::mount(&device, Path::new(LOOK), false) {
                    Ok(ntfs) => {
                        let found = look();
                        ntfs.unmount()?;
                        found
                    }
                    Err(_) => None,
                },
                (false, _) => {
                    let mut mounts = Mounts::default();
                    let source = layout.source(volume)?;
                    let mounted = mounts.mount(Filesystem::of(&source, volume, None, false), Path::new(LOOK));
                    let found = mounted.ok().and_then(|_| look());
                    mounts.unmount()?;
                    found
                }
            };
            if let Some(console) = found {
                let firmware = if is_efi { Firmware::Uefi } else { Firmware::Bios };
                let kind = volume.content.kind;
                let disk = volume.place.disk();
                return Ok(Some(Self { firmware, device, kind, is_windows, bcd, disk, console }));
            }
        }
        Ok(None)
    }
}

impl BootVolume {
    /// The switches of the serial console that are off; `None` when it cannot be turned on.
    pub fn off(&self) -> Option<Ems> {
        self.console.as_ref().ok()?.as_ref().map(|console| console.off)
    }
}

/// How the serial console stands in a boot configuration that is there.
fn standing(files: &Files, bcd: &'static str) -> Result<Option<Console>, String> {
    let hive = HiveFile::load(files, "BCD", bcd).map_err(|error| chain(&error))?;
    let Some(hive) = hive else { return Ok(None) };
    let keys = hive.hive().map_err(|error| chain(&error))?;
    bcd::console(&keys).map_err(|error| chain(&error))
}

/// What there is to say of the volume that Windows is started from.
/// `turned_on`: now; `is_ours`: by an earlier preparation, whose first boot waits.
pub(super) fn review_boot(
    boot: &BootVolume,
    layout: &Layout,
    turned_on: bool,
    is_ours: bool,
    findings: &mut Findings,
) {
    if let Some(disk) = boot.disk.filter(|disk| *disk > 0) {
        let name = |disk: usize| layout.disks.get(disk).map_or("", |disk| disk.job.name.as_str());
        findings.push(
            blocks(
                "windows_boot_disk",
                "Windows is started from a disk that is not the first, and an instance starts from its first",
            )
            .seen(format!("the boot configuration is on disk {}, and disk {} is the first", name(disk), name(0)))
            .advice("Name the disk that it is started from before the others: its disk block comes first, or its image:\nreplant inspect BOOT.vmdk WINDOWS.vmdk"),
        );
    }
    let off = match &boot.console {
        Err(why) => {
            findings.push(
                warns("windows_console", "The boot configuration cannot be read; the serial console is not turned on")
                    .seen(why.clone())
                    .advice("Windows completes it by itself when it starts, as after any loss of power. A backup with the guest shut down has it whole."),
            );
            return;
        }
        Ok(None) => {
            findings.push(
                warns(
                    "windows_console",
                    "The boot configuration names no default loader; the serial console is not turned on",
                )
                .seen(boot.bcd.replace('/', "\\")),
            );
            return;
        }
        Ok(Some(console)) => console.off,
    };
    if turned_on && off.is_any() {
        findings.push(
            informs(
                "windows_serial_console",
                "During the first boot EC2's serial console is Windows' own (EMS), which shows why a boot fails",
            )
            .seen("the boot configuration has it off")
            .remedy("it is turned on, and the first boot's last step turns it off again: Amazon's agents need the port. As long as Windows has it, what the first boot reports is in C:\\Replant\\firstboot.log alone"),
        );
    } else if !off.loader && !is_ours {
        findings.push(
            informs(
                "windows_serial_console",
                "EC2's serial console is Windows' own (EMS), as the guest has it",
            )
            .seen("the boot configuration has it on")
            .advice("While it is on, Amazon's launch agents do not get the port, and getting a password through EC2 does not work. Where that is wanted, turn it off in the guest:\nbcdedit /ems {current} off"),
        );
    }
}

/// What is wanted of the volume that Windows is started from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// What its user gives up.
    pub give_up: GiveUp,
    /// Whether the serial console is turned on.
    pub console: bool,
    /// Whether anything is written.
    pub write: bool,
}

/// The edits on the volume that Windows is started from.
pub(super) fn prepare_boot(
    boot: &BootVolume,
    windows: &Files,
    wanted: Wanted,
    made: &mut Made,
    findings: &mut Findings,
) -> Result<(), RegistryError> {
    let Wanted { give_up, write, .. } = wanted;
    if boot.is_windows {
        return console(windows, boot, wanted, made, findings);
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
        let outcome = console(&files, boot, wanted, made, findings);
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
        console(&files, boot, wanted, made, findings).and_then(|()| fallback(&files, write, made, findings));
    drop(files);
    if let Err(error) = mounts.unmount() {
        findings.push(refused(error));
    }
    outcome
}

/// The serial console and, for UEFI, the screen, in the boot configuration. They are worth no refusal: a hive
/// that cannot be edited stays.
fn console(
    files: &Files,
    boot: &BootVolume,
    wanted: Wanted,
    made: &mut Made,
    findings: &mut Findings,
) -> Result<(), RegistryError> {
    let Ok(Some(console)) = &boot.console else { return Ok(()) };
    let mut planned = if wanted.console { console.edits.clone() } else { Vec::new() };
    planned.extend(console.graphics.clone().filter(|_| boot.firmware == Firmware::Uefi));
    if planned.is_empty() {
        return Ok(());
    }
    let Some(bcd) = HiveFile::load(files, "BCD", boot.bcd)? else { return Ok(()) };
    match bcd.change(files, &planned, wanted.write) {
        Ok(outcome) => made.add(outcome),
        Err(error @ RegistryError::Hive { .. }) => findings.push(
            warns(
                "windows_console",
                "The boot configuration is damaged; the serial console is not turned on",
            )
            .seen(chain(&error)),
        ),
        Err(error) => return Err(error),
    }
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
