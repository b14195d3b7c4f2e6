//! Debian with ifupdown, a guest that was made for EC2, and CentOS 6 with GRUB legacy.

use replant::guest::report::DriverPlace;
use replant::model::Hypervisor;

use super::fixtures::shell;
use super::trees::{FUNCTIONS, disk, partition, prepared, run};

#[test]
fn debian_12_with_ifupdown() {
    let script = r##"
elf usr/bin/dash; ln -s dash usr/bin/sh; ln -s usr/bin bin; ln -s usr/lib lib; ln -s usr/sbin sbin
put etc/os-release <<E
PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME="Debian GNU/Linux"
VERSION_ID="12"
ID=debian
E
put etc/hostname <<<web01
elf usr/lib/systemd/systemd; elf usr/sbin/sshd; elf usr/sbin/dhclient; on ssh.service; on nftables.service
put etc/nftables.conf <<'E'
table inet filter {
	chain input {
		type filter hook input priority 0; policy drop;
		tcp dport 443 accept
	}
}
E
put etc/shadow <<<'root:*:19000:0:99999:7:::'
put etc/fstab <<E
# <file system> <mount point> <type> <options> <dump> <pass>
/dev/sda1	/	ext4	errors=remount-ro	0	1
/dev/sda5	none	swap	sw	0	0
/dev/sdb1	/srv	ext4	defaults	0	2
/dev/sr0	/media/cdrom0	udf,iso9660	user,noauto	0	0
E
put etc/crypttab <<<'data /dev/sdc1 /etc/keys/data luks'
R=6.1.0-18-amd64
modules $R .ko cat; mkdir -p boot/grub/i386-pc; echo kernel > boot/vmlinuz-$R; initramfs $R .ko boot/initrd.img-$R "gzip -n"
mkdir -p etc/initramfs-tools
put boot/grub/grub.cfg <<E
set default="0"
menuentry 'Debian GNU/Linux' --class debian \$menuentry_id_option 'gnulinux-simple' {
	linux	/boot/vmlinuz-$R root=/dev/sda1 ro  quiet
	initrd	/boot/initrd.img-$R
}
menuentry 'Gone' {
	linux	/boot/vmlinuz-5.10.0-1-amd64 root=/dev/sda1 ro single
	initrd	/boot/initrd.img-5.10.0-1-amd64
}
E
put etc/default/grub <<'E'
GRUB_DEFAULT=0
GRUB_CMDLINE_LINUX_DEFAULT="quiet"
E
put etc/network/interfaces <<E
source /etc/network/interfaces.d/*

auto lo ens192 ens224
iface lo inet loopback

iface ens192 inet static
	address 192.168.40.15
	netmask 255.255.255.0
	gateway 192.168.40.1

iface ens224.7 inet manual
E
put etc/network/interfaces.d/storage <<E
auto ens256
iface ens256 inet static
	address 10.9.9.9/24
E
"##;
    let partitions = vec![partition(1, "ext4", "/"), partition(5, "swap", "")];
    insta::assert_snapshot!(prepared(script, &disk(partitions)));
}

#[test]
fn a_guest_made_for_ec2_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let script = r##"
elf usr/bin/dash; ln -s dash usr/bin/sh; ln -s usr/bin bin; ln -s usr/lib lib
put etc/os-release <<E
PRETTY_NAME="Ubuntu 22.04.4 LTS"
ID=ubuntu
VERSION_ID="22.04"
E
elf usr/lib/systemd/systemd; elf usr/sbin/sshd; on ssh.service; on systemd-networkd.service
put etc/fstab <<<'LABEL=cloudimg-rootfs / ext4 discard,errors=remount-ro 0 1'
R=6.5.0-1020-aws
modules $R .ko cat; printf 'kernel/drivers/nvme/host/nvme.ko\nkernel/drivers/nvme/host/nvme-core.ko\nkernel/drivers/block/xen-blkfront.ko\n' > usr/lib/modules/$R/modules.builtin
mkdir -p boot/grub/i386-pc boot/efi/EFI/BOOT; echo kernel > boot/vmlinuz-$R; initramfs $R .ko boot/initrd.img-$R "zstd -q -c"
echo x > boot/efi/EFI/BOOT/BOOTX64.EFI
put boot/grub/grub.cfg <<E
menuentry 'Ubuntu' {
	linux	/boot/vmlinuz-$R root=PARTUUID=1234 ro  console=tty1 console=ttyS0 nvme_core.io_timeout=4294967295 panic=-1
	initrd	/boot/initrd.img-$R
}
E
put usr/bin/cloud-init <<<''
put etc/cloud/cloud.cfg <<<'users: [default]'
put etc/cloud/cloud.cfg.d/90_dpkg.cfg <<<'datasource_list: [ Ec2, None ]'
put etc/netplan/50-cloud-init.yaml <<E
network:
    version: 2
    ethernets:
        ens5:
            dhcp4: true
            match:
                macaddress: 02:aa:bb:cc:dd:ee
            set-name: ens5
E
"##;
    shell(&format!("cd {}\n{FUNCTIONS}\n{script}", root.display()));
    let report = run(root, &disk(vec![partition(1, "ext4", "/")]), Hypervisor::Nitro, true);
    assert_eq!(report.recipe.edits, [], "{:?}", report.findings);
    let facts = report.facts.unwrap();
    assert!(facts.boots_either_firmware);
    assert_eq!(facts.kernels[0].drivers["nvme"], DriverPlace::BuiltIn);
}

#[test]
fn centos_6_with_grub_legacy_and_dracut_004() {
    let script = r##"
elf bin/bash; ln -s bash bin/sh; mkdir -p lib usr/lib; ln -s ../usr/lib/modules lib/modules
put etc/redhat-release <<<'CentOS release 6.10 (Final)'
put etc/sysconfig/network <<E
NETWORKING=yes
HOSTNAME=old.example.com
E
elf usr/sbin/sshd; mkdir -p etc/rc.d/rc3.d; ln -s ../init.d/sshd etc/rc.d/rc3.d/S55sshd; ln -s ../init.d/iptables etc/rc.d/rc3.d/S08iptables
put etc/sysconfig/iptables <<'E'
*filter
:INPUT ACCEPT [0:0]
-A INPUT -m state --state ESTABLISHED,RELATED -j ACCEPT
-A INPUT -p tcp -m state --state NEW -m tcp --dport 22 -j ACCEPT
-A INPUT -j REJECT --reject-with icmp-host-prohibited
COMMIT
E
put etc/shadow <<<'root:$6$salt$secrethash:19000:0:99999:7:::'
put etc/fstab <<<'UUID=00002-uuid-ext4 / ext4 defaults 1 1'
R=2.6.32-754.el6.x86_64
modules $R .ko cat
mkdir -p boot/grub usr/share/dracut; echo stage > boot/grub/stage2; echo kernel > boot/vmlinuz-$R
i=$PWD/.i; mkdir -p $i/lib/modules/$R/kernel/drivers/scsi $i/pre-udev $i/initqueue
cp usr/lib/modules/$R/kernel/drivers/scsi/sd_mod.ko $i/lib/modules/$R/kernel/drivers/scsi/
echo 'kernel/drivers/scsi/sd_mod.ko:' > $i/lib/modules/$R/modules.dep
find $i -exec touch -h -d @0 {} +
(cd $i; find . | LC_ALL=C sort | cpio -o --quiet -H newc --reproducible -R 0:0 | gzip -n) > boot/initramfs-$R.img; rm -rf $i
put boot/grub/grub.conf <<E
default=0
timeout=5
password --md5 \$1\$salt\$secrethash
title CentOS ($R)
	root (hd0,0)
	kernel /vmlinuz-$R ro root=/dev/sda2 rd_NO_LUKS KEYBOARDTYPE=pc rhgb quiet
	initrd /initramfs-$R.img
E
ln -s grub.conf boot/grub/menu.lst; ln -s ../boot/grub/grub.conf etc/grub.conf
put etc/sysconfig/network-scripts/ifcfg-eth0 <<E
DEVICE=eth0
HWADDR=00:50:56:00:00:01
TYPE=Ethernet
ONBOOT=yes
BOOTPROTO=static
IPADDR=10.1.2.7
NETMASK=255.255.255.0
E
mkdir -p lib/udev/rules.d; echo 'DRIVERS=="?*", IMPORT{program}="write_net_rules"' > lib/udev/rules.d/75-persistent-net-generator.rules
put etc/udev/rules.d/70-persistent-net.rules <<<'SUBSYSTEM=="net", ATTR{address}=="00:50:56:00:00:01", NAME="eth0"'
"##;
    insta::assert_snapshot!(prepared(
        script,
        &disk(vec![partition(1, "ext4", "/boot"), partition(2, "ext4", "/")])
    ));
}
