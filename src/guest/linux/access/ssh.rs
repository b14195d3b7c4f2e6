//! The SSH server: installed, started with the guest, and listening where clients will come.

use std::net::IpAddr;

use super::look::Surroundings;
use super::sshd_config::{Setting, Settings};
use crate::guest::draft::Draft;
use crate::guest::findings::{Findings, informs, warns};
use crate::guest::linux::services::{self, Start};
use crate::guest::tree::{Tree, TreeError};
use crate::model::NetworkPolicy;

/// Where distributions put the server.
const PROGRAMS: [&str; 3] = ["/usr/sbin/sshd", "/usr/bin/sshd", "/usr/local/sbin/sshd"];
/// The names of its units; Debian calls it ssh, others sshd. Ubuntu 24.04 starts it by a socket.
const UNITS: [&str; 4] = ["ssh.service", "sshd.service", "ssh.socket", "sshd.socket"];
/// Debian's switch of old.
const SWITCH: &str = "/etc/ssh/sshd_not_to_be_run";
/// Most bytes of the server's program that are searched.
const MOST_PROGRAM: u64 = 8 << 20;
/// SSH's port.
const PORT: u16 = 22;

/// What is known of the server.
#[derive(Debug, Clone, Default)]
pub struct Server {
    /// Whether it starts with the guest.
    pub runs: bool,
    /// Where it listens.
    pub ports: Vec<u16>,
    /// Its settings.
    pub settings: Settings,
}

/// A place where the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listener {
    address: Option<IpAddr>,
    port: Option<u16>,
    path: String,
    line: u32,
    text: String,
}

/// Notes a missing, sleeping or unreachable server.
///
/// # Errors
/// When a directory cannot be listed.
pub fn inspect(
    draft: &Draft<'_>,
    around: &Surroundings<'_>,
    findings: &mut Findings,
) -> Result<Server, TreeError> {
    let tree = draft.tree();
    let mut server = Server { settings: Settings::read(draft)?, ..Server::default() };
    let Some(program) = PROGRAMS.iter().find(|path| tree.exists(path)) else {
        findings.push(
            warns("sshd_missing", "no SSH server is installed")
                .seen(format!("{} is not there", PROGRAMS[0]))
                .advice(
                    "Without one, the guest is reached by the EC2 serial console only. Install it in the \
                     guest (openssh-server) and back it up again, or have user data or a first-boot script do it.",
                ),
        );
        return Ok(server);
    };
    server.runs = starts(tree, findings);
    let mut listeners = of_settings(&server.settings);
    if services::starts(tree, &UNITS[2..]) {
        let of_socket = of_socket(draft)?;
        if !of_socket.is_empty() {
            listeners = of_socket;
        }
    }
    server.ports = ports(&server.settings, &listeners);
    if !server.runs {
        return Ok(server);
    }
    addresses(&listeners, around, findings);
    if !server.ports.contains(&PORT) {
        let listed: Vec<String> = server.ports.iter().map(u16::to_string).collect();
        let mut finding = informs("ssh_port", format!("SSH listens on port {}", listed.join(" and ")))
            .advice("Let the instance's security group permit it.");
        for setting in server.settings.all("port") {
            finding = at(finding, setting);
        }
        findings.push(finding);
    }
    limits(draft, program, &server.settings, findings);
    Ok(server)
}

/// Evidence of a setting.
pub fn at(finding: crate::guest::report::Finding, setting: &Setting) -> crate::guest::report::Finding {
    finding.at(&setting.path, setting.line, &setting.text)
}

/// Whether it starts with the guest; a finding when not.
fn starts(tree: &Tree, findings: &mut Findings) -> bool {
    let how = "Enable it in the guest (systemctl enable sshd, on Debian and Ubuntu ssh) and back it up again, \
               or have user data or a first-boot script do it; until then the EC2 serial console is the way in.";
    let place = match services::start(tree, &UNITS) {
        Start::AtBoot if tree.exists(SWITCH) => format!("{SWITCH} keeps it from starting"),
        Start::AtBoot => return true,
        Start::Masked(path) => format!("{path} is masked: a link to /dev/null"),
        Start::Never => {
            "no target, runlevel or job starts ssh.service, sshd.service or ssh.socket".to_owned()
        }
    };
    findings
        .push(warns("sshd_disabled", "the SSH server does not start with the guest").seen(place).advice(how));
    false
}

/// `ListenAddress` as sshd reads it: an address or name, with or without a port.
fn of_settings(settings: &Settings) -> Vec<Listener> {
    let of = |setting: &Setting| Listener {
        port: port_of(&setting.value),
        address: address_of(&setting.value),
        path: setting.path.clone(),
        line: setting.line,
        text: setting.text.clone(),
    };
    settings.all("listenaddress").map(of).collect()
}

/// `ListenStream=` of the administrator's socket unit and its drop-ins; an empty one forgets those
/// before (systemd.socket(5)).
fn of_socket(draft: &Draft<'_>) -> Result<Vec<Listener>, TreeError> {
    let mut listeners = Vec::new();
    for unit in &UNITS[2..] {
        let directory = format!("/etc/systemd/system/{unit}.d");
        let mut files = vec![format!("/etc/systemd/system/{unit}")];
        let entries = draft.tree().list(&directory)?.entries.into_iter().take(64);
        let names = entries.map(|entry| entry.name).filter(|name| name.ends_with(".conf"));
        files.extend(names.map(|name| format!("{directory}/{name}")));
        for path in files {
            for (text, line) in draft.text(&path).unwrap_or_default().lines().zip(1_u32..) {
                let Some(value) = text.trim().strip_prefix("ListenStream=") else { continue };
                if value.is_empty() {
                    listeners.clear();
                } else if listeners.len() < 64 {
                    let port = value.parse().ok().or_else(|| port_of(value));
                    let (address, text) = (address_of(value), text.trim().to_owned());
                    listeners.push(Listener { address, port, path: path.clone(), line, text });
                }
            }
        }
    }
    Ok(listeners)
}

/// `10.1.2.3`, `10.1.2.3:22`, `[fe80::1]:22`, `fe80::1`; a name is none.
fn address_of(value: &str) -> Option<IpAddr> {
    let value = value.split_whitespace().next()?;
    let inner = value.strip_prefix('[').and_then(|rest| rest.split(']').next());
    inner
        .or_else(|| value.parse::<IpAddr>().is_err().then(|| value.rsplit_once(':').map(|(host, _)| host))?)
        .unwrap_or(value)
        .parse()
        .ok()
}

fn port_of(value: &str) -> Option<u16> {
    let value = value.split_whitespace().next()?;
    if value.parse::<IpAddr>().is_ok() {
        return None;
    }
    value.rsplit_once(':')?.1.parse().ok()
}

fn ports(settings: &Settings, listeners: &[Listener]) -> Vec<u16> {
    let mut ports: Vec<u16> = listeners.iter().filter_map(|listener| listener.port).collect();
    if ports.is_empty() || listeners.iter().any(|listener| listener.port.is_none()) {
        ports.extend(settings.all("port").filter_map(|setting| setting.value.parse::<u16>().ok()));
    }
    if ports.is_empty() {
        ports.push(PORT);
    }
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// A server that listens on addresses only which the instance will not have.
fn addresses(listeners: &[Listener], around: &Surroundings<'_>, findings: &mut Findings) {
    // A name, or none, may stand for anything.
    let gone = |listener: &Listener| {
        let text =
            listener.address.filter(|address| !address.is_unspecified()).map(|found| found.to_string());
        text.is_some_and(|text| !around.keeps(&text))
    };
    if listeners.is_empty() || !listeners.iter().all(gone) {
        return;
    }
    let local = listeners.iter().all(|listener| listener.address.is_some_and(|found| found.is_loopback()));
    let summary = if local {
        "the SSH server listens on the loopback only"
    } else {
        "the SSH server listens on the old machine's address only"
    };
    let mut finding = warns("ssh_listens_elsewhere", summary).advice(match (local, around.policy) {
        (false, NetworkPolicy::Dhcp) => {
            "On another address it will not start. Give the instance the same private_ip, or take ListenAddress out \
             of the guest's configuration."
        }
        _ => "Take ListenAddress out of the guest's configuration, or reach it by the EC2 serial console.",
    });
    for listener in listeners {
        finding = finding.at(&listener.path, listener.line, &listener.text);
    }
    findings.push(finding);
}

/// Who may come in: users, TCP wrappers, `/etc/nologin`.
fn limits(draft: &Draft<'_>, program: &str, settings: &Settings, findings: &mut Findings) {
    let mut only = informs("ssh_users_limited", "SSH lets in only some users")
        .advice("EC2's key pairs log in as the distribution's user (ec2-user, ubuntu, admin …): see that yours is among these.");
    let mut limited = false;
    for setting in ["allowusers", "allowgroups"].into_iter().flat_map(|keyword| settings.all(keyword)) {
        only = at(only, setting);
        limited = true;
    }
    if limited {
        findings.push(only);
    }
    if draft.exists("/etc/nologin") {
        findings.push(
            warns("nologin", "only root can log in")
                .seen("/etc/nologin is there")
                .advice("It was left behind, or maintenance was going on. Remove it on the first log-in as root:\nrm /etc/nologin"),
        );
    }
    wrappers(draft, program, findings);
}

/// hosts.deny without a way through hosts.allow (hosts_access(5)), where the server asks them.
fn wrappers(draft: &Draft<'_>, program: &str, findings: &mut Findings) {
    let rule = |path: &str| {
        let text = draft.text(path).unwrap_or_default();
        text.lines().zip(1_u32..).find_map(|(text, line)| {
            let (daemons, clients) = text.trim().split_once(':')?;
            let named = |daemon: &str| ["all", "sshd"].contains(&daemon.to_lowercase().as_str());
            let ours = !daemons.starts_with('#') && daemons.split([',', ' ', '\t']).any(named);
            ours.then(|| (line, text.trim().to_owned(), clients.trim().to_uppercase()))
        })
    };
    let Some((line, text, clients)) = rule("/etc/hosts.deny") else { return };
    let allowed = rule("/etc/hosts.allow");
    let open = allowed.as_ref().is_some_and(|(_, _, clients)| clients.starts_with("ALL"));
    if !clients.starts_with("ALL") || open || !asks_wrappers(draft.tree(), program) {
        return;
    }
    let mut finding = warns("tcp_wrappers", "TCP wrappers let SSH in from some addresses only, or from none")
        .at("/etc/hosts.deny", line, &text)
        .advice("See that hosts.allow names the networks that clients of the instance come from.");
    if let Some((line, text, _)) = allowed {
        finding = finding.at("/etc/hosts.allow", line, &text);
    }
    findings.push(finding);
}

/// Whether the server is linked to libwrap (not since OpenSSH 6.7, but where distributions kept it).
fn asks_wrappers(tree: &Tree, program: &str) -> bool {
    let content = tree.read(program, MOST_PROGRAM).unwrap_or_default();
    content.windows(10).any(|window| window == b"libwrap.so")
}

/// The setting by which passwords are refused.
#[must_use]
pub fn refuses_passwords(settings: &Settings) -> Option<&Setting> {
    // Through PAM, these ask for the same password.
    let asks = ["kbdinteractiveauthentication", "challengeresponseauthentication"];
    let asked = asks.iter().any(|keyword| settings.is(keyword, "yes"));
    settings
        .first("passwordauthentication")
        .filter(|setting| setting.value.eq_ignore_ascii_case("no") && !asked)
}

/// The setting by which root is refused: altogether, or without a key.
#[must_use]
pub fn refuses_root(settings: &Settings, with_key: bool) -> Option<&Setting> {
    settings.first("permitrootlogin").filter(|setting| match setting.value.to_lowercase().as_str() {
        "no" => true,
        "prohibit-password" | "without-password" | "forced-commands-only" => !with_key,
        _ => false,
    })
}
