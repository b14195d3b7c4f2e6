//! `replant inspect` for people: what is read in ten seconds on 80 columns.

use std::collections::BTreeMap;

use replant::guest::report::{
    DriverPlace, Finding, FindingSeverity, GuestFacts, KernelFacts, Report, StackedFacts,
};
use replant::model::{Architecture, BootMode, Firmware, Hypervisor};
use replant::plan::fit;
use replant::ui::human::Look;
use replant::ui::human::inspection::render_inspection;
use replant::ui::inspection::{Inspection, Verdict};

use super::{disks, inspect, partition};

const NARROW: Look = Look { color: false, width: 80 };

fn of(images: &[&str], report: Report) -> Inspection {
    let images = images.iter().map(|image| (*image).to_owned()).collect();
    Inspection::new(images, None, Hypervisor::Nitro, report, Vec::new())
}

#[test]
fn a_guest_that_needs_hands_and_one_that_needs_none() {
    let script = "printf 'PermitRootLogin no\nAllowUsers admin\n' >> etc/ssh/sshd_config; on walinuxagent.service
sed -i 's,UUID=00001-uuid-ext4 / ,/dev/sda1 / ,' etc/fstab
printf 'iface ens192 inet static\n  address 10.1.2.3/24\n' >> etc/network/interfaces
on netfilter-persistent.service; printf '*filter\n:INPUT DROP [0:0]\n-A INPUT -i ens192 -p tcp -m state --state NEW --dport 22 -j ACCEPT\nCOMMIT\n' | put etc/iptables/rules.v4
put etc/udev/rules.d/70-persistent-net.rules <<<'SUBSYSTEM==\"net\", ACTION==\"add\", DRIVERS==\"?*\", ATTR{address}==\"00:50:56:9a:3c:41\", ATTR{type}==\"1\", NAME=\"ens192\"'";
    let inspection = of(&["backups/web.vmdk"], inspect(script));
    assert_eq!(inspection.verdict, Verdict::AfterPreparation);
    insta::assert_snapshot!("after_preparation", render_inspection(&inspection, NARROW));
    let wide = render_inspection(&inspection, Look { color: false, width: 120 });
    assert!(wide.lines().all(|line| line.chars().count() <= 120));
    let colored = render_inspection(&inspection, Look { color: true, width: 80 });
    assert!(colored.contains('\u{1b}'));
    let plain = render_inspection(&inspection, NARROW);
    assert!(!plain.contains('\u{1b}'));
    assert!(
        plain.lines().all(|line| line.chars().count() <= 80 || line.contains("prepare --diff")),
        "{plain}"
    );

    let well = of(
        &["web.vmdk"],
        inspect(
            "sed -i '/nvme/d;/xen/d' usr/lib/modules/$R/modules.dep; printf 'kernel/nvme.ko\nkernel/xen-blkfront.ko\nkernel/xen-netfront.ko\n' > usr/lib/modules/$R/modules.builtin",
        ),
    );
    assert_eq!(well.verdict, Verdict::AsItIs);
    insta::assert_snapshot!("as_it_is", render_inspection(&well, NARROW));
}

/// Several disks and volumes, names that are too long, and text that would drive a terminal.
#[test]
fn a_guest_that_cannot_be_prepared() {
    let drivers =
        [("nvme", DriverPlace::Missing), ("ena", DriverPlace::Root), ("xen-blkfront", DriverPlace::BuiltIn)];
    let kernel = |release: &str| KernelFacts {
        release: release.to_owned(),
        image: "/boot/vmlinuz".to_owned(),
        initramfs: None,
        drivers: drivers.iter().map(|(driver, place)| ((*driver).to_owned(), *place)).collect(),
        ena_version: Some("1.0.2".to_owned()),
    };
    let facts = GuestFacts {
        family: "linux".to_owned(),
        distribution: "centos".to_owned(),
        version: "7".to_owned(),
        product: "CentOS Linux 7 (Core)\u{1b}[2J".to_owned(),
        architecture: Architecture::X86_64,
        firmware: Firmware::Uefi,
        boots_either_firmware: false,
        hostname: Some("db\n1".to_owned()),
        kernels: vec![
            kernel("3.10.0-514.el7.x86_64"),
            kernel("5.4.17-2136.330.7.5.el7uek.x86_64.with.a.long.name"),
        ],
        root_filesystem: "xfs".to_owned(),
        static_addresses: BTreeMap::from([("ens192".to_owned(), "10.1.2.3/24".to_owned())]),
        default_interface: Some("ens192".to_owned()),
        details: vec![
            ("boot loader".to_owned(), "GRUB 2".to_owned()),
            ("network".to_owned(), "ifcfg".to_owned()),
        ],
    };
    let mut parts = disks(vec![
        partition(1, "vfat", "/boot/efi"),
        partition(2, "xfs", "/boot"),
        partition(3, "lvm2", ""),
    ]);
    parts.extend(disks(vec![partition(0, "lvm2", "")]));
    parts[1].name = "data1".to_owned();
    parts[1].table = "none".to_owned();
    let volume = |name: &str, place: &str| StackedFacts {
        name: name.to_owned(),
        size: 40 << 30,
        content: "xfs".to_owned(),
        uuid: None,
        label: None,
        mount_point: Some(place.to_owned()),
        on: vec!["disk root partition 3".to_owned(), "disk data1".to_owned()],
    };
    let blocking = Finding {
        code: "guest::nvme_missing".to_owned(),
        severity: FindingSeverity::Blocks,
        summary: "a kernel has no nvme driver, without which the instance has no disks".to_owned(),
        evidence: (0..6).map(|number| format!("/boot/vmlinuz-{number}\u{7}")).collect(),
        remedy: None,
        advice: Some("Install a kernel with NVMe in the guest, then:\nreplant inspect --instance-type m5.large backups/a-name-that-is-long-enough-not-to-be-wrapped.vmdk".to_owned()),
    };
    let report = Report {
        protocol: replant::guest::report::PROTOCOL,
        facts: Some(facts.clone()),
        disks: parts,
        stacked: vec![volume("logical volume centos/root", "/"), volume("logical volume centos/var", "/var")],
        findings: vec![blocking],
        recipe: Default::default(),
        diffs: Vec::new(),
    };
    let inspection = of(&["a.vmdk", "b.vmdk"], report.clone());
    assert_eq!(inspection.verdict, Verdict::Blocked);
    let text = render_inspection(&inspection, NARROW);
    assert!(!text.contains(['\u{1b}', '\u{7}']));
    insta::assert_snapshot!("blocked", text);

    let mut xen = fit::any(Hypervisor::Xen, Architecture::X86_64);
    assert_eq!(xen.boot_modes.iter().collect::<Vec<_>>(), [&BootMode::LegacyBios]);
    xen.name = "m4.large".to_owned();
    let bare = Report { findings: Vec::new(), ..report };
    let fitted = Inspection::new(
        vec!["a.vmdk".to_owned()],
        Some(xen.name.clone()),
        Hypervisor::Xen,
        bare,
        fit::judge(&facts, &xen),
    );
    assert_eq!(fitted.verdict, Verdict::OtherType);
    let text = render_inspection(&fitted, NARROW);
    assert!(text.starts_with("a.vmdk: does not boot on m4.large: 1 finding stands in the way\n"), "{text}");
    // What is written for programs is read back the same.
    let json = serde_json::to_string(&fitted).unwrap();
    assert_eq!(serde_json::from_str::<Inspection>(&json).unwrap(), fitted);
}
