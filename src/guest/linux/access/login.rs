//! Accounts: who can log in with what, and whose password has run out (shadow(5)).

use std::time::{SystemTime, UNIX_EPOCH};

use super::ssh::{self, refuses_passwords, refuses_root};
use super::sshd_config::Settings;
use crate::guest::draft::Draft;
use crate::guest::findings::{Findings, informs, warns};

/// Users that are looked at.
const MOST_USERS: usize = 512;
const SHADOW: &str = "/etc/shadow";
/// What a switch file of name services names besides the guest's own files.
const DIRECTORIES: [&str; 5] = ["sss", "ldap", "winbind", "nis", "compat-nis"];

/// An account.
#[derive(Debug, Default)]
struct Account {
    name: String,
    is_root: bool,
    /// Its line of `/etc/shadow` and the number of that.
    line: u32,
    text: String,
    password: bool,
    key: bool,
    /// Days since 1970.
    changed: Option<u64>,
    maximum: Option<u64>,
    expires: Option<u64>,
}

impl Account {
    fn can_log_in(&self) -> bool {
        self.password || self.key
    }

    /// Whether its password must be changed at the next log-in, by key too.
    fn is_expired(&self, today: u64) -> bool {
        self.password
            && match (self.changed, self.maximum) {
                (Some(0), _) => true,
                (Some(changed), Some(maximum)) => changed.saturating_add(maximum) < today,
                _ => false,
            }
    }
}

/// Notes a guest that nobody can log in to, and passwords and accounts that have run out.
pub fn inspect(draft: &Draft<'_>, settings: &Settings, findings: &mut Findings) {
    let directory = directory_users(draft, findings);
    let Some(accounts) = accounts(draft) else { return };
    let today = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 86_400);
    run_out(&accounts, today, findings);
    if directory {
        return;
    }
    let passwords = accounts.iter().any(|account| account.password);
    let keys = accounts.iter().any(|account| account.key);
    if !passwords && !keys {
        findings.push(
            warns("no_login", "no account has a password or an authorized key")
                .seen("/etc/shadow and the authorized_keys of every home directory")
                .advice(
                    "Let cloud-init put the instance's key pair in, or user data or a first-boot script set a \
                     password or key; or set one in the guest and back it up again.",
                ),
        );
    } else if let (true, false, Some(setting)) = (passwords, keys, refuses_passwords(settings)) {
        let finding = informs(
            "password_login_refused",
            "the SSH server takes no passwords, and no account has an authorized key",
        );
        findings.push(
            ssh::at(finding, setting)
                .advice("Log in on the EC2 serial console with a password, or let user data or a first-boot script put a key in."),
        );
    }
    let root = accounts.iter().find(|account| account.is_root && account.can_log_in());
    let alone = accounts.iter().all(|account| account.is_root || !account.can_log_in());
    if let Some(root) = root
        && alone
        && let Some(setting) = refuses_root(settings, root.key)
    {
        let finding =
            warns("ssh_root_refused", "only root has a way to log in, and SSH does not let root in");
        findings.push(
            ssh::at(finding, setting)
                .advice("Log in as root on the EC2 serial console, or let user data or a first-boot script put a key in for another user."),
        );
    }
}

/// Everybody with a shell and a way in; `None` where there is no shadow file.
fn accounts(draft: &Draft<'_>) -> Option<Vec<Account>> {
    let shadow = draft.text(SHADOW)?;
    let passwd = draft.text("/etc/passwd").unwrap_or_default();
    // Name → user id, home directory, whether its shell is one.
    let users = |name: &str| {
        passwd.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            (fields.first() == Some(&name)).then(|| {
                let home = fields.get(5).filter(|home| home.starts_with('/')).map(|home| (*home).to_owned());
                let shell = fields
                    .get(6)
                    .is_none_or(|shell| !shell.ends_with("nologin") && !shell.ends_with("false"));
                (fields.get(2).is_some_and(|id| *id == "0"), home, shell)
            })
        })
    };
    let mut accounts = Vec::new();
    for (text, line) in shadow.lines().zip(1_u32..).take(MOST_USERS) {
        let fields: Vec<&str> = text.split(':').collect();
        let [name, hash, changed, ..] = fields.as_slice() else { continue };
        let (is_root, home, shell) = users(name).unwrap_or((*name == "root", None, true));
        if !shell {
            continue;
        }
        let number = |index: usize| fields.get(index).and_then(|days| days.parse().ok());
        accounts.push(Account {
            name: (*name).to_owned(),
            is_root,
            line,
            text: text.to_owned(),
            // An empty hash logs in without a password; `!`, `*` and `x` never match.
            password: !hash.starts_with(['!', '*', 'x']),
            key: home.is_some_and(|home| has_key(draft, &home)),
            changed: changed.parse().ok(),
            maximum: number(4),
            expires: number(7),
        });
    }
    Some(accounts)
}

fn has_key(draft: &Draft<'_>, home: &str) -> bool {
    [".ssh/authorized_keys", ".ssh/authorized_keys2"].iter().any(|file| {
        let keys = draft.text(&format!("{}/{file}", home.trim_end_matches('/'))).unwrap_or_default();
        keys.lines().any(|line| !line.trim().is_empty() && !line.starts_with('#'))
    })
}

fn run_out(accounts: &[Account], today: u64, findings: &mut Findings) {
    for account in accounts.iter().filter(|account| account.can_log_in()) {
        let at = |finding: crate::guest::report::Finding| finding.at(SHADOW, account.line, &account.text);
        if account.expires.is_some_and(|expires| expires <= today) {
            findings.push(at(warns("account_expired", "an account has expired: it cannot log in")
                .advice("Another one must be the way in; `chage -E -1 USER` in the guest makes it last.")));
        } else if account.is_root && account.is_expired(today) {
            findings.push(at(warns(
                "root_password_expired",
                "the root password must be changed at the next log-in",
            )
            .advice(
                "Unattended log-ins as root fail until it is changed, also with a key. Change it at the first log-in, \
                 or run `chage -M -1 root` in the guest and back it up again.",
            )));
        } else if account.is_expired(today) && account.name != "root" {
            findings.push(at(warns(
                "password_expired",
                "an account's password has run out; it must be changed at the next log-in",
            )
            .advice("Unattended log-ins of this account fail until it is changed, also with a key.")));
        }
    }
}

/// Whether users come from a directory server; that it must be reachable is worth knowing.
fn directory_users(draft: &Draft<'_>, findings: &mut Findings) -> bool {
    let switch = draft.text("/etc/nsswitch.conf").unwrap_or_default();
    let named = switch.lines().zip(1_u32..).find(|(line, _)| {
        let sources = line.trim().strip_prefix("passwd:");
        sources.is_some_and(|sources| sources.split_whitespace().any(|source| DIRECTORIES.contains(&source)))
    });
    // sssd's package puts `sss` there; only a configuration makes it do something.
    let configured = [
        "/etc/sssd/sssd.conf",
        "/etc/krb5.keytab",
        "/etc/samba/secrets.tdb",
        "/var/lib/samba/private/secrets.tdb",
        "/etc/nslcd.conf",
        "/etc/ldap.conf",
        "/etc/yp.conf",
    ];
    let Some(place) = configured.iter().find(|path| draft.exists(path)) else { return false };
    let Some((line, number)) = named else { return false };
    findings.push(
        informs("directory_users", "users come from a directory server (Active Directory, LDAP)")
            // `passwd:` is no password, so this line is not masked.
            .seen(format!("/etc/nsswitch.conf:{number}: {}", line.trim()))
            .seen(*place)
            .advice("See that the instance reaches its servers and resolves their names; without them only local accounts log in."),
    );
    true
}
