//! Secrets in guest files, masked before anything leaves the sandbox (promise 8).
//!
//! Diffs and evidence pass through here. Masking works on lines and words, not on each format's
//! full grammar: what looks like a secret is masked even where it is none.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// What stands in a secret's place.
pub const MASK: &str = "(masked)";

/// The words that mark a value as secret, in keys of any format.
const KEYS: &str = "(?:password|passwd|passphrase|pass-?word-?raw|psk|pre-shared-key|secret|secrets|token|api[-_]?key|\
    private[-_]?key(?:-password)?|client[-_]?key[-_]?password|ca-cert-password|wep-key\\d?|wep_key\\d?|leap-password|\
    wpa[-_]psk|wpa[-_]password|wireless[-_]key\\d?|key\\d?|pin|community|auth[-_]?key|credential|credentials)";

fn pattern(text: &str) -> Option<Regex> {
    Regex::new(text).ok()
}

/// `key = value`, `key: value`, `KEY='value'`, `wpa-psk value`.
static ASSIGNED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(&format!(
        r#"(?im)^(?P<head>[ \t\-]*"?(?:[\w.]*[-_.])?{KEYS}"?[ \t]*[=:][ \t]*)(?P<value>[^\s#][^\r\n]*)"#
    ))
});
/// The same with a blank between, for ifupdown and wpa_supplicant.
static SPOKEN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(
        r"(?im)^(?P<head>[ \t]*(?:wpa-psk|wpa-password|wpa-passphrase|wireless-key\d?|wpa-private-key-passwd|password(?:[ \t]+--\w+)*)[ \t]+)(?P<value>[^\r\n]+)",
    )
});
/// The same within a flow mapping or another line: `{password: x, …}`.
static INLINE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(&format!(
        r#"(?i)(?P<head>[{{,][ \t]*"?{KEYS}"?[ \t]*:[ \t]*)(?P<value>"[^"]*"|'[^']*'|[^,}}\r\n]+)"#
    ))
});
/// crypt(3) hashes and GRUB's pbkdf2 ones, wherever they stand.
static HASHES: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(
        r"(?P<head>)(?P<value>grub\.pbkdf2\.\S+|\$(?:1|2[abxy]?|5|6|7|y|gy|md5|sha1|argon2\w*)\$[^\s:,]+|\{(?:SSHA|CRYPT|SHA|MD5)\d*\}\S+)",
    )
});
/// Secret kernel arguments: keys of encrypted disks, network secrets, iSCSI and CIFS passwords.
static ARGUMENTS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(
        r#"(?i)(?P<head>\b(?:rd\.luks\.key|luks\.key|rd\.luks\.keyfile|cryptkey|rd\.iscsi\.(?:in\.)?password|rd_iscsi_(?:in_)?password|[\w.]*(?:password|passwd|passphrase|secret|token))=)(?P<value>[^\s"']+)"#,
    )
});
/// `user:password@host` of a URL.
static USER_INFO: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(r"(?P<head>[a-zA-Z][a-zA-Z0-9+.\-]*://[^\s/:@]*:)(?P<value>[^\s/@]+)(?P<tail>@)")
});
/// Private keys in PEM.
static PEM: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(
        r"(?s)(?P<head>-----BEGIN [A-Z ]*PRIVATE KEY[A-Z ]*-----)(?P<value>.*?)(?P<tail>-----END [A-Z ]*PRIVATE KEY[A-Z ]*-----|\z)",
    )
});
/// Answer files: `<Password><Value>…</Value></Password>`, `<AdministratorPassword>…`.
static ANSWERS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(
        r"(?is)(?P<head><(?:\w+:)?\w*(?:password|productkey)\b[^>]*>(?:\s*<(?:\w+:)?value\b[^>]*>)?)(?P<value>[^<]+)",
    )
});

/// A file's text (or one line of it) without its secrets.
#[must_use]
pub fn text(path: &str, content: &str) -> String {
    if holds_only_secrets(path) {
        return content.lines().map(|line| mask_account(line) + "\n").collect();
    }
    let mut masked = content.to_owned();
    for expression in [&*PEM, &*ANSWERS, &*ASSIGNED, &*SPOKEN, &*INLINE, &*HASHES, &*ARGUMENTS, &*USER_INFO]
        .into_iter()
        .flatten()
    {
        let replaced = expression.replace_all(&masked, |captures: &Captures<'_>| {
            let part = |name| captures.name(name).map_or("", |found| found.as_str());
            format!("{}{MASK}{}", part("head"), part("tail"))
        });
        if let std::borrow::Cow::Owned(replaced) = replaced {
            masked = replaced;
        }
    }
    masked
}

/// Files of which every line holds a secret: account databases, `chap-secrets`, key files.
fn holds_only_secrets(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    matches!(
        name,
        "shadow" | "shadow-" | "gshadow" | "gshadow-" | "chap-secrets" | "pap-secrets" | ".smbcredentials"
    )
}

/// `root:(masked)`.
fn mask_account(line: &str) -> String {
    match line.split_once([':', ' ', '\t']) {
        Some((name, _)) => format!("{name}:{MASK}"),
        None if line.is_empty() => String::new(),
        None => MASK.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_every_format_are_masked() {
        for (path, content, secret) in [
            (
                "/etc/netplan/a.yaml",
                "wifis:\n  w:\n    access-points:\n      x:\n        password: \"hunter2\"\n",
                "hunter2",
            ),
            ("/etc/netplan/a.yaml", "auth: {key-management: psk, password: hunter2}\n", "hunter2"),
            (
                "/etc/NetworkManager/system-connections/w",
                "[wifi-security]\nkey-mgmt=wpa-psk\npsk=hunter2\n",
                "hunter2",
            ),
            (
                "/etc/NetworkManager/system-connections/w",
                "[vpn-secrets]\nXauth password=hunter2\n",
                "hunter2",
            ),
            ("/etc/network/interfaces", "iface w inet dhcp\n  wpa-psk hunter2\n", "hunter2"),
            ("/etc/sysconfig/network/ifcfg-wlan0", "WIRELESS_WPA_PSK='hunter2'\n", "hunter2"),
            ("/etc/shadow", "root:$6$abc$hunter2:19000:0:99999:7:::\n", "hunter2"),
            ("/etc/x", "root:$y$j9T$hunter2$more:1\n", "hunter2"),
            ("/boot/grub/grub.cfg", "password_pbkdf2 root grub.pbkdf2.sha512.10000.hunter2\n", "hunter2"),
            ("/boot/grub/menu.lst", "password --md5 $1$hunter2\n", "hunter2"),
            ("/boot/grub/menu.lst", "password hunter2\n", "hunter2"),
            ("/etc/default/grub", "GRUB_CMDLINE_LINUX=\"ro rd.luks.key=hunter2 quiet\"\n", "hunter2"),
            ("/boot/grub/grub.cfg", "linux /vmlinuz root=UUID=1 rd.iscsi.password=hunter2 ro\n", "hunter2"),
            ("/etc/apt/x", "proxy http://user:hunter2@host/\n", "hunter2"),
            (
                "/a",
                "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n-----END OPENSSH PRIVATE KEY-----\n",
                "hunter2",
            ),
            ("/unattend.xml", "<AdministratorPassword>\n<Value>hunter2</Value>", "hunter2"),
        ] {
            let masked = text(path, content);
            assert!(!masked.contains(secret), "{path}: {masked}");
            assert!(masked.contains(MASK), "{masked}");
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        for (path, content) in [
            ("/etc/fstab", "UUID=0a1b / ext4 errors=remount-ro 0 1\n"),
            ("/etc/default/grub", "GRUB_CMDLINE_LINUX=\"console=ttyS0,115200n8 root=UUID=1 quiet\"\n"),
            ("/etc/netplan/a.yaml", "network:\n  ethernets:\n    ens192:\n      addresses: [10.0.0.1/24]\n"),
            ("/etc/NetworkManager/system-connections/e", "[connection]\nid=e\ntype=ethernet\n"),
        ] {
            assert_eq!(text(path, content), content);
        }
    }
}
