//! What looks like a Linux root among the filesystems and, on btrfs, among their subvolumes.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use super::layout::{Layout, Place, Volume};
use super::mount::{Filesystem, Mounts};
use super::subvolume::{self, ROOT_INODE, Subvolume, TOP};
use crate::guest::tree::{Kind, Tree};

/// Where filesystems are mounted for a look.
pub const LOOK: &str = "/run/look";
/// Most subvolumes at a btrfs's top that are looked into.
const MOST_SUBVOLUMES: usize = 64;

/// What looks like a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Where it is; of a btrfs of several devices, the first.
    pub place: Place,
    /// Its subvolume, on a btrfs.
    pub subvolume: Option<Subvolume>,
    /// The mount options that lead to it, when it is not the default subvolume.
    pub options: Option<String>,
}

impl Candidate {
    /// What people call it: `disk root partition 2, subvolume /@`.
    #[must_use]
    pub fn name(&self, layout: &Layout) -> String {
        let name = layout.name(self.place);
        match &self.subvolume {
            Some(subvolume) if subvolume.id != TOP => format!("{name}, subvolume {}", subvolume.path),
            _ => name,
        }
    }

    /// Whether both are the same.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        let id = |candidate: &Self| candidate.subvolume.as_ref().map(|subvolume| subvolume.id);
        self.place == other.place && id(self) == id(other)
    }
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// In the order of the disks, arrays and logical volumes behind them; of a btrfs, the default
    /// subvolume first.
    pub roots: Vec<Candidate>,
    /// What may hold a root and cannot be mounted.
    pub unmountable: Vec<(Place, io::Error)>,
}

/// Looks into everything that a root can be on.
#[must_use]
pub fn find(layout: &Layout) -> Found {
    let mut found = Found::default();
    for volume in layout.volumes.iter().filter(|volume| volume.content.may_be_root()) {
        // A btrfs of several devices is on each of them.
        if first(layout, volume).place != volume.place {
            continue;
        }
        match on(layout, volume) {
            Ok(roots) => found.roots.extend(roots),
            Err(error) => found.unmountable.push((volume.place, error)),
        }
    }
    found
}

/// The first volume of a filesystem, which is the one itself unless it is a btrfs of several devices.
#[must_use]
pub fn first<'l>(layout: &'l Layout, volume: &'l Volume) -> &'l Volume {
    let content = &volume.content;
    let same = |other: &&Volume| other.content.kind == content.kind && other.content.uuid == content.uuid;
    let several = content.kind == "btrfs" && content.devices > 1;
    several.then(|| layout.volumes.iter().find(same)).flatten().unwrap_or(volume)
}

fn on(layout: &Layout, volume: &Volume) -> io::Result<Vec<Candidate>> {
    let mut roots: Vec<Candidate> = at(layout, volume, None)?.into_iter().collect();
    if volume.content.kind != "btrfs" {
        return Ok(roots);
    }
    let top = format!("subvolid={TOP}");
    let names = mounted(layout, volume, Some(&top), |tree| {
        let entries = tree.list("/").map(|list| list.entries).unwrap_or_default();
        let names = entries.into_iter().map(|entry| entry.name).filter(|name| !name.contains([',', '\\']));
        let is_subvolume = |name: &String| {
            let found = tree.symlink_metadata(&format!("/{name}"));
            matches!(found, Ok(Some(found)) if found.kind == Kind::Directory && found.inode == ROOT_INODE)
        };
        names.filter(is_subvolume).take(MOST_SUBVOLUMES).collect::<Vec<_>>()
    })?;
    for options in names.into_iter().map(|name| format!("subvol={name}")).chain([top]) {
        // One that is damaged is no reason to stop.
        if let Ok(Some(root)) = at(layout, volume, Some(&options))
            && !roots.iter().any(|known| known.is(&root))
        {
            roots.push(root);
        }
    }
    Ok(roots)
}

/// What mount options lead to on a volume, when it looks like a root.
///
/// # Errors
/// When it cannot be mounted: there is no such subvolume, or the filesystem is damaged.
pub fn at(layout: &Layout, volume: &Volume, options: Option<&str>) -> io::Result<Option<Candidate>> {
    let (is_root, subvolume) = mounted(layout, volume, options, |tree| {
        let subvolume = subvolume::mounted(Path::new(LOOK)).ok().flatten();
        (is_root(tree), subvolume)
    })?;
    let (place, options) = (volume.place, options.map(str::to_owned));
    Ok(is_root.then_some(Candidate { place, subvolume, options }))
}

/// Mounts a volume for a look.
fn mounted<T: Default>(
    layout: &Layout,
    volume: &Volume,
    options: Option<&str>,
    look: impl FnOnce(&Tree) -> T,
) -> io::Result<T> {
    let source = layout.source(volume)?;
    let mut mounts = Mounts::default();
    mounts.mount(Filesystem::of(&source, volume, options, false), Path::new(LOOK))?;
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

/// The other filesystems with a volume's UUID: copies of it.
#[must_use]
pub fn copies(layout: &Layout, place: Place) -> BTreeSet<Place> {
    let Some(volume) = layout.volume(place) else { return BTreeSet::new() };
    let content = &volume.content;
    let same = |other: &&Volume| {
        let other = &other.content;
        other.kind == content.kind && other.uuid.is_some() && other.uuid == content.uuid && other.devices <= 1
    };
    layout.volumes.iter().filter(same).map(|volume| volume.place).filter(|other| *other != place).collect()
}
