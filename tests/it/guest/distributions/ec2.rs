//! Backups of EC2 instances, as their AMIs are: they boot there already, and nothing is done.

use replant::guest::report::DriverPlace;
use replant::model::{GuestChanges, Hypervisor, NetworkPolicy};

use super::kit::{disk, left_alone};

/// cloud-init, as the AMIs have it.
const CLOUD: &str = r##"
put usr/bin/cloud-init <<<''; put etc/cloud/cloud.cfg <<<'users: [default]'
shadow; mkdir -p home/ec2-user/.ssh; echo 'ssh-ed25519 AAAA key' > home/ec2-user/.ssh/authorized_keys
echo 'ec2-user:x:1000:1000::/home/ec2-user:/bin/bash' >> etc/passwd
"##;

fn with_cloud(script: &str) -> String {
    format!("{CLOUD}{script}")
}

#[test]
fn amazon_linux_2023() {
    let script = r##"
merged; systemd; on sshd.service systemd-networkd.service systemd-resolved.service
os_release amzn 2023 "Amazon Linux 2023.5.20240819" fedora
R=6.1.102-108.177.amzn2023.x86_64; M=ec2deadbeef0123456789abcdef01234
modules $R .ko cat; i386_pc boot/grub2; mkdir -p usr/lib/dracut etc/dracut.conf.d; vmlinuz boot/vmlinuz-$R $R; dracut $R .ko boot/initramfs-$R.img "zstd -q -c" "$OF_EC2"
put boot/loader/entries/$M-$R.conf <<E
title Amazon Linux ($R) 2023
version $R
linux /boot/vmlinuz-$R
initrd /boot/initramfs-$R.img
options root=UUID=$U1 ro console=tty0 console=ttyS0,115200n8 nvme_core.io_timeout=4294967295 rd.emergency=poweroff rd.shell=0 selinux=1 security=selinux quiet numa_cma=1:64M
grub_users \$grub_users
grub_arg --unrestricted
grub_class amzn
E
{ grub_header '${saved_entry}'; printf 'insmod blscfg\nblscfg\n'; } | put boot/grub2/grub.cfg
printf 'saved_entry=%s-%s\n' $M $R | env_block boot/grub2/grubenv
efi boot/efi/EFI/BOOT/BOOTX64.EFI; efi boot/efi/EFI/amzn/grubx64.efi; put boot/efi/EFI/amzn/grub.cfg <<<'configfile'
put etc/default/grub <<<'GRUB_CMDLINE_LINUX_DEFAULT="console=tty0 console=ttyS0,115200n8 nvme_core.io_timeout=4294967295 rd.emergency=poweroff rd.shell=0 selinux=1 security=selinux quiet"'
put etc/fstab <<E
#
UUID=$U1     /           xfs    defaults,noatime  1   1
UUID=$U2        /boot/efi       vfat    defaults,noatime,uid=0,gid=0,umask=0077,shortname=winnt,x-systemd.automount 0 2
E
put usr/lib/systemd/network/80-ec2.network <<E
[Match]
Driver=ena ixgbevf vif

[Link]
MTUBytes=9001

[Network]
DHCP=yes
IPv6DuplicateAddressDetection=0
LLMNR=no
DNSDefaultRoute=yes
E
"##;
    let report = left_alone(
        &with_cloud(script),
        &disk(&[(1, "xfs", "/"), (2, "vfat", "/boot/efi")]),
        Hypervisor::Nitro,
    );
    assert!(report.facts.unwrap().boots_either_firmware);
}

#[test]
fn amazon_linux_2() {
    let script = r##"
merged; systemd; on sshd.service; rc3 S10network; elf usr/sbin/dhclient
os_release amzn 2 "Amazon Linux 2" "centos rhel fedora"
R=4.14.336-257.562.amzn2.x86_64; modules $R .ko cat; i386_pc boot/grub2; mkdir -p usr/lib/dracut etc/dracut.conf.d; vmlinuz boot/vmlinuz-$R $R; dracut $R .ko boot/initramfs-$R.img "gzip -n" "$OF_EC2"
A="root=UUID=$U1 ro console=tty0 console=ttyS0,115200n8 net.ifnames=0 biosdevname=0 nvme_core.io_timeout=4294967295 rd.emergency=poweroff rd.shell=0"
{ grub_header 0; entry "Amazon Linux 2" gnulinux-$R-advanced linux /boot/vmlinuz-$R "$A" initrd /boot/initramfs-$R.img $U1; } | put boot/grub2/grub.cfg
put etc/default/grub <<'E'
GRUB_CMDLINE_LINUX_DEFAULT="console=tty0 console=ttyS0,115200n8 net.ifnames=0 biosdevname=0 nvme_core.io_timeout=4294967295 rd.emergency=poweroff rd.shell=0"
GRUB_TIMEOUT=0
GRUB_DISABLE_RECOVERY="true"
E
put etc/fstab <<<"UUID=$U1     /           xfs    defaults,noatime  1   1"
put etc/sysconfig/network <<E
NETWORKING=yes
NOZEROCONF=yes
E
put etc/sysconfig/network-scripts/ifcfg-eth0 <<E
DEVICE=eth0
BOOTPROTO=dhcp
ONBOOT=yes
TYPE=Ethernet
USERCTL=yes
PEERDNS=yes
DHCPV6C=yes
DHCPV6C_OPTIONS=-nw
PERSISTENT_DHCLIENT=yes
RES_OPTIONS="timeout:2 attempts:5"
DHCP_ARP_CHECK=no
E
"##;
    left_alone(&with_cloud(script), &disk(&[(1, "xfs", "/")]), Hypervisor::Nitro);
    left_alone(&with_cloud(script), &disk(&[(1, "xfs", "/")]), Hypervisor::Xen);
}

/// The drivers are built into the AWS kernel.
#[test]
fn ubuntu_24_04() {
    let script = r##"
merged; systemd; on ssh.service systemd-networkd.service
os_release ubuntu 24.04 "Ubuntu 24.04.1 LTS" debian
R=6.8.0-1018-aws; modules $R .ko.zst "zstd -q -c"; built_in $R drivers/nvme/host/nvme drivers/nvme/host/nvme-core drivers/block/xen-blkfront drivers/net/xen-netfront
i386_pc boot/grub; mkdir -p etc/initramfs-tools; vmlinuz boot/vmlinuz-$R $R; initramfs_tools $R .ko.zst boot/initrd.img-$R "zstd -q -c"
shim boot/efi/EFI/BOOT/BOOTX64.EFI grubx64.efi; efi boot/efi/EFI/BOOT/grubx64.efi; efi boot/efi/EFI/ubuntu/grubx64.efi
{ grub_header 0; entry Ubuntu gnulinux-simple linux /vmlinuz-$R "root=PARTUUID=6f4e2d1c-7a40-4f4c-9d2b-0f0f0f0f0f0f ro console=tty1 console=ttyS0 nvme_core.io_timeout=4294967295 panic=-1" initrd /initrd.img-$R $U2; } | put boot/grub/grub.cfg
put etc/default/grub <<<'GRUB_CMDLINE_LINUX_DEFAULT="quiet splash"'
put etc/default/grub.d/50-cloudimg-settings.cfg <<'E'
GRUB_TIMEOUT=0
GRUB_CMDLINE_LINUX_DEFAULT="console=tty1 console=ttyS0 nvme_core.io_timeout=4294967295"
GRUB_TERMINAL=console
E
put etc/default/grub.d/40-force-partuuid.cfg <<<'GRUB_FORCE_PARTUUID=6f4e2d1c-7a40-4f4c-9d2b-0f0f0f0f0f0f'
put etc/fstab <<E
LABEL=cloudimg-rootfs	/	 ext4	discard,commit=30,errors=remount-ro	0 1
LABEL=BOOT	/boot	ext4	defaults	0 2
LABEL=UEFI	/boot/efi	vfat	umask=0077	0 1
E
put etc/cloud/cloud.cfg.d/90_dpkg.cfg <<<'datasource_list: [ Ec2, None ]'
put etc/netplan/50-cloud-init.yaml <<E
network:
  version: 2
  ethernets:
    ens5:
      match:
        macaddress: "02:aa:bb:cc:dd:ee"
      dhcp4: true
      dhcp6: false
      set-name: "ens5"
E
"##;
    let mut disks = disk(&[(1, "ext4", "/"), (2, "ext4", "/boot"), (15, "vfat", "/boot/efi")]);
    for (partition, label) in disks[0].partitions.iter_mut().zip(["cloudimg-rootfs", "BOOT", "UEFI"]) {
        partition.label = Some(label.to_owned());
    }
    let report = left_alone(&with_cloud(script), &disks, Hypervisor::Nitro);
    assert_eq!(report.facts.unwrap().kernels[0].drivers["nvme"], DriverPlace::BuiltIn);
}

#[test]
fn rhel_9() {
    let script = r##"
merged; systemd; on sshd.service NetworkManager.service
os_release rhel 9.4 "Red Hat Enterprise Linux 9.4 (Plow)" fedora
R=5.14.0-427.13.1.el9_4.x86_64; M=0123456789abcdef0123456789abcdef
modules $R .ko.xz xz; i386_pc boot/grub2; mkdir -p usr/lib/dracut etc/dracut.conf.d; vmlinuz boot/vmlinuz-$R $R; dracut $R .ko.xz boot/initramfs-$R.img "gzip -n" "$OF_EC2"
A="root=UUID=$U4 console=tty0 console=ttyS0,115200n8 net.ifnames=0 nvme_core.io_timeout=4294967295 crashkernel=1G-4G:192M,4G-64G:256M,64G-:512M"
put boot/loader/entries/$M-$R.conf <<E
title Red Hat Enterprise Linux ($R) 9.4 (Plow)
version $R
linux /vmlinuz-$R
initrd /initramfs-$R.img \$tuned_initrd
options $A \$tuned_params
grub_users \$grub_users
grub_arg --unrestricted
grub_class rhel
E
{ grub_header '${saved_entry}'; printf 'insmod blscfg\nblscfg\n'; } | put boot/grub2/grub.cfg
printf 'saved_entry=%s-%s\n' $M $R | env_block boot/grub2/grubenv
E=boot/efi/EFI; shim $E/BOOT/BOOTX64.EFI grubx64.efi; efi $E/BOOT/fbx64.efi; shim $E/redhat/shimx64.efi grubx64.efi; efi $E/redhat/grubx64.efi; touch_ $E/redhat/BOOTX64.CSV
put $E/redhat/grub.cfg <<<'configfile $prefix/grub.cfg'
put etc/kernel/cmdline <<<"$A"
put etc/default/grub <<E
GRUB_CMDLINE_LINUX="console=tty0 console=ttyS0,115200n8 net.ifnames=0 nvme_core.io_timeout=4294967295 crashkernel=1G-4G:192M,4G-64G:256M,64G-:512M"
GRUB_ENABLE_BLSCFG=true
E
put etc/fstab <<E
UUID=$U4	/	xfs	defaults	0	0
UUID=$U3	/boot	xfs	defaults	0	0
UUID=$U2	/boot/efi	vfat	defaults,uid=0,gid=0,umask=077,shortname=winnt	0	2
E
put etc/NetworkManager/system-connections/cloud-init-eth0.nmconnection <<E
# Generated by cloud-init. Changes will be lost.

[connection]
id=cloud-init eth0
uuid=1dd9a779-d327-56e1-8454-c65e2556c12c
autoconnect-priority=120
type=ethernet

[user]
org.freedesktop.NetworkManager.origin=cloud-init

[ethernet]
mac-address=02:AA:BB:CC:DD:EE

[ipv4]
method=auto
may-fail=false
E
"##;
    let disks = disk(&[(1, "bios-grub", ""), (2, "vfat", "/boot/efi"), (3, "xfs", "/boot"), (4, "xfs", "/")]);
    let report = left_alone(&with_cloud(script), &disks, Hypervisor::Nitro);
    assert_eq!(report.facts.unwrap().kernels[0].drivers["nvme"], DriverPlace::Initramfs);
}

/// As Red Hat's and CentOS's AMIs of version 8 are: an ifcfg file of cloud-init's.
#[test]
fn centos_stream_8() {
    let script = r##"
merged; systemd; on sshd.service NetworkManager.service
os_release centos 8 "CentOS Stream 8" "rhel fedora"
R=4.18.0-552.el8.x86_64; M=0123456789abcdef0123456789abcdef
modules $R .ko.xz xz; i386_pc boot/grub2; mkdir -p usr/lib/dracut; vmlinuz boot/vmlinuz-$R $R; dracut $R .ko.xz boot/initramfs-$R.img "gzip -n" "$OF_EC2"
A="root=UUID=$U1 ro console=ttyS0,115200n8 no_timer_check net.ifnames=0 nvme_core.io_timeout=4294967295 nvme_core.max_retries=10 crashkernel=auto"
put boot/loader/entries/$M-$R.conf <<E
title CentOS Stream ($R) 8
version $R
linux /boot/vmlinuz-$R
initrd /boot/initramfs-$R.img \$tuned_initrd
options \$kernelopts \$tuned_params
E
{ grub_header '${saved_entry}'; printf 'insmod blscfg\nblscfg\n'; } | put boot/grub2/grub.cfg
printf 'saved_entry=%s-%s\nkernelopts=%s \n' $M $R "$A" | env_block boot/grub2/grubenv
put etc/fstab <<<"UUID=$U1 / xfs defaults 0 0"
put etc/sysconfig/network-scripts/ifcfg-eth0 <<E
# Created by cloud-init on instance boot automatically, do not edit.
#
BOOTPROTO=dhcp
DEVICE=eth0
HWADDR=02:aa:bb:cc:dd:ee
ONBOOT=yes
STARTMODE=auto
TYPE=Ethernet
USERCTL=no
E
"##;
    left_alone(&with_cloud(script), &disk(&[(1, "xfs", "/")]), Hypervisor::Nitro);
}

/// The cloud kernel builds NVMe in; netplan with networkd.
#[test]
fn debian_12() {
    let script = r##"
merged; systemd; on ssh.service systemd-networkd.service
os_release debian 12 "Debian GNU/Linux 12 (bookworm)" ""
R=6.1.0-25-cloud-amd64; modules $R .ko cat; built_in $R drivers/nvme/host/nvme drivers/nvme/host/nvme-core
i386_pc boot/grub; mkdir -p etc/initramfs-tools; vmlinuz boot/vmlinuz-$R $R; initramfs_tools $R .ko boot/initrd.img-$R "zstd -q -c" "$ORDINARY drivers/block/xen-blkfront"
efi boot/efi/EFI/BOOT/BOOTX64.EFI; efi boot/efi/EFI/debian/grubx64.efi
A="root=PARTUUID=6f4e2d1c-7a40-4f4c-9d2b-0f0f0f0f0f0f ro console=tty0 console=ttyS0,115200 earlyprintk=ttyS0,115200 consoleblank=0 nvme_core.io_timeout=4294967295"
{ grub_header 0; entry 'Debian GNU/Linux' gnulinux-simple linux /boot/vmlinuz-$R "$A" initrd /boot/initrd.img-$R $U1; } | put boot/grub/grub.cfg
put etc/default/grub <<<'GRUB_CMDLINE_LINUX_DEFAULT="quiet"'
put etc/default/grub.d/10_cloud.cfg <<<'GRUB_CMDLINE_LINUX="console=tty0 console=ttyS0,115200 earlyprintk=ttyS0,115200 consoleblank=0 nvme_core.io_timeout=4294967295"'
put etc/fstab <<E
PARTUUID=6f4e2d1c-7a40-4f4c-9d2b-0f0f0f0f0f0f / ext4 rw,discard,errors=remount-ro,x-systemd.growfs 0 1
PARTUUID=0a1b2c3d-7a40-4f4c-9d2b-0f0f0f0f0f0f /boot/efi vfat defaults 0 0
E
put etc/cloud/cloud.cfg.d/01_debian_cloud.cfg <<<'datasource_list: [ "Ec2", "None" ]'
put etc/netplan/90-default.yaml <<E
network:
    version: 2
    ethernets:
        all-en:
            match:
                name: en*
            dhcp4: true
            dhcp4-overrides:
                use-domains: true
            dhcp6: true
        all-eth:
            match:
                name: eth*
            dhcp4: true
            dhcp6: true
E
"##;
    let disks = disk(&[(1, "ext4", "/"), (15, "vfat", "/boot/efi")]);
    left_alone(&with_cloud(script), &disks, Hypervisor::Nitro);
}

#[test]
fn sles_15() {
    let script = r##"
merged; systemd; on sshd.service wicked.service
os_release sles 15.5 "SUSE Linux Enterprise Server 15 SP5" suse
R=5.14.21-150500.55.73-default; modules $R .ko.zst "zstd -q -c"; i386_pc boot/grub2; mkdir -p usr/lib/dracut etc/dracut.conf.d
vmlinuz boot/vmlinuz-$R $R; dracut $R .ko.zst boot/initrd-$R "zstd -q -c" "$OF_EC2"; ln -s vmlinuz-$R boot/vmlinuz; ln -s initrd-$R boot/initrd
shim boot/efi/EFI/BOOT/bootx64.efi grub.efi; efi boot/efi/EFI/BOOT/grub.efi; efi boot/efi/EFI/BOOT/MokManager.efi
A="root=UUID=$U3 rw console=ttyS0,115200 multipath=off net.ifnames=0 dis_ucode_ldr nvme_core.io_timeout=4294967295 nvme_core.admin_timeout=68 rd.emergency=poweroff rd.shell=0"
{ grub_header '${saved_entry}'; entry "SLES 15-SP5" gnulinux-simple-$U3 linux /boot/vmlinuz-$R "$A" initrd /boot/initrd-$R $U3; } | put boot/grub2/grub.cfg
env_block boot/grub2/grubenv <<<""
put etc/default/grub <<'E'
GRUB_CMDLINE_LINUX="console=ttyS0,115200 multipath=off net.ifnames=0 dis_ucode_ldr nvme_core.io_timeout=4294967295 nvme_core.admin_timeout=68 rd.emergency=poweroff rd.shell=0"
GRUB_CMDLINE_LINUX_DEFAULT=""
E
put etc/fstab <<E
UUID=$U3 / xfs defaults 0 1
LABEL=EFI /boot/efi vfat defaults 0 0
E
put etc/sysconfig/network/ifcfg-lo <<<"IPADDR='127.0.0.1/8'"
put etc/sysconfig/network/ifcfg-eth0 <<E
# Created by cloud-init on instance boot automatically, do not edit.
#
BOOTPROTO=dhcp4
DHCLIENT6_MODE=managed
LLADDR=02:aa:bb:cc:dd:ee
STARTMODE=auto
E
put etc/udev/rules.d/75-persistent-net-generator.rules <<<''
"##;
    let mut disks = disk(&[(1, "bios-grub", ""), (2, "vfat", "/boot/efi"), (3, "xfs", "/")]);
    disks[0].partitions[1].label = Some("EFI".to_owned());
    left_alone(&with_cloud(script), &disks, Hypervisor::Nitro);
}

/// `network = "keep"` makes no difference to the guest: it asks DHCP, which gives it the address
/// that the instance keeps.
#[test]
fn the_policy_does_not_change_the_recipe() {
    assert_ne!(NetworkPolicy::Keep, NetworkPolicy::Dhcp);
    let disks = disk(&[(1, "vfat", "/boot/efi"), (2, "ext4", "/")]);
    let recipe = |network| {
        let directory = tempfile::tempdir().unwrap();
        super::kit::build(directory.path(), &super::ubuntu::ubuntu_22(), &disks);
        super::kit::run_with(
            directory.path(),
            &disks,
            Hypervisor::Nitro,
            network,
            GuestChanges::default(),
            false,
        )
        .recipe
    };
    assert_eq!(recipe(NetworkPolicy::Keep), recipe(NetworkPolicy::Dhcp));
}
