//! Debian 9 to 13. Those that the mirror still offers are also booted: see the test matrix.

use super::kit::{disk, prepared};

const COMMON: &str = r##"
shadow; mkdir -p etc/initramfs-tools/conf.d
put etc/initramfs-tools/modules <<E
# List of modules that you want to include in your initramfs.
E
# kernel RELEASE ENDING COMPRESSOR COMPRESSOR-OF-INITRAMFS [PARMTYPE]
kernel() { modules $1 $2 "$3" ${5:-uint}; mkdir -p boot; vmlinuz boot/vmlinuz-$1 $1; initramfs_tools $1 $2 boot/initrd.img-$1 "$4"; ln -sf boot/vmlinuz-$1 vmlinuz; ln -sf boot/initrd.img-$1 initrd.img; }
# menu DEFAULT ARGUMENTS UUID RELEASE…
menu() {
  local d=$1 a=$2 u=$3 r; shift 3; grub_header "$d"
  entry 'Debian GNU/Linux' gnulinux-simple-$u linux /boot/vmlinuz-$1 "$a" initrd /boot/initrd.img-$1 $u
  echo "submenu 'Advanced options for Debian GNU/Linux' \$menuentry_id_option 'gnulinux-advanced-$u' {"
  for r; do
  entry "Debian GNU/Linux, with Linux $r" gnulinux-$r-advanced-$u linux /boot/vmlinuz-$r "$a" initrd /boot/initrd.img-$r $u
  entry "Debian GNU/Linux, with Linux $r (recovery mode)" gnulinux-$r-recovery-$u linux /boot/vmlinuz-$r "${a%% quiet*} single" initrd /boot/initrd.img-$r $u
  done
  echo "}"
}
defaults() { put etc/default/grub <<E
# If you change this file, run 'update-grub' afterwards to update
# /boot/grub/grub.cfg.
GRUB_DEFAULT=$1
GRUB_TIMEOUT=5
GRUB_DISTRIBUTOR=\`lsb_release -i -s 2> /dev/null || echo Debian\`
GRUB_CMDLINE_LINUX_DEFAULT="quiet"
GRUB_CMDLINE_LINUX=""
E
}
interfaces() { put etc/network/interfaces <<E
# This file describes the network interfaces available on your system
# and how to activate them. For more information, see interfaces(5).

source /etc/network/interfaces.d/*

# The loopback network interface
auto lo
iface lo inet loopback

# The primary network interface
$1
E
}
"##;

#[test]
fn debian_9_by_bios() {
    let script = r##"
split_; elf lib/systemd/systemd usr/sbin/sshd sbin/dhclient; on ssh.service
os_release debian 9 "Debian GNU/Linux 9 (stretch)" ""; put etc/debian_version <<<9.13
R=4.9.0-19-amd64; kernel $R .ko cat "gzip -n" byte; i386_pc boot/grub
menu 0 "root=UUID=$U1 ro  quiet" $U1 $R | put boot/grub/grub.cfg; defaults 0
put etc/initramfs-tools/conf.d/resume <<<"RESUME=UUID=$U5"
put etc/fstab <<E
# / was on /dev/sda1 during installation
UUID=$U1 /               ext4    errors=remount-ro 0       1
# swap was on /dev/sda5 during installation
UUID=$U5 none            swap    sw              0       0
/dev/sr0        /media/cdrom0   udf,iso9660 user,noauto     0       0
E
interfaces 'allow-hotplug ens192
iface ens192 inet dhcp'
"##;
    let disks = disk(&[(1, "ext4", "/"), (5, "swap", "")]);
    insta::assert_snapshot!(prepared(&format!("{COMMON}{script}"), &disks));
}

/// The older kernel is the default, chosen by index in the submenu.
#[test]
fn debian_10_with_an_older_kernel_as_default() {
    let script = r##"
merged; systemd; elf usr/sbin/dhclient; on ssh.service
os_release debian 10 "Debian GNU/Linux 10 (buster)" ""
R=4.19.0-27-amd64; O=4.19.0-26-amd64; kernel $O .ko cat "gzip -n"; kernel $R .ko cat "gzip -n"; i386_pc boot/grub
menu "gnulinux-advanced-$U1>gnulinux-$O-advanced-$U1" "root=UUID=$U1 ro  quiet" $U1 $R $O | put boot/grub/grub.cfg
defaults "gnulinux-advanced-$U1>gnulinux-$O-advanced-$U1"
put etc/fstab <<<"UUID=$U1 / ext4 errors=remount-ro 0 1"
interfaces 'auto ens192 ens224
iface ens192 inet static
	address 10.1.2.60/24
	gateway 10.1.2.1
	dns-nameservers 10.1.2.2

iface ens192 inet6 static
	address 2001:db8::60/64

auto ens192:1
iface ens192:1 inet static
	address 10.1.2.61/24

iface ens224 inet static
	address 10.9.0.60/16
	post-up ip route add 10.50.0.0/16 via 10.9.0.1'
"##;
    insta::assert_snapshot!(prepared(&format!("{COMMON}{script}"), &disk(&[(1, "ext4", "/")])));
}

/// The installer makes no removable path; shim and GRUB are Debian's.
#[test]
fn debian_11_by_uefi() {
    let script = r##"
merged; systemd; elf usr/sbin/dhclient; on ssh.service
os_release debian 11 "Debian GNU/Linux 11 (bullseye)" ""
R=5.10.0-32-amd64; kernel $R .ko cat "gzip -n"; E=boot/efi/EFI/debian
shim $E/shimx64.efi grubx64.efi; efi $E/grubx64.efi; efi $E/fbx64.efi; efi $E/mmx64.efi; touch_ $E/BOOTX64.CSV
put $E/grub.cfg <<E
search.fs_uuid $U2 root hd0,gpt2
set prefix=(\$root)'/boot/grub'
configfile \$prefix/grub.cfg
E
menu 0 "root=UUID=$U2 ro  quiet" $U2 $R | put boot/grub/grub.cfg; defaults 0
put etc/fstab <<E
UUID=$U2 /               ext4    errors=remount-ro 0       1
UUID=$U1  /boot/efi       vfat    umask=0077      0       1
UUID=$U3 none            swap    sw              0       0
E
interfaces 'allow-hotplug ens192
iface ens192 inet static
	address 10.1.2.70
	netmask 255.255.255.0
	gateway 10.1.2.1'
mkdir -p etc/network/interfaces.d
put etc/network/interfaces.d/bridge <<E
auto br0
iface br0 inet static
	bridge_ports ens224
	address 10.9.0.70/16
E
"##;
    let disks = disk(&[(1, "vfat", "/boot/efi"), (2, "ext4", "/"), (3, "swap", "")]);
    insta::assert_snapshot!(prepared(&format!("{COMMON}{script}"), &disks));
}

/// dhcpcd instead of dhclient.
#[test]
fn debian_13_with_dhcpcd() {
    let script = r##"
merged; systemd; elf usr/sbin/dhcpcd; on ssh.service
os_release debian 13 "Debian GNU/Linux 13 (trixie)" ""
R=6.12.43+deb13-amd64; kernel $R .ko.xz xz "zstd -q -c"; i386_pc boot/grub
menu 0 "root=UUID=$U1 ro  quiet" $U1 $R | put boot/grub/grub.cfg; defaults 0
put etc/fstab <<<"UUID=$U1 / ext4 errors=remount-ro 0 1"
interfaces 'allow-hotplug ens192
iface ens192 inet dhcp'
"##;
    insta::assert_snapshot!(prepared(&format!("{COMMON}{script}"), &disk(&[(1, "ext4", "/")])));
}

/// Everything by device name, a kernel that is gone, encryption, three kinds of cards.
#[test]
fn debian_12_by_device_names() {
    let script = r##"
merged; systemd; elf usr/sbin/dhclient; on ssh.service
os_release debian 12 "Debian GNU/Linux 12 (bookworm)" ""; put etc/hostname <<<web01
R=6.1.0-18-amd64; kernel $R .ko cat "gzip -n"; i386_pc boot/grub
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
defaults 0
put etc/fstab <<E
# <file system> <mount point> <type> <options> <dump> <pass>
/dev/sda1	/	ext4	errors=remount-ro	0	1
/dev/sda5	none	swap	sw	0	0
/dev/sdb1	/srv	ext4	defaults	0	2
/dev/sr0	/media/cdrom0	udf,iso9660	user,noauto	0	0
E
put etc/crypttab <<<'data /dev/sdc1 /etc/keys/data luks'
put etc/network/interfaces <<E
source /etc/network/interfaces.d/*

auto lo ens192 ens224
iface lo inet loopback

mapping ens224
	script /usr/local/sbin/map
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
    let disks = disk(&[(1, "ext4", "/"), (5, "swap", "")]);
    insta::assert_snapshot!(prepared(&format!("{COMMON}{script}"), &disks));
}
