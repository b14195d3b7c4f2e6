//! Whether a driver's program is there: a service without one starts nothing.

use super::files::Files;
use super::look::Look;
use crate::guest::tree::TreeError;

fn after<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let start = text.get(..prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

/// Where a driver's program is on the volume that Windows is on, which is drive `drive`; `None`: on
/// another one. Without an `ImagePath` Windows takes `System32\\drivers\\NAME.sys` (Microsoft, "CreateService
/// function"; a path without a root is below `\\SystemRoot`).
fn place(drive: char, name: &str, image: Option<&str>) -> Option<String> {
    let image = image.unwrap_or_default().trim().trim_matches('"');
    let rooted = |path: &str| format!("/{}", path.trim_start_matches('\\').replace('\\', "/"));
    let below_windows = |path: &str| format!("/Windows{}", rooted(path));
    if image.is_empty() {
        return Some(below_windows(&format!("System32\\drivers\\{name}.sys")));
    }
    if let Some(path) = after(image, "\\SystemRoot\\").or_else(|| after(image, "%SystemRoot%\\")) {
        return Some(below_windows(path));
    }
    let path = after(image, "\\??\\").unwrap_or(image);
    match (path.chars().next(), path.get(1..2)) {
        (Some(letter), Some(":")) => {
            letter.eq_ignore_ascii_case(&drive).then(|| rooted(path.get(2..).unwrap_or_default()))
        }
        // A device, a share.
        (Some('\\'), _) => None,
        _ => Some(below_windows(path)),
    }
}

/// Whether something of this name is there. What it is does not matter: files that Windows keeps compressed
/// look like links from outside.
fn is_there(files: &Files, path: &str) -> Result<bool, TreeError> {
    let Some((directory, name)) = path.rsplit_once('/') else { return Ok(false) };
    let Some(directory) = files.find(directory)? else { return Ok(false) };
    let tree = files.tree();
    // What cannot be looked at is there: it is a link that leads nowhere from here.
    if tree.symlink_metadata(&format!("{directory}/{name}")).map_or(true, |found| found.is_some()) {
        return Ok(true);
    }
    let wanted = name.to_lowercase();
    let listing = tree.list(&directory)?;
    let is_cut = tree.listed_in_part().contains(&directory);
    Ok(is_cut || listing.entries.iter().any(|entry| entry.name.to_lowercase() == wanted))
}

/// Takes those drivers out of a look whose programs are not there, and notes where they should be.
///
/// # Errors
/// When a directory cannot be read.
pub fn take_out(files: &Files, look: &mut Look) -> Result<(), TreeError> {
    let mut absent = Vec::new();
    for (name, driver) in &look.drivers {
        if let Some(path) = place(look.drive, name, driver.image.as_deref())
            && !is_there(files, &path)?
        {
            absent.push((*name, files.shown(&path)));
        }
    }
    for (name, path) in absent {
        look.drivers.remove(name);
        look.absent.insert(name, path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_as_windows_finds_them() {
        let at = |image| place('C', "ena", image);
        let usual = Some("/Windows/System32/drivers/ena.sys".to_owned());
        for image in [
            None,
            Some(""),
            Some("System32\\drivers\\ena.sys"),
            Some("\\SystemRoot\\System32\\drivers\\ena.sys"),
            Some("%systemroot%\\System32\\drivers\\ena.sys"),
            Some("\\??\\C:\\Windows\\System32\\drivers\\ena.sys"),
            Some("\"c:\\Windows\\System32\\drivers\\ena.sys\""),
        ] {
            assert_eq!(at(image), usual, "{image:?}");
        }
        assert_eq!(at(Some("D:\\x.sys")), None);
        assert_eq!(at(Some("\\Device\\x.sys")), None);
        assert_eq!(at(Some("\\??\\")), Some("/Windows/".to_owned()));
    }
}
