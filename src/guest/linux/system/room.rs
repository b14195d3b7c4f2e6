//! Whether the recipe fits: room and inodes for new files, filesystems that can be written.

use std::collections::BTreeMap;

use crate::guest::draft::Draft;
use crate::guest::findings::{Findings, blocks};
use crate::guest::report::EditKind;
use crate::guest::tree::{Tree, TreeError};
use crate::model::Bytes;

/// Blocks for each new or longer file: its content, its directory's growth.
const BLOCKS: u64 = 4;

/// Looks at every filesystem that the recipe writes to. What an initramfs needs was counted where
/// it was drafted.
///
/// # Errors
/// When the free space cannot be learned.
pub fn room(draft: &Draft<'_>, findings: &mut Findings) -> Result<(), TreeError> {
    let tree = draft.tree();
    // Device → a directory on it, files that are written, files that are new.
    let mut devices: BTreeMap<u64, (String, u64, u64)> = BTreeMap::new();
    for edit in draft.recipe().edits {
        let new = match edit.kind {
            EditKind::WriteFile { before, .. } => u64::from(before.is_none()),
            EditKind::SetAside { .. } | EditKind::RemoveFile { .. } => 0,
            _ => continue,
        };
        let directory = existing(tree, &edit.path)?;
        let device = tree.metadata(&directory)?.map_or(0, |found| found.device);
        let (_, written, made) = devices.entry(device).or_insert((directory, 0, 0));
        *written += 1;
        *made += new;
    }
    for (directory, written, made) in devices.into_values() {
        let space = tree.space(&directory)?;
        if space.read_only {
            findings.push(
                blocks("read_only", "a filesystem that must be edited could only be mounted read-only")
                    .seen(directory)
                    .advice(
                        "It may be damaged: check it in the source machine (fsck) and make a new backup.",
                    ),
            );
            continue;
        }
        let needed = written.saturating_mul(BLOCKS).saturating_mul(space.block);
        if space.free < needed {
            findings.push(
                blocks("filesystem_full", "a filesystem has no room for the edits")
                    .seen(format!("{directory}: {} free, {} needed", Bytes(space.free), Bytes(needed)))
                    .advice("Free some space in the guest and back it up again."),
            );
        }
        if let Some(inodes) = space.inodes.filter(|inodes| *inodes < made) {
            findings.push(
                blocks("no_inodes", "a filesystem has no inodes left for new files")
                    .seen(format!("{directory}: {inodes} free, {made} needed"))
                    .advice("Remove files that are not needed in the guest (df -i shows them) and back it up again."),
            );
        }
    }
    Ok(())
}

/// The nearest directory above a path that is there.
fn existing(tree: &Tree, path: &str) -> Result<String, TreeError> {
    let mut directory = path;
    while let Some((above, _)) = directory.rsplit_once('/') {
        if above.is_empty() {
            break;
        }
        if tree.metadata(above)?.is_some() {
            return Ok(above.to_owned());
        }
        directory = above;
    }
    Ok("/".to_owned())
}
