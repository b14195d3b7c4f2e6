//! Finding the guest's root among its filesystems.

use std::path::Path;

use super::findings;
use super::layout::{Layout, Place, Volume};
use super::mount::{Filesystem, Mounts};
use crate::guest::report::Finding;
use crate::guest::tree::Tree;

/// Where filesystems are mounted for a look.
const LOOK: &str = "/run/look";
/// Where distributions put a btrfs root that is not the default subvolume: Ubuntu and Debian,
/// Fedora, Arch.
const SUBVOLUMES: [Option<&str>; 4] = [None, Some("@"), Some("root"), Some("@rootfs")];

/// A guest's root filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Where it is.
    pub place: Place,
    /// Its subvolume, when it is on a btrfs and not the default one.
    pub subvolume: Option<&'static str>,
}

/// Finds the root, and says what a person should know of the search.
pub fn root(layout: &Layout, notes: &mut Vec<Finding>) -> Option<Root> {
    let mut roots = Vec::new();
    let mut unmountable = Vec::new();
    for volume in layout.volumes.iter().filter(|volume| volume.content.may_be_root()) {
        match look(layout, volume) {
            Ok(Some(root)) => roots.push((volume, root)),
            Ok(None) => {}
            Err(error) => unmountable.push((volume, error)),
        }
    }
    for (volume, error) in &unmountable {
        notes.push(findings::cannot_mount(layout, volume, error, roots.is_empty()));
    }
    if roots.len() > 1 {
        let volumes: Vec<&Volume> = roots.iter().map(|(volume, _)| *volume).collect();
        notes.push(findings::several_roots(layout, &volumes));
    }
    if roots.is_empty() && unmountable.is_empty() {
        notes.extend(findings::no_root(layout));
    }
    roots.into_iter().next().map(|(_, root)| root)
}

fn look(layout: &Layout, volume: &Volume) -> std::io::Result<Option<Root>> {
    let device = layout.device(volume)?;
    let kind = volume.content.kind;
    let candidates: &[Option<&str>] = if kind == "btrfs" { &SUBVOLUMES } else { &SUBVOLUMES[..1] };
    for subvolume in candidates {
        let mut mounts = Mounts::default();
        let filesystem = Filesystem { device: &device, kind, subvolume: *subvolume, writable: false };
        match mounts.mount(filesystem, Path::new(LOOK)) {
            Ok(()) => {}
            // A subvolume of that name is not there.
            Err(error) if subvolume.is_some() && error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        }
        let found = Tree::open(Path::new(LOOK)).is_ok_and(|tree| is_root(&tree));
        mounts.unmount()?;
        if found {
            return Ok(Some(Root { place: volume.place, subvolume: *subvolume }));
        }
    }
    Ok(None)
}

/// Whether a filesystem is the root of a Linux system: it says which, or where its parts are.
fn is_root(tree: &Tree) -> bool {
    let named = ["/etc/os-release", "/usr/lib/os-release", "/etc/redhat-release", "/etc/SuSE-release"];
    let says_which = named.iter().any(|path| tree.is_file(path));
    says_which || (tree.is_file("/etc/fstab") && tree.is_directory("/lib/modules"))
}
