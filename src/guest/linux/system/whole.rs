//! The recipe as a whole, once it is drafted: labels, files of several names, directories of which
//! not everything was seen.

use crate::guest::draft::Draft;
use crate::guest::findings::{Findings, informs, warns};
use crate::guest::linux::release::value;
use crate::guest::report::EditKind;
use crate::guest::tree::TreeError;

const RELABEL: &str = "/.autorelabel";

/// Sees that what is written gets its SELinux labels: from a neighbour, else from the guest itself.
///
/// # Errors
/// When a file cannot be read.
pub fn label(draft: &mut Draft<'_>, findings: &mut Findings) -> Result<(), TreeError> {
    let config = draft.text("/etc/selinux/config").unwrap_or_default();
    let enforcing = value(&config, "SELINUX").as_deref() == Some("enforcing");
    if enforcing {
        // Without labels to copy, the guest has to label what was written by itself.
        let labelled = draft.tree().selinux_label("/etc").is_some();
        if !labelled && !draft.is_empty() {
            draft.write(RELABEL, Vec::new(), 0o644, "label the files at the next start")?;
        }
        findings.push(
            informs("selinux", "SELinux is enforcing").seen("/etc/selinux/config: SELINUX=enforcing").remedy(
                if labelled {
                    "edited files keep their labels, new ones get their neighbour's"
                } else {
                    "the files have no labels; the guest makes them when it first starts, and restarts"
                },
            ),
        );
    }
    if draft.tree().exists(RELABEL) && value(&config, "SELINUX").as_deref() != Some("disabled") {
        findings.push(
            informs("selinux_relabel", "SELinux labels all files anew at the first boot")
                .seen("/.autorelabel is there")
                .advice("The first boot takes some minutes longer and starts a second time by itself."),
        );
    }
    Ok(())
}

/// Says what else an edit changes, and what was not looked at.
///
/// # Errors
/// When a file cannot be looked up.
pub fn review(draft: &Draft<'_>, findings: &mut Findings) -> Result<(), TreeError> {
    let tree = draft.tree();
    for edit in draft.recipe().edits {
        let in_place = match edit.kind {
            EditKind::WriteFile { before, .. } => before.is_some(),
            EditKind::AppendFile { .. } | EditKind::InsertFile { .. } | EditKind::Overwrite { .. } => true,
            _ => false,
        };
        let found = if in_place { tree.metadata(&edit.path)? } else { None };
        if let Some(found) = found.filter(|found| found.names > 1) {
            findings.push(
                informs("hard_linked", "a file that is changed has other names, under which it changes too")
                    .seen(format!("{}: {} names (hard links)", edit.path, found.names)),
            );
        }
    }
    for path in tree.listed_in_part() {
        findings.push(
            warns("directory_too_long", "a directory holds more names than are looked at")
                .seen(format!("{path}: more than 65536 names"))
                .advice(
                    "What else stands there was not inspected. Clear the directory in the guest, or drill the restore.",
                ),
        );
    }
    Ok(())
}
