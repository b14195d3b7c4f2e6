//! SUSE Linux Enterprise Server 11 to 15.

use replant::model::Hypervisor;

use super::kit::{disk, prepared, prepared_for};

#[test]
fn sles_11_with_grub_legacy() {
    let script = r##"
split_; elf usr/sbin/sshd sbin/init; shadow; mkdir -p etc/init.d/rc3.d; ln -s ../network etc/init.d/rc3.d/S05network; ln -s ../sshd etc/init.d/rc3.d/S10sshd
put etc/SuSE-release <<E
SUSE Linux Enterprise Server 11 (x86_64)
VERSION = 11
PATCHLEVEL = 4
E
put etc/HOSTNAME <<<sap01.example.com
R=3.0.101-108.13-default; modules_of_old $R .ko cat; mkdir -p boot/grub; touch_ boot/grub/stage2 boot/grub/e2fs_stage1_5
vmlinuz boot/vmlinuz-$R $R; dracut_004 $R .ko boot/initrd-$R "gzip -n"; ln -s vmlinuz-$R boot/vmlinuz; ln -s initrd-$R boot/initrd
put boot/grub/menu.lst <<E
# Modified by YaST2. Last modification on Mon Mar  3 12:00:00 CET 2014
default 0
timeout 8
##YaST - generic_mbr
gfxmenu (hd0,1)/boot/message
##YaST - activate

###Don't change this comment - YaST2 identifier: Original name: linux###
title SUSE Linux Enterprise Server 11 SP4 - 3.0.101-108.13
    root (hd0,1)
    kernel /boot/vmlinuz-$R root=/dev/disk/by-id/scsi-36000c29f5d7d3f2c-part2 resume=/dev/disk/by-id/scsi-36000c29f5d7d3f2c-part1 splash=silent crashkernel=256M-:128M showopts vga=0x314
    initrd /boot/initrd-$R

###Don't change this comment - YaST2 identifier: Original name: failsafe###
title Failsafe -- SUSE Linux Enterprise Server 11 SP4 - 3.0.101-108.13
    root (hd0,1)
    kernel /boot/vmlinuz-$R root=/dev/disk/by-id/scsi-36000c29f5d7d3f2c-part2 showopts ide=nodma apm=off noresume edd=off powersaved=off nohz=off highres=off processor.max_cstate=1 nomodeset x11failsafe vga=0x314
    initrd /boot/initrd-$R
E
put boot/grub/device.map <<E
(hd0)	/dev/disk/by-id/scsi-36000c29f5d7d3f2c
E
put etc/sysconfig/bootloader <<E
## Path: System/Bootloader
LOADER_TYPE="grub"
DEFAULT_NAME="SUSE Linux Enterprise Server 11 SP4"
DEFAULT_APPEND="resume=/dev/disk/by-id/scsi-36000c29f5d7d3f2c-part1 splash=silent crashkernel=256M-:128M showopts"
DEFAULT_VGA="0x314"
FAILSAFE_APPEND="showopts ide=nodma apm=off noresume edd=off powersaved=off nohz=off highres=off processor.max_cstate=1 nomodeset x11failsafe"
XEN_KERNEL_APPEND=""
E
put etc/sysconfig/kernel <<<'INITRD_MODULES="mptspi ata_piix ata_generic vmxnet3"'
put etc/fstab <<E
/dev/disk/by-id/scsi-36000c29f5d7d3f2c-part1 swap                 swap       defaults              0 0
/dev/disk/by-id/scsi-36000c29f5d7d3f2c-part2 /                    ext3       acl,user_xattr        1 1
proc                 /proc                proc       defaults              0 0
sysfs                /sys                 sysfs      noauto                0 0
E
N=etc/sysconfig/network
put $N/ifcfg-lo <<<"IPADDR='127.0.0.1'"
put $N/ifcfg-eth0 <<E
BOOTPROTO='static'
BROADCAST=''
ETHTOOL_OPTIONS=''
IPADDR='10.1.2.30/24'
MTU=''
NAME='VMXNET3 Ethernet Controller'
NETWORK=''
REMOTE_IPADDR=''
STARTMODE='auto'
USERCONTROL='no'
E
put $N/routes <<<'default 10.1.2.1 - -'
put etc/udev/rules.d/70-persistent-net.rules <<<'SUBSYSTEM=="net", ACTION=="add", DRIVERS=="?*", ATTR{address}=="00:50:56:8e:00:01", ATTR{type}=="1", KERNEL=="eth*", NAME="eth0"'
"##;
    let disks = disk(&[(1, "swap", ""), (2, "ext3", "/")]);
    insta::assert_snapshot!(prepared_for(Hypervisor::Xen, script, &disks));
}

/// What both 12 and 15 have.
const COMMON: &str = r##"
systemd; shadow; on wicked.service sshd.service; mkdir -p usr/lib/dracut etc/dracut.conf.d
N=etc/sysconfig/network
put $N/ifcfg-lo <<E
STARTMODE=nfsroot
BOOTPROTO=static
IPADDR=127.0.0.1/8
E
put $N/config <<E
NETCONFIG_DNS_POLICY="auto"
NETCONFIG_DNS_STATIC_SERVERS="10.1.2.2 10.1.2.3"
E
put $N/dhcp <<E
DHCLIENT_SET_HOSTNAME="yes"
DHCLIENT_SET_DEFAULT_ROUTE="yes"
E
"##;

/// Root in a snapshot of btrfs, its subvolumes in the fstab.
#[test]
fn sles_12_with_wicked_by_bios() {
    let script = r##"
split_; os_release sles 12.5 "SUSE Linux Enterprise Server 12 SP5" suse; put etc/hostname <<<sles12
R=4.12.14-120-default; modules $R .ko cat; i386_pc boot/grub2; mkdir boot/grub2/x86_64-efi; vmlinuz boot/vmlinuz-$R $R; dracut $R .ko boot/initrd-$R "xz --check=crc32"
ln -s vmlinuz-$R boot/vmlinuz; ln -s initrd-$R boot/initrd
A="root=UUID=$U2  resume=/dev/disk/by-uuid/$U1 splash=silent quiet showopts"
{ echo 'set btrfs_relative_path="y"'; echo 'export btrfs_relative_path'; grub_header '${saved_entry}'
entry "SLES 12-SP5" gnulinux-simple-$U2 linux /boot/vmlinuz-$R "$A" initrd /boot/initrd-$R $U2
echo "submenu 'Advanced options for SLES 12-SP5' --hotkey=1 \$menuentry_id_option 'gnulinux-advanced-$U2' {"
entry "SLES 12-SP5, with Linux $R" gnulinux-$R-advanced-$U2 linux /boot/vmlinuz-$R "$A" initrd /boot/initrd-$R $U2
entry "SLES 12-SP5, with Linux $R (recovery mode)" gnulinux-$R-recovery-$U2 linux /boot/vmlinuz-$R "root=UUID=$U2  showopts apm=off noresume edd=off powersaved=off nohz=off highres=off processor.max_cstate=1 nomodeset x11failsafe" initrd /boot/initrd-$R $U2
echo "}"
cat <<E
### BEGIN /etc/grub.d/80_suse_btrfs_snapshot ###
if [ -f  "/.snapshots/grub-snapshot.cfg" ]; then
  source "/.snapshots/grub-snapshot.cfg"
fi
### END /etc/grub.d/80_suse_btrfs_snapshot ###
E
} | put boot/grub2/grub.cfg
env_block boot/grub2/grubenv <<<"saved_entry=SLES 12-SP5"
put boot/grub2/device.map <<<'(hd0) /dev/sda'
put etc/default/grub <<E
GRUB_DISTRIBUTOR=
GRUB_DEFAULT=saved
GRUB_TIMEOUT=8
GRUB_CMDLINE_LINUX_DEFAULT="resume=/dev/disk/by-uuid/$U1 splash=silent quiet showopts"
GRUB_CMDLINE_LINUX=""
GRUB_CMDLINE_LINUX_RECOVERY=single
GRUB_TERMINAL=gfxterm
GRUB_GFXMODE=auto
SUSE_BTRFS_SNAPSHOT_BOOTING="true"
E
put etc/sysconfig/bootloader <<E
LOADER_TYPE="grub2"
SECURE_BOOT="no"
TRUSTED_BOOT="no"
E
put etc/fstab <<E
UUID=$U1 swap                 swap       defaults              0 0
UUID=$U2 / btrfs defaults 0 0
UUID=$U2 /boot/grub2/i386-pc btrfs subvol=@/boot/grub2/i386-pc 0 0
UUID=$U2 /boot/grub2/x86_64-efi btrfs subvol=@/boot/grub2/x86_64-efi 0 0
UUID=$U2 /var/log btrfs subvol=@/var/log 0 0
UUID=$U2 /.snapshots btrfs subvol=@/.snapshots 0 0
E
put $N/ifcfg-eth0 <<E
BOOTPROTO='static'
IPADDR='10.1.2.31/24'
STARTMODE='auto'
LLADDR='00:50:56:8e:00:01'
IPADDR_1='10.1.2.41/24'
LABEL_1='1'
E
put $N/ifcfg-eth1 <<E
BOOTPROTO='static'
IPADDR='10.9.0.31/16'
STARTMODE='auto'
E
put $N/ifroute-eth1 <<<'10.50.0.0/16 10.9.0.1 - -'
put $N/routes <<<'default 10.1.2.1 - -'
put etc/udev/rules.d/70-persistent-net.rules <<<'SUBSYSTEM=="net", ACTION=="add", DRIVERS=="?*", ATTR{address}=="00:50:56:8e:00:01", ATTR{dev_id}=="0x0", ATTR{type}=="1", KERNEL=="eth*", NAME="eth0"'
mkdir -p usr/lib/udev/rules.d; echo 'DRIVERS=="?*", IMPORT{program}="write_net_rules"' > usr/lib/udev/rules.d/75-persistent-net-generator.rules
"##;
    let disks = disk(&[(1, "swap", ""), (2, "btrfs", "/")]);
    insta::assert_snapshot!(prepared(&format!("{COMMON}{script}"), &disks));
}

/// YaST makes the subvolume of the other firmware's modules too. The same tree goes through the real
/// sandbox.
pub const SLES_15: &str = r##"
merged; os_release sles 15.5 "SUSE Linux Enterprise Server 15 SP5" suse; put etc/hostname <<<sles15
R=5.14.21-150500.53-default; modules $R .ko.zst "zstd -q -c"; mkdir -p boot/grub2/i386-pc; touch_ boot/grub2/x86_64-efi/normal.mod; vmlinuz boot/vmlinuz-$R $R; dracut $R .ko.zst boot/initrd-$R "zstd -q -c"
ln -s vmlinuz-$R boot/vmlinuz; ln -s initrd-$R boot/initrd; E=boot/efi/EFI/sles
shim $E/shim.efi grub.efi; efi $E/grub.efi; efi $E/MokManager.efi; touch_ $E/boot.csv
put $E/grub.cfg <<E
set btrfs_relative_path="yes"
search --fs-uuid --set=root $U2
set prefix=(\${root})/boot/grub2
source "\${prefix}/grub.cfg"
E
A="root=UUID=$U2  splash=silent resume=/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:0:0-part3 mitigations=auto quiet security=apparmor"
{ echo 'set btrfs_relative_path="y"'; grub_header '${saved_entry}'
entry "SLES 15-SP5" gnulinux-simple-$U2 linux /boot/vmlinuz-$R "$A" initrd /boot/initrd-$R $U2
echo "submenu 'Advanced options for SLES 15-SP5' --hotkey=1 \$menuentry_id_option 'gnulinux-advanced-$U2' {"
entry "SLES 15-SP5, with Linux $R" gnulinux-$R-advanced-$U2 linux /boot/vmlinuz-$R "$A" initrd /boot/initrd-$R $U2
echo "}"; } | put boot/grub2/grub.cfg
printf 'saved_entry=Advanced options for SLES 15-SP5>SLES 15-SP5, with Linux %s\n' $R | env_block boot/grub2/grubenv
put etc/default/grub <<E
GRUB_DISTRIBUTOR=
GRUB_DEFAULT=saved
GRUB_TIMEOUT=8
GRUB_CMDLINE_LINUX_DEFAULT="splash=silent resume=/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:0:0-part3 mitigations=auto quiet security=apparmor"
GRUB_CMDLINE_LINUX=""
GRUB_TERMINAL="gfxterm"
E
put etc/sysconfig/bootloader <<E
LOADER_TYPE="grub2-efi"
SECURE_BOOT="yes"
E
put etc/fstab <<E
UUID=$U2  /                       btrfs  defaults                      0  0
UUID=$U2  /var                    btrfs  subvol=/@/var                 0  0
UUID=$U2  /boot/grub2/i386-pc     btrfs  subvol=/@/boot/grub2/i386-pc  0  0
UUID=$U2  /boot/grub2/x86_64-efi  btrfs  subvol=/@/boot/grub2/x86_64-efi  0  0
UUID=$U2  /.snapshots             btrfs  subvol=/@/.snapshots          0  0
UUID=$U1       /boot/efi               vfat   utf8                          0  2
/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:0:0-part3  swap                    swap   defaults                      0  0
E
put $N/ifcfg-eth0 <<E
BOOTPROTO='static'
STARTMODE='auto'
IPADDR='10.1.2.6/24'
ZONE=''
E
put $N/ifcfg-vlan20 <<E
STARTMODE='auto'
ETHERDEVICE='eth0'
VLAN_ID='20'
BOOTPROTO='static'
IPADDR='10.20.0.6/24'
E
put $N/ifroute-eth0 <<<'default 10.1.2.1 - eth0'
"##;

pub fn sles_15() -> String {
    format!("{COMMON}{SLES_15}")
}

#[test]
fn sles_15_by_uefi() {
    let disks = disk(&[(1, "vfat", "/boot/efi"), (2, "btrfs", "/"), (3, "swap", "")]);
    insta::assert_snapshot!(prepared(&sles_15(), &disks));
}
