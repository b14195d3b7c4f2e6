//! What a root's own files say of the root that boots: its fstab, and the boot loader's files that
//! it mounts.

use std::io;
use std::path::Path;

use super::layout::{Layout, Place};
use super::mount::{Filesystem, Mounts};
use super::roots::{Candidate, LOOK};
use crate::guest::linux::boot::arguments;
use crate::guest::linux::boot::entries::Loader;
use crate::guest::linux::fstab;
use crate::guest::tree::Tree;

/// Where boot loaders keep their files; what is mounted there is mounted for a look too.
const BOOT: [&str; 2] = ["/boot", "/efi"];
/// Most of an fstab's lines that are mounted for it.
const MOST_MOUNTS: usize = 16;

/// A root that is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The file and line, and what stands there.
    pub evidence: String,
    /// The device as it is named: `UUID=…`, `/dev/mapper/vg-root`.
    pub source: String,
    /// The mount options that choose its subvolume, if there are any.
    pub subvolume: Option<String>,
}

/// What was read.
#[derive(Debug, Default)]
pub struct Said {
    /// The fstab's line of `/`.
    pub fstab: Option<Named>,
    /// The default entry of the boot loader, and the volume that its file is on.
    pub loader: Option<(Place, Named)>,
}

/// Reads them.
///
/// # Errors
/// When the root cannot be mounted. What it mounts is left out then.
pub fn read(layout: &Layout, candidate: &Candidate) -> io::Result<Said> {
    let Some(volume) = layout.volume(candidate.place) else { return Ok(Said::default()) };
    let source = layout.source(volume)?;
    let mut mounts = Mounts::default();
    let subvolume = candidate.options.as_deref();
    mounts.mount(Filesystem::of(&source, volume, subvolume, false), Path::new(LOOK))?;
    let said = look(layout, candidate.place, &mut mounts);
    mounts.unmount()?;
    Ok(said)
}

fn look(layout: &Layout, root: Place, mounts: &mut Mounts) -> Said {
    let Ok(tree) = Tree::open(Path::new(LOOK)) else { return Said::default() };
    let text = tree.read_if_there("/etc/fstab", fstab::MOST_BYTES).ok().flatten().unwrap_or_default();
    let mut lines = fstab::parse(&text);
    lines.sort_by_key(|line| line.target.matches('/').count());
    let mut places = vec![("", root)];
    let boot = lines.iter().filter(|line| {
        !line.has_option("bind") && BOOT.iter().any(|directory| fstab::within(&line.target, directory))
    });
    for line in boot.take(MOST_MOUNTS) {
        let Some(volume) = layout.resolve(&line.source) else { continue };
        if mounts.mount_line(layout, volume, line, Path::new(LOOK), false).is_ok() {
            places.push((line.target.trim_end_matches('/'), volume.place));
        }
    }
    let on = |path: &str| {
        let holding = places.iter().rev().find(|(directory, _)| fstab::within(path, directory));
        holding.map_or(root, |(_, place)| *place)
    };
    let loader = Loader::read(&tree).ok().and_then(|loader| loader.default).and_then(|default| {
        let source = arguments::value(&default.arguments, "root")?;
        let place = on(&default.path);
        let flags = arguments::value(&default.arguments, "rootflags");
        let options = flags.unwrap_or_default().trim_matches('"').to_owned();
        let line = fstab::Mount { options, ..fstab::Mount::default() };
        let flags = flags.map(|flags| format!(" rootflags={flags}")).unwrap_or_default();
        let evidence =
            format!("{}: {}:{}: root={source}{flags}", layout.name(place), default.path, default.line);
        // dracut's own form of a device is `block:` and its name (dracut.cmdline(7)).
        let source = source.trim_matches('"').trim_start_matches("block:").to_owned();
        Some((place, Named { evidence, source, subvolume: line.subvolume() }))
    });
    let of_root = lines.iter().find(|line| line.target == "/").map(|line| Named {
        evidence: format!("{}: /etc/fstab:{}: {}", layout.name(root), line.line, line.text),
        source: line.source.clone(),
        subvolume: line.subvolume(),
    });
    Said { fstab: of_root, loader }
}
