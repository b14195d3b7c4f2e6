//! Ubuntu 14.04 to 24.04.

use super::kit::{disk, prepared};

/// What all of them have; the releases before 19.04 have no merged /usr.
const COMMON: &str = r##"
shadow; mkdir -p etc/initramfs-tools/conf.d
put etc/initramfs-tools/modules <<E
# List of modules that you want to include in your initramfs.
# They will be loaded at boot time in the order below.
E
# kernel RELEASE ENDING COMPRESSOR COMPRESSOR-OF-INITRAMFS [PARMTYPE]
kernel() { modules $1 $2 "$3" ${5:-uint}; mkdir -p boot; vmlinuz boot/vmlinuz-$1 $1; initramfs_tools $1 $2 boot/initrd.img-$1 "$4"; }
# menu DEFAULT ARGUMENTS UUID RELEASE…: as update-grub writes it, /boot on the root.
menu() {
  local d=$1 a=$2 u=$3 r; shift 3; grub_header "$d"
  entry Ubuntu gnulinux-simple-$u linux /boot/vmlinuz-$1 "$a" initrd /boot/initrd.img-$1 $u
  echo "submenu 'Advanced options for Ubuntu' \$menuentry_id_option 'gnulinux-advanced-$u' {"
  for r; do
  entry "Ubuntu, with Linux $r" gnulinux-$r-advanced-$u linux /boot/vmlinuz-$r "$a" initrd /boot/initrd.img-$r $u
  entry "Ubuntu, with Linux $r (recovery mode)" gnulinux-$r-recovery-$u linux /boot/vmlinuz-$r "${a%% quiet*} recovery nomodeset" initrd /boot/initrd.img-$r $u
  done
  echo "}"
  cat <<E
menuentry 'Memory test (memtest86+)' {
	insmod part_gpt
	linux16	/boot/memtest86+.bin
}
E
}
efi_of_ubuntu() { E=boot/efi/EFI/ubuntu; shim $E/shimx64.efi grubx64.efi; efi $E/grubx64.efi; efi $E/mmx64.efi; touch_ $E/BOOTX64.CSV; put $E/grub.cfg <<X
search.fs_uuid $1 root
set prefix=(\$root)'/boot/grub'
configfile \$prefix/grub.cfg
X
}
"##;

/// Upstart, ifupdown, mountall.
#[test]
fn ubuntu_14_04() {
    let script = r##"
split_; elf sbin/init usr/sbin/sshd sbin/dhclient sbin/mountall; put etc/init/ssh.conf <<<'start on runlevel [2345]'
os_release ubuntu 14.04 "Ubuntu 14.04.6 LTS" debian
R=4.4.0-148-generic; kernel $R .ko cat "gzip -n" byte; i386_pc boot/grub; touch_ boot/memtest86+.bin
menu 0 "root=UUID=$U1 ro  quiet" $U1 $R | put boot/grub/grub.cfg
put etc/default/grub <<'E'
GRUB_DEFAULT=0
GRUB_HIDDEN_TIMEOUT=0
GRUB_TIMEOUT=10
GRUB_DISTRIBUTOR=`lsb_release -i -s 2> /dev/null || echo Debian`
GRUB_CMDLINE_LINUX_DEFAULT=""
GRUB_CMDLINE_LINUX=""
GRUB_DISABLE_LINUX_UUID=true
E
put etc/initramfs-tools/conf.d/resume <<<'RESUME=/dev/sda5'
put etc/fstab <<E
# <file system> <mount point>   <type>  <options>       <dump>  <pass>
# / was on /dev/sda1 during installation
UUID=$U1 /               ext4    errors=remount-ro 0       1
# swap was on /dev/sda5 during installation
UUID=$U5 none            swap    sw              0       0
/dev/sdb1       /srv/data       ext4    defaults        0       2
/dev/fd0        /media/floppy0  auto    rw,user,noauto,exec,utf8 0       0
E
put etc/network/interfaces <<E
# This file describes the network interfaces available on your system
# and how to activate them. For more information, see interfaces(5).

# The loopback network interface
auto lo
iface lo inet loopback

# The primary network interface
auto eth0
iface eth0 inet static
	address 10.1.2.50
	netmask 255.255.255.0
	network 10.1.2.0
	broadcast 10.1.2.255
	gateway 10.1.2.1
	# dns-* options are implemented by the resolvconf package, if installed
	dns-nameservers 10.1.2.2
	dns-search example.com
	up ip route add 10.50.0.0/16 via 10.1.2.254
E
put etc/udev/rules.d/70-persistent-net.rules <<<'SUBSYSTEM=="net", ACTION=="add", DRIVERS=="?*", ATTR{address}=="00:50:56:8e:00:01", ATTR{dev_id}=="0x0", ATTR{type}=="1", KERNEL=="eth*", NAME="eth0"'
mkdir -p lib/udev/rules.d; echo 'DRIVERS=="?*", IMPORT{program}="write_net_rules"' > lib/udev/rules.d/75-persistent-net-generator.rules
put var/cache/debconf/config.dat <<E
Name: grub-pc/install_devices
Template: grub-pc/install_devices
Value: /dev/disk/by-id/scsi-36000c29f5d7d3f2c
Owners: grub-pc

E
"##;
    let disks = disk(&[(1, "ext4", "/"), (5, "swap", "")]);
    insta::assert_snapshot!(prepared(&format!("{COMMON}{script}"), &disks));
}

/// The cloud image, as OVA: cloud-init writes the network, GRUB's settings are in a drop-in.
#[test]
fn ubuntu_16_04_cloud_image() {
    let script = r##"
split_; elf lib/systemd/systemd usr/sbin/sshd sbin/dhclient; on ssh.service
os_release ubuntu 16.04 "Ubuntu 16.04.7 LTS" debian
R=4.4.0-210-generic; kernel $R .ko cat "gzip -n" byte; i386_pc boot/grub; touch_ boot/memtest86+.bin
menu 0 "root=LABEL=cloudimg-rootfs ro  console=tty1 console=ttyS0" $U1 $R | put boot/grub/grub.cfg
put etc/default/grub <<'E'
GRUB_DEFAULT=0
GRUB_CMDLINE_LINUX_DEFAULT="quiet splash"
GRUB_CMDLINE_LINUX=""
E
put etc/default/grub.d/50-cloudimg-settings.cfg <<'E'
# Cloud Image specific Grub settings for Generic Cloud Images
GRUB_RECORDFAIL_TIMEOUT=0
GRUB_TIMEOUT=0
GRUB_CMDLINE_LINUX_DEFAULT="console=tty1 console=ttyS0"
GRUB_TERMINAL=console
E
put etc/fstab <<<'LABEL=cloudimg-rootfs	/	 ext4	defaults	0 0'
put usr/bin/cloud-init <<<''; put etc/cloud/cloud.cfg <<<'users: [default]'
put etc/cloud/cloud.cfg.d/90_dpkg.cfg <<<'datasource_list: [ NoCloud, ConfigDrive, OpenNebula, Azure, AltCloud, OVF, MAAS, GCE, OpenStack, CloudSigma, Ec2, CloudStack, SmartOS, None ]'
put etc/network/interfaces <<E
# interfaces(5) file used by ifup(8) and ifdown(8)
# Include files from /etc/network/interfaces.d:
source-directory /etc/network/interfaces.d
source /etc/network/interfaces.d/*.cfg
E
put etc/network/interfaces.d/50-cloud-init.cfg <<E
# This file is generated from information provided by
# the datasource.  Changes to it will not persist across an instance.
auto lo
iface lo inet loopback

auto ens160
iface ens160 inet dhcp
E
"##;
    let mut disks = disk(&[(1, "ext4", "/")]);
    disks[0].partitions[0].label = Some("cloudimg-rootfs".to_owned());
    insta::assert_snapshot!(prepared(&format!("{COMMON}{script}"), &disks));
}

/// curtin's network configuration in cloud-init's own settings, the second newest kernel chosen.
#[test]
fn ubuntu_18_04_server() {
    let script = r##"
split_; elf lib/systemd/systemd usr/sbin/sshd; ln -s /lib/systemd/systemd sbin/init; on ssh.service systemd-networkd.service
os_release ubuntu 18.04 "Ubuntu 18.04.6 LTS" debian
R=4.15.0-213-generic; O=4.15.0-212-generic; kernel $R .ko cat "gzip -n"; kernel $O .ko cat "gzip -n"; i386_pc boot/grub; touch_ boot/memtest86+.bin
menu "1>2" "root=UUID=$U2 ro  quiet splash \$vt_handoff maybe-ubiquity" $U2 $R $O | put boot/grub/grub.cfg
put etc/default/grub <<'E'
GRUB_DEFAULT="1>2"
GRUB_TIMEOUT_STYLE=hidden
GRUB_CMDLINE_LINUX_DEFAULT="quiet splash maybe-ubiquity"
GRUB_CMDLINE_LINUX=""
E
put etc/fstab <<E
UUID=$U2 / ext4 defaults 0 0
/swap.img	none	swap	sw	0	0
10.1.2.100:/export /mnt/nfs nfs defaults 0 0
E
put usr/bin/cloud-init <<<''; put etc/cloud/cloud.cfg <<<'users: [default]'
put etc/cloud/cloud.cfg.d/50-curtin-networking.cfg <<E
network:
  ethernets:
    ens160:
      addresses: [10.1.2.51/24]
      gateway4: 10.1.2.1
      nameservers:
        addresses: [10.1.2.2]
  version: 2
E
put etc/netplan/50-cloud-init.yaml <<E
# This file is generated from information provided by
# the datasource.  Changes to it will not persist across an instance.
network:
    ethernets:
        ens160:
            addresses:
            - 10.1.2.51/24
            gateway4: 10.1.2.1
            nameservers:
                addresses:
                - 10.1.2.2
    version: 2
E
"##;
    let disks = disk(&[(1, "bios-grub", ""), (2, "ext4", "/")]);
    insta::assert_snapshot!(prepared(&format!("{COMMON}{script}"), &disks));
}

/// Several netplan files, the later one overrides the earlier; two cards.
#[test]
fn ubuntu_20_04_on_lvm_with_two_cards() {
    let script = r##"
merged; systemd; on ssh.service systemd-networkd.service
os_release ubuntu 20.04 "Ubuntu 20.04.6 LTS" debian
R=5.4.0-187-generic; kernel $R .ko cat "lz4 -l -c"; i386_pc boot/grub; mv boot/vmlinuz-$R boot/initrd.img-$R .; mv vmlinuz-$R initrd.img-$R boot/
menu 0 "root=/dev/mapper/ubuntu--vg-ubuntu--lv ro  maybe-ubiquity" $U2 $R | sed 's,/boot/,/,' | put boot/grub/grub.cfg
put etc/default/grub <<'E'
GRUB_DEFAULT=0
GRUB_CMDLINE_LINUX_DEFAULT="maybe-ubiquity"
GRUB_CMDLINE_LINUX=""
E
put etc/default/grub.d/init-select.cfg <<'E'
# Work around a bug in the obsolete init-select package
if [ -e /usr/lib/init-select/get-init ]; then :; fi
E
put etc/default/grub.d/kdump-tools.cfg <<'E'
GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT crashkernel=512M-:192M"
E
put etc/default/grub.d/60-vmware.cfg <<'E'
GRUB_CMDLINE_LINUX="vmw_pvscsi.cmd_per_lun=254 vmw_pvscsi.ring_pages=32"
E
put etc/fstab <<E
# / was on /dev/ubuntu-vg/ubuntu-lv during curtin installation
/dev/disk/by-id/dm-uuid-LVM-HUgAbCdEfGh / ext4 defaults 0 0
# /boot was on /dev/sda2 during curtin installation
/dev/disk/by-uuid/$U2 /boot ext4 defaults 0 0
/swap.img	none	swap	sw	0	0
E
put usr/bin/cloud-init <<<''; put etc/cloud/cloud.cfg <<<'users: [default]'
put etc/cloud/cloud.cfg.d/subiquity-disable-cloudinit-networking.cfg <<<'network: {config: disabled}'
put etc/netplan/00-installer-config.yaml <<E
# This is the network config written by 'subiquity'
network:
  ethernets:
    ens160:
      dhcp4: true
    ens192:
      dhcp4: yes
  version: 2
E
put etc/netplan/99-static.yaml <<E
network:
  version: 2
  ethernets:
    ens160:
      dhcp4: no
      addresses: [10.1.2.52/24, 10.1.2.62/24, "2001:db8::52/64"]
      routes:
        - to: default
          via: 10.1.2.1
        - to: 10.50.0.0/16
          via: 10.1.2.254
E
"##;
    let disks = disk(&[(1, "bios-grub", ""), (2, "ext4", "/boot"), (3, "lvm2", "")]);
    insta::assert_snapshot!(prepared(&format!("{COMMON}{script}"), &disks));
}

/// The same tree goes through the real sandbox too.
pub const UBUNTU_22: &str = r##"
merged; systemd; on ssh.service systemd-networkd.service
os_release ubuntu 22.04 "Ubuntu 22.04.4 LTS" debian; put etc/hostname <<<app
R=5.15.0-105-generic; kernel $R .ko cat "zstd -q -c"; ln -s vmlinuz-$R boot/vmlinuz; ln -s initrd.img-$R boot/initrd.img
efi_of_ubuntu $U2
menu 0 "root=UUID=$U2 ro  quiet splash \$vt_handoff" $U2 $R | sed '/Memory test/,$d' | put boot/grub/grub.cfg
put etc/default/grub <<'E'
GRUB_DEFAULT=0
GRUB_TIMEOUT_STYLE=hidden
GRUB_TIMEOUT=0
GRUB_DISTRIBUTOR=`lsb_release -i -s 2> /dev/null || echo Debian`
GRUB_CMDLINE_LINUX_DEFAULT="quiet splash"
GRUB_CMDLINE_LINUX=""
E
put etc/fstab <<E
# / was on /dev/sda2 during curtin installation
/dev/disk/by-uuid/$U2 / ext4 defaults 0 1
/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:0:0-part1 /boot/efi vfat umask=0077 0 1
E
put etc/netplan/00-installer-config.yaml <<E
# This is the network config written by 'subiquity'
network:
  ethernets:
    ens192:
      addresses:
      - 10.1.2.5/24
      nameservers:
        addresses: [10.1.2.2]
      routes:
      - to: default
        via: 10.1.2.1
  version: 2
E
put etc/systemd/network/10-old.link <<E
[Match]
MACAddress=00:50:56:00:00:01
[Link]
Name=ens192
E
"##;

pub fn ubuntu_22() -> String {
    format!("{COMMON}{UBUNTU_22}")
}

#[test]
fn ubuntu_22_04_by_uefi() {
    insta::assert_snapshot!(prepared(&ubuntu_22(), &disk(&[(1, "vfat", "/boot/efi"), (2, "ext4", "/")])));
}

/// NetworkManager behind netplan, a bond with a VLAN on it, the installer's network for cloud-init.
#[test]
fn ubuntu_24_04_with_a_bond() {
    let script = r##"
merged; systemd; on ssh.service systemd-networkd.service
os_release ubuntu 24.04 "Ubuntu 24.04.1 LTS" debian
R=6.8.0-45-generic; kernel $R .ko.zst "zstd -q -c" "zstd -q -c"; efi_of_ubuntu $U2; efi boot/efi/EFI/BOOT/fbx64.efi; shim boot/efi/EFI/BOOT/BOOTX64.EFI grubx64.efi; efi boot/efi/EFI/BOOT/mmx64.efi
menu 0 "root=UUID=$U2 ro" $U2 $R | sed '/Memory test/,$d' | put boot/grub/grub.cfg
put etc/default/grub <<'E'
GRUB_DEFAULT=0
GRUB_CMDLINE_LINUX_DEFAULT=""
GRUB_CMDLINE_LINUX=""
E
put etc/fstab <<E
/dev/disk/by-uuid/$U2 / ext4 defaults 0 1
/dev/disk/by-uuid/$U1 /boot/efi vfat defaults 0 1
/swap.img	none	swap	sw	0	0
E
put usr/bin/cloud-init <<<''; put etc/cloud/cloud.cfg <<<'users: [default]'
put etc/cloud/cloud.cfg.d/90-installer-network.cfg <<E
# This is the network config written by 'subiquity'
network:
  ethernets:
    ens33: {}
  version: 2
E
put etc/netplan/50-cloud-init.yaml <<E
network:
  version: 2
  ethernets:
    ens33: {}
    ens34: {}
  bonds:
    bond0:
      interfaces: [ens33, ens34]
      parameters:
        mode: active-backup
  vlans:
    bond0.20:
      id: 20
      link: bond0
      addresses: [10.1.2.54/24]
      routes:
      - to: default
        via: 10.1.2.1
  bridges:
    br-int:
      interfaces: []
E
"##;
    let disks = disk(&[(1, "vfat", "/boot/efi"), (2, "ext4", "/")]);
    insta::assert_snapshot!(prepared(&format!("{COMMON}{script}"), &disks));
}
