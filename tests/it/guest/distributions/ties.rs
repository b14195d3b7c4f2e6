//! What ties a guest's configuration to the old machine's hardware, and which services start.

use replant::guest::report::{FindingSeverity, Report};
use replant::model::Hypervisor;

use super::kit::{build, disk, run};

/// A Rocky Linux 9 with one kernel, ready for EC2 but for its network.
const ROCKY: &str = r##"
os_release rocky 9.4 "Rocky Linux 9.4 (Blue Onyx)" "rhel centos fedora"
merged; systemd; shadow; on sshd.service
R=5.14.0-1.el9.x86_64
modules $R .ko "cat"; vmlinuz boot/vmlinuz-$R $R
dracut $R .ko boot/initramfs-$R.img "gzip -n" "$OF_EC2"
{ grub_header 0; entry "Rocky" x linux /boot/vmlinuz-$R "root=UUID=$U1 ro net.ifnames=0" initrd /boot/initramfs-$R.img $U1; } | put boot/grub2/grub.cfg
put etc/fstab <<<"UUID=$U1 / ext4 defaults 0 1"
C=etc/NetworkManager/system-connections
"##;

fn looked(script: &str, hypervisor: Hypervisor) -> Report {
    let directory = tempfile::tempdir().unwrap();
    let disks = disk(&[(1, "ext4", "/"), (2, "xfs", "")]);
    build(directory.path(), &format!("{ROCKY}{script}"), &disks);
    run(directory.path(), &disks, hypervisor, true)
}

fn edits(report: &Report, part: &str) -> Vec<String> {
    let paths = report.recipe.edits.iter().map(|edit| edit.path.clone());
    paths.filter(|path| path.contains(part)).collect()
}

/// Whether a keyfile with this section `[match]` is taken for one that fits the instance's card.
#[track_caller]
fn keyfile_fits(section: &str, hypervisor: Hypervisor, expected: bool) {
    let script = format!(
        "on NetworkManager.service\nput $C/lan.nmconnection <<'E'\n[connection]\nid=lan\ntype=ethernet\n[ipv4]\nmethod=auto\n[match]\n{section}\nE\n"
    );
    let report = looked(&script, hypervisor);
    let edited = edits(&report, "NetworkManager/system-connections");
    assert_eq!(edited.is_empty(), expected, "{section}: {edited:?}");
    if !expected {
        assert_eq!(
            edited,
            [
                "/etc/NetworkManager/system-connections/lan.nmconnection",
                "/etc/NetworkManager/system-connections/replant.nmconnection"
            ]
        );
    }
}

/// nm-settings-nmcli(1), "match setting".
#[test]
fn a_keyfile_tied_to_the_old_card_is_set_aside() {
    use Hypervisor::{Nitro, Xen};
    for (section, hypervisor, fits) in [
        ("driver=vmxnet3;", Nitro, false),
        ("driver=vmxnet3;ena;", Nitro, true),
        ("driver=vmxnet3;ena;", Xen, false),
        ("driver=vif;", Xen, true),
        ("driver=!e1000;", Nitro, true),
        ("path=pci-0000:0b:00.0;", Nitro, false),
        ("path=pci-*;", Nitro, true),
        ("interface-name=ens192;", Nitro, false),
        ("interface-name=e*;!ens192;", Nitro, true),
        ("interface-name=&eth*;&!eth0;", Nitro, false),
        ("kernel-command-line=vmware;", Nitro, false),
        ("something-new=1", Nitro, false),
        ("", Nitro, true),
    ] {
        keyfile_fits(section, hypervisor, fits);
    }
}

#[test]
fn networkd_of_the_old_hypervisor_only_does_not_fit() {
    let file = |section: &str| {
        let script = format!(
            "on systemd-networkd.service\nput etc/systemd/network/lan.network <<'E'\n[Match]\nName=e*\n{section}\n[Network]\nDHCP=yes\nE\n"
        );
        edits(&looked(&script, Hypervisor::Nitro), "systemd/network")
    };
    assert_eq!(file(""), Vec::<String>::new());
    let set_aside = ["/etc/systemd/network/lan.network", "/etc/systemd/network/10-replant.network"];
    assert_eq!(file("Virtualization=vmware"), set_aside);
    assert_eq!(file("KernelCommandLine=!netboot"), set_aside);
}

/// A service that the system's own links start, as images without presets have it, and one that is
/// masked although a link wants it.
#[test]
fn what_starts_is_the_same_question_everywhere() {
    const TIED: &str = "put $C/lan.nmconnection <<'E'\n[connection]\nid=lan\ntype=ethernet\ninterface-name=ens192\n[ipv4]\nmethod=auto\nE\n";
    let vendor = "mkdir -p usr/lib/systemd/system/multi-user.target.wants; ln -s ../NetworkManager.service usr/lib/systemd/system/multi-user.target.wants/NetworkManager.service\n";
    let report = looked(&format!("{vendor}{TIED}"), Hypervisor::Nitro);
    assert_eq!(edits(&report, "system-connections").len(), 2);
    let masked = "on NetworkManager.service; ln -s /dev/null etc/systemd/system/NetworkManager.service\n";
    let report = looked(&format!("{masked}{TIED}"), Hypervisor::Nitro);
    assert_eq!(edits(&report, "system-connections"), Vec::<String>::new());
    let unknown = report.findings.iter().find(|found| found.code == "guest::network_unknown").unwrap();
    assert_eq!(unknown.severity, FindingSeverity::Warns);
}

#[test]
fn mount_units_name_filesystems_as_the_fstab_does() {
    let unit = |what: &str| {
        let script = format!(
            "on NetworkManager.service data.mount\nput etc/systemd/system/data.mount <<'E'\n[Unit]\nWhat=no\n[Mount]\nWhat={what}\nWhere=/data\nType=xfs\n[Install]\nWantedBy=multi-user.target\nE\n"
        );
        looked(&script, Hypervisor::Nitro)
    };
    let report = unit("/dev/sda2");
    assert_eq!(edits(&report, "data.mount"), ["/etc/systemd/system/data.mount"]);
    let diff = report.diffs.iter().find(|diff| diff.path.ends_with("data.mount")).unwrap();
    let shown = super::kit::shown(diff);
    let uuid = "+What=/dev/disk/by-uuid/5c4e0f5e-0000-4000-8000-000000000002\n";
    assert!(shown.contains("-What=/dev/sda2\n") && shown.contains(uuid), "{shown}");
    let told = report.findings.iter().find(|found| found.code == "guest::fstab_device_names").unwrap();
    assert_eq!(told.evidence, ["/etc/systemd/system/data.mount:4: What=/dev/sda2"]);
    let report = unit("/dev/sdb1");
    assert_eq!(edits(&report, "data.mount"), Vec::<String>::new());
    let told = report.findings.iter().find(|found| found.code == "guest::mount_unmatched").unwrap();
    assert_eq!((told.severity, told.evidence.len()), (FindingSeverity::Warns, 1));
    assert_eq!(edits(&unit("/dev/mapper/vg-data"), "data.mount"), Vec::<String>::new());
}
