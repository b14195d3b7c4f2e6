//! From a Windows volume to a report: look behind the gate, read the registry, make the edits.

use std::io;
use std::path::{Path, PathBuf};

use super::bcd;
use super::describe;
use super::files::Files;
use super::look::{self, Look};
use super::mount::{self, Gate, Ntfs};
use super::recipe;
use super::registry::{HiveFile, Planned, RegistryError};
use super::review;
use crate::guest::disk::layout::{Layout, Volume};
use crate::guest::disk::mount::{Filesystem, Mounts};
use crate::guest::draft::Draft;
use crate::guest::findings::{Findings, blocks, informs, warns};
use crate::guest::report::{FileDiff, GuestFacts, Job, PROTOCOL, Recipe, Report};
use crate::guest::tree::Tree;
use crate::model::Firmware;

/// Where volumes are mounted for a look, C: and the system partition.
const LOOK: &str = "/run/look";
const WINDOWS: &str = "/guest";
const SYSTEM: &str = "/run/system";
/// What says that a volume is C:.
const SYSTEM_HIVE: &str = "/Windows/System32/config/SYSTEM";
const SOFTWARE_HIVE: &str = "/Windows/System32/config/SOFTWARE";
/// The boot manager on an EFI system partition, and the path that firmware without a memory of this
/// machine looks at (UEFI specification 3.5.1.1).
const BOOTMGFW: &str = "/EFI/Microsoft/Boot/bootmgfw.efi";
const REMOVABLE: &str = "/EFI/Boot/bootx64.efi";
/// The boot configuration data, by firmware.
const BCD_UEFI: &str = "/EFI/Microsoft/Boot/BCD";
const BCD_BIOS: &str = "/Boot/BCD";

/// Looks for a Windows on the NTFS volumes, and prepares it when the job says so; `None` when there
/// is none.
///
/// # Errors
/// When a device fails. What is wrong with the guest is a finding.
pub fn examine(layout: &Layout, job: &Job) -> io::Result<Option<Report>> {
    let mut findings = Findings::new();
    let Some((volume, gate)) = find(layout, &mut findings)? else { return Ok(None) };
    let name = layout.name(volume.place);
    let is_open = gate == Gate::Open;
    if let Some(closed) = review::gate(gate, &name) {
        findings.push(closed);
    }
    if gate == Gate::NoTools {
        return Ok(Some(report(None, findings, Recipe::default(), Vec::new())));
    }
    let device = layout.device(volume)?;
    let ntfs = match Ntfs::mount(&device, Path::new(WINDOWS), is_open && job.prepare) {
        Ok(ntfs) => ntfs,
        Err(error) => {
            findings.push(
                blocks("windows_filesystem", "The Windows volume cannot be mounted")
                    .seen(format!("{name}: {error}"))
                    .advice("Run chkdsk /f in the source machine and make a new backup."),
            );
            return Ok(Some(report(None, findings, Recipe::default(), Vec::new())));
        }
    };
    let boot = BootVolume::find(layout, volume)?;
    let mut made = Made::default();
    if let Err(error) = prepare(layout, job, is_open, boot.as_ref(), &mut made, &mut findings) {
        made.forget();
        findings.push(damaged(&error));
    }
    if let Err(error) = ntfs.unmount() {
        made.forget();
        findings.push(
            blocks("windows_filesystem", "The Windows volume could not be written")
                .seen(format!("{name}: {error}")),
        );
    }
    let firmware = boot.as_ref().map_or(Firmware::Bios, |boot| boot.firmware);
    let facts = made.look.map(|look| describe::facts(look, firmware, made.free, layout));
    Ok(Some(report(facts, findings, made.recipe, made.diffs)))
}

#[derive(Debug, Default)]
struct Made {
    look: Option<Look>,
    free: u64,
    recipe: Recipe,
    diffs: Vec<FileDiff>,
}

impl Made {
    /// Half an edit is none: without a recipe, what was written is discarded.
    fn forget(&mut self) {
        self.recipe = Recipe::default();
        self.diffs = Vec::new();
    }
}

fn report(facts: Option<GuestFacts>, findings: Findings, recipe: Recipe, diffs: Vec<FileDiff>) -> Report {
    Report {
        protocol: PROTOCOL,
        facts,
        disks: Vec::new(),
        stacked: Vec::new(),
        findings: findings.into_sorted(),
        recipe,
        diffs,
    }
}

fn damaged(error: &RegistryError) -> crate::guest::report::Finding {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(below) = source {
        text.push_str(&format!(": {below}"));
        source = below.source();
    }
    if let RegistryError::File(_) = error {
        return blocks(
            "windows_filesystem",
            "A file of Windows cannot be read or written; the guest is not prepared",
        )
        .seen(text)
        .advice(
            "Make room on that partition, or run chkdsk /f, in the source machine; then make a new backup.",
        );
    }
    blocks("windows_registry", "The registry of Windows cannot be read or edited; the guest is not prepared")
        .seen(text)
        .advice("Make a new backup with the guest shut down or quiesced. To restore the disk as it is, set\nguest { drivers = \"none\" }")
}

/// The first NTFS volume that holds a Windows, and what stands before changing it.
fn find<'l>(layout: &'l Layout, findings: &mut Findings) -> io::Result<Option<(&'l Volume, Gate)>> {
    let mut found: Vec<(&Volume, Gate)> = Vec::new();
    for volume in layout.volumes.iter().filter(|volume| volume.content.kind == "ntfs") {
        let device = layout.device(volume)?;
        let gate = mount::gate(&device);
        if gate == Gate::NoTools {
            return Ok(Some((volume, gate)));
        }
        let Ok(ntfs) = Ntfs::mount(&device, Path::new(LOOK), false) else { continue };
        let is_windows =
            Tree::open(Path::new(LOOK)).is_ok_and(|tree| Files::new(tree, "").is_file(SYSTEM_HIVE));
        ntfs.unmount()?;
        if is_windows {
            found.push((volume, gate));
        }
    }
    if found.len() > 1 {
        let mut several =
            warns("several_windows", "There are several Windows on the disks; the first is prepared");
        for (volume, _) in &found {
            several = several.seen(layout.name(volume.place));
        }
        findings.push(several.advice("The others are restored as they are, and will not start on EC2."));
    }
    Ok(found.into_iter().next())
}

/// The volume that Windows is started from.
#[derive(Debug)]
struct BootVolume {
    firmware: Firmware,
    device: PathBuf,
    kind: &'static str,
    /// It is C: itself.
    is_windows: bool,
    bcd: &'static str,
}

impl BootVolume {
    /// An EFI system partition with Microsoft's boot manager, else the first volume with a BCD.
    fn find(layout: &Layout, windows: &Volume) -> io::Result<Option<Self>> {
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

fn prepare(
    layout: &Layout,
    job: &Job,
    is_open: bool,
    boot: Option<&BootVolume>,
    made: &mut Made,
    findings: &mut Findings,
) -> Result<(), RegistryError> {
    let files = Files::new(Tree::open(Path::new(WINDOWS))?, "C:");
    let hives = (
        HiveFile::load(&files, "HKEY_LOCAL_MACHINE\\SYSTEM", SYSTEM_HIVE)?,
        HiveFile::load(&files, "HKEY_LOCAL_MACHINE\\SOFTWARE", SOFTWARE_HIVE)?,
    );
    let (Some(system), Some(software)) = hives else {
        findings.push(unknown(&files));
        return Ok(());
    };
    for hive in [&system, &software] {
        if !hive.applied.is_empty() {
            findings.push(logs(hive));
        }
    }
    let failed = |path: &str| {
        let path = path.to_owned();
        move |source| RegistryError::Hive { path, source }
    };
    let Some(look) =
        look::look(&system.hive()?, &software.hive()?).map_err(failed("C:\\Windows\\System32\\config"))?
    else {
        findings.push(unknown(&files));
        return Ok(());
    };
    drop(software);
    let free = files.tree().space("/")?.free;
    made.free = free;
    review::review(&look, &job.inputs, free, findings);
    review::drives(&look, layout, findings);
    grown(layout, findings);
    let write = is_open && job.prepare;
    let planned = recipe::system(&look);
    made.look = Some(look);
    if !is_open {
        return Ok(());
    }
    add(made, system.change(&files, &planned, write)?);
    match boot {
        Some(boot) => prepare_boot(boot, &files, write, made, findings)?,
        None => findings.push(
            blocks("windows_boot_missing", "No boot configuration of Windows was found on the disk it is on")
                .seen(format!("looked for {BCD_UEFI} on the EFI system partition, and for {BCD_BIOS}"))
                .advice("Restore all disks of the machine together, the one that boots first."),
        ),
    }
    Ok(())
}

fn add(made: &mut Made, outcome: super::registry::Outcome) {
    made.recipe.edits.extend(outcome.edits);
    made.diffs.extend(outcome.diff);
}

fn prepare_boot(
    boot: &BootVolume,
    windows: &Files,
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
        if let Some(finding) =
            review::gate(mount::gate(&boot.device), "the partition that Windows is started from")
        {
            findings.push(finding);
            return Ok(());
        }
        let ntfs = match Ntfs::mount(&boot.device, at, write) {
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

/// The serial console, in the boot configuration.
fn console(
    files: &Files,
    boot: &BootVolume,
    write: bool,
    made: &mut Made,
    findings: &mut Findings,
) -> Result<(), RegistryError> {
    let Some(bcd) = HiveFile::load(files, "BCD", boot.bcd)? else { return Ok(()) };
    let planned: Vec<Planned> = {
        let hive = bcd.hive()?;
        bcd::console(&hive).map_err(|source| RegistryError::Hive { path: bcd.shown().to_owned(), source })?
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
    add(made, bcd.change(files, &planned, write)?);
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
    let content = files.tree().read(&manager, crate::guest::draft::MOST_FILE)?;
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

fn logs(hive: &HiveFile) -> crate::guest::report::Finding {
    let entries: usize = hive.applied.iter().map(|applied| applied.entries).sum();
    let bytes: u64 = hive.applied.iter().map(|applied| applied.bytes).sum();
    informs(
        "windows_registry_logs",
        "A part of the registry was still in its transaction logs when the guest was backed up",
    )
    .seen(format!("{}: {entries} entries, {}", hive.shown(), crate::model::Bytes(bytes)))
    .remedy("it is read with them, and where it is edited they are put in first, as Windows does")
}

fn unknown(files: &Files) -> crate::guest::report::Finding {
    blocks("unknown_system", "no operating system that Replant knows was found")
        .seen(format!("{} has no control set or build number", files.shown("/Windows/System32/config")))
        .advice("To write the disks as they are, set\nguest { drivers = \"none\" }")
}

/// NTFS is not made larger offline.
fn grown(layout: &Layout, findings: &mut Findings) {
    for disk in layout.disks.iter().filter(|disk| disk.job.grow && disk.job.size > disk.job.image_size) {
        findings.push(
            warns("windows_grow", "NTFS does not grow offline yet: the disk is larger, C: stays as it is")
                .seen(format!("disk {}", disk.job.name))
                .advice("Extend it in the guest when it is up:\npowershell Resize-Partition -DriveLetter C -Size (Get-PartitionSupportedSize -DriveLetter C).SizeMax"),
        );
    }
}
