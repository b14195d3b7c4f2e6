//! Finding the guest's root among its filesystems.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use super::findings;
use super::layout::{Layout, Place, Source, Volume};
use super::mount::{Filesystem, Mounts};
use crate::guest::report::Finding;
use crate::guest::tree::Tree;

/// Where filesystems are mounted for a look.
const LOOK: &str = "/run/look";
/// Where distributions put a btrfs root that is not the default subvolume: Ubuntu and Debian,
/// Fedora, Arch.
const SUBVOLUMES: [&str; 3] = ["@", "root", "@rootfs"];
/// Most other directories at a btrfs's top that are looked into.
const MOST_SUBVOLUMES: usize = 32;

/// A guest's root filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Where it is.
    pub place: Place,
    /// Its subvolume, when it is on a btrfs and not the default one.
    pub subvolume: Option<String>,
}

/// Finds the root, and says what a person should know of the search.
pub fn root(layout: &Layout, notes: &mut Vec<Finding>) -> Option<Root> {
    let mut roots = Vec::new();
    let mut unmountable = Vec::new();
    let mut seen = BTreeSet::new();
    for volume in layout.volumes.iter().filter(|volume| volume.content.may_be_root()) {
        // A btrfs of several devices is on each of them.
        if volume.content.devices > 1 && !seen.insert(&volume.content.uuid) {
            continue;
        }
        match look(layout, volume) {
            Ok(Some(root)) => roots.push((volume, root)),
            Ok(None) => {}
            Err(error) => unmountable.push((volume, error)),
        }
    }
    for (volume, error) in &unmountable {
        notes.push(findings::cannot_mount(layout, volume, error, roots.is_empty()));
    }
    let troubles = findings::of_stack(layout, roots.is_empty());
    if roots.len() > 1 {
        let volumes: Vec<&Volume> = roots.iter().map(|(volume, _)| *volume).collect();
        notes.push(findings::several_roots(layout, &volumes));
    }
    if roots.is_empty() && unmountable.is_empty() {
        notes.extend(findings::no_root(layout, !troubles.is_empty()));
    } else if !roots.is_empty() {
        notes.extend(findings::other_systems(layout));
        notes.extend(findings::of_order(layout));
    }
    notes.extend(findings::with_errors(layout));
    notes.extend(troubles);
    roots.into_iter().next().map(|(_, root)| root)
}

fn look(layout: &Layout, volume: &Volume) -> io::Result<Option<Root>> {
    let source = layout.source(volume)?;
    let found =
        |subvolume: Option<&str>| Root { place: volume.place, subvolume: subvolume.map(str::to_owned) };
    // Whatever is at its default place.
    if at(&source, volume, None, is_root)? {
        return Ok(Some(found(None)));
    }
    if volume.content.kind != "btrfs" {
        return Ok(None);
    }
    for name in SUBVOLUMES {
        match at(&source, volume, Some(name), is_root) {
            Ok(true) => return Ok(Some(found(Some(name)))),
            Ok(false) => {}
            // A subvolume of that name is not there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let names = at(&source, volume, Some("/"), |tree| {
        let entries = tree.list("/").map(|list| list.entries).unwrap_or_default();
        let names = entries.into_iter().map(|entry| entry.name);
        names.filter(|name| !name.contains([',', '\\'])).take(MOST_SUBVOLUMES).collect::<Vec<_>>()
    })?;
    for name in names.iter().filter(|name| !SUBVOLUMES.contains(&name.as_str())) {
        // A directory or file of that name is no subvolume, and no reason to stop.
        if at(&source, volume, Some(name), is_root).unwrap_or(false) {
            return Ok(Some(found(Some(name))));
        }
    }
    Ok(None)
}

/// Mounts a volume for a look.
fn at<T>(
    source: &Source,
    volume: &Volume,
    subvolume: Option<&str>,
    look: impl FnOnce(&Tree) -> T,
) -> io::Result<T>
where
    T: Default,
{
    let mut mounts = Mounts::default();
    mounts.mount(Filesystem::of(source, volume, subvolume, false), Path::new(LOOK))?;
    let seen = Tree::open(Path::new(LOOK)).map(|tree| look(&tree)).unwrap_or_default();
    mounts.unmount()?;
    Ok(seen)
}

/// Whether a filesystem is the root of a Linux system: it says which, or where its parts are
/// (with a `/usr` of its own, the file that says which is elsewhere).
fn is_root(tree: &Tree) -> bool {
    let named = ["/etc/os-release", "/usr/lib/os-release", "/etc/redhat-release", "/etc/SuSE-release"];
    let says_which = named.iter().any(|path| tree.is_file(path));
    says_which
        || (tree.is_file("/etc/fstab") && (tree.is_directory("/lib/modules") || tree.is_file("/etc/passwd")))
}
