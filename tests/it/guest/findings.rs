//! Every finding on a small tree: its weight, its evidence with file and line, and what is done
//! about it. A code without a case here, or a case without its code in the source, fails.

mod access;
mod boot;
mod hosts;
mod layouts;
mod report;
mod system;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use regex::Regex;
use replant::guest::disk::boot_code::BootCode;
use replant::guest::prepare;
use replant::guest::report::{
    DiskFacts, Finding, FindingSeverity, GiveUp, Job, PROTOCOL, PartitionFacts, RecipeInputs, Report,
};
use replant::guest::tree::Tree;
use replant::model::{GuestChanges, Hypervisor, NetworkPolicy};
use tempfile::TempDir;

use super::distributions::kit::FUNCTIONS;
use super::fixtures::shell;

/// What a finding is shown on.
pub struct Case {
    /// Without `guest::`.
    pub code: &'static str,
    pub severity: FindingSeverity,
    /// Makes the healthy guest unwell, in its root.
    pub script: &'static str,
    /// What each line of evidence begins with, in order.
    pub evidence: &'static [&'static str],
    /// Whether Replant does something about it, and whether the user must.
    pub remedy: bool,
    pub advice: bool,
}

pub const BLOCKS: FindingSeverity = FindingSeverity::Blocks;
pub const WARNS: FindingSeverity = FindingSeverity::Warns;
pub const INFORMS: FindingSeverity = FindingSeverity::Informs;

/// A case that the user does something about.
pub const fn advised(
    code: &'static str,
    severity: FindingSeverity,
    script: &'static str,
    evidence: &'static [&'static str],
) -> Case {
    Case { code, severity, script, evidence, remedy: false, advice: true }
}

/// A case that Replant does something about.
pub const fn mended(
    code: &'static str,
    severity: FindingSeverity,
    script: &'static str,
    evidence: &'static [&'static str],
) -> Case {
    Case { code, severity, script, evidence, remedy: true, advice: false }
}

/// A case that both do something about.
pub const fn both(
    code: &'static str,
    severity: FindingSeverity,
    script: &'static str,
    evidence: &'static [&'static str],
) -> Case {
    Case { code, severity, script, evidence, remedy: true, advice: true }
}

/// Only worth knowing.
pub const fn known(code: &'static str, script: &'static str, evidence: &'static [&'static str]) -> Case {
    Case { code, severity: INFORMS, script, evidence, remedy: false, advice: false }
}

/// A guest with nothing wrong: a Debian 12 as VMware has it, whose initramfs lacks NVMe.
const HEALTHY: &str = r##"
elf usr/bin/dash; ln -s dash usr/bin/sh; ln -s usr/bin bin; ln -s usr/lib lib; ln -s usr/sbin sbin
put etc/os-release <<E
PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
VERSION_ID="12"
ID=debian
E
put etc/hostname <<<web01
elf usr/lib/systemd/systemd; elf usr/sbin/sshd; elf usr/sbin/dhclient; on ssh.service
put lib/systemd/system/ssh.service <<<'[Service]'
put etc/ssh/sshd_config <<'E'
Include /etc/ssh/sshd_config.d/*.conf
UsePAM yes
E
put etc/passwd <<'E'
root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
admin:x:1000:1000::/home/admin:/bin/bash
E
put etc/shadow <<'E'
root:*:19000:0:99999:7:::
daemon:*:19000:0:99999:7:::
admin:$y$j9T$salt$hash:19000:0:99999:7:::
E
put home/admin/.ssh/authorized_keys <<<'ssh-ed25519 AAAA admin'
put etc/fstab <<'E'
UUID=00001-uuid-ext4 / ext4 errors=remount-ro 0 1
UUID=00002-uuid-swap none swap sw 0 0
E
put etc/hosts <<'E'
127.0.0.1 localhost
127.0.1.1 web01
E
put etc/network/interfaces <<'E'
auto lo eth0
iface lo inet loopback
iface eth0 inet dhcp
E
R=6.1.0-18-amd64
modules $R .ko cat; i386_pc boot/grub; echo kernel > boot/vmlinuz-$R; dracut $R .ko boot/initrd.img-$R cat
mkdir -p etc/initramfs-tools
put boot/grub/grub.cfg <<E
menuentry 'Debian GNU/Linux' {
	linux	/boot/vmlinuz-$R root=UUID=00001-uuid-ext4 ro net.ifnames=0 console=ttyS0
	initrd	/boot/initrd.img-$R
}
E
"##;

fn healthy() -> &'static Path {
    static ROOT: OnceLock<TempDir> = OnceLock::new();
    ROOT.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        shell(&format!("cd {}\n{FUNCTIONS}\n{HEALTHY}", directory.path().display()));
        directory
    })
    .path()
}

pub fn partition(number: u32, content: &str, mount_point: &str) -> PartitionFacts {
    PartitionFacts {
        number,
        offset: 1 << 20,
        size: 1 << 30,
        content: content.to_owned(),
        uuid: Some(format!("0000{number}-uuid-{content}")),
        label: None,
        mount_point: Some(mount_point.to_owned()).filter(|point| !point.is_empty()),
    }
}

pub fn disks(partitions: Vec<PartitionFacts>) -> Vec<DiskFacts> {
    vec![DiskFacts { name: "root".to_owned(), table: "mbr".to_owned(), partitions }]
}

/// A directory with the healthy guest after a script.
#[track_caller]
pub fn tree(script: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let (from, root) = (healthy().display(), directory.path().display());
    shell(&format!("cp -a {from}/. {root}\ncd {root}\n{FUNCTIONS}\nR=6.1.0-18-amd64\n{script}"));
    directory
}

#[track_caller]
pub fn look(root: &Path, disks: &[DiskFacts], inputs: RecipeInputs, prepare: bool) -> Report {
    let job = Job { protocol: PROTOCOL, disks: Vec::new(), prepare, inputs, parcel: None };
    prepare::run(&Tree::open(root).unwrap(), disks, BootCode::Unknown, &job).unwrap()
}

pub fn inputs(network: NetworkPolicy) -> RecipeInputs {
    let changes = GuestChanges::default();
    RecipeInputs { hypervisor: Hypervisor::Nitro, network, changes, give_up: GiveUp::default() }
}

/// The healthy guest after a script, inspected.
#[track_caller]
pub fn inspect(script: &str) -> Report {
    let disks = disks(vec![partition(1, "ext4", "/"), partition(2, "swap", "")]);
    look(tree(script).path(), &disks, inputs(NetworkPolicy::Dhcp), false)
}

/// Codes, without `guest::` and what every guest of these tests has.
pub fn codes(report: &Report) -> Vec<&str> {
    let codes = report.findings.iter().map(|finding| finding.code.trim_start_matches("guest::"));
    codes.filter(|code| *code != "initramfs_without_disk_driver").collect()
}

fn cases() -> Vec<&'static Case> {
    [access::CASES, boot::CASES, hosts::CASES, layouts::CASES, system::CASES].into_iter().flatten().collect()
}

fn check(case: &Case, found: &Finding) -> Result<(), String> {
    let matches = found.evidence.len() == case.evidence.len()
        && found.evidence.iter().zip(case.evidence).all(|(is, expected)| is.starts_with(expected));
    if found.severity != case.severity {
        return Err(format!("it is {:?}", found.severity));
    }
    if !matches || case.evidence.is_empty() {
        return Err(format!("its evidence is {:#?}", found.evidence));
    }
    let said = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.trim().is_empty());
    if (said(&found.remedy), said(&found.advice)) != (case.remedy, case.advice) {
        return Err(format!("remedy {:?}, advice {:?}", found.remedy, found.advice));
    }
    Ok(())
}

fn wrong(case: &Case) -> Option<String> {
    let report = inspect(case.script);
    let code = format!("guest::{}", case.code);
    let of = report.findings.iter().filter(|found| found.code == code);
    let checked: Vec<_> = of.map(|found| check(case, found)).collect();
    let good = checked.iter().any(Result::is_ok);
    (!good).then(|| format!("{code} of {:?}: {checked:#?}, {:?}", case.script, codes(&report)))
}

#[test]
fn each_finding_is_made_where_it_should_be() {
    let cases = cases();
    healthy();
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let parts = cases.chunks(cases.len().div_ceil(4));
        let workers: Vec<_> = parts
            .map(|part| scope.spawn(move || part.iter().filter_map(|case| wrong(case)).collect::<Vec<_>>()))
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// No noise: what every guest would have is not worth a finding.
#[test]
fn a_healthy_guest_has_hardly_any_findings() {
    let report = inspect("");
    let found: Vec<&str> = report.findings.iter().map(|finding| finding.code.as_str()).collect();
    assert_eq!(found, ["guest::initramfs_without_disk_driver"]);
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    with_extension(directory, "rs", found);
}

fn with_extension(directory: &Path, wanted: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            with_extension(&path, wanted, found);
        } else if path.extension().is_some_and(|extension| extension == wanted) {
            found.push(path);
        }
    }
}

/// The codes that the source makes of a guest: those that look like one where a finding is made.
pub fn codes_of_source() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/guest");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let made = r#"\b(?:blocks|warns|informs|weigh)\(\s*"([a-z0-9_]+)""#;
    let chosen = r#"let (?:code|\(code, \w+\)) =\s*(?:if [^{]*\{\s*)?\(?"([a-z0-9_]+)"(?:\s*\}\s*else\s*\{\s*"([a-z0-9_]+)")?"#;
    let of_disk = r#"finding\(\s*(?:FindingSeverity::\w+|weight|severity),\s*"([a-z0-9_]+)""#;
    let in_tuple = r#"\(\s*"([a-z0-9_]+)",\s*"[A-Z]"#;
    let of_necessity = r#"\bcode: "([a-z0-9_]+)""#;
    let of_kind = r#"(?:Kind::\w+|_) => \("([a-z0-9]+_[a-z0-9_]+)", ""#;
    let expressions =
        [made, chosen, of_kind, of_necessity, of_disk, in_tuple].map(|text| Regex::new(text).unwrap());
    let mut codes = BTreeSet::new();
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        let is_disk = path.ends_with("disk/findings.rs");
        let area = if is_disk { "disk" } else { "guest" };
        for expression in &expressions[..if is_disk { 6 } else { 4 }] {
            for found in expression.captures_iter(text) {
                codes.extend(found.iter().skip(1).flatten().map(|code| format!("{area}::{}", code.as_str())));
            }
        }
    }
    codes
}

/// Codes that need more than a healthy tree: real filesystems, disks, a tree of another kind, what
/// a user asks for. Any test that names them counts.
const ELSEWHERE: [&str; 26] = [
    "guest::boot_full",
    "guest::boot_read_only",
    "guest::driver_forbidden_in_initramfs",
    "guest::file_not_placed",
    "guest::file_owner_unknown",
    "guest::file_wins",
    "guest::filesystem_full",
    "guest::first_boot",
    "guest::first_boot_impossible",
    "guest::grubenv_full",
    "guest::host_keys_kept",
    "guest::hostname",
    "guest::hostname_impossible",
    "guest::identity",
    "guest::identity_impossible",
    "guest::luks",
    "guest::lvm_filter_in_initramfs",
    "guest::mdadm_devices_in_initramfs",
    "guest::multipath_root",
    "guest::no_inodes",
    "guest::read_only",
    "guest::root_filesystem",
    "guest::root_unmatched",
    "guest::unknown_system",
    "guest::xen_blkfront_missing",
    "guest::xen_netfront_missing",
];

#[test]
fn every_finding_has_a_test() {
    let mut tested: BTreeSet<String> = cases().iter().map(|case| format!("guest::{}", case.code)).collect();
    let source = codes_of_source();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("tests/it"), &mut files);
    let mut mentioned: String = files
        .iter()
        .filter(|path| !path.ends_with("guest/findings.rs"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    // A snapshot of findings names those that it shows.
    let mut snapshots = Vec::new();
    with_extension(&root.join("tests/it/guest/windows"), "snap", &mut snapshots);
    let shown: String = snapshots.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    // What no image can be made for is tested beside the code.
    let mut units = Vec::new();
    sources(&root.join("src/guest"), &mut units);
    for path in units {
        let text = fs::read_to_string(path).unwrap();
        mentioned.push_str(text.split_once("#[cfg(test)]").map_or("", |(_, tests)| tests));
    }
    let elsewhere = source.iter().filter(|code| {
        let is_windows = code.contains("windows");
        ELSEWHERE.contains(&code.as_str()) || code.starts_with("disk::") || is_windows
    });
    let named = |code: &&String| {
        ["\"", "\"blocks ", "\"warns ", "\"informs "]
            .iter()
            .any(|start| mentioned.contains(&format!("{start}{code}\"")))
            || [":", "\n", "]", ")"].iter().any(|end| shown.contains(&format!("{code}{end}")))
    };
    tested.extend(elsewhere.filter(named).cloned());
    let missing: Vec<&String> = source.difference(&tested).collect();
    assert!(missing.is_empty(), "without a test: {missing:#?}");
    let gone: Vec<&String> = tested.difference(&source).collect();
    assert!(gone.is_empty(), "not in the source: {gone:#?}");
}

/// The book's page of findings has every code once in its tables, and none that is not made.
#[test]
fn the_book_lists_every_finding() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/src/findings.md")).unwrap();
    let code = Regex::new(r"`((?:guest|disk|plan)::[a-z0-9_]+)`").unwrap();
    let mut source = codes_of_source();
    let of_plan = Regex::new(r#""(plan::[a-z0-9_]+)""#).unwrap();
    for file in ["src/plan/fit.rs", "src/plan/platform.rs"] {
        let text = fs::read_to_string(root.join(file)).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        source.extend(of_plan.captures_iter(text).map(|found| found[1].to_owned()));
    }
    let named: BTreeSet<String> = code.captures_iter(&page).map(|found| found[1].to_owned()).collect();
    let rows = page
        .lines()
        .filter(|line| ["| `guest::", "| `disk::", "| `plan::"].iter().any(|start| line.starts_with(start)));
    let listed = rows.filter_map(|row| code.captures(row)).map(|found| found[1].to_owned());
    let mut once = BTreeSet::new();
    let twice: Vec<String> = listed.filter(|code| !once.insert(code.clone())).collect();
    assert!(twice.is_empty(), "listed twice: {twice:?}");
    let missing: Vec<&String> = source.difference(&once).collect();
    assert!(missing.is_empty(), "docs/src/findings.md has no row of {missing:#?}");
    let gone: Vec<&String> = named.difference(&source).collect();
    assert!(gone.is_empty(), "docs/src/findings.md names what no source makes: {gone:#?}");
}
