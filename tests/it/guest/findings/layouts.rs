//! Findings about what stages of the recipe keep of the old machine: kernel arguments, boot loader,
//! storage settings, networks of several cards.

use replant::guest::report::FindingSeverity;
use replant::model::NetworkPolicy;

use super::{Case, INFORMS, WARNS, advised, both, disks, inputs, look, mended, partition, tree};

/// The healthy guest's kernel with more arguments.
macro_rules! arguments {
    ($more:literal) => {
        concat!("sed -i 's| ro | ro ", $more, " |' boot/grub/grub.cfg")
    };
}

/// A Red Hat network of files `ifcfg-…` in place of ifupdown's.
macro_rules! ifcfg {
    ($service:literal, $more:literal) => {
        concat!(
            "rm -r etc/network; put etc/os-release <<<'ID=centos\nVERSION_ID=7\nPRETTY_NAME=CentOS'; put etc/sysconfig/network-scripts/ifcfg-ens192 <<'E'\nTYPE=Ethernet\nDEVICE=ens192\nBOOTPROTO=none\nONBOOT=yes\nIPADDR=10.1.2.3\nPREFIX=24\n",
            $more,
            "\nE\n",
            $service
        )
    };
}

pub const CASES: &[Case] = &[
    mended("kernel_arguments_hardware", WARNS, arguments!("pci=nomsi"), &["/boot/grub/grub.cfg:2: pci=nomsi"]),
    mended(
        "kernel_arguments_blacklist",
        WARNS,
        arguments!("modprobe.blacklist=floppy,nvme"),
        &["/boot/grub/grub.cfg:2: modprobe.blacklist=floppy,nvme"],
    ),
    mended(
        "kernel_arguments_network",
        WARNS,
        arguments!("ip=10.1.2.3::10.1.2.1:255.255.255.0:web:ens192:none"),
        &["/boot/grub/grub.cfg:2: ip=10.1.2.3"],
    ),
    both("kernel_arguments_clock", INFORMS, arguments!("clocksource=acpi_pm"), &["/boot/grub/grub.cfg:2: clocksource"]),
    both("kernel_arguments_size", WARNS, arguments!("mem=4G"), &["/boot/grub/grub.cfg:2: mem=4G"]),
    mended("kernel_arguments_vmware", INFORMS, arguments!("elevator=noop"), &["/boot/grub/grub.cfg:2: elevator=noop"]),
    mended(
        "kernel_arguments_console",
        INFORMS,
        "sed -i 's, console=ttyS0, console=tty1,' boot/grub/grub.cfg",
        &["/boot/grub/grub.cfg:2: console=tty1"],
    ),
    advised(
        "xen_dom0",
        WARNS,
        "printf \"menuentry 'Debian, with Xen' {\\n\\tmultiboot2 /boot/xen-4.17-amd64.gz placeholder\\n\\tmodule2 /boot/vmlinuz-$R placeholder root=UUID=00001-uuid-ext4\\n\\tmodule2 /boot/initrd.img-$R\\n}\\n\" >> boot/grub/grub.cfg; touch boot/xen-4.17-amd64.gz",
        &["/boot/grub/grub.cfg:"],
    ),
    advised(
        "unified_kernel_image",
        WARNS,
        "mkdir -p boot/efi/EFI/Linux boot/efi/EFI/BOOT; echo x > boot/efi/EFI/Linux/debian-$R.efi; echo x > boot/efi/EFI/BOOT/BOOTX64.EFI",
        &["/boot/efi/EFI/Linux/debian-6.1.0-18-amd64.efi"],
    ),
    mended(
        "grub_device_map",
        INFORMS,
        "put boot/grub/device.map <<<'(hd0) /dev/sda'",
        &["/boot/grub/device.map:1: (hd0) /dev/sda"],
    ),
    advised(
        "grub_install_devices",
        INFORMS,
        "printf 'Name: grub-pc/install_devices\nTemplate: grub-pc/install_devices\nValue: /dev/sda\n\n' | put var/cache/debconf/config.dat",
        &["/var/cache/debconf/config.dat:3: Value: /dev/sda"],
    ),
    mended(
        "efi_second_stage_missing",
        INFORMS,
        "mkdir -p boot/efi/EFI/debian boot/efi/EFI/BOOT; echo grub > boot/efi/EFI/debian/grubx64.efi; printf '\\\\grubx64.efi' | iconv -t UTF-16LE > boot/efi/EFI/BOOT/BOOTX64.EFI",
        &["/boot/efi/EFI/BOOT/BOOTX64.EFI starts grubx64.efi"],
    ),
    mended(
        "lvm_filter",
        INFORMS,
        "printf 'devices {\n  filter = [ \"a|^/dev/sda|\", \"r|.*|\" ]\n}\n' | put etc/lvm/lvm.conf",
        &["/etc/lvm/lvm.conf:2: filter = "],
    ),
    mended(
        "mdadm_devices",
        INFORMS,
        "put etc/mdadm/mdadm.conf <<<'DEVICE /dev/sda1 /dev/sdb1'",
        &["/etc/mdadm/mdadm.conf:1: DEVICE /dev/sda1"],
    ),
    mended(
        "resume_device_name",
        INFORMS,
        "put etc/initramfs-tools/conf.d/resume <<<'RESUME=/dev/sda2'",
        &["/etc/initramfs-tools/conf.d/resume:1: RESUME=/dev/sda2"],
    ),
    advised("multipath", INFORMS, "on multipathd.service; put etc/multipath.conf <<<''", &["/etc/multipath.conf"]),
    mended(
        "vmware_shared_folder",
        INFORMS,
        "echo '.host:/ /mnt/hgfs fuse.vmhgfs-fuse allow_other 0 0' >> etc/fstab",
        &["/etc/fstab:3: .host:/"],
    ),
    advised(
        "static_address_ipv6",
        INFORMS,
        "on NetworkManager.service; printf '[connection]\nid=lan\ntype=ethernet\ninterface-name=ens192\n[ipv4]\nmethod=auto\n[ipv6]\nmethod=manual\naddress1=fd00::5/64\n' | put etc/NetworkManager/system-connections/lan.nmconnection",
        &["/etc/NetworkManager/system-connections/lan.nmconnection:"],
    ),
    both(
        "network_secondary_addresses",
        WARNS,
        "printf 'auto ens192\niface ens192 inet static\n  address 10.1.2.3/24\niface ens192 inet static\n  address 10.1.2.4/24\n' >> etc/network/interfaces",
        &["/etc/network/interfaces:8: address 10.1.2.4/24"],
    ),
    both(
        "network_routes",
        WARNS,
        "printf 'iface ens192 inet static\n  address 10.1.2.3/24\n  up ip route add 10.9.0.0/16 via 10.1.2.1\n' >> etc/network/interfaces",
        &["/etc/network/interfaces:6: up ip route add"],
    ),
    both(
        "network_several",
        INFORMS,
        "printf 'iface eth1 inet dhcp\n' >> etc/network/interfaces",
        &["eth0, eth1"],
    ),
    advised(
        "network_service_disabled",
        WARNS,
        ifcfg!("true", ""),
        &["neither network nor NetworkManager is enabled"],
    ),
    advised(
        "name_servers_static",
        WARNS,
        "rm -r etc/network; put etc/os-release <<<'ID=sles\nVERSION_ID=15.5\nPRETTY_NAME=SLES'; on wicked.service
         put etc/sysconfig/network/ifcfg-eth0 <<<'BOOTPROTO=dhcp'; put etc/sysconfig/network/config <<<'NETCONFIG_DNS_STATIC_SERVERS=\"10.1.0.1\"'",
        &["/etc/sysconfig/network/config:1: NETCONFIG_DNS"],
    ),
];

#[track_caller]
fn blocks(script: &str, partitions: &[(&str, &str)], code: &str, evidence: &str) {
    let tree = tree(script);
    let partitions =
        partitions.iter().zip(1..).map(|((content, place), number)| partition(number, content, place));
    let disks = disks(partitions.collect());
    let findings = look(tree.path(), &disks, inputs(NetworkPolicy::Dhcp), false).findings;
    let found = findings.iter().find(|found| found.code == code);
    let found = found.unwrap_or_else(|| panic!("{code} of {script}: {findings:#?}"));
    assert_eq!((found.severity, found.evidence.len()), (FindingSeverity::Blocks, 1), "{found:?}");
    assert!(found.evidence[0].starts_with(evidence), "{found:?}");
    assert!(found.advice.is_some());
}

/// What the boot cannot go around.
#[test]
fn what_leads_to_no_root_blocks() {
    blocks(
        "sed -i 's,root=UUID=00001-uuid-ext4,root=/dev/mapper/mpatha1,' boot/grub/grub.cfg",
        &[("ext4", "/")],
        "guest::multipath_root",
        "root=/dev/mapper/mpatha1",
    );
    let full = "mkdir -p boot/loader/entries; put boot/loader/entries/a.conf <<E
title Debian
version $R
linux /boot/vmlinuz-$R
initrd /boot/initrd.img-$R
options \\$kernelopts
E
put boot/grub/grub.cfg <<<'blscfg'; X=$(head -c 950 /dev/zero | tr '\\0' x)
printf '# GRUB Environment Block\\nkernelopts=root=/dev/sda1 ro net.ifnames=0 %s\\n' $X > boot/grub/grubenv; fill boot/grub/grubenv";
    blocks(full, &[("ext4", "/"), ("swap", "")], "guest::grubenv_full", "/boot/grub/grubenv: kernelopts=");
}
