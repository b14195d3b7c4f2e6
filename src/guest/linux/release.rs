//! Which distribution a root filesystem holds, and for which processor.

use crate::guest::tree::Tree;
use crate::model::Architecture;

/// Most bytes of a release file.
const MOST: u64 = 64 << 10;
/// The files looked at, in order.
pub const FILES: [&str; 8] = [
    "/etc/os-release",
    "/usr/lib/os-release",
    "/etc/oracle-release",
    "/etc/redhat-release",
    "/etc/SuSE-release",
    "/etc/debian_version",
    "/etc/system-release",
    "/etc/lsb-release",
];
/// Programs of which one is in every Linux root; their ELF header names the processor.
const PROGRAMS: [&str; 5] =
    ["/bin/sh", "/usr/bin/env", "/sbin/init", "/bin/bash", "/usr/lib/systemd/systemd"];

/// What a distribution's configuration looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Debian, Ubuntu and their kin.
    Debian,
    /// RHEL, CentOS, Rocky, Alma, Oracle, Fedora, Amazon Linux.
    RedHat,
    /// SLES and openSUSE.
    Suse,
    /// Any other.
    Other,
}

/// A distribution's release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// os-release's id.
    pub id: String,
    /// Its version id; may be empty.
    pub version: String,
    /// What people call it.
    pub product: String,
    /// Its family.
    pub family: Family,
}

impl Release {
    /// The first number of the version.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0)
    }

    /// Recognizes the distribution; `None` when no release file is there.
    #[must_use]
    pub fn detect(tree: &Tree) -> Option<Self> {
        let text = |path: &str| {
            let content = tree.read_if_there(path, MOST).ok()??;
            Some(String::from_utf8_lossy(&content).into_owned())
        };
        if let Some(found) = text(FILES[0]).or_else(|| text(FILES[1])) {
            return Some(from_os_release(&found, text("/etc/debian_version").as_deref()));
        }
        // Oracle's /etc/redhat-release says Red Hat.
        let red_hat = ["/etc/oracle-release", "/etc/redhat-release", "/etc/system-release"];
        if let Some(found) = red_hat.iter().find_map(|path| text(path)) {
            return Some(from_red_hat(found.trim()));
        }
        if let Some(found) = text("/etc/SuSE-release") {
            return Some(from_suse(&found));
        }
        if let Some(found) = text("/etc/lsb-release") {
            let id = value(&found, "DISTRIB_ID").unwrap_or_else(|| "linux".to_owned()).to_lowercase();
            let version = value(&found, "DISTRIB_RELEASE").unwrap_or_default();
            let product = value(&found, "DISTRIB_DESCRIPTION").unwrap_or_else(|| id.clone());
            return Some(Self { family: family(&id, ""), id, version, product });
        }
        let version = text("/etc/debian_version")?.trim().to_owned();
        let product = format!("Debian GNU/Linux {version}");
        Some(Self { id: "debian".to_owned(), version, product, family: Family::Debian })
    }
}

fn from_os_release(text: &str, debian_version: Option<&str>) -> Release {
    let id = value(text, "ID").unwrap_or_else(|| "linux".to_owned()).to_lowercase();
    let like = value(text, "ID_LIKE").unwrap_or_default();
    let fallback = debian_version.map(|version| version.trim().to_owned());
    let version = value(text, "VERSION_ID").or(fallback).unwrap_or_default();
    let product = value(text, "PRETTY_NAME")
        .or_else(|| Some(format!("{} {version}", value(text, "NAME")?)))
        .unwrap_or_else(|| format!("{id} {version}"));
    Release { family: family(&id, &like), id, version, product: shown(&product) }
}

/// `CentOS release 6.10 (Final)`, `Red Hat Enterprise Linux Server release 7.9 (Maipo)`.
fn from_red_hat(text: &str) -> Release {
    let line = text.lines().next().unwrap_or_default();
    let lower = line.to_lowercase();
    let id = if lower.contains("centos") {
        "centos"
    } else if lower.contains("oracle") {
        "ol"
    } else if lower.contains("amazon") {
        "amzn"
    } else if lower.contains("fedora") {
        "fedora"
    } else if lower.contains("scientific") {
        "scientific"
    } else {
        "rhel"
    };
    let version = line
        .split_ascii_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
        .unwrap_or_default()
        .to_owned();
    Release { id: id.to_owned(), version, product: shown(line), family: Family::RedHat }
}

fn from_suse(text: &str) -> Release {
    let product = shown(text.lines().next().unwrap_or("SUSE Linux"));
    let level = value(text, "PATCHLEVEL").filter(|level| level != "0");
    let version = value(text, "VERSION").unwrap_or_default();
    let version = level.map_or(version.clone(), |level| format!("{version}.{level}"));
    Release { id: "sles".to_owned(), version, product, family: Family::Suse }
}

fn family(id: &str, like: &str) -> Family {
    let words = || std::iter::once(id).chain(like.split_ascii_whitespace());
    let any = |known: &[&str]| words().any(|word| known.contains(&word));
    if any(&["debian", "ubuntu"]) {
        Family::Debian
    } else if words().any(|word| word.starts_with("sles") || word.contains("suse") || word == "sled") {
        Family::Suse
    } else if any(&["rhel", "centos", "fedora", "ol", "amzn", "rocky", "almalinux", "scientific"]) {
        Family::RedHat
    } else {
        Family::Other
    }
}

/// The value of a `KEY=value` or `KEY = value` line, unquoted.
#[must_use]
pub fn value(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let value = line.trim().strip_prefix(key)?.trim_start().strip_prefix('=')?.trim();
        let value = value.trim_matches(['"', '\'']);
        (!value.is_empty()).then(|| shown(value))
    })
}

fn shown(text: &str) -> String {
    text.trim().chars().filter(|character| !character.is_control()).take(120).collect()
}

/// The processor that the guest's programs are for (ELF's `e_machine`).
#[must_use]
pub fn architecture(tree: &Tree) -> Option<Architecture> {
    PROGRAMS.iter().find_map(|program| {
        let header = tree.read_at(program, 0, 20).ok()?;
        let [0x7f, b'E', b'L', b'F', ..] = header.as_slice() else { return None };
        match u16::from_le_bytes([*header.get(18)?, *header.get(19)?]) {
            3 => Some(Architecture::I386),
            62 => Some(Architecture::X86_64),
            183 => Some(Architecture::Arm64),
            _ => None,
        }
    })
}

/// The guest's host name.
#[must_use]
pub fn hostname(tree: &Tree) -> Option<String> {
    let text = |path: &str| {
        let content = tree.read_if_there(path, MOST).ok()??;
        Some(String::from_utf8_lossy(&content).into_owned())
    };
    let plain = |path: &str| {
        let name = text(path)?;
        let line = name.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))?;
        Some(shown(line))
    };
    plain("/etc/hostname")
        .or_else(|| plain("/etc/HOSTNAME"))
        .or_else(|| value(&text("/etc/sysconfig/network")?, "HOSTNAME"))
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases() {
        let ubuntu =
            from_os_release("NAME=\"Ubuntu\"\nID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"22.04\"\n", None);
        assert_eq!(
            (ubuntu.family, ubuntu.major(), ubuntu.product.as_str()),
            (Family::Debian, 22, "Ubuntu 22.04")
        );
        let centos = from_red_hat("CentOS release 6.10 (Final)");
        assert_eq!((centos.id.as_str(), centos.version.as_str(), centos.major()), ("centos", "6.10", 6));
        let sles = from_suse("SUSE Linux Enterprise Server 11 (x86_64)\nVERSION = 11\nPATCHLEVEL = 4\n");
        assert_eq!((sles.version.as_str(), sles.family), ("11.4", Family::Suse));
        let tumbleweed = from_os_release("ID=\"opensuse-tumbleweed\"\nPRETTY_NAME=\"a\tb\"\n", None);
        assert_eq!((tumbleweed.family, tumbleweed.product.as_str()), (Family::Suse, "ab"));
    }
}
