//! What the entries of later kernels are made from: `/etc/default/grub` and its drop-ins,
//! `/etc/kernel/cmdline`, SUSE's `/etc/sysconfig/bootloader`.

use super::arguments::{self, Wanted};
use super::assignment;
use crate::guest::draft::Draft;
use crate::guest::tree::TreeError;

/// What the generators of new entries read.
pub const DEFAULTS: &str = "/etc/default/grub";
/// Read after it, in the order of their names (Debian and Ubuntu).
const DROP_INS: &str = "/etc/default/grub.d";
const KERNEL_CMDLINE: &str = "/etc/kernel/cmdline";
const SUSE: &str = "/etc/sysconfig/bootloader";
const PURPOSE: &str = "the same arguments for the entries of later kernels";
/// For all entries, and for those that are not for recovery.
const NAMES: [&str; 2] = ["GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT"];
/// Settings that make grub-mkconfig write device names.
const DEVICE_NAMES: [&str; 2] = ["GRUB_DISABLE_LINUX_UUID", "GRUB_DISABLE_UUID"];

/// Edits them.
///
/// # Errors
/// When a file cannot be read.
pub fn edit(draft: &mut Draft<'_>, wanted: &Wanted<'_>) -> Result<(), TreeError> {
    grub(draft, wanted)?;
    if let Some(text) = draft.text(KERNEL_CMDLINE) {
        let line = text.trim_end_matches('\n');
        let edited = format!("{}{}", arguments::edit(line, wanted), &text[line.len()..]);
        draft.write(KERNEL_CMDLINE, edited.into_bytes(), 0o644, PURPOSE)?;
    }
    // SLES 11 and 12; later ones keep only the loader's name there.
    if let Some(text) = draft.text(SUSE) {
        let edit =
            |value: &str| if value.is_empty() { String::new() } else { arguments::edit(value, wanted) };
        let edited = assignment::edit(&text, "DEFAULT_APPEND", &edit);
        let rewrite = |value: &str| arguments::rewrite(value, wanted.disks);
        let edited = assignment::edit(&edited, "FAILSAFE_APPEND", &rewrite);
        draft.write(SUSE, edited.into_bytes(), 0o644, PURPOSE)?;
    }
    Ok(())
}

/// What grub-mkconfig reads, in its order: path and content.
///
/// # Errors
/// When the drop-ins cannot be listed.
pub fn files(draft: &Draft<'_>) -> Result<Vec<(String, String)>, TreeError> {
    let mut files: Vec<(String, String)> = Vec::new();
    files.extend(draft.text(DEFAULTS).map(|text| (DEFAULTS.to_owned(), text)));
    for entry in draft.tree().list(DROP_INS)?.entries.into_iter().take(128) {
        let path = format!("{DROP_INS}/{}", entry.name);
        if entry.name.ends_with(".cfg") && !entry.name.starts_with('.') {
            files.extend(draft.text(&path).map(|text| (path, text)));
        }
    }
    Ok(files)
}

fn grub(draft: &mut Draft<'_>, wanted: &Wanted<'_>) -> Result<(), TreeError> {
    let files = files(draft)?;
    let [all, normal] = NAMES.map(|name| {
        files.iter().fold(String::new(), |held, (_, text)| assignment::effective(text, name, &held))
    });
    let missing = arguments::missing(&all, &normal, wanted);
    // A drop-in that sets the variable anew would undo an addition before it. A package's drop-in
    // alone (GRUB is another's, or gone) makes no entries.
    let holder = files
        .iter()
        .rposition(|(_, text)| assignment::assigns(text, NAMES[0]))
        .or_else(|| files.iter().position(|(path, _)| path == DEFAULTS));
    for (index, (path, text)) in files.into_iter().enumerate() {
        let rewrite = |value: &str| arguments::rewrite(value, wanted.disks);
        let mut edited = text;
        for name in NAMES {
            edited = assignment::edit(&edited, name, &rewrite);
        }
        for name in DEVICE_NAMES {
            let no = |value: &str| if value == "true" { "false" } else { value }.to_owned();
            edited = assignment::edit(&edited, name, &no);
        }
        if Some(index) == holder {
            edited = assignment::add(&edited, NAMES[0], &missing);
        }
        draft.write(&path, edited.into_bytes(), 0o644, PURPOSE)?;
    }
    Ok(())
}
