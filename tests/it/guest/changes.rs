//! What a `guest` block wants, on trees laid out as the distributions do: files, a name, an
//! identity, a script for the first boot.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use replant::guest::report::{EditKind, FileChange, FindingSeverity, Report};
use replant::model::{FirstBoot, GuestChanges, GuestFile, Hypervisor, IdentityPolicy, NetworkPolicy};

use super::distributions::kit::{build, disk, run_with};
use super::fixtures::shell;

/// A guest in a directory of its own.
struct Guest(tempfile::TempDir);

impl Guest {
    fn new(script: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        build(directory.path(), script, &[]);
        Self(directory)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path.trim_start_matches('/'))
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn is_there(&self, path: &str) -> bool {
        fs::symlink_metadata(self.path(path)).is_ok()
    }

    fn look(&self, changes: &GuestChanges, prepare: bool) -> Report {
        let disks = disk(&[(1, "ext4", "/")]);
        run_with(self.0.path(), &disks, Hypervisor::Nitro, NetworkPolicy::Dhcp, changes.clone(), prepare)
    }

    /// Prepares it; looking alone says the same, and a second preparation has nothing to do.
    fn prepare(&self, changes: &GuestChanges) -> Report {
        let looked = self.look(changes, false);
        let report = self.look(changes, true);
        assert_eq!(looked, report);
        let again = self.look(changes, true);
        assert_eq!((again.recipe.edits, again.diffs), (Vec::new(), Vec::new()));
        report
    }
}

fn file(path: &str, content: &str) -> GuestFile {
    let content = content.as_bytes().to_vec().into();
    GuestFile { path: path.to_owned(), content, mode: None, owner: None, group: None }
}

fn files(files: Vec<GuestFile>) -> GuestChanges {
    GuestChanges { files, ..GuestChanges::default() }
}

/// Everything at once.
fn everything() -> GuestChanges {
    GuestChanges {
        identity: IdentityPolicy::New,
        hostname: Some("web-drill".to_owned()),
        files: vec![file("/etc/motd", "a drill\n")],
        first_boot: Some(FirstBoot { script: b"#!/bin/sh\necho beacon\n".to_vec().into(), timeout: 30 }),
    }
}

fn codes(report: &Report) -> Vec<&str> {
    report.findings.iter().map(|finding| finding.code.as_str()).collect()
}

/// The evidence of a finding, which must be there.
fn evidence(report: &Report, code: &str, severity: FindingSeverity) -> String {
    let finding = report.findings.iter().find(|finding| finding.code == code);
    let finding = finding.unwrap_or_else(|| panic!("{code} among {:?}", codes(report)));
    assert_eq!(finding.severity, severity);
    finding.evidence.join("\n")
}

const DEBIAN: &str = r#"
elf usr/bin/dash; ln -s dash usr/bin/sh; ln -s usr/bin bin; ln -s usr/lib lib; ln -s usr/sbin sbin
put etc/os-release <<'E'
ID=debian
VERSION_ID="12"
PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
E
elf usr/lib/systemd/systemd; elf usr/sbin/sshd; ln -s ../lib/systemd/systemd usr/sbin/init; elf usr/bin/ssh-keygen; elf usr/bin/env
echo web01 | put etc/hostname
printf '127.0.0.1\tlocalhost\n127.0.1.1\tweb01.example.com web01\n10.0.0.5 web01\n' | put etc/hosts
printf 'root:x:0:0::/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/false\n' | put etc/passwd
printf 'root:x:0:\nwww-data:x:33:\nadm:x:4:\n' | put etc/group
echo 'UUID=5c4e0f5e-0000-4000-8000-000000000001 / ext4 defaults 0 1' | put etc/fstab
"#;

#[test]
fn a_debian_becomes_another_machine() {
    let guest = Guest::new(&format!(
        "{DEBIAN}\necho 0123456789abcdef0123456789abcdef | put etc/machine-id; mkdir -p var/lib/dbus var/lib/dhcp etc/cloud/cloud.cfg.d\n\
         ln -s /etc/machine-id var/lib/dbus/machine-id\n\
         for k in rsa ed25519; do echo \"-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n-----END OPENSSH PRIVATE KEY-----\" | put etc/ssh/ssh_host_${{k}}_key; echo ssh-$k | put etc/ssh/ssh_host_${{k}}_key.pub; done\n\
         echo config | put etc/ssh/sshd_config; head -c 512 /dev/urandom | put var/lib/systemd/random-seed\n\
         echo lease | put var/lib/dhcp/dhclient.eth0.leases; echo x | put var/lib/cloud/instances/i-1/obj.pkl; ln -s instances/i-1 var/lib/cloud/instance"
    ));
    let report = guest.prepare(&everything());
    assert!(guest.is_there("/etc/machine-id"), "a missing one would mean a first boot, with presets");
    assert_eq!(guest.text("/etc/machine-id"), "");
    assert!(guest.is_there("/var/lib/dbus/machine-id"));
    for gone in [
        "/etc/ssh/ssh_host_rsa_key",
        "/etc/ssh/ssh_host_rsa_key.pub",
        "/etc/ssh/ssh_host_ed25519_key",
        "/var/lib/systemd/random-seed",
        "/var/lib/dhcp/dhclient.eth0.leases",
        "/var/lib/cloud/instances/i-1/obj.pkl",
    ] {
        assert!(!guest.is_there(gone), "{gone}");
    }
    assert_eq!(guest.text("/etc/ssh/sshd_config"), "config\n");
    assert_eq!(guest.text("/etc/hostname"), "web-drill\n");
    assert_eq!(
        guest.text("/etc/hosts"),
        "127.0.0.1\tlocalhost\n127.0.1.1\tweb-drill.example.com web-drill\n10.0.0.5 web01\n"
    );
    assert!(guest.text("/etc/cloud/cloud.cfg.d/99-replant-hostname.cfg").contains("preserve_hostname: true"));
    assert_eq!(guest.text("/etc/motd"), "a drill\n");
    assert_eq!(fs::metadata(guest.path("/etc/motd")).unwrap().mode() & 0o7777, 0o644);
    let seen = evidence(&report, "guest::identity", FindingSeverity::Informs);
    assert_eq!(seen, "the machine id, 2 SSH host keys, what DHCP clients and cloud-init remember");
    // Private keys are not shown on their way out.
    assert!(!serde_json::to_string(&report).unwrap().contains("hunter2"));

    // systemd's own program reads the units.
    let units = guest.path("/etc/systemd/system");
    for name in ["replant-first-boot", "replant-host-keys"] {
        let wants = guest.text(&format!("/etc/systemd/system/multi-user.target.d/{name}.conf"));
        assert_eq!(wants, format!("[Unit]\nWants={name}.service\n"));
        verify(&units.join(format!("{name}.service")));
    }
    let script = fs::metadata(guest.path("/usr/local/sbin/replant-first-boot.script")).unwrap();
    assert_eq!((script.mode() & 0o7777, script.uid()), (0o755, 0));
    shell(&format!("sh -n {}", guest.path("/usr/local/sbin/replant-first-boot").display()));
}

/// Where systemd-analyze is installed, it finds nothing wrong in a unit.
fn verify(unit: &Path) {
    let Ok(output) = std::process::Command::new("systemd-analyze").arg("verify").arg(unit).output() else {
        return;
    };
    // That its program is not on this machine is no fault of the unit's.
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let faults: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("replant-") && !line.contains("is not executable"))
        .collect();
    assert!(faults.is_empty(), "{said}");
}

#[test]
fn without_an_identity_everything_stays() {
    let guest = Guest::new(&format!(
        "{DEBIAN}\necho 0123456789abcdef0123456789abcdef | put etc/machine-id; echo key | put etc/ssh/ssh_host_rsa_key"
    ));
    let report = guest.prepare(&GuestChanges::default());
    assert!(
        report
            .recipe
            .edits
            .iter()
            .all(|edit| !edit.path.contains("ssh") && !edit.path.contains("machine-id"))
    );
    assert_eq!(guest.text("/etc/ssh/ssh_host_rsa_key"), "key\n");
}

#[test]
fn an_el_6_uses_upstart_and_its_own_ssh_script() {
    let guest = Guest::new(
        r#"
elf bin/sh; elf sbin/init; elf usr/sbin/sshd; elf usr/bin/ssh-keygen; mkdir -p etc/rc.d/init.d
echo 'CentOS release 6.10 (Final)' | put etc/redhat-release
printf 'NETWORKING=yes\nHOSTNAME=web01.example.com\n' | put etc/sysconfig/network
printf '127.0.0.1 localhost localhost.localdomain\n::1 localhost6\n' | put etc/hosts
printf 'id:3:initdefault:\n' | put etc/inittab; echo 'start on runlevel [0123456]' | put etc/init/rc.conf
echo 'KEYGEN=/usr/bin/ssh-keygen' | put etc/rc.d/init.d/sshd; echo key | put etc/ssh/ssh_host_rsa_key
echo 0123456789abcdef0123456789abcdef | put var/lib/dbus/machine-id; echo seed | put var/lib/random-seed
echo 'UUID=5c4e0f5e-0000-4000-8000-000000000001 / ext4 defaults 1 1' | put etc/fstab
"#,
    );
    let report = guest.prepare(&everything());
    assert_eq!(guest.text("/etc/sysconfig/network"), "NETWORKING=yes\nHOSTNAME=web-drill\n");
    assert!(!guest.is_there("/etc/hostname") && !guest.is_there("/var/lib/dbus/machine-id"));
    assert!(!guest.is_there("/etc/ssh/ssh_host_rsa_key") && !guest.is_there("/var/lib/random-seed"));
    // EL's init script makes the keys: nothing else is needed.
    assert!(!guest.is_there("/etc/init/replant-host-keys.conf") && !guest.is_there("/etc/systemd"));
    let job = guest.text("/etc/init/replant-first-boot.conf");
    assert!(job.contains("start on stopped rc RUNLEVEL=[2345]\n"), "{job}");
    assert_eq!(guest.text("/etc/inittab"), "id:3:initdefault:\n");
    assert!(codes(&report).contains(&"guest::first_boot"));
}

#[test]
fn an_ubuntu_14_gets_host_keys_from_an_upstart_job() {
    let guest = Guest::new(
        r#"
elf bin/sh; elf sbin/init; elf usr/sbin/sshd; elf usr/bin/ssh-keygen
printf 'ID=ubuntu\nID_LIKE=debian\nVERSION_ID="14.04"\n' | put etc/os-release
echo web01 | put etc/hostname; echo 127.0.0.1 localhost | put etc/hosts
echo 'start on runlevel' | put etc/init/rc.conf; echo 'exec /usr/sbin/sshd -D' | put etc/init/ssh.conf
echo '# no keys are made here' | put etc/init.d/ssh; echo key | put etc/ssh/ssh_host_rsa_key
echo 0123456789abcdef0123456789abcdef | put etc/machine-id
echo 'UUID=5c4e0f5e-0000-4000-8000-000000000001 / ext4 defaults 0 1' | put etc/fstab
"#,
    );
    guest.prepare(&everything());
    let job = guest.text("/etc/init/replant-host-keys.conf");
    assert!(job.contains("start on starting ssh") && job.contains("ssh-keygen -A"), "{job}");
    // Only systemd fills an empty one.
    assert!(!guest.is_there("/etc/machine-id") && !guest.is_there("/etc/ssh/ssh_host_rsa_key"));
    assert_eq!(guest.text("/etc/hosts"), "127.0.0.1 localhost\n127.0.1.1\tweb-drill\n");
}

#[test]
fn a_sles_11_uses_its_inittab() {
    let guest = Guest::new(
        r#"
elf bin/sh; elf sbin/init; elf usr/sbin/sshd; elf usr/bin/ssh-keygen
printf 'SUSE Linux Enterprise Server 11 (x86_64)\nVERSION = 11\nPATCHLEVEL = 4\n' | put etc/SuSE-release
echo web01.example.com | put etc/HOSTNAME; echo 127.0.0.1 localhost | put etc/hosts
printf 'DHCLIENT_SET_HOSTNAME="yes"\n' | put etc/sysconfig/network/dhcp
printf 'id:3:initdefault:\nl3:3:wait:/etc/init.d/rc 3\n1:2345:respawn:/sbin/mingetty tty1\n' | put etc/inittab
echo '  ssh-keygen -t rsa' | put etc/init.d/sshd; echo key | put etc/ssh/ssh_host_rsa_key
echo 'UUID=5c4e0f5e-0000-4000-8000-000000000001 / ext3 defaults 1 1' | put etc/fstab
"#,
    );
    guest.prepare(&everything());
    assert_eq!(guest.text("/etc/HOSTNAME"), "web-drill\n");
    assert!(!guest.is_there("/etc/hostname") && !guest.is_there("/etc/ssh/ssh_host_rsa_key"));
    assert_eq!(guest.text("/etc/sysconfig/network/dhcp"), "DHCLIENT_SET_HOSTNAME=\"no\"\n");
    let table = guest.text("/etc/inittab");
    assert!(table.ends_with("mingetty tty1\nrpfb:2345:once:/usr/local/sbin/replant-first-boot\n"), "{table}");
}

#[test]
fn host_keys_that_nothing_would_make_again_stay() {
    let guest = Guest::new(
        r#"
elf bin/sh; elf sbin/init; elf usr/sbin/sshd
echo 7.11 | put etc/debian_version; echo web01 | put etc/hostname
printf 'id:2:initdefault:\nl2:2:wait:/etc/init.d/rc 2\n' | put etc/inittab
echo '# no keys are made here' | put etc/init.d/ssh; echo key | put etc/ssh/ssh_host_rsa_key
echo 'UUID=5c4e0f5e-0000-4000-8000-000000000001 / ext4 defaults 0 1' | put etc/fstab
"#,
    );
    let report = guest.prepare(&everything());
    assert_eq!(guest.text("/etc/ssh/ssh_host_rsa_key"), "key\n");
    evidence(&report, "guest::host_keys_kept", FindingSeverity::Warns);
}

#[test]
fn programs_are_labelled_as_programs_are() {
    let label = |path: &Path| {
        let mut value = vec![0; 256];
        let length = rustix::fs::lgetxattr(path, "security.selinux", value.as_mut_slice()).ok()?;
        value.truncate(length);
        String::from_utf8(value).ok()
    };
    let guest = Guest::new(&format!("{DEBIAN}\nmkdir -p usr/local/sbin; echo x | put usr/local/sbin/other"));
    for (path, of) in
        [("usr/bin/env", "bin_t"), ("usr/local/sbin/other", "other_exec_t"), ("etc/motd.d", "etc_t")]
    {
        fs::create_dir_all(guest.path("etc/motd.d")).unwrap();
        let value = format!("system_u:object_r:{of}:s0\0");
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(guest.path(path), "security.selinux", value.as_bytes(), flags).unwrap();
    }
    guest.prepare(&GuestChanges { files: vec![file("/etc/motd.d/a/b", "x")], ..everything() });
    for (path, of) in [
        ("/usr/local/sbin/replant-first-boot", "bin_t"),
        ("/usr/local/sbin/replant-first-boot.script", "bin_t"),
        ("/etc/motd.d/a", "etc_t"),
        ("/etc/motd.d/a/b", "etc_t"),
    ] {
        assert_eq!(label(&guest.path(path)).unwrap(), format!("system_u:object_r:{of}:s0\0"), "{path}");
    }
}

#[test]
fn files_get_their_owners_and_keep_what_is_not_said() {
    let guest = Guest::new(&format!(
        "{DEBIAN}\necho old | put etc/keep; chmod 600 etc/keep; chown 33:4 etc/keep; echo old | put etc/same; chmod 4755 etc/same"
    ));
    let changes = files(vec![
        GuestFile {
            mode: Some(0o640),
            owner: Some("www-data".to_owned()),
            group: Some("adm".to_owned()),
            ..file("/srv/new/site", "x\n")
        },
        GuestFile { mode: Some(0o4711), owner: Some("12345".to_owned()), ..file("/etc/new", "x\n") },
        file("/etc/keep", "new\n"),
        GuestFile { mode: Some(0o755), ..file("/etc/same", "old\n") },
    ]);
    let report = guest.prepare(&changes);
    let access = |path: &str| {
        let found = fs::metadata(guest.path(path)).unwrap();
        (found.mode() & 0o7777, found.uid(), found.gid())
    };
    assert_eq!(access("/srv/new/site"), (0o640, 33, 4));
    assert_eq!(access("/srv/new"), (0o755, 0, 0));
    assert_eq!(access("/etc/new"), (0o4711, 12345, 0));
    assert_eq!(access("/etc/keep"), (0o600, 33, 4));
    assert_eq!(access("/etc/same"), (0o755, 0, 0));
    let of = |path: &str| {
        let edits = report.recipe.edits.iter().filter(|edit| edit.path == path);
        edits
            .map(|edit| (edit.purpose.clone(), matches!(edit.kind, EditKind::SetAccess { .. })))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        of("/srv/new/site"),
        [
            ("your file, in /srv/new, which is made".to_owned(), false),
            ("mode 0640, owner 33, group 4".to_owned(), true)
        ]
    );
    assert_eq!(of("/etc/keep"), [("your file".to_owned(), false)]);
    // Where only that changes, the diff says from what.
    let diff = report.diffs.iter().find(|diff| diff.path == "/etc/same").unwrap();
    let FileChange::Binary { lines, .. } = &diff.change else { panic!("{diff:?}") };
    assert_eq!(lines, &["was mode 4755, owner 0, group 0", "is mode 0755, owner 0, group 0"]);
}

/// A link gives way and stays aside; what it leads to is not touched.
#[test]
fn links_are_replaced_and_directories_followed() {
    let guest = Guest::new(&format!("{DEBIAN}\necho zone | put usr/share/zoneinfo/Europe/Berlin"));
    symlink("/usr/share/zoneinfo/Europe/Berlin", guest.path("/etc/localtime")).unwrap();
    guest.prepare(&files(vec![file("/etc/localtime", "mine"), file("/lib/replant/x", "mine")]));
    assert_eq!(guest.text("/usr/share/zoneinfo/Europe/Berlin"), "zone\n");
    assert!(fs::symlink_metadata(guest.path("/etc/localtime")).unwrap().is_file());
    assert_eq!(guest.text("/etc/localtime"), "mine");
    assert!(guest.is_there("/etc/.localtime.replant-old"));
    assert_eq!(guest.text("/usr/lib/replant/x"), "mine");
}

/// The user's own network configuration is what the drill is isolated by.
#[test]
fn a_users_file_wins_over_what_replant_would_write() {
    let guest = Guest::new(&format!(
        "{DEBIAN}\nelf usr/sbin/ifup; printf 'auto ens192\\niface ens192 inet static\\n  address 10.0.0.5/24\\n' | put etc/network/interfaces"
    ));
    let isolated = "auto ens192\niface ens192 inet static\n  address 192.0.2.1/24\n";
    let report = guest.prepare(&GuestChanges {
        hostname: Some("web-drill".to_owned()),
        ..files(vec![file("/etc/network/interfaces", isolated), file("/etc/hostname", "other\n")])
    });
    assert_eq!(guest.text("/etc/network/interfaces"), isolated);
    assert_eq!(guest.text("/etc/hostname"), "other\n");
    let seen = evidence(&report, "guest::file_wins", FindingSeverity::Warns);
    assert!(seen.contains("/etc/network/interfaces: ") && seen.contains("/etc/hostname: "), "{seen}");
    assert!(!guest.is_there("/etc/network/.interfaces.replant-old"));
}

#[test]
fn what_cannot_be_placed_blocks() {
    let guest = Guest::new(&format!(
        "{DEBIAN}\nmkdir -p srv/data home var; ln -s /run var/run; ln -s loop loop; echo x | put etc/file; mkfifo etc/pipe\n\
         printf '/dev/sdb1 /home ext4 defaults 0 2\\n/dev/sdc1 /mnt/later ext4 noauto 0 0\\n' >> etc/fstab"
    ));
    let wrong = [
        ("/srv/data", "a directory is there"),
        ("/etc/file/x", "/etc/file is no directory"),
        ("/var/run/beacon", "it leads to /run/beacon; a running system shows nothing"),
        ("/loop/x", "links that lead in circles"),
        ("/etc/pipe", "a device, pipe or socket is there"),
        ("/home/me/x", "/home is mounted over it at boot"),
        ("/bin/twice", "another file goes to /usr/bin/twice"),
    ];
    let mut wanted: Vec<GuestFile> = wrong.iter().map(|(path, _)| file(path, "x")).collect();
    wanted.insert(0, file("/usr/bin/twice", "x"));
    wanted.push(file("/mnt/later/x", "x"));
    wanted.push(GuestFile { owner: Some("nobody-there".to_owned()), ..file("/etc/owned", "x") });
    let report = guest.look(&files(wanted), false);
    let seen = evidence(&report, "guest::file_not_placed", FindingSeverity::Blocks);
    for (path, why) in wrong {
        assert!(seen.contains(&format!("{path}: ")) && seen.contains(why), "{path} {why}: {seen}");
    }
    assert_eq!(seen.lines().count(), wrong.len(), "{seen}");
    let seen = evidence(&report, "guest::file_owner_unknown", FindingSeverity::Blocks);
    assert_eq!(seen, "/etc/owned: nobody-there is not in /etc/passwd");
}

#[test]
fn a_script_that_cannot_run_blocks() {
    let script = |text: &str| GuestChanges {
        first_boot: Some(FirstBoot { script: text.as_bytes().to_vec().into(), timeout: 1 }),
        ..GuestChanges::default()
    };
    let guest = Guest::new(DEBIAN);
    let report = guest.look(&script("#!/usr/bin/python9 -u\n"), true);
    let seen = evidence(&report, "guest::first_boot_impossible", FindingSeverity::Blocks);
    assert!(seen.contains("/usr/bin/python9"), "{seen}");
    assert!(!guest.is_there("/usr/local/sbin/replant-first-boot"));

    let guest =
        Guest::new("elf bin/sh; elf sbin/init; echo ID=alpine | put etc/os-release; mkdir -p etc/init.d");
    let report = guest.look(&script("#!/bin/sh\n"), true);
    let seen = evidence(&report, "guest::first_boot_impossible", FindingSeverity::Blocks);
    assert!(seen.contains("neither systemd"), "{seen}");
}
