//! What the trees are made with: shell functions for what distributions have in common, a run of
//! the preparation, its result as text. Modules are short texts under the distributions' own
//! names; initramfs archives are made by cpio and the real compressors.

use std::fmt::Write;
use std::path::Path;

use replant::guest::disk::boot_code::BootCode;
use replant::guest::prepare;
use replant::guest::report::{
    DiskFacts, FileChange, FileDiff, Finding, FindingSeverity, GiveUp, Job, PROTOCOL, PartitionFacts,
    RecipeInputs, Report,
};
use replant::guest::tree::Tree;
use replant::model::{GuestChanges, Hypervisor, NetworkPolicy};

use crate::guest::fixtures::shell;

/// Codes that are judged elsewhere: by the tests of SSH, of the old network, of logins.
const ELSEWHERE: [&str; 26] = [
    "initramfs",
    "sshd",
    "firewall",
    "no_login",
    "password",
    "root_password",
    "selinux",
    "old_release",
    "vmware_tools",
    "cloud_init",
    "luks",
    "architecture",
    "root_filesystem",
    "either_firmware",
    "time_",
    "name_servers",
    "network_mounts",
    "own_address",
    "proxy",
    "iscsi",
    "clock_",
    "hibernated",
    "modules_",
    "ena_",
    "agent",
    "boot_loader",
];

/// Shell functions that every tree's script may use; they run in the tree's root.
pub const FUNCTIONS: &str = r##"
put() { mkdir -p "$(dirname "$1")"; cat > "$1"; }
touch_() { local f; for f; do mkdir -p "$(dirname "$f")"; : > "$f"; done; }
# A program's ELF header, for the architecture.
elf() { local f; for f; do mkdir -p "$(dirname "$f")"; printf '\177ELF\2\1\1\0\0\0\0\0\0\0\0\0\3\0\076\0' > "$f"; done; }
merged() { mkdir -p usr/bin usr/sbin usr/lib; ln -s usr/bin bin; ln -s usr/lib lib; ln -s usr/sbin sbin; elf usr/bin/bash; ln -s bash usr/bin/sh; }
split_() { mkdir -p bin sbin lib usr/bin usr/sbin usr/lib; elf bin/bash; ln -s bash bin/sh; }
systemd() { elf usr/lib/systemd/systemd; elf usr/sbin/sshd; }
on() { local s; for s; do mkdir -p etc/systemd/system/multi-user.target.wants; ln -s /usr/lib/systemd/system/$s etc/systemd/system/multi-user.target.wants/$s; done; }
rc3() { local s; mkdir -p etc/rc.d/init.d etc/rc.d/rc3.d; [ -e etc/rc3.d ] || ln -s rc.d/rc3.d etc/rc3.d; for s; do ln -s ../init.d/${s#S??} etc/rc.d/rc3.d/$s; done; }
# os_release ID VERSION PRETTY_NAME ID_LIKE
os_release() { put etc/os-release <<E
NAME="${3%% [0-9]*}"
ID="$1"
ID_LIKE="$4"
VERSION_ID="$2"
PRETTY_NAME="$3"
E
}
fill() { head -c $((1024 - $(stat -c %s $1))) /dev/zero | tr '\0' '#' >> $1; }
# i386_pc DIRECTORY: what grub-install leaves there for a BIOS.
i386_pc() { touch_ $1/i386-pc/boot.img $1/i386-pc/core.img $1/i386-pc/normal.mod; }
# An EFI program; shim DIRECTORY/NAME SECOND names its second stage as UTF-16, as a shim does.
efi() { mkdir -p "$(dirname "$1")"; printf 'MZ\0\0%s\0' "$1" > "$1"; }
shim() { mkdir -p "$(dirname "$1")"; { printf 'MZ\0\0shim\0\0'; printf '\\%s' "$2" | iconv -t UTF-16LE; printf '\0\0'; } > "$1"; }
# modules RELEASE ENDING COMPRESSOR [PARMTYPE]: the drivers under the kernel's paths, with indexes.
modules() {
  local top=usr/lib m; [ -L lib ] || top=lib
  local d=$top/modules/$1; mkdir -p $d
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
# Modules of an old kernel, which has neither NVMe nor ENA.
modules_of_old() {
  modules "$@"; local d=usr/lib/modules/$1; [ -d $d ] || d=lib/modules/$1
  rm -rf $d/kernel/drivers/nvme $d/kernel/drivers/net/ethernet; sed -i '/nvme/d; /ena/d' $d/modules.dep $d/modules.alias
}
# built_in RELEASE MODULE…
built_in() { local m d=usr/lib/modules/$1; [ -d $d ] || d=lib/modules/$1; for m in ${@:2}; do echo "kernel/$m.ko" >> $d/modules.builtin; done; }
# vmlinuz FILE RELEASE: the header of a bzImage, which tells the release.
vmlinuz() { mkdir -p "$(dirname "$1")"; { head -c 514 /dev/zero; printf HdrS; head -c 8 /dev/zero; printf '\0\1'; head -c 240 /dev/zero; printf '%s (mockbuild@host) #1 SMP\0' "$2"; } > "$1"; }
# pack DIRECTORY COMPRESSOR: the same bytes every run.
pack() { find $1 -exec touch -h -d @0 {} +; (cd $1; find . | LC_ALL=C sort | cpio -o --quiet -H newc --reproducible -R 0:0 | $2); }
# inside RELEASE ENDING DIRECTORY MODULE…: modules of the root with their index, in an archive.
inside() {
  local r=$1 e=$2 t=$3 m s; shift 3; s=usr/lib/modules/$r; [ -d $s ] || s=lib/modules/$r
  mkdir -p $t/$r
  for m; do mkdir -p $t/$r/kernel/$(dirname $m); cp $s/kernel/$m$e $t/$r/kernel/$m$e; grep "^kernel/$m$e:" $s/modules.dep >> $t/$r/modules.dep; done
  grep -v -E 'nvme|xen' $s/modules.alias > $t/$r/modules.alias || true
}
ORDINARY="fs/xfs/xfs drivers/scsi/sd_mod block/t10-pi lib/crc-t10dif"
OF_EC2="$ORDINARY drivers/nvme/host/nvme drivers/nvme/host/nvme-core drivers/block/xen-blkfront"
# dracut RELEASE ENDING FILE COMPRESSOR [MODULES]: microcode, then dracut's layout.
dracut() {
  local i=$PWD/.i; rm -rf $i; mkdir -p $i/early/kernel/x86/microcode $i/main/usr/lib/dracut/hooks/{pre-udev,cmdline} $i/main/usr/bin $i/main/etc
  echo code > $i/early/kernel/x86/microcode/GenuineIntel.bin
  inside $1 $2 $i/main/usr/lib/modules ${5:-$ORDINARY}
  ln -s usr/lib $i/main/lib; ln -s usr/bin $i/main/bin; ln -s usr/lib/systemd/systemd $i/main/init
  if [ -d .initramfs ]; then cp -r .initramfs/. $i/main/; fi
  mkdir -p $(dirname $3); { pack $i/early cat; pack $i/main "$4"; } > $3; rm -rf $i
}
# initramfs_tools RELEASE ENDING FILE COMPRESSOR [MODULES]: as mkinitramfs lays it out.
initramfs_tools() {
  local i=$PWD/.i; rm -rf $i; mkdir -p $i/conf/conf.d $i/scripts/local-top $i/usr/bin $i/etc/modprobe.d $i/usr/lib
  printf 'MODULES=most\nBUSYBOX=auto\n' > $i/conf/initramfs.conf; echo functions > $i/scripts/functions; echo init > $i/init
  inside $1 $2 $i/usr/lib/modules ${5:-$ORDINARY}; ln -s usr/lib $i/lib; ln -s usr/bin $i/bin
  mkdir -p $(dirname $3); pack $i "$4" > $3; rm -rf $i
}
# The layout of EL6's dracut 004: no usr, hooks at the top.
dracut_004() {
  local i=$PWD/.i; rm -rf $i; mkdir -p $i/{pre-udev,initqueue,cmdline,mount,etc,bin,sbin}
  inside $1 $2 $i/lib/modules ${5:-drivers/scsi/sd_mod block/t10-pi lib/crc-t10dif}; echo init > $i/init
  mkdir -p $(dirname $3); pack $i "$4" > $3; rm -rf $i
}
# grub_header DEFAULT: what 00_header writes.
grub_header() { cat <<E
#
# DO NOT EDIT THIS FILE
#
# It is automatically generated by grub2-mkconfig using templates
# from /etc/grub.d and settings from /etc/default/grub
#

### BEGIN /etc/grub.d/00_header ###
set pager=1

if [ -s \$prefix/grubenv ]; then
  load_env
fi
if [ "\${next_entry}" ] ; then
   set default="\${next_entry}"
   set next_entry=
   save_env next_entry
   set boot_once=true
else
   set default="$1"
fi

if [ x"\${feature_menuentry_id}" = xy ]; then
  menuentry_id_option="--id"
else
  menuentry_id_option=""
fi

export menuentry_id_option

if [ "\${prev_saved_entry}" ]; then
  set saved_entry="\${prev_saved_entry}"
  save_env saved_entry
  set prev_saved_entry=
  save_env prev_saved_entry
  set boot_once=true
fi

function savedefault {
  if [ -z "\${boot_once}" ]; then
    saved_entry="\${chosen}"
    save_env saved_entry
  fi
}

function load_video {
  if [ x\$feature_all_video_module = xy ]; then
    insmod all_video
  else
    insmod efi_gop
    insmod vga
  fi
}

terminal_output console
set timeout=5
### END /etc/grub.d/00_header ###

E
}
# entry TITLE ID COMMAND KERNEL ARGUMENTS COMMAND INITRD FILESYSTEM: what 10_linux writes.
entry() { cat <<E
menuentry '$1' --class gnu-linux --class gnu --class os --unrestricted \$menuentry_id_option '$2' {
	load_video
	set gfxpayload=keep
	insmod gzio
	insmod part_gpt
	insmod ext2
	set root='hd0,gpt2'
	if [ x\$feature_platform_search_hint = xy ]; then
	  search --no-floppy --fs-uuid --set=root --hint-bios=hd0,gpt2 --hint-efi=hd0,gpt2 --hint-baremetal=ahci0,gpt2  $8
	else
	  search --no-floppy --fs-uuid --set=root $8
	fi
	echo	'Loading Linux ...'
	$3	$4 $5
	echo	'Loading initial ramdisk ...'
	$6	$7
}
E
}
env_block() { mkdir -p $(dirname $1); { echo '# GRUB Environment Block'; cat; } > $1; fill $1; }
shadow() { put etc/shadow <<<'root:$6$salt$secrethash:19000:0:99999:7:::'; put etc/passwd <<<'root:x:0:0:root:/root:/bin/bash'; }
"##;

/// A partition; its UUID is in `$U` and its number in the script.
pub fn partition(number: u32, content: &str, mount_point: &str) -> PartitionFacts {
    let uuid = match content {
        "vfat" => Some(format!("5C4E-B00{number}")),
        "lvm2" | "md" | "bios-grub" | "unknown" => None,
        _ => Some(format!("5c4e0f5e-0000-4000-8000-00000000000{number}")),
    };
    PartitionFacts {
        number,
        offset: 1 << 20,
        size: 1 << 30,
        content: content.to_owned(),
        uuid,
        label: None,
        mount_point: Some(mount_point.to_owned()).filter(|point| !point.is_empty()),
    }
}

/// One disk.
pub fn disk(partitions: &[(u32, &str, &str)]) -> Vec<DiskFacts> {
    let partitions = partitions.iter().map(|(number, content, point)| partition(*number, content, point));
    vec![DiskFacts { name: "root".to_owned(), table: "gpt".to_owned(), partitions: partitions.collect() }]
}

/// Builds a tree.
pub fn build(root: &Path, script: &str, disks: &[DiskFacts]) {
    let mut variables = String::new();
    for partition in disks.iter().take(1).flat_map(|disk| &disk.partitions) {
        if let Some(uuid) = &partition.uuid {
            writeln!(variables, "U{}={uuid}", partition.number).unwrap();
        }
    }
    shell(&format!("cd {}\n{variables}{FUNCTIONS}\n{script}", root.display()));
    if root.join("etc/selinux/config").exists() {
        let label = b"system_u:object_r:etc_t:s0\0";
        rustix::fs::setxattr(root.join("etc"), "security.selinux", label, rustix::fs::XattrFlags::empty())
            .unwrap();
    }
}

/// Inspects or prepares a tree in a plain directory.
pub fn run(root: &Path, disks: &[DiskFacts], hypervisor: Hypervisor, prepare: bool) -> Report {
    run_with(root, disks, hypervisor, NetworkPolicy::Dhcp, GuestChanges::default(), prepare)
}

/// The same with a policy, and what a guest block wants.
pub fn run_with(
    root: &Path,
    disks: &[DiskFacts],
    hypervisor: Hypervisor,
    network: NetworkPolicy,
    changes: GuestChanges,
    prepare: bool,
) -> Report {
    let inputs = RecipeInputs { hypervisor, network, changes, give_up: GiveUp::default() };
    let job = Job { protocol: PROTOCOL, disks: Vec::new(), prepare, inputs, parcel: None };
    prepare::run(&Tree::open(root).unwrap(), disks, BootCode::Unknown, &job).unwrap()
}

/// Builds a tree, prepares it for Nitro, gives the report as text.
#[track_caller]
pub fn prepared(script: &str, disks: &[DiskFacts]) -> String {
    prepared_for(Hypervisor::Nitro, script, disks)
}

/// Builds a tree, prepares it, checks that looking alone gives the same and that a second
/// preparation has nothing to do; gives the report as text.
#[track_caller]
pub fn prepared_for(hypervisor: Hypervisor, script: &str, disks: &[DiskFacts]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    build(root, script, disks);
    let looked = run(root, disks, hypervisor, false);
    let report = run(root, disks, hypervisor, true);
    assert_eq!(looked, report);
    let again = run(root, disks, hypervisor, true);
    assert_eq!(again.recipe.edits, [], "{}", render(&again));
    assert_eq!(again.diffs, []);
    assert_eq!(looked.facts.unwrap().kernels.len(), again.facts.as_ref().unwrap().kernels.len());
    let blocks = |report: &Report| -> Vec<String> {
        let blocks = report.findings.iter().filter(|found| found.severity == FindingSeverity::Blocks);
        blocks.map(|found| found.code.clone()).collect()
    };
    let (before, after) = (blocks(&report), blocks(&again));
    assert!(after.iter().all(|code| before.contains(code)), "{after:?}");
    render(&report)
}

/// Builds a tree of an instance of EC2's: nothing is to be done, nothing blocks or warns.
#[track_caller]
pub fn left_alone(script: &str, disks: &[DiskFacts], hypervisor: Hypervisor) -> Report {
    let directory = tempfile::tempdir().unwrap();
    build(directory.path(), script, disks);
    let report = run(directory.path(), disks, hypervisor, true);
    assert_eq!(report.recipe.edits, [], "{}", render(&report));
    let severe = ours(&report).filter(|found| found.severity != FindingSeverity::Informs);
    assert_eq!(severe.map(|found| found.code.as_str()).collect::<Vec<_>>(), Vec::<&str>::new());
    report
}

/// The findings that are judged here.
pub fn ours(report: &Report) -> impl Iterator<Item = &Finding> {
    report.findings.iter().filter(|finding| {
        let code = finding.code.strip_prefix("guest::");
        code.is_some_and(|code| !ELSEWHERE.iter().any(|prefix| code.starts_with(prefix)))
    })
}

pub fn render(report: &Report) -> String {
    let mut text = String::new();
    if let Some(facts) = &report.facts {
        writeln!(text, "{} ({} {}, {:?})", facts.product, facts.distribution, facts.version, facts.firmware)
            .unwrap();
        writeln!(
            text,
            "host {:?}, root {}, addresses {:?}, {:?}",
            facts.hostname, facts.root_filesystem, facts.static_addresses, facts.details
        )
        .unwrap();
        for kernel in &facts.kernels {
            writeln!(text, "kernel {} with {:?}", kernel.release, kernel.initramfs).unwrap();
        }
    }
    for finding in ours(report) {
        writeln!(text, "{:?} {}: {}", finding.severity, finding.code, finding.summary).unwrap();
        for line in &finding.evidence {
            writeln!(text, "    {line}").unwrap();
        }
    }
    for diff in &report.diffs {
        text.push_str(&shown(diff));
    }
    text
}

/// A file's change; of an initramfs the modules that it gets.
pub fn shown(diff: &FileDiff) -> String {
    let mut text = String::new();
    match &diff.change {
        FileChange::Text { old, new } => {
            let (old, new) = (old.clone().unwrap_or_default(), new.clone().unwrap_or_default());
            let changed = similar::TextDiff::from_lines(&old, &new);
            let header = &diff.path;
            write!(text, "{}", changed.unified_diff().context_radius(1).header(header, header)).unwrap();
        }
        FileChange::Binary { lines, .. } => {
            writeln!(text, "{}", diff.path).unwrap();
            for line in lines.iter().filter(|line| line.contains(".ko")) {
                writeln!(text, "    {line}").unwrap();
            }
        }
        FileChange::Renamed { to } => writeln!(text, "{} => {to}", diff.path).unwrap(),
    }
    text
}
