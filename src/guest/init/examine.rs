//! From disks to a report: look, mount, let the guest's files be inspected and edited, unmount.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::components;
use crate::guest::disk::boot_code;
use crate::guest::disk::find::{self, Root, Search};
use crate::guest::disk::findings;
use crate::guest::disk::grow::{filesystems, logical, tables};
use crate::guest::disk::hibernation;
use crate::guest::disk::layout::{Layout, Place, Volume};
use crate::guest::disk::mount::{Filesystem, Mounts};
use crate::guest::disk::table::PartitionType;
use crate::guest::linux::fstab;
use crate::guest::prepare;
use crate::guest::report::{Finding, Job, PROTOCOL, Recipe, Report};
use crate::guest::tree::Tree;
use crate::guest::windows::examine as windows;

/// Where the guest's root is mounted.
const ROOT: &str = "/guest";
/// What is mounted below the root: what inspection reads and edits change. A guest's data is
/// left alone, unless a file of the user's goes there.
const BELOW: [&str; 5] = ["/boot", "/efi", "/usr", "/var", "/etc"];
/// Where guests mount the EFI system partition; the last may also be another filesystem.
const EFI: [&str; 3] = ["/boot/efi", "/efi", "/boot"];

/// Examines the guest on these devices (the job's disks in order) and prepares it when the job
/// says so; `parcel` is the device with the user's components. The text says why there is no report
/// at all.
///
/// # Errors
/// When a device fails. What is wrong with the guest is a finding.
pub fn examine(job: &Job, devices: &[PathBuf], parcel: Option<&Path>) -> Result<Report, String> {
    let mut layout = Layout::read(&job.disks, devices).map_err(|error| format!("a disk: {error}"))?;
    let mut notes = findings::of_tables(&layout);
    let mut edits = Vec::new();
    let mut grown = Vec::new();
    layout.build_stack();
    let mut seen = Vec::new();
    let search = find::root(&layout, &mut seen);
    if search == Search::Nothing {
        let components = components::inventory(job, parcel, &mut notes);
        let examined = windows::examine(&layout, job, components);
        if let Some(mut report) = examined.map_err(|error| format!("a Windows volume: {error}"))? {
            layout.stack.close().map_err(|error| format!("the disks: {error}"))?;
            report.disks = layout.facts();
            report.stacked = layout.stacked_facts();
            prepend(&mut report.findings, notes);
            return Ok(report);
        }
    }
    notes.append(&mut seen);
    let root = search.found();
    if root.is_some() {
        notes.extend(components::unused(job));
        hibernation::forget(&layout, job.prepare, &mut edits, &mut notes)
            .map_err(|error| format!("swap space cannot be written: {error}"))?;
    }
    if job.prepare {
        let root = root.as_ref().map(|root| root.place);
        grown = tables::tables(&mut layout, root, &mut edits, &mut notes)
            .map_err(|error| format!("a partition table cannot be written: {error}"))?;
        grown = logical::extend(&mut layout, grown, root, &mut edits, &mut notes);
    }
    let mut mounts = Mounts::default();
    let mut places = BTreeMap::new();
    let usable =
        root.as_ref().is_some_and(|root| mount(&layout, root, job, &mut mounts, &mut places, &mut notes));
    for volume in &mut layout.volumes {
        volume.mount_point = places.get(&volume.place).cloned();
    }
    let mounted = |place: Place| places.get(&place).map(|path| format!("{ROOT}{path}"));
    filesystems::filesystems(&layout, &grown, &mounted, &mut edits, &mut notes);
    let (mut report, stands) = if usable { inspect(&layout, job, &mut notes)? } else { (empty(), true) };
    let unmounted = mounts.unmount().and(layout.stack.close());
    if let Err(error) = &unmounted {
        notes.push(findings::cannot_edit(error));
    }
    if let (Some(facts), Some(volume)) =
        (&mut report.facts, root.as_ref().and_then(|root| layout.volume(root.place)))
    {
        facts.root_filesystem = volume.content.kind.to_owned();
    }
    report.disks = layout.facts();
    report.stacked = layout.stacked_facts();
    prepend(&mut report.findings, notes);
    prepend(&mut report.recipe.edits, edits);
    if !stands || unmounted.is_err() {
        // Half an edit is none: without a recipe, the overlay is discarded.
        report.recipe.edits.clear();
        report.diffs.clear();
    }
    Ok(report)
}

fn prepend<T>(list: &mut Vec<T>, mut first: Vec<T>) {
    first.append(list);
    *list = first;
}

fn empty() -> Report {
    Report {
        protocol: PROTOCOL,
        facts: None,
        disks: Vec::new(),
        stacked: Vec::new(),
        findings: Vec::new(),
        recipe: Recipe::default(),
        diffs: Vec::new(),
    }
}

/// Inspects and prepares the mounted guest. A filesystem that fails under the edits is a finding;
/// the guest is then only looked at, as far as that goes. Whether the edits stand comes back too.
fn inspect(layout: &Layout, job: &Job, notes: &mut Vec<Finding>) -> Result<(Report, bool), String> {
    let tree = Tree::open(Path::new(ROOT)).map_err(|error| error.to_string())?;
    let (facts, code) = (layout.facts(), boot_code::of_disks(layout));
    let error = match prepare::run(&tree, &facts, code, job) {
        Ok(report) => return Ok((report, true)),
        Err(error) => error,
    };
    notes.push(findings::cannot_edit(&error));
    let look = Job { prepare: false, ..job.clone() };
    Ok((prepare::run(&tree, &facts, code, &look).unwrap_or_else(|_| empty()), false))
}

/// Mounts the root and what belongs below it; whether the root is usable. Writable also when only
/// looking: whether it can be written is one of the things to see, and all that is changed is the
/// overlay.
fn mount(
    layout: &Layout,
    root: &Root,
    job: &Job,
    mounts: &mut Mounts,
    places: &mut BTreeMap<Place, String>,
    notes: &mut Vec<Finding>,
) -> bool {
    let Some(volume) = layout.volume(root.place) else { return false };
    let mounted = layout.source(volume).and_then(|source| {
        let subvolume = root.subvolume.as_deref();
        mounts.mount(Filesystem::of(&source, volume, subvolume, true), Path::new(ROOT))
    });
    if let Err(error) = mounted {
        notes.push(findings::cannot_mount(layout, volume, &error, true));
        return false;
    }
    places.insert(root.place, "/".to_owned());
    let text = Tree::open(Path::new(ROOT))
        .ok()
        .and_then(|tree| tree.read_if_there("/etc/fstab", fstab::MOST_BYTES).ok().flatten())
        .unwrap_or_default();
    let mut lines = fstab::parse(&text);
    lines.sort_by_key(|line| line.target.matches('/').count());
    for line in lines.iter().filter(|line| line.target.starts_with('/') && line.target != "/") {
        let wanted = BELOW.iter().any(|top| fstab::within(&line.target, top))
            || job.inputs.changes.files.iter().any(|file| fstab::within(&file.path, &line.target));
        let Some(volume) = layout.resolve(&line.source) else {
            if wanted && (line.source.starts_with("/dev/") || line.source.contains('=')) {
                notes.push(findings::not_there(line.line, &line.text));
            }
            continue;
        };
        if volume.place != root.place {
            places.entry(volume.place).or_insert_with(|| line.target.clone());
        }
        if !wanted || line.has_option("bind") {
            continue;
        }
        if let Err(error) = mounts.mount_line(layout, volume, line, Path::new(ROOT), true) {
            places.remove(&volume.place);
            notes.push(findings::cannot_mount(layout, volume, &error, line.target == "/boot"));
        }
    }
    if !places.values().any(|path| EFI[..2].contains(&path.as_str())) {
        mount_unlisted_efi(layout, mounts, places, notes);
    }
    true
}

/// Mounts an EFI system partition that fstab does not name: systemd finds it by its type
/// (systemd-gpt-auto-generator(8)), and firmware needs no line at all. Where the guest has no empty
/// directory for it, it is left alone.
fn mount_unlisted_efi(
    layout: &Layout,
    mounts: &mut Mounts,
    places: &BTreeMap<Place, String>,
    notes: &mut Vec<Finding>,
) {
    let is_efi = |volume: &&Volume| {
        let kind = volume.partition.as_ref().map(|partition| partition.kind);
        volume.content.kind == "vfat" && kind.is_some_and(PartitionType::is_efi_system)
    };
    let Some(volume) = layout.volumes.iter().find(is_efi) else { return };
    let Ok(tree) = Tree::open(Path::new(ROOT)) else { return };
    let is_free = |path: &&&str| {
        tree.is_directory(path) && tree.list(path).is_ok_and(|listing| listing.entries.is_empty())
    };
    let target = EFI.iter().find(is_free).filter(|_| !places.contains_key(&volume.place));
    let Some(target) = target else { return };
    let mounted = layout.source(volume).and_then(|source| {
        mounts.mount_below(Filesystem::of(&source, volume, None, true), Path::new(ROOT), target)
    });
    notes.push(match mounted {
        Ok(()) => findings::efi_unlisted(layout, volume, target),
        Err(error) => findings::cannot_mount(layout, volume, &error, false),
    });
}
