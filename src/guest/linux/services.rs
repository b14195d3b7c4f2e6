//! Whether a service starts with the guest: systemd's links, System V's runlevels, upstart's jobs.

use crate::guest::tree::{Kind, Tree};

/// Most targets (`*.wants`) of a directory that are looked at.
const MOST_TARGETS: usize = 1024;
/// Where units are, the administrator's own first (systemd.unit(5)).
const UNITS: [&str; 3] = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
/// The runlevels that machines come up in: 2 on Debian, 3 and 5 elsewhere.
const RUNLEVELS: [&str; 8] = [
    "/etc/rc3.d",
    "/etc/rc2.d",
    "/etc/rc5.d",
    "/etc/rc.d/rc3.d",
    "/etc/rc.d/rc5.d",
    "/etc/init.d/rc3.d",
    "/etc/init.d/rc5.d",
    "/etc/init.d/boot.d",
];

/// Whether and why a service starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// It does.
    AtBoot,
    /// A unit is masked, at this path: nothing can start it.
    Masked(String),
    /// Nothing starts it.
    Never,
}

/// Whether systemd is the guest's init.
#[must_use]
pub fn has_systemd(tree: &Tree) -> bool {
    tree.exists("/usr/lib/systemd/systemd") || tree.exists("/lib/systemd/systemd")
}

/// Whether any of these units (`ssh.service`) or, where there is none, scripts and jobs of their
/// names starts with the guest.
#[must_use]
pub fn start(tree: &Tree, units: &[&str]) -> Start {
    let mut masked = None;
    let mut native = Vec::new();
    for unit in units {
        if let Some(path) = mask(tree, unit) {
            masked.get_or_insert(path);
            native.push(*unit);
        } else if wanted(tree, unit) {
            return Start::AtBoot;
        } else if UNITS.iter().any(|directory| tree.exists(&format!("{directory}/{unit}"))) {
            native.push(*unit);
        }
    }
    let systemd = has_systemd(tree);
    // systemd takes a script only where there is no unit of its name.
    let scripts = units.iter().filter(|unit| !systemd || !native.contains(unit));
    for name in scripts.map(|unit| unit.trim_end_matches(".service")) {
        if in_runlevel(tree, name) || (!systemd && upstart(tree, name)) {
            return Start::AtBoot;
        }
    }
    masked.map_or(Start::Never, Start::Masked)
}

/// [`start`], yes or no.
#[must_use]
pub fn starts(tree: &Tree, units: &[&str]) -> bool {
    start(tree, units) == Start::AtBoot
}

/// Where a unit is masked: a link to `/dev/null` or an empty file in the place that counts, the
/// administrator's or else the system's own (Debian masks scripts so that systemd replaces).
fn mask(tree: &Tree, unit: &str) -> Option<String> {
    let mut places = UNITS.iter().map(|directory| format!("{directory}/{unit}"));
    let (path, found) = places.find_map(|path| {
        let found = tree.symlink_metadata(&path).ok()??;
        Some((path, found))
    })?;
    let to_null = || tree.read_link(&path).ok().flatten().is_some_and(|to| to == "/dev/null");
    let masked = match found.kind {
        Kind::Symlink => to_null(),
        Kind::File => found.length == 0,
        _ => false,
    };
    masked.then_some(path)
}

/// Whether a target, path or other unit wants it.
fn wanted(tree: &Tree, unit: &str) -> bool {
    UNITS.iter().any(|directory| {
        let entries = tree.list(directory).unwrap_or_default().entries;
        let mut wants = entries
            .iter()
            .filter(|entry| entry.name.ends_with(".wants") || entry.name.ends_with(".requires"))
            .take(MOST_TARGETS);
        wants.any(|entry| {
            let path = format!("{directory}/{}/{unit}", entry.name);
            matches!(tree.symlink_metadata(&path), Ok(Some(_)))
        })
    })
}

/// Whether a `S`-link of the service stands in a runlevel.
fn in_runlevel(tree: &Tree, service: &str) -> bool {
    RUNLEVELS.iter().any(|directory| {
        let entries = tree.list(directory).unwrap_or_default().entries;
        entries.iter().any(|entry| {
            let number = entry.name.strip_prefix('S');
            number.is_some_and(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()) == service)
        })
    })
}

/// Whether upstart has a job of the name that no override makes manual (init(5)).
fn upstart(tree: &Tree, service: &str) -> bool {
    let manual = || {
        let text = tree.read_if_there(&format!("/etc/init/{service}.override"), 64 << 10).ok().flatten();
        String::from_utf8_lossy(&text.unwrap_or_default()).lines().any(|line| line.trim() == "manual")
    };
    tree.is_file(&format!("/etc/init/{service}.conf")) && !manual()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_of_the_system_count_and_masks_go_before_them() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let at = |path: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        };
        fs::write(at("usr/lib/systemd/systemd"), "").unwrap();
        let started = |unit: &str| start(&Tree::open(root).unwrap(), &[unit]);
        // By the vendor's own link, as images without presets have it.
        fs::write(at("usr/lib/systemd/system/a.service"), "[Unit]").unwrap();
        symlink("../a.service", at("usr/lib/systemd/system/multi-user.target.wants/a.service")).unwrap();
        assert_eq!(started("a.service"), Start::AtBoot);
        symlink("/dev/null", at("etc/systemd/system/a.service")).unwrap();
        assert_eq!(started("a.service"), Start::Masked("/etc/systemd/system/a.service".to_owned()));
        // A mask of the vendor's, and a unit of the administrator's in its place.
        symlink("/dev/null", at("lib/systemd/system/b.service")).unwrap();
        symlink("x", at("etc/systemd/system/multi-user.target.wants/b.service")).unwrap();
        assert_eq!(started("b.service"), Start::Masked("/lib/systemd/system/b.service".to_owned()));
        fs::write(at("etc/systemd/system/b.service"), "[Unit]").unwrap();
        assert_eq!(started("b.service"), Start::AtBoot);
        // A script's link, masked with its unit.
        symlink("../init.d/c", at("etc/rc3.d/S10c")).unwrap();
        assert_eq!(started("c.service"), Start::AtBoot);
        fs::write(at("etc/systemd/system/c.service"), "").unwrap();
        assert!(matches!(started("c.service"), Start::Masked(_)));
        assert_eq!(started("d.service"), Start::Never);
    }
}
