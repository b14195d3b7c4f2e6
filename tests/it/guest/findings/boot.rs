//! Findings of the other stages: boot loader, kernels, initramfs, fstab, network cards.

use super::{BLOCKS, Case, INFORMS, WARNS, advised, both, mended};

pub const CASES: &[Case] = &[
    advised("boot_loader_missing", BLOCKS, "rm -r boot/grub", &["looked for grub.cfg"]),
    advised("boot_code_unknown", INFORMS, "rmdir boot/grub/i386-pc", &["looked for"]),
    advised("kernel_missing", BLOCKS, "rm boot/vmlinuz-*", &["looked where the boot loader's menu says"]),
    advised(
        "kernel_dangling",
        WARNS,
        "printf \"menuentry 'Gone' {\\n\\tlinux /boot/vmlinuz-5.10.0-1-amd64 root=UUID=00001-uuid-ext4\\n}\\n\" >> boot/grub/grub.cfg",
        &["/boot/grub/grub.cfg:6: /boot/vmlinuz-5.10.0-1-amd64"],
    ),
    mended(
        "resume_unmatched",
        WARNS,
        "sed -i 's, ro , ro resume=/dev/sdq8 ,' boot/grub/grub.cfg",
        &["/boot/grub/grub.cfg:2: resume=/dev/sdq8"],
    ),
    mended(
        "initramfs_without_disk_driver",
        INFORMS,
        "true",
        &["/boot/initrd.img-6.1.0-18-amd64: nvme, xen-blkfront only in"],
    ),
    advised(
        "modules_missing",
        WARNS,
        "rm -r usr/lib/modules",
        &["/boot/vmlinuz-6.1.0-18-amd64: no /lib/modules"],
    ),
    advised("initramfs_empty", BLOCKS, ": > boot/initrd.img-$R", &["/boot/initrd.img-6.1.0-18-amd64"]),
    advised(
        "initramfs_unreadable",
        BLOCKS,
        "head -c 4096 /dev/urandom > boot/initrd.img-$R",
        &["/boot/initrd.img-6.1.0-18-amd64: "],
    ),
    advised(
        "initramfs_missing",
        BLOCKS,
        "rm boot/initrd*; sed -i /initrd/d boot/grub/grub.cfg",
        &["/boot/vmlinuz-6.1.0-18-amd64 (6.1.0-18-amd64)"],
    ),
    advised(
        "drivers_not_added",
        BLOCKS,
        "rm usr/lib/modules/$R/kernel/drivers/nvme/host/nvme-core.ko",
        &["/boot/initrd.img-6.1.0-18-amd64: "],
    ),
    advised(
        "nvme_missing",
        BLOCKS,
        "sed -i /nvme/d usr/lib/modules/$R/modules.dep",
        &["/boot/vmlinuz-6.1.0-18-amd64 (6.1.0-18-amd64)"],
    ),
    advised(
        "ena_missing",
        BLOCKS,
        "sed -i /ena/d usr/lib/modules/$R/modules.dep",
        &["/boot/vmlinuz-6.1.0-18-amd64 (6.1.0-18-amd64)"],
    ),
    // The index names it, and it is gone: a link of weak-updates whose kernel was removed.
    advised(
        "ena_missing",
        BLOCKS,
        "cd usr/lib/modules/$R; f=$(grep -o '^[^:]*/ena.ko' modules.dep); rm $f; ln -s ../../../../../../6.0.0/extra/ena.ko $f",
        &["/boot/vmlinuz-6.1.0-18-amd64 (6.1.0-18-amd64)"],
    ),
    // Windows beside it, found by os-prober and chosen in /etc/default/grub.
    advised(
        "other_system_default",
        BLOCKS,
        "printf \"set default='Windows 10 (on /dev/sda1)'\\nmenuentry 'Windows 10 (on /dev/sda1)' --class windows {\\n\\tinsmod ntfs\\n\\tchainloader +1\\n}\\n\" >> boot/grub/grub.cfg",
        &["/boot/grub/grub.cfg:8: Windows 10 (on /dev/sda1)"],
    ),
    mended(
        "driver_forbidden",
        WARNS,
        "put etc/modprobe.d/hardening.conf <<<$'blacklist floppy\nblacklist nvme\ninstall ena /bin/false'",
        &[
            "/etc/modprobe.d/hardening.conf:2: blacklist nvme",
            "/etc/modprobe.d/hardening.conf:3: install ena",
        ],
    ),
    mended(
        "efi_fallback_missing",
        INFORMS,
        "mkdir -p boot/efi/EFI/debian; echo x > boot/efi/EFI/debian/grubx64.efi",
        &["/boot/efi/EFI/BOOT/BOOTX64.EFI"],
    ),
    advised(
        "efi_loader_missing",
        BLOCKS,
        "mkdir -p boot/efi/EFI/debian; echo x > boot/efi/EFI/debian/other.efi",
        &["looked for shim"],
    ),
    mended(
        "fstab_device_names",
        INFORMS,
        "echo '/dev/sda2 none swap sw 0 0' >> etc/fstab",
        &["/etc/fstab:3: /dev/sda2 none swap"],
    ),
    advised(
        "boot_menu_too_long",
        WARNS,
        "mkdir -p boot/grub2; head -c 3M /dev/zero | tr '\\0' '#' > boot/grub2/grub.cfg",
        &["/boot/grub2/grub.cfg"],
    ),
    advised("fstab_too_long", BLOCKS, "head -c 2M /dev/zero | tr '\\0' '#' >> etc/fstab", &["/etc/fstab: "]),
    advised("fstab_unreadable", WARNS, "printf '\\xff\\n' >> etc/fstab", &["/etc/fstab"]),
    both(
        "mount_unmatched",
        WARNS,
        "echo '/dev/sdq1 /srv ext4 defaults 0 2' >> etc/fstab",
        &["/etc/fstab:3: /dev/sdq1 /srv"],
    ),
    advised(
        "mount_unmatched",
        BLOCKS,
        "echo '/dev/sdq1 /var ext4 defaults 0 2' >> etc/fstab",
        &["/etc/fstab:3: /dev/sdq1 /var"],
    ),
    mended(
        "removable_mount",
        INFORMS,
        "echo '/dev/sr0 /media/cdrom udf,iso9660 ro 0 0' >> etc/fstab",
        &["/etc/fstab:3: /dev/sr0"],
    ),
    both(
        "static_address",
        INFORMS,
        "printf 'iface ens192 inet static\n  address 10.1.2.3/24\n' >> etc/network/interfaces",
        &["/etc/network/interfaces:5: address 10.1.2.3/24"],
    ),
    advised("network_unknown", WARNS, "rm -r etc/network", &["looked for netplan"]),
    advised(
        "dhcp_client_missing",
        BLOCKS,
        "rm usr/sbin/dhclient; printf 'iface ens192 inet static\n  address 10.1.2.3/24\n' >> etc/network/interfaces",
        &["looked for "],
    ),
    advised(
        "netplan_unreadable",
        WARNS,
        "put etc/netplan/01.yaml <<<'network: [}'",
        &["/etc/netplan/01.yaml"],
    ),
    mended(
        "persistent_net_rules",
        INFORMS,
        "put etc/udev/rules.d/70-persistent-net.rules <<<'SUBSYSTEM==\"net\", ATTR{address}==\"00:50:56:00:00:01\", NAME=\"eth0\"'",
        &["/etc/udev/rules.d/70-persistent-net.rules:1: SUBSYSTEM"],
    ),
    mended(
        "network_link_file",
        INFORMS,
        "printf '[Match]\nMACAddress=00:50:56:00:00:01\n[Link]\nName=lan\n' | put etc/systemd/network/10-lan.link",
        &["/etc/systemd/network/10-lan.link: MACAddress"],
    ),
    both(
        "network_bond",
        WARNS,
        "printf 'iface bond0 inet dhcp\n' >> etc/network/interfaces",
        &["/etc/network/interfaces:4: bond0"],
    ),
    both(
        "network_vlan",
        WARNS,
        "printf 'iface eth0.7 inet dhcp\n' >> etc/network/interfaces",
        &["/etc/network/interfaces:4: eth0.7"],
    ),
    both(
        "network_bridge",
        WARNS,
        "printf 'iface br0 inet dhcp\n  bridge_ports eth0\n' >> etc/network/interfaces",
        &["/etc/network/interfaces:4: br0"],
    ),
];
