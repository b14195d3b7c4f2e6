//! Whether a person can reach the restored guest: sshd, its firewall, a way to log in.

use super::network::policy::enabled;
use super::release::value;
use crate::guest::draft::Draft;
use crate::guest::findings::{Findings, informs, warns};
use crate::guest::tree::{Tree, TreeError};

const SSHD_CONFIG: &str = "/etc/ssh/sshd_config";
/// Users whose home directories are looked at for authorized keys.
const MOST_USERS: usize = 512;

/// Looks at everything between a client and a shell.
///
/// # Errors
/// When a directory cannot be listed.
pub fn inspect(draft: &Draft<'_>, findings: &mut Findings) -> Result<(), TreeError> {
    let port = sshd(draft, findings);
    firewall(draft, port, findings)?;
    login(draft, findings);
    Ok(())
}

/// Whether a System V service starts in runlevel 3 or 2.
fn starts_by_runlevel(tree: &Tree, service: &str) -> bool {
    ["/etc/rc3.d", "/etc/rc2.d", "/etc/rc.d/rc3.d", "/etc/init.d/rc3.d"].iter().any(|directory| {
        let entries = tree.list(directory).unwrap_or_default().entries;
        entries.iter().any(|entry| {
            let name = entry.name.trim_start_matches('S').trim_start_matches(|c: char| c.is_ascii_digit());
            entry.name.starts_with('S') && name == service
        })
    })
}

/// Notes a missing or sleeping SSH server; gives its port.
fn sshd(draft: &Draft<'_>, findings: &mut Findings) -> u16 {
    let tree = draft.tree();
    let config = draft.text(SSHD_CONFIG).unwrap_or_default();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let port = config
        .lines()
        .map(words)
        .find(|words| words.first().is_some_and(|word| word.eq_ignore_ascii_case("port")));
    let port = port.and_then(|words| words.get(1)?.parse().ok()).unwrap_or(22);
    if !tree.exists("/usr/sbin/sshd") && !tree.exists("/usr/bin/sshd") {
        findings.push(
            warns("sshd_missing", "no SSH server is installed")
                .seen("/usr/sbin/sshd is not there")
                .advice("Without one, the guest is reached by the EC2 serial console only."),
        );
        return port;
    }
    let services = ["sshd.service", "ssh.service", "ssh.socket", "sshd.socket"];
    let runs = services.iter().any(|service| enabled(tree, service))
        || ["ssh", "sshd"].iter().any(|service| starts_by_runlevel(tree, service) || upstart(tree, service));
    if !runs {
        findings.push(
            warns("sshd_disabled", "the SSH server does not start at boot")
                .seen("no enabled sshd or ssh service")
                .advice("Enable it in the guest, or reach the guest by the EC2 serial console:\nsystemctl enable ssh"),
        );
    }
    port
}

fn upstart(tree: &Tree, service: &str) -> bool {
    tree.is_file(&format!("/etc/init/{service}.conf"))
}

/// Notes a host firewall that seems to keep SSH out, so far as its rules can be read.
fn firewall(draft: &Draft<'_>, port: u16, findings: &mut Findings) -> Result<(), TreeError> {
    let tree = draft.tree();
    let mut closed = |kind: &str, place: String| {
        findings.push(
            warns("firewall_blocks_ssh", format!("the guest's firewall ({kind}) seems to keep SSH out"))
                .seen(place)
                .advice("Allow the SSH port in the guest, or reach the guest by the EC2 serial console."),
        );
    };
    if enabled(tree, "firewalld.service") {
        let config = draft.text("/etc/firewalld/firewalld.conf").unwrap_or_default();
        let zone = value(&config, "DefaultZone").unwrap_or_else(|| "public".to_owned());
        let own = format!("/etc/firewalld/zones/{zone}.xml");
        let system = format!("/usr/lib/firewalld/zones/{zone}.xml");
        let (path, text) = match (draft.text(&own), draft.text(&system)) {
            (Some(text), _) => (own, Some(text)),
            (None, text) => (system, text),
        };
        let open = |text: &str| {
            text.contains("service name=\"ssh\"")
                || text.contains(&format!("port=\"{port}\""))
                || text.contains("target=\"ACCEPT\"")
        };
        if text.is_some_and(|text| !open(&text)) || ["drop", "block"].contains(&zone.as_str()) {
            closed("firewalld", path);
        }
    }
    let ufw = draft.text("/etc/ufw/ufw.conf").unwrap_or_default();
    if value(&ufw, "ENABLED").is_some_and(|value| value.eq_ignore_ascii_case("yes")) {
        let policy = draft.text("/etc/default/ufw").and_then(|text| value(&text, "DEFAULT_INPUT_POLICY"));
        let rules = draft.text("/etc/ufw/user.rules").unwrap_or_default();
        if policy.is_none_or(|policy| policy != "ACCEPT") && !allows(&rules, port) {
            closed("ufw", "/etc/ufw/user.rules".to_owned());
        }
    }
    for (path, services) in [
        ("/etc/sysconfig/iptables", ["iptables.service", "iptables"]),
        ("/etc/iptables/rules.v4", ["netfilter-persistent.service", "netfilter-persistent"]),
    ] {
        let runs = enabled(tree, services[0]) || starts_by_runlevel(tree, services[1]);
        let Some(rules) = draft.text(path).filter(|_| runs) else { continue };
        let rejects = rules.lines().any(|line| {
            line.starts_with(":INPUT DROP")
                || (line.starts_with("-A INPUT") && (line.contains("-j REJECT") || line.contains("-j DROP")))
        });
        if rejects && !allows(&rules, port) {
            closed("iptables", path.to_owned());
        }
    }
    for path in ["/etc/nftables.conf", "/etc/sysconfig/nftables.conf"] {
        let Some(rules) = draft.text(path).filter(|_| enabled(tree, "nftables.service")) else { continue };
        let drops = rules.contains("hook input") && rules.contains("policy drop");
        let opens = rules.lines().any(|line| {
            line.contains("accept")
                && line.contains("dport")
                && (line.contains("ssh") || has_number(line, port))
        });
        if drops && !opens && !rules.contains("include ") {
            closed("nftables", path.to_owned());
        }
    }
    Ok(())
}

fn allows(rules: &str, port: u16) -> bool {
    rules.lines().any(|line| {
        line.starts_with("-A ")
            && line.ends_with("ACCEPT")
            && line.contains("dport")
            && has_number(line, port)
    })
}

fn has_number(line: &str, number: u16) -> bool {
    line.split(|c: char| !c.is_ascii_digit()).any(|word| word.parse() == Ok(number))
}

/// Notes a guest that nobody can log in to, and a root password that has expired.
fn login(draft: &Draft<'_>, findings: &mut Findings) {
    let Some(shadow) = draft.text("/etc/shadow") else { return };
    let passwd = draft.text("/etc/passwd").unwrap_or_default();
    let mut usable = false;
    for (line, number) in shadow.lines().zip(1_u32..) {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, hash, changed, ..] = fields.as_slice() else { continue };
        // An empty hash logs in without a password; `!` and `*` never match.
        usable |= !hash.starts_with(['!', '*', 'x']);
        let expires_at_once = *changed == "0";
        let expired = fields.get(7).and_then(|days| days.parse::<u64>().ok()).is_some_and(|days| days < 1);
        if *name == "root" && !hash.starts_with(['!', '*']) && (expires_at_once || expired) {
            findings.push(
                warns("root_password_expired", "the root password must be changed at the next log-in")
                    .at("/etc/shadow", number, line)
                    .advice("Unattended log-ins as root will fail until it is changed."),
            );
        }
    }
    let homes = passwd.lines().take(MOST_USERS).filter_map(|line| line.split(':').nth(5));
    let keys = homes.filter(|home| home.starts_with('/')).any(|home| {
        let keys = draft.text(&format!("{home}/.ssh/authorized_keys")).unwrap_or_default();
        keys.lines().any(|line| !line.trim().is_empty() && !line.starts_with('#'))
    });
    let directory = draft.tree().exists("/etc/sssd/sssd.conf") || draft.tree().exists("/etc/krb5.keytab");
    if !usable && !keys && !directory {
        findings.push(
            warns("no_login", "no account has a password or an authorized key")
                .seen("/etc/shadow and the authorized_keys of every home directory")
                .advice("Let cloud-init or user data put a key in, or set a password in the guest."),
        );
    } else if usable && !keys && password_refused(draft) {
        findings.push(
            informs(
                "password_login_refused",
                "the SSH server takes no passwords, and no account has an authorized key",
            )
            .seen(SSHD_CONFIG)
            .advice("Log in on the EC2 serial console with a password, or put a key in."),
        );
    }
}

fn password_refused(draft: &Draft<'_>) -> bool {
    let config = draft.text(SSHD_CONFIG).unwrap_or_default();
    config.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.next().is_some_and(|word| word.eq_ignore_ascii_case("passwordauthentication"))
            && words.next().is_some_and(|word| word.eq_ignore_ascii_case("no"))
    })
}
