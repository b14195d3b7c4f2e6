//! What the recipe would do about some of them, and findings that need another tree or a real
//! filesystem: room, inodes, systems that nobody knows.

use std::fs;

use replant::guest::report::{EditKind, FindingSeverity, RecipeInputs};
use replant::model::{Hypervisor, NetworkPolicy};

use super::{
    BLOCKS, Case, INFORMS, WARNS, advised, codes, disks, inputs, inspect, look, mended, partition, tree,
};
use crate::guest::fixtures::shell;

pub const CASES: &[Case] = &[
    advised(
        "unknown_system",
        BLOCKS,
        "rm etc/os-release",
        &["looked for /etc/os-release", "the root holds: bin boot etc"],
    ),
    advised(
        "cloud_init",
        INFORMS,
        "elf usr/bin/cloud-init; put etc/cloud/cloud.cfg <<<'users: [default]'; put var/lib/cloud/data/instance-id <<<iid-vmware-1",
        &["/var/lib/cloud/data/instance-id: it was last iid-vmware-1"],
    ),
    mended(
        "cloud_init_network",
        INFORMS,
        "elf usr/bin/cloud-init; put etc/cloud/cloud.cfg <<<'users: [default]'; put etc/cloud/cloud.cfg.d/99-installer.cfg <<E
network:
  version: 2
  ethernets:
    ens192: {addresses: [10.1.2.3/24]}
E",
        &["/etc/cloud/cloud.cfg.d/99-installer.cfg"],
    ),
    advised(
        "cloud_init_disabled",
        INFORMS,
        "elf usr/bin/cloud-init; put etc/cloud/cloud.cfg <<<'users: [default]'; put etc/cloud/cloud-init.disabled <<<''",
        &["/etc/cloud/cloud-init.disabled"],
    ),
    advised(
        "cloud_init_disabled",
        INFORMS,
        "elf usr/bin/cloud-init; put etc/cloud/cloud.cfg <<<'users: [default]'; put etc/cloud/ds-identify.cfg <<<'policy: disabled'",
        &["/etc/cloud/ds-identify.cfg:1: policy: disabled"],
    ),
    advised(
        "cloud_init_without_ec2",
        WARNS,
        "elf usr/bin/cloud-init; put etc/cloud/cloud.cfg <<<'users: [default]'; put etc/cloud/cloud.cfg.d/99.cfg <<<'datasource_list: [None]'",
        &["/etc/cloud/cloud.cfg.d/99.cfg:1: datasource_list: [None]"],
    ),
];

/// The clock and a hibernated swap file are mended, once.
#[test]
fn what_is_mended_is_well_afterwards() {
    let tree = tree(
        "printf '0.0 0 0.0\n0\nLOCAL\n' | put etc/adjtime
         { head -c 4086 /dev/zero; printf 'S1SUSPEND\\0'; head -c 4096 /dev/zero; } > swapfile; echo '/swapfile none swap sw 0 0' >> etc/fstab",
    );
    let disks = disks(vec![partition(1, "ext4", "/"), partition(2, "swap", "")]);
    let first = look(tree.path(), &disks, inputs(NetworkPolicy::Dhcp), true);
    let overwritten = first.recipe.edits.iter().find(|edit| edit.path == "/swapfile").unwrap();
    assert!(matches!(overwritten.kind, EditKind::Overwrite { offset: 4086, .. }), "{overwritten:?}");
    assert_eq!(fs::read_to_string(tree.path().join("etc/adjtime")).unwrap(), "0.0 0 0.0\n0\nUTC\n");
    let swap = fs::read(tree.path().join("swapfile")).unwrap();
    assert_eq!((&swap[4086..4096], swap.len()), (&b"SWAPSPACE2"[..], 8192));
    let second = look(tree.path(), &disks, inputs(NetworkPolicy::Dhcp), true);
    assert_eq!((codes(&second), second.recipe.edits.len()), (vec![], 0));
}

/// Filesystems without room, without inodes, and read-only ones: tmpfs, which the kernel limits in
/// all these ways.
#[test]
fn what_cannot_be_written_is_said_before_anything_is() {
    for (options, script, codes) in [
        (
            "size=COUNTm",
            "head -c 64m /dev/zero > fill || true",
            &["guest::boot_full", "guest::filesystem_full"][..],
        ),
        ("nr_inodes=COUNT", "true", &["guest::no_inodes"]),
        ("size=64m", "mount -o remount,ro .", &["guest::boot_read_only", "guest::read_only"]),
    ] {
        let tree = tree(
            "mkdir -p usr/lib/dracut usr/sbin etc/dracut.conf.d; echo x > usr/sbin/dracut; echo '/dev/sda2 none swap sw 0 0' >> etc/fstab",
        );
        let from = tree.path().display().to_string();
        let place = tempfile::tempdir().unwrap();
        let at = place.path().display().to_string();
        // One more for the root; in MiB, room for all of it and hardly more.
        let inodes = shell(&format!("find {from} | wc -l")).trim().parse::<u64>().unwrap() + 1;
        let options = options.replace("COUNTm", "2m").replace("COUNT", &inodes.to_string());
        shell(&format!(
            "mount -t tmpfs -o {options} none {at}; trap 'umount -l {at}' ERR; cp -a {from}/. {at}; cd {at}; {script}"
        ));
        let disks = disks(vec![partition(1, "ext4", "/"), partition(2, "swap", "")]);
        let report = look(place.path(), &disks, inputs(NetworkPolicy::Dhcp), false);
        // Lazily: children of other tests may hold it for a moment.
        shell(&format!("umount -l {at}"));
        for code in codes {
            let found = report.findings.iter().find(|found| found.code == *code);
            let found = found.unwrap_or_else(|| panic!("{options}: {code}, {:#?}", report.findings));
            assert_eq!((found.severity, found.evidence.len()), (FindingSeverity::Blocks, 1));
            assert!(found.advice.is_some());
        }
    }
}

#[test]
fn a_root_on_something_else_is_said() {
    let tree = tree("true");
    let of = |content: &str| {
        let disks = disks(vec![partition(1, content, "/"), partition(2, "luks", "")]);
        look(tree.path(), &disks, inputs(NetworkPolicy::Dhcp), false).findings
    };
    let findings = of("minix");
    for (code, evidence) in
        [("guest::root_filesystem", "/ is minix"), ("guest::luks", "disk root partition 2")]
    {
        let found = findings.iter().find(|found| found.code == code).unwrap();
        assert_eq!(found.severity, FindingSeverity::Warns);
        assert!(found.evidence[0].starts_with(evidence), "{:?}", found.evidence);
        assert!(found.advice.is_some());
    }
    assert!(!of("xfs").iter().any(|found| found.code == "guest::root_filesystem"));
}

/// Text from the guest cannot drive a terminal, whatever it holds.
#[test]
fn hostile_text_is_escaped_in_evidence() {
    let report = inspect(
        "printf 'nas:/\\033[2J\\a /srv nfs4 defaults 0 0\\n' >> etc/fstab; put etc/corosync/corosync.conf <<<''",
    );
    for finding in &report.findings {
        let texts = finding.evidence.iter().chain([&finding.summary]);
        assert!(texts.into_iter().all(|text| !text.contains(char::is_control)), "{finding:?}");
    }
}

/// What an instance of the other hypervisor would lack.
#[test]
fn a_kernel_without_xens_drivers() {
    let tree =
        tree("sed -i /xen/d usr/lib/modules/$R/modules.dep; sed -i /ena/d usr/lib/modules/$R/modules.dep");
    let disks = disks(vec![partition(1, "ext4", "/"), partition(2, "swap", "")]);
    let inputs = RecipeInputs { hypervisor: Hypervisor::Xen, ..inputs(NetworkPolicy::Dhcp) };
    let findings = look(tree.path(), &disks, inputs, false).findings;
    for code in ["guest::xen_blkfront_missing", "guest::xen_netfront_missing"] {
        let found = findings.iter().find(|found| found.code == code).unwrap();
        assert_eq!((found.severity, found.evidence.len()), (FindingSeverity::Blocks, 1));
        assert!(found.advice.is_some());
    }
}

/// A root that is named by a device, and no disk that could be it.
#[test]
fn a_root_on_a_disk_that_is_not_restored() {
    let tree = tree("sed -i 's,root=UUID=00001-uuid-ext4,root=/dev/sdq7,' boot/grub/grub.cfg");
    let disks = disks(vec![partition(2, "swap", "")]);
    let findings = look(tree.path(), &disks, inputs(NetworkPolicy::Dhcp), false).findings;
    let found = findings.iter().find(|found| found.code == "guest::root_unmatched").unwrap();
    assert_eq!(found.severity, FindingSeverity::Blocks);
    assert_eq!(found.evidence, ["/boot/grub/grub.cfg:2: root=/dev/sdq7"]);
    assert!(found.advice.is_some());
}
