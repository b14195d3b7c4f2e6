//! The guest's host name: where each distribution keeps it, and what would put the old one back.

use crate::guest::draft::Draft;
use crate::guest::linux::release::{self, Family, Release};
use crate::guest::tree::{Kind, TreeError};

const PURPOSE: &str = "the host name that you want";
const HOSTNAME: &str = "/etc/hostname";
/// SUSE's older name for it; often a link.
const SUSE_HOSTNAME: &str = "/etc/HOSTNAME";
/// EL 6's, which is a directory of SUSE's.
const SYSCONFIG: &str = "/etc/sysconfig/network";
const HOSTS: &str = "/etc/hosts";
/// SUSE's DHCP settings.
const SUSE_DHCP: &str = "/etc/sysconfig/network/dhcp";
/// Where cloud-init reads settings.
const CLOUD: &str = "/etc/cloud/cloud.cfg.d";

/// Gives the guest a name.
///
/// # Errors
/// When a file cannot be read.
pub fn prepare(draft: &mut Draft<'_>, release: &Release, name: &str) -> Result<(), TreeError> {
    let tree = draft.tree();
    let old = release::hostname(tree);
    let sysconfig = draft.text(SYSCONFIG).filter(|_| tree.is_file(SYSCONFIG));
    let before_systemd =
        release.family == Family::RedHat && (1..7).contains(&release.major()) && release.id != "amzn";
    let line = format!("{name}\n").into_bytes();
    if let Some(text) = sysconfig {
        let has = text.lines().any(|line| line.trim_start().starts_with("HOSTNAME="));
        if has || before_systemd {
            let new = set_line(&text, "HOSTNAME=", &format!("HOSTNAME={name}"));
            draft.write(SYSCONFIG, new.into_bytes(), 0o644, PURPOSE)?;
        }
    }
    let suse = matches!(tree.symlink_metadata(SUSE_HOSTNAME)?, Some(found) if found.kind == Kind::File);
    if suse {
        draft.write(SUSE_HOSTNAME, line.clone(), 0o644, PURPOSE)?;
    }
    if tree.exists(HOSTNAME) || !(suse || before_systemd) {
        draft.write(HOSTNAME, line, 0o644, PURPOSE)?;
    }
    if let Some(text) = draft.text(HOSTS) {
        let new = hosts(&text, old.as_deref(), name, release.family == Family::Debian);
        draft.write(HOSTS, new.into_bytes(), 0o644, PURPOSE)?;
    }
    if let Some(text) = draft.text(SUSE_DHCP)
        && release::value(&text, "DHCLIENT_SET_HOSTNAME").as_deref() == Some("yes")
    {
        let new = set_line(&text, "DHCLIENT_SET_HOSTNAME=", "DHCLIENT_SET_HOSTNAME=\"no\"");
        draft.write(SUSE_DHCP, new.into_bytes(), 0o644, "no host name from EC2 in place of yours")?;
    }
    if tree.is_directory(CLOUD) {
        let text =
            "# Replant: the host name is as the restore's configuration wants it.\npreserve_hostname: true\n";
        let path = format!("{CLOUD}/99-replant-hostname.cfg");
        draft.write(&path, text.into(), 0o644, "no host name from EC2 in place of yours")?;
    }
    Ok(())
}

/// The text with every line that begins so replaced; without any, with the line at its end.
fn set_line(text: &str, start: &str, line: &str) -> String {
    let mut new = String::new();
    let mut found = false;
    for old in text.split_inclusive('\n') {
        if old.trim_start().starts_with(start) {
            found = true;
            new.push_str(line);
            new.push_str(if old.ends_with('\n') { "\n" } else { "" });
        } else {
            new.push_str(old);
        }
    }
    if !found {
        if !new.is_empty() && !new.ends_with('\n') {
            new.push('\n');
        }
        new.push_str(&format!("{line}\n"));
    }
    new
}

/// `/etc/hosts` with the new name where the old one stands for the machine itself: on lines of
/// loopback addresses. Debian's installer gives the name a line of its own, 127.0.1.1; without
/// any such line there, one is added, since programs look up their own name.
fn hosts(text: &str, old: Option<&str>, name: &str, adds: bool) -> String {
    let short = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    let old_short = old.map(short);
    let is_old = |word: &str| {
        word != "localhost"
            && !word.starts_with("localhost.")
            && (Some(word) == old || (Some(short(word)) == old_short && old_short.as_deref() != Some("")))
    };
    let mut new = String::new();
    let mut named = false;
    for line in text.split_inclusive('\n') {
        let (code, comment) = line.find('#').map_or((line, ""), |at| line.split_at(at));
        let address = code.split_whitespace().next().unwrap_or_default();
        if !address.starts_with("127.") && address != "::1" {
            new.push_str(line);
            continue;
        }
        let mut rest = code;
        while let Some(start) = rest.find(|c: char| !c.is_whitespace()) {
            let (blank, word_on) = rest.split_at(start);
            let end = word_on.find(char::is_whitespace).unwrap_or(word_on.len());
            let (word, after) = word_on.split_at(end);
            new.push_str(blank);
            // `web01.example.com web01` becomes `web02.example.com web02`.
            let word = match word.split_once('.') {
                _ if !is_old(word) => word.to_owned(),
                Some((_, domain)) if !name.contains('.') => format!("{name}.{domain}"),
                Some(_) => name.to_owned(),
                None => short(name),
            };
            named |= word == name;
            new.push_str(&word);
            rest = after;
        }
        new.push_str(rest);
        new.push_str(comment);
    }
    if !named && adds {
        if !new.is_empty() && !new.ends_with('\n') {
            new.push('\n');
        }
        let both = if name.contains('.') { format!("{name} {}", short(name)) } else { name.to_owned() };
        new.push_str(&format!("127.0.1.1\t{both}\n"));
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_machine_itself_change() {
        let text = "127.0.0.1\tlocalhost localhost.localdomain # old web01\n127.0.1.1\tweb01.example.com web01\n10.0.0.1 web01 # shared\n";
        let new = hosts(text, Some("web01"), "web02", true);
        assert_eq!(
            new,
            "127.0.0.1\tlocalhost localhost.localdomain # old web01\n127.0.1.1\tweb02.example.com web02\n10.0.0.1 web01 # shared\n"
        );
        assert_eq!(hosts(&new, Some("web02"), "web02", true), new);
        let full = hosts(text, Some("web01"), "web02.dr.example.com", true);
        assert!(full.contains("127.0.1.1\tweb02.dr.example.com web02\n"), "{full}");
    }

    #[test]
    fn a_name_that_stands_nowhere_is_added_for_debian() {
        assert_eq!(
            hosts("127.0.0.1 localhost", Some("a"), "b.c", true),
            "127.0.0.1 localhost\n127.0.1.1\tb.c b\n"
        );
        let red_hat = "127.0.0.1 localhost localhost.localdomain\n::1 localhost6\n";
        assert_eq!(hosts(red_hat, Some("a"), "b", false), red_hat);
        // A machine that is called localhost has no name to replace.
        assert_eq!(hosts(red_hat, Some("localhost.localdomain"), "b", false), red_hat);
    }

    #[test]
    fn settings_are_replaced_or_added() {
        assert_eq!(set_line("A=1\nHOSTNAME=x\nB=2", "HOSTNAME=", "HOSTNAME=y"), "A=1\nHOSTNAME=y\nB=2");
        assert_eq!(set_line("A=1", "HOSTNAME=", "HOSTNAME=y"), "A=1\nHOSTNAME=y\n");
    }
}
