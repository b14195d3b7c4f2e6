//! modprobe's settings (modprobe.d(5)) that keep a driver of the instance's from being loaded: such
//! a line is commented out, in the root and in the copy that an initramfs has.

use std::collections::BTreeMap;

use super::initramfs::archive::Archive;
use super::initramfs::setting::{Setting, Settings};
use crate::guest::draft::Draft;
use crate::guest::findings::{Findings, blocks, warns};
use crate::guest::report::Finding;
use crate::guest::tree::{Tree, TreeError};
use crate::model::Hypervisor;

/// Where the settings are; the administrator's first.
const DIRECTORIES: [&str; 4] =
    ["/etc/modprobe.d", "/usr/local/lib/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d"];
/// What module-init-tools read (EL5 and 6, SLES 11).
const FILES: [&str; 2] = ["/etc/modprobe.conf", "/etc/modprobe.conf.local"];
/// Most files of a directory that are looked at.
const MOST_FILES: usize = 256;
/// What packages leave of settings that are not in force.
const LEFT_OVER: [&str; 7] = [".rpmsave", ".rpmnew", ".rpmorig", ".bak", ".old", ".dpkg-old", "~"];

/// What an edited line begins with.
const MARK: &str = "# Replant: ";
const PURPOSE: &str = "let the instance's drivers be loaded";

/// The modules that an instance needs, by name. An instance on Xen may have ENA or Intel's card.
fn needed(hypervisor: Hypervisor) -> &'static [&'static str] {
    match hypervisor {
        Hypervisor::Nitro => &["nvme", "nvme_core", "ena"],
        Hypervisor::Xen => &["xen_blkfront", "xen_netfront", "ixgbevf", "ena"],
    }
}

/// Whether a member of an initramfs is such a file.
#[must_use]
pub fn is_setting(path: &str) -> bool {
    let Some((directory, name)) = path.rsplit_once('/') else { return false };
    let directories = ["etc/modprobe.d", "usr/lib/modprobe.d", "lib/modprobe.d"];
    (directories.contains(&directory) && name.ends_with(".conf")) || path == "etc/modprobe.conf"
}

/// Edits the root's files, and says which of the archives' are to be changed.
///
/// # Errors
/// When a directory cannot be listed or a file cannot be read.
pub fn prepare(
    draft: &mut Draft<'_>,
    archives: &BTreeMap<String, Archive>,
    hypervisor: Hypervisor,
    settings: &mut Settings,
    findings: &mut Findings,
) -> Result<(), TreeError> {
    let needed = needed(hypervisor);
    for path in files(draft.tree())? {
        let Some(text) = draft.text(&path) else { continue };
        let Some((lines, edited)) = freed(&text, needed) else { continue };
        findings.push(lines.iter().fold(forbidden(), |finding, (line, text)| finding.at(&path, *line, text)));
        draft.write(&path, edited.into_bytes(), 0o644, PURPOSE)?;
    }
    for (path, archive) in archives {
        for (member, content) in archive.kept.iter().filter(|(member, _)| is_setting(member)) {
            let Ok(text) = std::str::from_utf8(content) else { continue };
            let Some((lines, after)) = freed(text, needed) else { continue };
            let place = format!("{path}: /{member}");
            let at = |finding: Finding| {
                lines.iter().fold(finding, |finding, (line, text)| finding.at(&place, *line, text))
            };
            settings.entry(path.clone()).or_default().push(Setting {
                member: member.clone(),
                before: text.to_owned(),
                after,
                only_drivers: true,
                mended: at(forbidden()),
                stuck: at(blocks(
                    "driver_forbidden_in_initramfs",
                    "the initramfs forbids a driver that the instance needs",
                )
                .advice(
                    "Take the line out of the guest's modprobe.d, make the initramfs again (update-initramfs -u or \
                     dracut -f) and back the guest up.",
                )),
            });
        }
    }
    Ok(())
}

fn forbidden() -> Finding {
    warns("driver_forbidden", "modprobe's settings forbid a driver that the instance needs")
        .remedy("the line is commented out")
}

fn files(tree: &Tree) -> Result<Vec<String>, TreeError> {
    // module-init-tools also reads files without the ending; kmod came with systemd.
    let any_name = !tree.exists("/lib/systemd/systemd") && !tree.exists("/usr/lib/systemd/systemd");
    let mut files = Vec::new();
    for directory in DIRECTORIES {
        let names = tree.list(directory)?.entries.into_iter().map(|entry| entry.name);
        let in_force = names.filter(|name| {
            name.ends_with(".conf") || (any_name && !LEFT_OVER.iter().any(|ending| name.ends_with(ending)))
        });
        files.extend(in_force.take(MOST_FILES).map(|name| format!("{directory}/{name}")));
    }
    files.extend(FILES.map(str::to_owned));
    files.retain(|path| tree.is_file(path));
    Ok(files)
}

/// The lines that forbid one of these modules, and the text with them commented out; `None` when
/// there is none.
fn freed(text: &str, needed: &[&str]) -> Option<(Vec<(u32, String)>, String)> {
    let (mut found, mut edited) = (Vec::new(), String::with_capacity(text.len()));
    // A backslash at its end carries a line on, a comment too: the mark at its start is enough.
    let mut lines = text.split_inclusive('\n').zip(1_u32..).peekable();
    while let Some((first, number)) = lines.next() {
        let mut physical = vec![first];
        while physical.last().is_some_and(|line| line.trim_end_matches(['\n', '\r']).ends_with('\\')) {
            match lines.next() {
                Some((next, _)) => physical.push(next),
                None => break,
            }
        }
        let line: String =
            physical.iter().map(|line| line.trim_end_matches(['\n', '\r']).trim_end_matches('\\')).collect();
        if forbids(&line, needed) {
            found.push((number, line));
            edited.push_str(MARK);
        }
        edited.extend(physical);
    }
    (!found.is_empty()).then_some((found, edited))
}

/// `blacklist` keeps udev from it; `install` runs something instead, unless that loads it in the
/// end; an alias to `off` is how module-init-tools was told.
fn forbids(line: &str, needed: &[&str]) -> bool {
    let mut words = line.split_ascii_whitespace();
    let (Some(command), Some(module)) = (words.next(), words.next()) else { return false };
    if !needed.contains(&module.replace('-', "_").as_str()) {
        return false;
    }
    let rest: Vec<&str> = words.collect();
    match command {
        "blacklist" => true,
        "install" => !rest.iter().any(|word| word.contains("modprobe") || word.contains("insmod")),
        "alias" => rest == ["off"],
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_forbids_a_needed_driver_is_commented_out() {
        let nitro = needed(Hypervisor::Nitro);
        let text = "# blacklist nvme\nblacklist floppy\n  blacklist nvme\ninstall nvme-core /bin/true\n\
                    install ena \\\n  /bin/false\nalias ena off\nblacklist xen-blkfront\n\
                    install nvme /sbin/modprobe --ignore-install nvme && /bin/true\noptions nvme x=1\nblacklist";
        let (lines, edited) = freed(text, nitro).unwrap();
        assert_eq!(lines.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [3, 4, 5, 7]);
        assert_eq!(
            edited,
            text.replace("  blacklist nvme", "# Replant:   blacklist nvme")
                .replace("install nvme-core", "# Replant: install nvme-core")
                .replace("install ena", "# Replant: install ena")
                .replace("alias ena off", "# Replant: alias ena off")
        );
        assert_eq!(freed(&edited, nitro), None);
        let (lines, _) = freed(text, needed(Hypervisor::Xen)).unwrap();
        assert_eq!(lines.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [5, 7, 8]);
        for nothing in ["", "\\", "blacklist nvme_fabrics\n", "install\ninstall ena modprobe -i ena\\"] {
            assert_eq!(freed(nothing, nitro), None, "{nothing}");
        }
    }

    #[test]
    fn members_that_are_settings() {
        for path in ["etc/modprobe.d/a.conf", "usr/lib/modprobe.d/b.conf", "etc/modprobe.conf"] {
            assert!(is_setting(path), "{path}");
        }
        for path in ["etc/modprobe.d/a.bak", "etc/modprobe.d/x/a.conf", "modprobe.conf", "a.conf"] {
            assert!(!is_setting(path), "{path}");
        }
    }
}
