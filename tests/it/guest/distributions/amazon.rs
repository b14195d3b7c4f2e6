//! Amazon Linux as the VMware images have it.

use super::kit::{disk, prepared};

#[test]
fn amazon_linux_2_from_its_vmware_image() {
    let script = r##"
merged; systemd; shadow; on sshd.service; rc3 S10network; elf usr/sbin/dhclient
os_release amzn 2 "Amazon Linux 2" "centos rhel fedora"
R=4.14.336-257.562.amzn2.x86_64; modules $R .ko cat; i386_pc boot/grub2; mkdir -p usr/lib/dracut etc/dracut.conf.d; vmlinuz boot/vmlinuz-$R $R; dracut $R .ko boot/initramfs-$R.img "gzip -n"
A="root=UUID=$U1 ro console=ttyS0,115200n8 console=tty0 net.ifnames=0 rd.blacklist=nouveau nvme_core.io_timeout=4294967295 rd.emergency=poweroff rd.shell=0"
{ grub_header 0; entry "Amazon Linux 2" gnulinux-$R-advanced linux /boot/vmlinuz-$R "$A" initrd /boot/initramfs-$R.img $U1; } | put boot/grub2/grub.cfg
put etc/default/grub <<'E'
GRUB_CMDLINE_LINUX_DEFAULT="console=ttyS0,115200n8 console=tty0 net.ifnames=0 rd.blacklist=nouveau nvme_core.io_timeout=4294967295 rd.emergency=poweroff rd.shell=0"
GRUB_TIMEOUT=0
GRUB_DISABLE_RECOVERY="true"
E
put etc/fstab <<E
#
UUID=$U1     /           xfs    defaults,noatime  1   1
E
put usr/bin/cloud-init <<<''; put etc/cloud/cloud.cfg <<E
datasource_list: [ NoCloud, AltCloud, ConfigDrive, OVF, None ]
E
put etc/sysconfig/network <<E
NETWORKING=yes
NOZEROCONF=yes
E
put etc/sysconfig/network-scripts/ifcfg-eth0 <<E
DEVICE=eth0
BOOTPROTO=static
ONBOOT=yes
TYPE=Ethernet
IPADDR=10.1.2.20
NETMASK=255.255.255.0
GATEWAY=10.1.2.1
E
"##;
    insta::assert_snapshot!(prepared(script, &disk(&[(1, "xfs", "/")])));
}

#[test]
fn amazon_linux_2023_from_its_vmware_image() {
    let script = r##"
merged; systemd; shadow; on sshd.service systemd-networkd.service
os_release amzn 2023 "Amazon Linux 2023.5.20240819" fedora
R=6.1.102-108.177.amzn2023.x86_64; M=ec2deadbeef0123456789abcdef01234
modules $R .ko cat; i386_pc boot/grub2; mkdir -p usr/lib/dracut etc/dracut.conf.d; vmlinuz boot/vmlinuz-$R $R; dracut $R .ko boot/initramfs-$R.img "zstd -q -c"
put boot/loader/entries/$M-$R.conf <<E
title Amazon Linux ($R) 2023
version $R
linux /boot/vmlinuz-$R
initrd /boot/initramfs-$R.img
options root=UUID=$U1 ro console=tty0 rd.emergency=poweroff rd.shell=0 selinux=1 security=selinux quiet
grub_users \$grub_users
grub_arg --unrestricted
grub_class amzn
E
{ grub_header '${saved_entry}'; printf 'insmod blscfg\nblscfg\n'; } | put boot/grub2/grub.cfg
printf 'saved_entry=%s-%s\n' $M $R | env_block boot/grub2/grubenv
shim boot/efi/EFI/BOOT/BOOTX64.EFI grubx64.efi; efi boot/efi/EFI/BOOT/grubx64.efi; efi boot/efi/EFI/amzn/grubx64.efi
put etc/default/grub <<'E'
GRUB_CMDLINE_LINUX_DEFAULT="console=tty0 rd.emergency=poweroff rd.shell=0 selinux=1 security=selinux quiet"
GRUB_TIMEOUT=0
GRUB_DISABLE_RECOVERY="true"
GRUB_ENABLE_BLSCFG="true"
E
put etc/fstab <<E
UUID=$U1     /           xfs    defaults,noatime  1   1
UUID=$U2        /boot/efi       vfat    defaults,noatime,uid=0,gid=0,umask=0077,shortname=winnt,x-systemd.automount 0 2
E
put usr/lib/systemd/network/80-ec2.network <<E
[Match]
Driver=ena ixgbevf vif

[Network]
DHCP=yes
E
put etc/systemd/network/10-static.network <<E
[Match]
Name=ens192

[Network]
Address=10.1.2.21/24
Gateway=10.1.2.1
DNS=10.1.2.2
E
put etc/systemd/network/20-backup.network <<E
[Match]
MACAddress=00:50:56:8e:00:02

[Network]
DHCP=ipv4
E
"##;
    insta::assert_snapshot!(prepared(script, &disk(&[(1, "xfs", "/"), (2, "vfat", "/boot/efi")])));
}
