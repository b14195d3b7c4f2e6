//! What the guest needs of its old network: time and name servers, proxies, storage, its own
//! address in `/etc/hosts`.

use std::net::{IpAddr, Ipv4Addr};

use crate::guest::draft::Draft;
use crate::guest::findings::{Findings, informs, warns};
use crate::guest::linux::access::Surroundings;
use crate::guest::linux::{mounts, release};
use crate::guest::report::Finding;
use crate::guest::tree::{Kind, TreeError};

/// Where time servers are named: by `server`, `pool` or `peer`, or by timesyncd's `NTP=`.
const TIME: [&str; 5] = [
    "/etc/chrony.conf",
    "/etc/chrony/chrony.conf",
    "/etc/ntp.conf",
    "/etc/ntpsec/ntp.conf",
    "/etc/systemd/timesyncd.conf",
];
/// Where proxies are named for everything or for the package manager.
const PROXIES: [&str; 5] =
    ["/etc/environment", "/etc/yum.conf", "/etc/dnf/dnf.conf", "/etc/apt/apt.conf", "/etc/sysconfig/proxy"];
/// Directories of such files.
const PROXY_DIRECTORIES: [&str; 2] = ["/etc/apt/apt.conf.d", "/etc/profile.d"];
/// Filesystems that come over the network.
const REMOTE: [&str; 7] = ["nfs", "nfs4", "cifs", "smb3", "glusterfs", "ceph", "fuse.sshfs"];
/// Where open-iscsi keeps the targets that it logs in to.
const ISCSI: [&str; 2] = ["/var/lib/iscsi/nodes", "/etc/iscsi/nodes"];
/// Ends of names that only a private network resolves.
const PRIVATE_NAMES: [&str; 7] =
    [".local", ".lan", ".internal", ".intern", ".corp", ".intranet", ".home.arpa"];
/// Most files of a directory that are read.
const MOST_FILES: usize = 64;

/// Notes them.
///
/// # Errors
/// When a directory cannot be listed.
pub fn inspect(
    draft: &Draft<'_>,
    around: &Surroundings<'_>,
    findings: &mut Findings,
) -> Result<(), TreeError> {
    time_servers(draft, findings);
    name_servers(draft, findings)?;
    proxies(draft, findings)?;
    storage(draft, findings)?;
    own_address(draft, around, findings);
    Ok(())
}

/// Whether a host is one of a private network: by its address, or a name that nobody else resolves.
fn is_private(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_private(),
        Ok(IpAddr::V6(address)) => address.is_unique_local(),
        Err(_) => {
            let name = host.trim_end_matches('.').to_lowercase();
            let plain =
                name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)) && !name.is_empty();
            plain
                && name.contains(|c: char| c.is_ascii_alphabetic())
                && name != "localhost"
                && (!name.contains('.') || PRIVATE_NAMES.iter().any(|end| name.ends_with(end)))
        }
    }
}

fn time_servers(draft: &Draft<'_>, findings: &mut Findings) {
    let mut finding = informs("time_servers", "the guest asks time servers of its old network")
        .advice("Where they are not reached, let it ask Amazon's: 169.254.169.123 answers in every VPC.");
    let mut found = false;
    for path in TIME {
        for (text, line) in draft.text(path).unwrap_or_default().lines().zip(1_u32..) {
            let mut words = text.split_whitespace();
            let named: Vec<&str> = match words.next() {
                Some("server" | "pool" | "peer") => words.take(1).collect(),
                Some(first) if first.starts_with("NTP=") => {
                    std::iter::once(first.trim_start_matches("NTP=")).chain(words).collect()
                }
                _ => continue,
            };
            if named.iter().any(|host| is_private(host)) {
                finding = finding.at(path, line, text);
                found = true;
            }
        }
    }
    if found {
        findings.push(finding);
    }
}

fn name_servers(draft: &Draft<'_>, findings: &mut Findings) -> Result<(), TreeError> {
    const RESOLV: &str = "/etc/resolv.conf";
    let mut finding = informs("name_servers", "name servers of the old network are written into the guest")
        .advice(
            "DHCP brings the VPC's own. Where these are not reached, take them out, or make them the VPC's by its DHCP \
             options.",
        );
    let mut found = false;
    let text = draft.text(RESOLV).unwrap_or_default();
    // What a program writes, it writes anew.
    let written_by =
        ["generated", "networkmanager", "dhclient", "resolvconf", "systemd-resolved", "netconfig"];
    let comments =
        text.lines().filter(|line| line.starts_with(['#', ';'])).collect::<String>().to_lowercase();
    let is_file = draft.tree().symlink_metadata(RESOLV)?.is_some_and(|found| found.kind == Kind::File);
    let by_hand = is_file && !written_by.iter().any(|word| comments.contains(word));
    let own = if by_hand { text } else { String::new() };
    for (text, line) in own.lines().zip(1_u32..) {
        let mut words = text.split_whitespace();
        if words.next() == Some("nameserver") && words.next().is_some_and(is_private_address) {
            finding = finding.at(RESOLV, line, text);
            found = true;
        }
    }
    const RESOLVED: &str = "/etc/systemd/resolved.conf";
    for (text, line) in draft.text(RESOLVED).unwrap_or_default().lines().zip(1_u32..) {
        let servers = text.trim().strip_prefix("DNS=").unwrap_or_default();
        if servers.split_whitespace().any(is_private_address) {
            finding = finding.at(RESOLVED, line, text);
            found = true;
        }
    }
    if found {
        findings.push(finding);
    }
    Ok(())
}

fn is_private_address(text: &str) -> bool {
    text.parse::<Ipv4Addr>().is_ok_and(|address| address.is_private())
}

fn proxies(draft: &Draft<'_>, findings: &mut Findings) -> Result<(), TreeError> {
    let mut files: Vec<String> = PROXIES.iter().map(|path| (*path).to_owned()).collect();
    for directory in PROXY_DIRECTORIES {
        let entries = draft.tree().list(directory)?.entries.into_iter().take(MOST_FILES);
        files.extend(entries.map(|entry| format!("{directory}/{}", entry.name)));
    }
    let mut finding = informs("proxy", "the guest goes out through a proxy of its old network").advice(
        "See that the instance reaches it, or take it out: updates and user data scripts would fail.",
    );
    let mut found = false;
    for path in files {
        let text = draft.text(&path).unwrap_or_default();
        let off = path.ends_with("sysconfig/proxy")
            && release::value(&text, "PROXY_ENABLED").is_none_or(|value| value != "yes");
        for (text, line) in text.lines().zip(1_u32..).filter(|_| !off) {
            if is_proxy(text) {
                finding = finding.at(&path, line, text);
                found = true;
            }
        }
    }
    if found {
        findings.push(finding);
    }
    Ok(())
}

/// `http_proxy=…`, `export HTTPS_PROXY="…"`, `proxy=http://…`, `Acquire::http::Proxy "…";`
fn is_proxy(text: &str) -> bool {
    let text = text.trim().trim_start_matches("export ").to_lowercase();
    let assigned = ["http_proxy", "https_proxy", "all_proxy", "proxy"].iter().any(|key| {
        let value = text.strip_prefix(key).map(str::trim_start).and_then(|rest| rest.strip_prefix('='));
        value.is_some_and(|value| value.contains("://") || value.contains(':'))
    });
    assigned || (text.starts_with("acquire::") && text.contains("::proxy") && text.contains("://"))
}

fn storage(draft: &Draft<'_>, findings: &mut Findings) -> Result<(), TreeError> {
    for mount in mounts::read(draft.tree()).unwrap_or_default() {
        if !REMOTE.contains(&mount.filesystem.as_str()) || mount.has_option("noauto") {
            continue;
        }
        findings.push(
            informs("network_mounts", "filesystems come over the network")
                .at("/etc/fstab", mount.line, &mount.text)
                .advice("See that the instance reaches their servers; without `nofail` or `bg` the boot waits for them, up to some minutes."),
        );
    }
    for directory in ISCSI {
        let targets = draft.tree().list(directory)?.entries;
        if targets.is_empty() {
            continue;
        }
        let mut finding = warns("iscsi", "the guest logs in to iSCSI targets").advice(
            "Their disks are not in this backup. Where the old machine may still run, keep the restored one from \
             reaching them: two writers would destroy what they hold.",
        );
        for target in targets.iter().take(4) {
            finding = finding.seen(format!("{directory}/{}", target.name));
        }
        findings.push(finding);
        break;
    }
    Ok(())
}

fn own_address(draft: &Draft<'_>, around: &Surroundings<'_>, findings: &mut Findings) {
    let text = draft.text("/etc/hosts").unwrap_or_default();
    let bare = |text: &str| text.split('/').next().unwrap_or_default().to_owned();
    let own: Vec<String> = around.addresses.values().map(|address| bare(address)).collect();
    for (text, line) in text.lines().zip(1_u32..) {
        let first = text.split_whitespace().next().unwrap_or_default();
        if own.iter().any(|address| address == first) && !around.keeps(first) {
            let finding: Finding = informs("own_address", "/etc/hosts gives the machine its old address");
            findings.push(
                finding
                    .at("/etc/hosts", line, text)
                    .advice("It stays right with the same private_ip; else change it, since services that look themselves up would not start."),
            );
        }
    }
}
