//! Faithful trees of distributions that cannot be booted here, prepared; the findings and the
//! diff of each file are snapshots. Modules are short texts under the distributions' own names,
//! initramfs archives are made by cpio and the real compressors.

use std::fmt::Write;
use std::path::Path;

use replant::guest::prepare;
use replant::guest::report::{
    DiskFacts, FileChange, FindingSeverity, Job, PROTOCOL, PartitionFacts, RecipeInputs, Report,
};
use replant::guest::tree::Tree;
use replant::model::{GuestChanges, Hypervisor, NetworkPolicy};

use super::fixtures::shell;

/// Shell functions that every tree's script may use.
pub const FUNCTIONS: &str = r#"
put() { mkdir -p "$(dirname "$1")"; cat > "$1"; }
# A program's ELF header, for the architecture.
elf() { mkdir -p "$(dirname "$1")"; printf '\177ELF\2\1\1\0\0\0\0\0\0\0\0\0\3\0\076\0' > "$1"; }
on() { mkdir -p etc/systemd/system/multi-user.target.wants; ln -s /usr/lib/systemd/system/$1 etc/systemd/system/multi-user.target.wants/$1; }
fill() { head -c $((1024 - $(stat -c %s $1))) /dev/zero | tr '\0' '#' >> $1; }
# modules RELEASE ENDING COMPRESSOR: the drivers under the kernel's paths, with indexes.
modules() {
  local d=usr/lib/modules/$1 m; mkdir -p $d
  for m in drivers/nvme/host/nvme drivers/nvme/host/nvme-core drivers/block/xen-blkfront drivers/net/xen-netfront \
      drivers/net/ethernet/amazon/ena/ena block/t10-pi lib/crc-t10dif fs/xfs/xfs drivers/scsi/sd_mod; do
    mkdir -p $d/kernel/$(dirname $m)
    { echo "module $m"; if [ $m = drivers/nvme/host/nvme-core ]; then printf "\0parmtype=io_timeout:${4:-uint}\0"; fi; } | $3 > $d/kernel/$m$2
  done
  cat > $d/modules.dep <<E
kernel/lib/crc-t10dif$2:
kernel/block/t10-pi$2: kernel/lib/crc-t10dif$2
kernel/fs/xfs/xfs$2:
kernel/drivers/scsi/sd_mod$2: kernel/block/t10-pi$2 kernel/lib/crc-t10dif$2
kernel/drivers/block/xen-blkfront$2:
kernel/drivers/net/xen-netfront$2:
kernel/drivers/net/ethernet/amazon/ena/ena$2:
kernel/drivers/nvme/host/nvme-core$2: kernel/block/t10-pi$2 kernel/lib/crc-t10dif$2
kernel/drivers/nvme/host/nvme$2: kernel/drivers/nvme/host/nvme-core$2 kernel/block/t10-pi$2 kernel/lib/crc-t10dif$2
E
  printf '# Aliases extracted from modules themselves.\nalias pci:v*d*sv*sd*bc01sc08i02* nvme\nalias xen:vbd xen_blkfront\nalias fs-xfs xfs\n' > $d/modules.alias
  printf '# Soft dependencies extracted from modules themselves.\n' > $d/modules.softdep
  printf 'kernel/fs/ext4/ext4.ko\n' > $d/modules.builtin
}
# initramfs RELEASE ENDING FILE COMPRESSOR: microcode, then dracut's layout with xfs and sd_mod.
initramfs() {
  local i=$PWD/.i; rm -rf $i; mkdir -p $i/early/kernel/x86/microcode $i/main/usr/lib/modules/$1/kernel/{fs/xfs,drivers/scsi,block,lib} \
    $i/main/usr/lib/dracut/hooks/{pre-udev,cmdline} $i/main/usr/bin $i/main/etc
  echo code > $i/early/kernel/x86/microcode/GenuineIntel.bin
  for m in fs/xfs/xfs drivers/scsi/sd_mod block/t10-pi lib/crc-t10dif; do cp usr/lib/modules/$1/kernel/$m$2 $i/main/usr/lib/modules/$1/kernel/$m$2; done
  grep -E '^kernel/(lib|block|fs|drivers/scsi)' usr/lib/modules/$1/modules.dep > $i/main/usr/lib/modules/$1/modules.dep
  grep -v -E 'nvme|xen' usr/lib/modules/$1/modules.alias > $i/main/usr/lib/modules/$1/modules.alias
  ln -s usr/lib $i/main/lib; ln -s usr/bin $i/main/bin; ln -s usr/lib/systemd/systemd $i/main/init
  # The same times every run: lengths of packed archives are in the snapshots.
  find $i -exec touch -h -d @0 {} +; mkdir -p $(dirname $3)
  (cd $i/early; find . | LC_ALL=C sort | cpio -o --quiet -H newc --reproducible -R 0:0) > $3
  (cd $i/main; find . | LC_ALL=C sort | cpio -o --quiet -H newc --reproducible -R 0:0 | $4) >> $3
  rm -rf $i
}
"#;

pub fn partition(number: u32, content: &str, mount_point: &str) -> PartitionFacts {
    PartitionFacts {
        number,
        offset: 1 << 20,
        size: 1 << 30,
        content: content.to_owned(),
        uuid: Some(format!("0000{number}-uuid-{content}")),
        label: None,
        mount_point: Some(mount_point.to_owned()).filter(|point| !point.is_empty()),
    }
}

pub fn disk(partitions: Vec<PartitionFacts>) -> Vec<DiskFacts> {
    vec![DiskFacts { name: "root".to_owned(), table: "gpt".to_owned(), partitions }]
}

pub fn run(root: &Path, disks: &[DiskFacts], hypervisor: Hypervisor, prepare: bool) -> Report {
    run_with(root, disks, hypervisor, GuestChanges::default(), prepare)
}

pub fn run_with(
    root: &Path,
    disks: &[DiskFacts],
    hypervisor: Hypervisor,
    changes: GuestChanges,
    prepare: bool,
) -> Report {
    let inputs = RecipeInputs { hypervisor, network: NetworkPolicy::Dhcp, changes };
    let job = Job { protocol: PROTOCOL, disks: Vec::new(), prepare, inputs };
    prepare::run(&Tree::open(root).unwrap(), disks, &job).unwrap()
}

/// Builds a tree, prepares it, checks that looking alone gives the same and that a second
/// preparation has nothing to do; gives the report as text.
pub fn prepared(script: &str, disks: &[DiskFacts]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    shell(&format!("cd {}\n{FUNCTIONS}\n{script}", root.display()));
    let looked = run(root, disks, Hypervisor::Nitro, false);
    let report = run(root, disks, Hypervisor::Nitro, true);
    assert_eq!(looked, report);
    let again = run(root, disks, Hypervisor::Nitro, true);
    assert_eq!(again.recipe.edits, []);
    assert_eq!(again.diffs, []);
    assert!(
        again.findings.iter().all(|finding| finding.severity != FindingSeverity::Blocks),
        "{:?}",
        again.findings
    );
    render(&report)
}

fn render(report: &Report) -> String {
    let mut text = String::new();
    if let Some(facts) = &report.facts {
        writeln!(
            text,
            "{} ({} {}, {:?}, {:?})",
            facts.product, facts.distribution, facts.version, facts.architecture, facts.firmware
        )
        .unwrap();
        writeln!(
            text,
            "host {:?}, root {}, {:?}, {:?}",
            facts.hostname, facts.root_filesystem, facts.static_addresses, facts.details
        )
        .unwrap();
        for kernel in &facts.kernels {
            writeln!(text, "kernel {} {:?} {:?}", kernel.release, kernel.initramfs, kernel.drivers).unwrap();
        }
    }
    for finding in &report.findings {
        writeln!(text, "{:?} {}: {}", finding.severity, finding.code, finding.summary).unwrap();
        for line in &finding.evidence {
            writeln!(text, "    {line}").unwrap();
        }
    }
    for edit in &report.recipe.edits {
        writeln!(text, "edit {}: {}", edit.path, edit.purpose).unwrap();
    }
    for diff in &report.diffs {
        match &diff.change {
            FileChange::Text { old, new } => {
                let (old, new) = (old.clone().unwrap_or_default(), new.clone().unwrap_or_default());
                let changed = similar::TextDiff::from_lines(&old, &new);
                write!(text, "{}", changed.unified_diff().context_radius(1).header(&diff.path, &diff.path))
                    .unwrap();
            }
            FileChange::Binary { old_length, new_length, lines } => {
                writeln!(
                    text,
                    "{} {old_length:?} -> {new_length:?}\n    {}",
                    diff.path,
                    lines.join("\n    ")
                )
                .unwrap();
            }
            FileChange::Renamed { to } => writeln!(text, "{} => {to}", diff.path).unwrap(),
        }
    }
    text
}

#[test]
fn rocky_9_with_bls_keyfile_and_lvm_devices() {
    let script = r##"
elf usr/bin/bash; ln -s usr/bin bin; ln -s usr/lib lib; ln -s usr/sbin sbin
put etc/os-release <<E
NAME="Rocky Linux"
VERSION="9.4 (Blue Onyx)"
ID="rocky"
ID_LIKE="rhel centos fedora"
VERSION_ID="9.4"
PRETTY_NAME="Rocky Linux 9.4 (Blue Onyx)"
E
echo db1 | put etc/hostname
elf usr/lib/systemd/systemd; elf usr/sbin/sshd; on NetworkManager.service; on sshd.service; on firewalld.service
put etc/firewalld/firewalld.conf <<<'DefaultZone=public'
put usr/lib/firewalld/zones/public.xml <<<'<zone><service name="ssh"/></zone>'
put etc/selinux/config <<<'SELINUX=enforcing'
put etc/shadow <<<'root:$6$salt$secrethash:19000:0:99999:7:::'
put etc/fstab <<E
/dev/mapper/rl-root     /                       xfs     defaults        0 0
UUID=00001-uuid-xfs /boot                   xfs     defaults        0 0
/dev/mapper/rl-swap     none                    swap    defaults        0 0
/dev/sdb1               /data\040files          xfs     defaults        0 0
E
put etc/lvm/devices/system.devices <<E
# LVM uses devices listed in this file.
VERSION=1.1.2
IDTYPE=sys_wwid IDNAME=naa.6000c29f3c2a1b DEVNAME=/dev/sda3 PVID=abcdef PART=3
E
R=5.14.0-427.13.1.el9_4.x86_64; M=0123456789abcdef0123456789abcdef
modules $R .ko.xz xz; mkdir -p boot/grub2/i386-pc; echo kernel > boot/vmlinuz-$R; initramfs $R .ko.xz boot/initramfs-$R.img "gzip -n"
mkdir -p usr/lib/dracut etc/dracut.conf.d
put boot/loader/entries/$M-$R.conf <<E
title Rocky Linux ($R) 9.4 (Blue Onyx)
version $R
linux /vmlinuz-$R
initrd /initramfs-$R.img \$tuned_initrd
options root=/dev/mapper/rl-root ro crashkernel=1G-4G:192M resume=/dev/mapper/rl-swap rd.lvm.lv=rl/root rhgb quiet \$tuned_params
grub_users \$grub_users
E
put boot/grub2/grub.cfg <<'E'
set default="${saved_entry}"
insmod blscfg
blscfg
E
{ printf '# GRUB Environment Block\nsaved_entry=%s-%s\nboot_success=0\n' $M $R; } > boot/grub2/grubenv; fill boot/grub2/grubenv
put etc/default/grub <<'E'
GRUB_TIMEOUT=5
GRUB_CMDLINE_LINUX="crashkernel=1G-4G:192M resume=/dev/mapper/rl-swap rd.lvm.lv=rl/root rhgb quiet"
GRUB_ENABLE_BLSCFG=true
E
put etc/kernel/cmdline <<<'root=/dev/mapper/rl-root ro crashkernel=1G-4G:192M rhgb quiet'
put etc/NetworkManager/system-connections/ens192.nmconnection <<E
[connection]
id=ens192
uuid=11111111-2222-3333-4444-555555555555
type=ethernet
interface-name=ens192

[ipv4]
method=manual
address1=10.1.2.3/24,10.1.2.1
dns=10.1.2.2;

[802-1x]
password=hunter2
E
"##;
    let disks = disk(vec![partition(1, "xfs", "/boot"), partition(2, "lvm2", "")]);
    insta::assert_snapshot!(prepared(script, &disks));
}

#[test]
fn centos_8_with_kernelopts_and_ifcfg() {
    let script = r##"
elf usr/bin/bash; ln -s usr/bin bin; ln -s usr/lib lib
put etc/os-release <<E
NAME="CentOS Linux"
ID="centos"
ID_LIKE="rhel fedora"
VERSION_ID="8"
PRETTY_NAME="CentOS Linux 8"
E
elf usr/lib/systemd/systemd; elf usr/sbin/sshd; on NetworkManager.service; on sshd.service
put etc/shadow <<<'root:$6$salt$secrethash:19000:0:99999:7:::'
put etc/fstab <<<'/dev/sda2 / ext4 defaults 1 1'
R=4.18.0-348.el8.x86_64; M=0123456789abcdef0123456789abcdef
modules $R .ko.xz xz; mkdir -p boot/grub2/i386-pc; echo kernel > boot/vmlinuz-$R; initramfs $R .ko.xz boot/initramfs-$R.img "xz --check=crc32"
mkdir -p usr/lib/dracut
put boot/loader/entries/$M-$R.conf <<E
title CentOS Linux ($R) 8
version $R
linux /boot/vmlinuz-$R
initrd /boot/initramfs-$R.img
options \$kernelopts \$tuned_params
E
put boot/grub2/grub.cfg <<'E'
set default="${saved_entry}"
if [ -z "${kernelopts}" ]; then
  set kernelopts="root=/dev/sda2 ro crashkernel=auto rhgb quiet "
fi
insmod blscfg
blscfg
E
{ printf '# GRUB Environment Block\nsaved_entry=%s-%s\nkernelopts=root=/dev/sda2 ro crashkernel=auto rhgb quiet \n' $M $R; } > boot/grub2/grubenv; fill boot/grub2/grubenv
put etc/default/grub <<'E'
GRUB_CMDLINE_LINUX="crashkernel=auto rhgb quiet"
E
put etc/sysconfig/network-scripts/ifcfg-ens192 <<E
TYPE=Ethernet
BOOTPROTO=none
NAME=ens192
UUID=11111111-2222-3333-4444-555555555555
DEVICE=ens192
ONBOOT=yes
IPADDR=10.1.2.4
PREFIX=24
GATEWAY=10.1.2.1
E
put etc/sysconfig/network-scripts/ifcfg-bond0 <<E
DEVICE=bond0
TYPE=Bond
BONDING_OPTS="mode=1"
BOOTPROTO=dhcp
E
"##;
    insta::assert_snapshot!(prepared(
        script,
        &disk(vec![partition(1, "vfat", ""), partition(2, "ext4", "/")])
    ));
}

#[test]
fn centos_7_with_grub_cfg_and_network_scripts() {
    let script = r##"
elf usr/bin/bash; ln -s usr/bin bin; ln -s usr/lib lib
put etc/os-release <<E
NAME="CentOS Linux"
ID="centos"
ID_LIKE="rhel fedora"
VERSION_ID="7"
PRETTY_NAME="CentOS Linux 7 (Core)"
E
put etc/redhat-release <<<'CentOS Linux release 7.9.2009 (Core)'
elf usr/lib/systemd/systemd; elf usr/sbin/sshd; on NetworkManager.service; on sshd.service
put etc/shadow <<<'root:$6$salt$secrethash:0:0:99999:7:::'
put etc/fstab <<<'UUID=00001-uuid-xfs / xfs defaults 0 0'
R=3.10.0-1160.el7.x86_64
modules $R .ko.xz xz byte; mkdir -p boot/grub2/i386-pc; echo kernel > boot/vmlinuz-$R; initramfs $R .ko.xz boot/initramfs-$R.img "gzip -n"
echo kernel > boot/vmlinuz-0-rescue-0123456789abcdef; initramfs $R .ko.xz boot/initramfs-0-rescue-0123456789abcdef.img "gzip -n"
mkdir -p usr/lib/dracut etc/dracut.conf.d
put boot/grub2/grub.cfg <<E
set default="\${saved_entry}"
menuentry 'CentOS Linux ($R) 7 (Core)' --class centos \$menuentry_id_option 'gnulinux-$R-advanced' {
	load_video
	linux16 /boot/vmlinuz-$R root=UUID=00001-uuid-xfs ro crashkernel=auto rhgb quiet LANG=en_US.UTF-8
	initrd16 /boot/initramfs-$R.img
}
menuentry 'CentOS Linux (0-rescue-0123456789abcdef) 7 (Core)' \$menuentry_id_option 'gnulinux-0-rescue-0123456789abcdef-advanced' {
	linux16 /boot/vmlinuz-0-rescue-0123456789abcdef root=UUID=00001-uuid-xfs ro crashkernel=auto rhgb quiet
	initrd16 /boot/initramfs-0-rescue-0123456789abcdef.img
}
password_pbkdf2 root grub.pbkdf2.sha512.10000.ABCDEF.012345
E
put etc/default/grub <<'E'
GRUB_CMDLINE_LINUX="crashkernel=auto rhgb quiet"
E
put etc/sysconfig/network-scripts/ifcfg-lo <<<'DEVICE=lo'
put etc/sysconfig/network-scripts/ifcfg-ens192 <<E
TYPE=Ethernet
BOOTPROTO="dhcp"
DEVICE="ens192"
ONBOOT="yes"
E
put etc/udev/rules.d/70-persistent-net.rules <<<'SUBSYSTEM=="net", ATTR{address}=="00:50:56:00:00:01", NAME="eth0"'
"##;
    insta::assert_snapshot!(prepared(script, &disk(vec![partition(1, "xfs", "/")])));
}

#[test]
fn ubuntu_22_uefi_with_netplan() {
    let script = r##"
elf usr/bin/dash; ln -s dash usr/bin/sh; ln -s usr/bin bin; ln -s usr/lib lib
put etc/os-release <<E
NAME="Ubuntu"
ID=ubuntu
ID_LIKE=debian
VERSION_ID="22.04"
PRETTY_NAME="Ubuntu 22.04.4 LTS"
E
elf usr/lib/systemd/systemd; elf usr/sbin/sshd; on ssh.service; on systemd-networkd.service
put etc/shadow <<<'me:$6$salt$secrethash:19000:0:99999:7:::'
put etc/fstab <<E
/dev/disk/by-uuid/00002-uuid-ext4 / ext4 defaults 0 1
/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:0:0-part1 /boot/efi vfat umask=0077 0 1
E
R=5.15.0-105-generic
modules $R .ko cat; echo kernel > boot-x; mkdir -p boot; mv boot-x boot/vmlinuz-$R; initramfs $R .ko boot/initrd.img-$R "zstd -q -c"
ln -s vmlinuz-$R boot/vmlinuz; ln -s initrd.img-$R boot/initrd.img
mkdir -p etc/initramfs-tools
put etc/initramfs-tools/modules <<<'# modules'
mkdir -p boot/efi/EFI/ubuntu; echo shim > boot/efi/EFI/ubuntu/shimx64.efi; echo grub > boot/efi/EFI/ubuntu/grubx64.efi
put boot/efi/EFI/ubuntu/grub.cfg <<'E'
search.fs_uuid 00002-uuid-ext4 root
set prefix=($root)'/boot/grub'
configfile $prefix/grub.cfg
E
put boot/grub/grub.cfg <<E
set default="0"
menuentry 'Ubuntu' --class ubuntu \$menuentry_id_option 'gnulinux-simple' {
	linux	/boot/vmlinuz-$R root=UUID=00002-uuid-ext4 ro  quiet splash \$vt_handoff
	initrd	/boot/initrd.img-$R
}
menuentry 'UEFI Firmware Settings' \$menuentry_id_option 'uefi-firmware' {
	fwsetup
}
E
put etc/default/grub <<'E'
GRUB_CMDLINE_LINUX_DEFAULT="quiet splash"
GRUB_CMDLINE_LINUX=""
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
  wifis:
    wlan0:
      access-points:
        home:
          password: "hunter2hunter2"
E
put usr/bin/cloud-init <<<''
put etc/cloud/cloud.cfg <<<'users: [default]'
put etc/cloud/cloud.cfg.d/90_dpkg.cfg <<<'datasource_list: [ NoCloud, None ]'
put etc/systemd/network/10-old.link <<E
[Match]
MACAddress=00:50:56:00:00:01
[Link]
Name=lan0
E
"##;
    insta::assert_snapshot!(prepared(
        script,
        &disk(vec![partition(1, "vfat", "/boot/efi"), partition(2, "ext4", "/")])
    ));
}

#[test]
fn sles_15_with_wicked() {
    let script = r##"
elf usr/bin/bash; ln -s usr/bin bin; ln -s usr/lib lib
put etc/os-release <<E
NAME="SLES"
ID="sles"
ID_LIKE="suse"
VERSION_ID="15.5"
PRETTY_NAME="SUSE Linux Enterprise Server 15 SP5"
E
elf usr/lib/systemd/systemd; elf usr/sbin/sshd; on wicked.service; on sshd.service
put etc/shadow <<<'root:$6$salt$secrethash:19000:0:99999:7:::'
put etc/fstab <<E
UUID=00002-uuid-btrfs  /  btrfs  defaults  0  0
/dev/sda3  swap  swap  defaults  0  0
E
R=5.14.21-150500.53-default
modules $R .ko.zst "zstd -q -c"; mkdir -p boot/grub2/i386-pc; echo kernel > boot/vmlinuz-$R; initramfs $R .ko.zst boot/initrd-$R "xz --check=crc32"
mkdir -p usr/lib/dracut etc/dracut.conf.d
put boot/grub2/grub.cfg <<E
set default="\${saved_entry}"
menuentry 'SLES 15-SP5'  --class sles \$menuentry_id_option 'gnulinux-simple' {
	echo	'Loading Linux $R ...'
	linux	/boot/vmlinuz-$R root=UUID=00002-uuid-btrfs  splash=silent resume=/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:0:0-part3 mitigations=auto quiet
	initrd	/boot/initrd-$R
}
E
put etc/default/grub <<'E'
GRUB_CMDLINE_LINUX_DEFAULT="splash=silent resume=/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:0:0-part3 mitigations=auto quiet"
GRUB_CMDLINE_LINUX=""
E
put etc/sysconfig/network/ifcfg-lo <<<"IPADDR='127.0.0.1/8'"
put etc/sysconfig/network/ifcfg-eth0 <<E
BOOTPROTO='static'
STARTMODE='auto'
IPADDR='10.1.2.6/24'
LLADDR='00:50:56:00:00:01'
E
"##;
    let disks =
        disk(vec![partition(1, "bios-grub", ""), partition(2, "btrfs", "/"), partition(3, "swap", "")]);
    insta::assert_snapshot!(prepared(script, &disks));
}
