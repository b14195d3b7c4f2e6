//! From a Windows volume to a report: behind the gate, the look, the edits.

use std::io;
use std::path::Path;

use super::boot::{BCD_BIOS, BCD_UEFI, BootVolume, Wanted, prepare_boot, review_boot};
use super::components::Edited;
use super::describe;
use super::facts::{damaged, grown, logs, report, unknown};
use super::way::Way;
use crate::guest::disk::layout::{Layout, Volume};
use crate::guest::findings::{Findings, blocks, warns};
use crate::guest::report::{EditKind, FileDiff, Job, Recipe, Report};
use crate::guest::tree::Tree;
use crate::guest::windows::changes;
use crate::guest::windows::components::Inventory;
use crate::guest::windows::files::Files;
use crate::guest::windows::look::{self, Look};
use crate::guest::windows::mount::{self, Gate, Ntfs};
use crate::guest::windows::programs;
use crate::guest::windows::recipe;
use crate::guest::windows::registry::{HiveFile, Outcome, RegistryError};
use crate::guest::windows::review;
use crate::guest::windows::stage;
use crate::model::Firmware;

/// Where volumes are mounted for a look, and C:.
pub(super) const LOOK: &str = "/run/look";
pub(super) const WINDOWS: &str = "/guest";
/// What says that a volume is C:.
const SYSTEM_HIVE: &str = "/Windows/System32/config/SYSTEM";
const SOFTWARE_HIVE: &str = "/Windows/System32/config/SOFTWARE";
const SOFTWARE_ROOT: &str = "HKEY_LOCAL_MACHINE\\SOFTWARE";
/// What an update does with files at the next start.
const PENDING: &str = "/Windows/WinSxS/pending.xml";
/// The first EC2Launch (EC2 user guide, "EC2Launch directory structure").
const FIRST_LAUNCH: &str = "/ProgramData/Amazon/EC2-Windows/Launch/Scripts/InitializeInstance.ps1";

/// Looks for a Windows on the NTFS volumes, and prepares it when the job says so; `None` when there
/// is none. `components`: what the user's folder holds, when one was named.
///
/// # Errors
/// When a device fails. What is wrong with the guest is a finding.
pub fn examine(layout: &Layout, job: &Job, components: Option<Inventory>) -> io::Result<Option<Report>> {
    let mut findings = Findings::new();
    let Some((volume, gate)) = find(layout, &mut findings)? else { return Ok(None) };
    let name = layout.name(volume.place);
    let device = layout.device(volume)?;
    let way = Way::new(gate, &device, job.inputs.give_up);
    let is_open = way.is_open();
    if let Some(closed) = way.finding(&name) {
        findings.push(closed);
    }
    if gate == Gate::NoTools {
        return Ok(Some(report(None, findings, Recipe::default(), Vec::new())));
    }
    let ntfs = match way.mount(&device, Path::new(WINDOWS), is_open && job.prepare) {
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
    way.note(&name, &mut made);
    let given = Given { layout, job, components: components.as_ref(), is_open, boot: boot.as_ref() };
    if let Err(error) = prepare(&given, &mut made, &mut findings) {
        made.forget();
        findings.push(damaged(&error));
    }
    if made.recipe.edits.iter().all(|edit| edit.kind == EditKind::ApplyLog) {
        // Windows does that itself, and nothing else stands behind it.
        made.forget();
    }
    if let Err(error) = ntfs.unmount() {
        made.forget();
        findings.push(
            blocks("windows_filesystem", "The Windows volume could not be written")
                .seen(format!("{name}: {error}")),
        );
    }
    let firmware = boot.as_ref().map_or(Firmware::Bios, |boot| boot.firmware);
    let mut facts = made.look.map(|look| describe::facts(look, firmware, made.free, layout));
    if let (Some(facts), Some(inventory)) = (&mut facts, &components) {
        facts.details.push(("components".to_owned(), inventory.summary()));
    }
    Ok(Some(report(facts, findings, made.recipe, made.diffs)))
}

/// What is known and was made so far.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// What the guest is.
    pub look: Option<Look>,
    /// Bytes free on C:.
    pub free: u64,
    /// What was done to it.
    pub recipe: Recipe,
    /// The same as differences.
    pub diffs: Vec<FileDiff>,
}

impl Made {
    /// Half an edit is none: without a recipe, what was written is discarded.
    pub fn forget(&mut self) {
        self.recipe = Recipe::default();
        self.diffs = Vec::new();
    }

    /// Notes what was done to a hive.
    pub fn add(&mut self, outcome: Outcome) {
        self.recipe.edits.extend(outcome.edits);
        self.diffs.extend(outcome.diff);
    }
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

/// What a preparation goes by.
struct Given<'g> {
    layout: &'g Layout,
    job: &'g Job,
    components: Option<&'g Inventory>,
    /// Whether the volume may be changed.
    is_open: bool,
    boot: Option<&'g BootVolume>,
}

/// Files come first and hives last: what fails on the way leaves a registry that knows nothing of it, and
/// all of it is given up.
fn prepare(given: &Given<'_>, made: &mut Made, findings: &mut Findings) -> Result<(), RegistryError> {
    let Given { layout, job, components, is_open, boot } = *given;
    let files = Files::new(Tree::open(Path::new(WINDOWS))?, "C:");
    let system = HiveFile::load(&files, "HKEY_LOCAL_MACHINE\\SYSTEM", SYSTEM_HIVE)?;
    let held = system.as_ref().map_or(0, |system| system.bytes.len() as u64);
    let software = HiveFile::load_beside(&files, SOFTWARE_ROOT, SOFTWARE_HIVE, held)?;
    let (Some(system), Some(software)) = (system, software) else {
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
    let Some(mut look) =
        look::look(&system.hive()?, &software.hive()?).map_err(failed("C:\\Windows\\System32\\config"))?
    else {
        findings.push(unknown(&files));
        return Ok(());
    };
    drop(software);
    programs::take_out(&files, &mut look)?;
    let free = files.tree().space("/")?.free;
    made.free = free;
    look.files_pending = files.is_file(PENDING);
    review::review(&look, &job.inputs, free, findings);
    review::drives(&look, layout, findings);
    grown(&look, layout, findings);
    look.first_launch = files.is_file(FIRST_LAUNCH);
    let mut planned = recipe::system(&look);
    let edited = Edited { registry: system.differs(&planned)?, ems: boot.and_then(BootVolume::off) };
    let injection = super::components::injection(&look, &job.inputs, components, layout, edited, findings);
    let write = is_open && job.prepare;
    let changes = changes::look(&files, &system, &look, &job.inputs.changes, findings)?;
    let is_ours = look.ems.is_any();
    made.look = Some(look);
    let Some(injection) = injection.filter(|_| is_open) else { return Ok(()) };
    // All at once, so that its room is counted together.
    let staged = [injection.staged, changes.staged].concat();
    match stage::stage(&files, &staged, write) {
        Ok(outcome) => {
            made.recipe.edits.extend(outcome.edits);
            made.diffs.extend(outcome.diffs);
        }
        Err(error) => {
            made.forget();
            findings.push(error.finding());
            return Ok(());
        }
    }
    planned.extend(injection.system);
    planned.extend(changes.system);
    made.add(system.change(&files, &planned, write)?);
    // Read again, since two hives at a time are more than the sandbox's memory holds.
    if !injection.software.is_empty()
        && let Some(software) = HiveFile::load(&files, SOFTWARE_ROOT, SOFTWARE_HIVE)?
    {
        made.add(software.change(&files, &injection.software, write)?);
    }
    match boot {
        Some(boot) => {
            review_boot(boot, layout, injection.console, is_ours, findings);
            let wanted = Wanted { give_up: job.inputs.give_up, console: injection.console, write };
            prepare_boot(boot, &files, wanted, made, findings)?;
        }
        None => findings.push(
            blocks("windows_boot_missing", "No boot configuration of Windows was found on any of the disks")
                .seen(format!("looked for {BCD_UEFI} on EFI system partitions, and for {BCD_BIOS}"))
                .advice("Restore all disks of the machine together, the one that it is started from first."),
        ),
    }
    Ok(())
}
