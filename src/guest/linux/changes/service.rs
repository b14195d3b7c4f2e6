//! A program that the guest's own init starts at boot, placed without running anything of it.

use crate::guest::draft::Draft;
use crate::guest::tree::{Tree, TreeError};

/// What starts a guest's services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    /// systemd.
    Systemd,
    /// Upstart (EL 6, Ubuntu until 14.10).
    Upstart,
    /// System V's init with `/etc/inittab` (SLES 11, EL 5, Debian until 7).
    SystemV,
}

/// What makes something start, for each init.
#[derive(Debug)]
pub struct Service<'s> {
    /// Its name, without an ending.
    pub name: &'s str,
    /// The unit of systemd. `multi-user.target` wants it.
    pub unit: &'s str,
    /// Upstart's job; `None` where it is not for Upstart.
    pub job: Option<&'s str>,
    /// System V: the line of the inittab; `None` where it is not for System V.
    pub line: Option<&'s str>,
    /// What it is for.
    pub purpose: &'s str,
}

/// System V's table of what is started.
pub const INITTAB: &str = "/etc/inittab";
/// Where an administrator's units are.
pub const UNITS: &str = "/etc/systemd/system";
/// Where additions to the target of a system that is up are. A file here is as good as a link in
/// `multi-user.target.wants`, and no preset takes it away.
pub const TARGET: &str = "/etc/systemd/system/multi-user.target.d";
/// Where Upstart's jobs are.
pub const JOBS: &str = "/etc/init";

impl Init {
    /// What the guest starts with; `None` when it is none of these.
    #[must_use]
    pub fn detect(tree: &Tree) -> Option<Self> {
        let systemd = ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"];
        let link = tree.read_link("/sbin/init").ok().flatten().unwrap_or_default();
        if link.ends_with("systemd") {
            return Some(Self::Systemd);
        }
        // Debian may have systemd installed beside another init.
        if ["rc.conf", "rc-sysinit.conf"].iter().any(|job| tree.is_file(&format!("{JOBS}/{job}"))) {
            return Some(Self::Upstart);
        }
        let table = tree.read_if_there(INITTAB, 1 << 20).ok().flatten().unwrap_or_default();
        if String::from_utf8_lossy(&table).lines().any(runs_levels) {
            return Some(Self::SystemV);
        }
        systemd.iter().any(|path| tree.exists(path)).then_some(Self::Systemd)
    }

    /// Places what starts a service; whether this init can have it.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn place(self, draft: &mut Draft<'_>, service: &Service<'_>) -> Result<bool, TreeError> {
        let Service { name, purpose, .. } = service;
        match (self, service.job, service.line) {
            (Self::Systemd, _, _) => {
                let wants = format!("[Unit]\nWants={name}.service\n").into_bytes();
                draft.write(&format!("{UNITS}/{name}.service"), service.unit.into(), 0o644, purpose)?;
                draft.write(&format!("{TARGET}/{name}.conf"), wants, 0o644, purpose)?;
            }
            (Self::Upstart, Some(job), _) => {
                draft.write(&format!("{JOBS}/{name}.conf"), job.into(), 0o644, purpose)?;
            }
            (Self::SystemV, _, Some(line)) => {
                let Some(mut table) = draft.text(INITTAB) else { return Ok(false) };
                if !table.lines().any(|known| known == line) {
                    if !table.is_empty() && !table.ends_with('\n') {
                        table.push('\n');
                    }
                    table.push_str(&format!("{line}\n"));
                    draft.write(INITTAB, table.into_bytes(), 0o644, purpose)?;
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// `l3:3:wait:/etc/rc.d/rc 3`
fn runs_levels(line: &str) -> bool {
    let mut fields = line.split(':');
    !line.starts_with('#') && fields.nth(2) == Some("wait") && fields.next().is_some()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn detect(make: impl FnOnce(&std::path::Path)) -> Option<Init> {
        let directory = tempfile::tempdir().unwrap();
        for path in ["sbin", "etc/init", "usr/lib/systemd"] {
            fs::create_dir_all(directory.path().join(path)).unwrap();
        }
        make(directory.path());
        Init::detect(&Tree::open(directory.path()).unwrap())
    }

    #[test]
    fn each_init_is_known_by_its_own_files() {
        assert_eq!(detect(|_| {}), None);
        assert_eq!(
            detect(|root| symlink("../lib/systemd/systemd", root.join("sbin/init")).unwrap()),
            Some(Init::Systemd)
        );
        let systemd = |root: &std::path::Path| fs::write(root.join("usr/lib/systemd/systemd"), "").unwrap();
        assert_eq!(detect(systemd), Some(Init::Systemd));
        assert_eq!(
            detect(|root| {
                systemd(root);
                fs::write(root.join("etc/init/rc.conf"), "").unwrap();
            }),
            Some(Init::Upstart)
        );
        // EL 7 leaves a file of comments.
        let table = |text: &'static str| {
            move |root: &std::path::Path| fs::write(root.join("etc/inittab"), text).unwrap()
        };
        assert_eq!(detect(table("# l3:3:wait:/etc/rc 3\n")), None);
        assert_eq!(detect(table("id:3:initdefault:\nl3:3:wait:/etc/init.d/rc 3\n")), Some(Init::SystemV));
    }
}
