//! `identity = "new"`: what tells one machine from another is made anew by the guest itself.
//!
//! An empty `/etc/machine-id` is filled at the next boot without that being a "first boot" in
//! systemd's sense (machine-id(5)), so that no preset enables or disables a service. Names of boot
//! entries that begin with the old id are only names; they stay.

use super::service::{Init, Service};
use crate::guest::draft::Draft;
use crate::guest::findings::{Findings, informs, warns};
use crate::guest::tree::{Kind, Tree, TreeError};

/// The machine's id, and D-Bus's own copy of it.
const MACHINE_ID: &str = "/etc/machine-id";
const DBUS_ID: &str = "/var/lib/dbus/machine-id";
/// Where host keys are.
const SSH: &str = "/etc/ssh";
const KEYGEN: &str = "/usr/bin/ssh-keygen";
const HOST_KEYS: &str = "replant-host-keys";
/// System V's scripts that start the SSH server.
const SSH_SCRIPTS: [&str; 3] = ["/etc/init.d/sshd", "/etc/init.d/ssh", "/etc/rc.d/init.d/sshd"];
/// What seeds the random numbers of the next boot.
const SEEDS: [&str; 6] = [
    "/var/lib/systemd/random-seed",
    "/var/lib/urandom/random-seed",
    "/var/lib/random-seed",
    "/var/lib/misc/random-seed",
    "/boot/efi/loader/random-seed",
    "/boot/loader/random-seed",
];
/// Files that DHCP clients and cloud-init know a machine by.
const MEMORIES: [&str; 9] = [
    "/var/lib/NetworkManager/secret_key",
    "/var/lib/NetworkManager/timestamps",
    "/etc/dhcpcd.duid",
    "/var/lib/dhcpcd/duid",
    "/var/lib/wicked/duid.xml",
    "/var/lib/wicked/iaid.xml",
    "/var/lib/cloud/instance/obj.pkl",
    "/var/lib/cloud/data/instance-id",
    "/var/lib/cloud/data/previous-instance-id",
];
/// Directories of leases, and parts of their files' names.
const LEASES: [(&str, &[&str]); 6] = [
    ("/var/lib/dhcp", &[".lease"]),
    ("/var/lib/dhclient", &[".lease"]),
    ("/var/lib/dhcpcd", &[".lease"]),
    ("/var/lib/dhcp3", &[".lease"]),
    ("/var/lib/NetworkManager", &[".lease"]),
    ("/var/lib/wicked", &["lease-"]),
];
/// How many files of one directory are looked at.
const MOST: usize = 1024;
/// Longest file that is taken away: what is longer is not what its name says.
const LONGEST: u64 = 1 << 20;

/// Takes the old identity away, and sees to it that a new one is made.
///
/// # Errors
/// When a directory cannot be listed or a file cannot be read.
pub fn prepare(draft: &mut Draft<'_>, findings: &mut Findings) -> Result<(), TreeError> {
    let tree = draft.tree();
    let init = Init::detect(tree);
    let mut renewed = Vec::new();
    if machine_id(draft, init)? {
        renewed.push("the machine id".to_owned());
    }
    match host_keys(draft, init)? {
        Keys::Kept(why) => findings.push(
            warns("host_keys_kept", "the guest keeps its SSH host keys")
                .seen(why)
                .advice("Make new ones in `first_boot`:\nrm -f /etc/ssh/ssh_host_*_key* && ssh-keygen -A"),
        ),
        Keys::Removed(0) => {}
        Keys::Removed(count) => renewed.push(format!("{count} SSH host keys")),
    }
    for path in SEEDS {
        take(draft, path, "no random seed that another machine has")?;
    }
    let mut remembered = 0;
    for path in MEMORIES {
        remembered += usize::from(take(draft, path, "forget the old machine")?);
    }
    for (directory, parts) in LEASES {
        for name in names(tree, directory)? {
            if parts.iter().any(|part| name.contains(part)) {
                remembered +=
                    usize::from(take(draft, &format!("{directory}/{name}"), "forget the old machine")?);
            }
        }
    }
    if remembered > 0 {
        renewed.push("what DHCP clients and cloud-init remember".to_owned());
    }
    if !renewed.is_empty() {
        findings.push(
            informs("identity", "the guest becomes another machine, as `identity = \"new\"` asks")
                .seen(renewed.join(", "))
                .remedy("the old ones are taken away, and the guest makes new ones when it boots"),
        );
    }
    Ok(())
}

fn names(tree: &Tree, directory: &str) -> Result<impl Iterator<Item = String>, TreeError> {
    Ok(tree.list(directory)?.entries.into_iter().take(MOST).map(|entry| entry.name))
}

/// Takes a file away; whether there was one. Links stay: what they lead to is not theirs.
fn take(draft: &mut Draft<'_>, path: &str, purpose: &str) -> Result<bool, TreeError> {
    let found = draft.tree().symlink_metadata(path)?;
    let is_file = matches!(found, Some(found) if found.kind == Kind::File && found.length <= LONGEST);
    if !is_file || draft.is_claimed(path) {
        return Ok(false);
    }
    draft.discard(path, purpose)?;
    Ok(true)
}

/// Empties the machine id (for systemd, which fills an empty one) or takes it away.
fn machine_id(draft: &mut Draft<'_>, init: Option<Init>) -> Result<bool, TreeError> {
    const PURPOSE: &str = "a machine id of its own, made at the next boot";
    let mut renewed = false;
    let is_file =
        matches!(draft.tree().symlink_metadata(MACHINE_ID)?, Some(found) if found.kind == Kind::File);
    if is_file && !draft.is_claimed(MACHINE_ID) {
        // "uninitialized" is no id, and means more than an empty file: it stays.
        let has_id = draft.text(MACHINE_ID).is_some_and(|text| text.trim().len() == 32);
        if init == Some(Init::Systemd) {
            if has_id {
                draft.write(MACHINE_ID, Vec::new(), 0o444, PURPOSE)?;
                renewed = true;
            }
        } else {
            renewed = take(draft, MACHINE_ID, PURPOSE)?;
        }
    }
    renewed |= take(draft, DBUS_ID, PURPOSE)?;
    Ok(renewed)
}

/// What becomes of the host keys.
enum Keys {
    /// So many are taken away.
    Removed(usize),
    /// They stay, since nothing would make new ones.
    Kept(&'static str),
}

fn host_keys(draft: &mut Draft<'_>, init: Option<Init>) -> Result<Keys, TreeError> {
    const PURPOSE: &str = "SSH host keys of its own, made at the next boot";
    let tree = draft.tree();
    let is_key =
        |name: &str| name.starts_with("ssh_host_") && (name.ends_with("key") || name.ends_with("key.pub"));
    let found: Vec<String> = names(tree, SSH)?.filter(|name| is_key(name)).collect();
    let server = ["/usr/sbin/sshd", "/usr/bin/sshd"].iter().any(|path| tree.exists(path));
    if !server && found.is_empty() {
        return Ok(Keys::Removed(0));
    }
    // Only systemd's and Upstart's guests get what makes keys; System V's scripts often do it
    // themselves (EL, SUSE), and where they do not, the keys stay.
    let by_itself = || {
        let script = SSH_SCRIPTS.iter().find_map(|path| draft.text(path));
        script.is_some_and(|script| script.contains("ssh-keygen"))
    };
    let made = match init {
        Some(Init::Systemd) if tree.exists(KEYGEN) => true,
        Some(Init::Upstart) if !by_itself() && tree.exists(KEYGEN) => true,
        Some(Init::Upstart | Init::SystemV) if by_itself() => false,
        _ => return Ok(Keys::Kept("nothing in the guest would make new ones at its next boot")),
    };
    if made && let Some(init) = init {
        let service = Service { name: HOST_KEYS, unit: UNIT, job: Some(JOB), line: None, purpose: PURPOSE };
        init.place(draft, &service)?;
    }
    let mut keys = 0;
    for name in found {
        let taken = take(draft, &format!("{SSH}/{name}"), PURPOSE)?;
        keys += usize::from(taken && name.ends_with("key"));
    }
    Ok(Keys::Removed(keys))
}

/// Debian's and Ubuntu's packages make keys only when they are installed. The unit does nothing
/// once there are any. The sockets are named because an SSH server may be started by one, before
/// `basic.target`: hence no default dependencies.
const UNIT: &str = "\
# Replant: this restored machine makes SSH host keys of its own.
[Unit]
Description=SSH host keys of a restored machine
ConditionPathExistsGlob=!/etc/ssh/ssh_host_*_key
DefaultDependencies=no
Requires=local-fs.target
After=local-fs.target
Conflicts=shutdown.target
Before=ssh.service sshd.service ssh.socket sshd.socket sshd-keygen.target shutdown.target

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -A
";
const JOB: &str = "\
# Replant: this restored machine makes SSH host keys of its own.
description \"SSH host keys of a restored machine\"
start on starting ssh or starting sshd
task
script
    ls /etc/ssh/ssh_host_*_key >/dev/null 2>&1 || /usr/bin/ssh-keygen -A
end script
";
