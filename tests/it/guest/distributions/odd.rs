//! Boot loaders and settings that no default installation has.

use replant::guest::report::{FindingSeverity, Report};
use replant::model::Hypervisor;

use super::kit::{build, disk, partition, prepared, run};

/// A Debian that boots from one ext4, GRUB's menu left to the test.
const DEBIAN: &str = r##"
merged; systemd; on ssh.service systemd-networkd.service; shadow; os_release debian 12 "Debian GNU/Linux 12 (bookworm)" ""
R=6.1.0-18-amd64; modules $R .ko cat; i386_pc boot/grub; mkdir -p etc/initramfs-tools; vmlinuz boot/vmlinuz-$R $R
initramfs_tools $R .ko boot/initrd.img-$R "gzip -n"
put etc/systemd/network/10-any.network <<<$'[Match]\nName=e*\n[Network]\nDHCP=yes'
put etc/fstab <<<"UUID=$U1 / ext4 defaults 0 1"
menu() { put boot/grub/grub.cfg <<E
set default="0"
menuentry 'Debian' {
	linux	/boot/vmlinuz-$R $1
	initrd	/boot/initrd.img-$R
}
E
}
"##;

fn report(script: &str) -> Report {
    let directory = tempfile::tempdir().unwrap();
    let disks = disk(&[(1, "ext4", "/"), (2, "swap", "")]);
    build(directory.path(), &format!("{DEBIAN}{script}"), &disks);
    run(directory.path(), &disks, Hypervisor::Nitro, false)
}

fn severity(report: &Report, code: &str) -> Option<FindingSeverity> {
    let found = report.findings.iter().find(|finding| finding.code == format!("guest::{code}"));
    found.map(|finding| finding.severity)
}

/// Entries as kernel-install writes them, on the EFI system partition; the default is a pattern.
#[test]
fn systemd_boot() {
    let script = r##"
rm -r boot/grub; M=0123456789abcdef0123456789abcdef; O=6.1.0-17-amd64; modules $O .ko cat
efi efi/EFI/systemd/systemd-bootx64.efi; efi efi/EFI/BOOT/BOOTX64.EFI; efi efi/EFI/Linux/rescue.efi
printf 'timeout 3\n#console-mode keep\ndefault %s-6.1.0-17*\n' $M | put efi/loader/loader.conf
for V in $R $O; do mkdir -p efi/$M/$V; mv boot/vmlinuz-$V efi/$M/$V/linux 2>/dev/null || vmlinuz efi/$M/$V/linux $V
initramfs_tools $V .ko efi/$M/$V/initrd.img-$V "gzip -n"
put efi/loader/entries/$M-$V.conf <<E
# Boot Loader Specification type#1 entry
title      Debian GNU/Linux 12 (bookworm)
version    $V
machine-id $M
sort-key   debian
options    root=UUID=$U1 quiet systemd.machine_id=$M
linux      /$M/$V/linux
initrd     /$M/$V/initrd.img-$V
E
done
put etc/kernel/cmdline <<<"root=UUID=$U1 quiet"
"##;
    let disks = disk(&[(1, "ext4", "/"), (2, "vfat", "/efi")]);
    insta::assert_snapshot!(prepared(&format!("{DEBIAN}{script}"), &disks));
}

#[test]
fn extlinux() {
    let script = r##"
rm -r boot/grub
put boot/extlinux/extlinux.conf <<E
## /boot/extlinux/extlinux.conf
default l0
display boot.txt
prompt 0
timeout 50
include themes/debian/theme.cfg
E
put boot/extlinux/linux.cfg <<E
label l0
	menu label Debian GNU/Linux, kernel $R
	linux /boot/vmlinuz-$R
	append initrd=/boot/initrd.img-$R root=/dev/sda1 ro quiet

label l0r
	menu label Debian GNU/Linux, kernel $R (recovery mode)
	linux /boot/vmlinuz-$R
	append initrd=/boot/initrd.img-$R root=/dev/sda1 ro single
E
"##;
    insta::assert_snapshot!(prepared(&format!("{DEBIAN}{script}"), &disk(&[(1, "ext4", "/")])));
}

/// Debian's update-grub for GRUB legacy: settings in comments with one `#`.
#[test]
fn debian_with_grub_legacy() {
    let script = r##"
rm -r boot/grub; mkdir -p boot/grub; touch_ boot/grub/stage2
printf '1\n#\n#\n#\n' > boot/grub/default
O=6.1.0-17-amd64; modules $O .ko cat; vmlinuz boot/vmlinuz-$O $O; initramfs_tools $O .ko boot/initrd.img-$O "gzip -n"
put boot/grub/menu.lst <<E
# menu.lst - See: grub(8), info grub, update-grub(8)
default		saved
timeout		5
color cyan/blue white/blue
### BEGIN AUTOMAGIC KERNELS LIST
## ## Start Default Options ##
## default kernel options
## e.g. kopt=root=/dev/hda1 ro
# kopt=root=/dev/sda1 ro
## default grub root device
# groot=(hd0,0)
# defoptions=quiet
## ## End Default Options ##

title		Debian GNU/Linux, kernel $R
root		(hd0,0)
kernel		(hd0,0)/boot/vmlinuz-$R root=/dev/sda1 ro quiet
initrd		(hd0,0)/boot/initrd.img-$R

title		Debian GNU/Linux, kernel $O
uuid		$U1
kernel		/boot/vmlinuz-$O root=/dev/sda1 ro quiet
initrd		/boot/initrd.img-$O
### END DEBIAN AUTOMAGIC KERNELS LIST
E
"##;
    insta::assert_snapshot!(prepared(&format!("{DEBIAN}{script}"), &disk(&[(1, "ext4", "/")])));
}

#[test]
fn arguments_of_the_old_machine() {
    let script = r##"
menu "root=/dev/sda1 ro resume=/dev/sdc2 pci=nomsi noapic modprobe.blacklist=nvme,nouveau clocksource=tsc notsc vmw_pvscsi.cmd_per_lun=254 vga=791 mem=4G console=tty0 quiet"
put etc/default/grub <<'E'
GRUB_CMDLINE_LINUX_DEFAULT="quiet \
  pci=nomsi"
GRUB_CMDLINE_LINUX="noapic resume=/dev/sdc2"
E
put etc/initramfs-tools/conf.d/resume <<<'RESUME=/dev/sdc2'
"##;
    insta::assert_snapshot!(prepared(&format!("{DEBIAN}{script}"), &disk(&[(1, "ext4", "/")])));
}

/// Xen's dom0 starts from an instance no more; which entry is the default decides.
#[test]
fn xen_as_default_blocks() {
    let cfg = r##"
put boot/grub/grub.cfg <<E
set default="DEFAULT"
menuentry 'Debian GNU/Linux' {
	linux	/boot/vmlinuz-$R root=UUID=$U1 ro quiet
	initrd	/boot/initrd.img-$R
}
menuentry 'Debian GNU/Linux, with Xen hypervisor' {
	multiboot2	/boot/xen-4.17-amd64.gz placeholder   \${xen_rm_opts}
	module2	/boot/vmlinuz-$R placeholder root=UUID=$U1 ro quiet
	module2	--nounzip   /boot/initrd.img-$R
}
E
"##;
    let with = |default: &str| severity(&report(&cfg.replace("DEFAULT", default)), "xen_dom0");
    assert_eq!(with("0"), Some(FindingSeverity::Warns));
    assert_eq!(with("1"), Some(FindingSeverity::Blocks));
}

/// What cannot be found does not stop the boot; what comes over the network is not missing.
#[test]
fn odd_mounts() {
    let script = r##"
menu "root=UUID=$U1 ro console=ttyS0"; elf sbin/mountall
printf 'UUID=%s\t/  ext4 defaults 0 1\r\n/dev/sdb1 /data ext4 defaults,discard 0 2\r\n' $U1 > etc/fstab
cat >> etc/fstab <<E
UUID=99999999-0000-4000-8000-000000000009 /lost xfs
LABEL=gone /gone xfs defaults,noauto 0 0
.host:/ /mnt/hgfs fuse.vmhgfs-fuse allow_other 0 0
/data/a /srv/a none bind 0 0
filer:/vol/home /home nfs rw,hard 0 0
//winsrv/share /mnt/share cifs credentials=/root/.smb 0 0
/dev/disk/by-path/ip-10.0.0.9:3260-iscsi-iqn.2001-05.x:y-lun-0 /iscsi ext4 _netdev 0 0
UUID=88888888-0000-4000-8000-000000000008 /iscsi2 ext4 _netdev 0 0
/dev/disk/by-path/pci-0000:0b:00.0-scsi-0:0:0:0-part1 /second ext4 defaults 0 0
/dev/nvme1n1p1 /fast ext4 defaults 0 0
/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0123456789abcdef0-part1 /ebs ext4 nofail 0 0
/dev/sda2 none swap sw
/dev/cdrom /media/cdrom iso9660 ro 0 0
E
put etc/crypttab <<E
one /dev/sda9
two /dev/sdz1 none luks
three UUID=1 none luks
E
"##;
    let mut disks = disk(&[(1, "ext4", "/"), (2, "swap", "")]);
    disks.extend(disk(&[(1, "ext4", "")]));
    disks[1].partitions = vec![partition(7, "ext4", "")];
    insta::assert_snapshot!(prepared(&format!("{DEBIAN}{script}"), &disks));
}

/// LVM and mdadm that look at the old machine's disks only: mended in the root, and in the initramfs
/// where the root depends on them.
#[test]
fn storage_settings() {
    let script = r##"
menu "root=/dev/mapper/vg-root ro console=ttyS0"
put etc/lvm/lvm.conf <<E
devices {
    # filter = [ "a|.*|" ]
    filter = [ "a|^/dev/sd[a-z][0-9]*\$|", "r|.*|" ]
}
E
put etc/mdadm/mdadm.conf <<E
DEVICE /dev/sda* /dev/sdb*
ARRAY /dev/md0 UUID=1:2:3:4 devices=/dev/sda1,/dev/sdb1
E
"##;
    let mut disks = disk(&[(1, "ext4", "/boot"), (2, "lvm2", "")]);
    insta::assert_snapshot!(prepared(&format!("{DEBIAN}{script}"), &disks));
    let inside = r##"
rm boot/initrd.img-$R; mkdir -p .initramfs/etc; cp -r etc/lvm .initramfs/etc/; cp -r etc/mdadm .initramfs/etc/
dracut $R .ko boot/initrd.img-$R "gzip -n"; rm -r .initramfs
"##;
    let report = |script: &str, disks: &[replant::guest::report::DiskFacts]| {
        let directory = tempfile::tempdir().unwrap();
        build(directory.path(), &format!("{DEBIAN}{script}{inside}"), disks);
        let first = run(directory.path(), disks, Hypervisor::Nitro, true);
        let again = run(directory.path(), disks, Hypervisor::Nitro, true);
        assert_eq!(again.recipe.edits, []);
        for code in ["guest::lvm_filter_in_initramfs", "guest::mdadm_devices_in_initramfs"] {
            assert!(again.findings.iter().all(|found| found.code != code));
        }
        first
    };
    let on_lvm = report(script, &disks);
    assert_eq!(severity(&on_lvm, "lvm_filter_in_initramfs"), Some(FindingSeverity::Informs));
    assert_eq!(severity(&on_lvm, "mdadm_devices_in_initramfs"), None);
    disks[0].partitions[1].content = "md".to_owned();
    let on_array = report(&script.replace("root=/dev/mapper/vg-root", "root=/dev/md0"), &disks);
    assert_eq!(severity(&on_array, "mdadm_devices_in_initramfs"), Some(FindingSeverity::Informs));
    assert_eq!(severity(&on_array, "lvm_filter_in_initramfs"), None);
}

/// A shim at the removable path without GRUB beside it starts nothing; unless its fallback program
/// finds a list of a vendor's.
#[test]
fn a_shim_needs_its_second_stage() {
    let base = r##"rm -r boot/grub/i386-pc; menu "root=UUID=$U1 ro console=ttyS0"
E=boot/efi/EFI; shim $E/BOOT/BOOTX64.EFI grubx64.efi; shim $E/debian/shimx64.efi grubx64.efi; efi $E/debian/grubx64.efi
"##;
    let copied = |script: &str| {
        let report = report(&format!("{base}{script}"));
        report.recipe.edits.iter().any(|edit| edit.path == "/boot/efi/EFI/BOOT/grubx64.efi")
    };
    assert!(copied(""));
    assert!(!copied("efi $E/BOOT/grubx64.efi"));
    assert!(copied("efi $E/BOOT/fbx64.efi"));
    assert!(!copied("efi $E/BOOT/fbx64.efi; touch_ $E/debian/BOOTX64.CSV"));
}

/// An instance has nobody at its keyboard: Ubuntu 12.04's menu after a failure, in its file, in what
/// that is made from, and noted in the environment.
#[test]
fn a_menu_that_waits() {
    let script = r##"
put boot/grub/grub.cfg <<E
if [ -s \$prefix/grubenv ]; then
  load_env
fi
if [ "\${recordfail}" = 1 ]; then
  set timeout=-1
else
  set timeout=10
fi
menuentry 'Debian' {
	recordfail
	linux	/boot/vmlinuz-$R root=UUID=$U1 ro console=ttyS0
	initrd	/boot/initrd.img-$R
}
E
printf 'saved_entry=0\nrecordfail=1\n' | env_block boot/grub/grubenv
put etc/default/grub <<E
GRUB_TIMEOUT=10
GRUB_CMDLINE_LINUX=""
E
put etc/default/grub.d/wait.cfg <<<'GRUB_TIMEOUT="-1"'
"##;
    insta::assert_snapshot!(prepared(&format!("{DEBIAN}{script}"), &disk(&[(1, "ext4", "/")])));
}

/// The same of other boot loaders: what waits does so no longer, what starts by itself stays.
#[test]
fn other_menus_that_wait() {
    let entry = "LABEL l0\n\tLINUX /boot/vmlinuz-6.1.0-18-amd64\n\tAPPEND initrd=/boot/initrd.img-6.1.0-18-amd64 root=UUID=$U1 ro console=ttyS0";
    let extlinux = |head: &str| {
        format!(
            "rm -r boot/grub; printf 'EXTLINUX_TIMEOUT=\"0\"\n' | put etc/default/extlinux; put boot/extlinux/extlinux.conf <<E\n{head}\n{entry}\nE\n"
        )
    };
    let systemd = |timeout: &str| {
        format!(
            "rm -r boot/grub; efi efi/EFI/systemd/systemd-bootx64.efi; efi efi/EFI/BOOT/BOOTX64.EFI; printf 'timeout {timeout}\n' | put efi/loader/loader.conf; printf 'linux /boot/vmlinuz-%s\ninitrd /boot/initrd.img-%s\noptions root=UUID=%s console=ttyS0\n' $R $R $U1 | put efi/loader/entries/x.conf"
        )
    };
    let legacy = |head: &str| {
        format!(
            "rm -r boot/grub/*; touch_ boot/grub/stage2; put boot/grub/menu.lst <<E\n{head}\ntitle Debian\n\tkernel /boot/vmlinuz-$R root=UUID=$U1 ro console=ttyS0\n\tinitrd /boot/initrd.img-$R\nE\n"
        )
    };
    for (script, path, mended) in [
        (extlinux("DEFAULT l0\nPROMPT 1\nTIMEOUT 0"), "boot/extlinux/extlinux.conf", Some("TIMEOUT 50\n")),
        (extlinux("DEFAULT vesamenu.c32"), "boot/extlinux/extlinux.conf", Some("TIMEOUT 50\nDEFAULT")),
        (extlinux("PROMPT 1"), "etc/default/extlinux", Some("EXTLINUX_TIMEOUT=\"50\"\n")),
        (extlinux("DEFAULT l0\nPROMPT 1\nTIMEOUT 30"), "boot/extlinux/extlinux.conf", None),
        (extlinux("DEFAULT l0\nPROMPT 0"), "boot/extlinux/extlinux.conf", None),
        (systemd("menu-force"), "efi/loader/loader.conf", Some("timeout 5\n")),
        (systemd("menu-hidden"), "efi/loader/loader.conf", None),
        (legacy("default 0\nhiddenmenu"), "boot/grub/menu.lst", Some("hiddenmenu\ntimeout=5\ntitle")),
        (legacy("default 0\ntimeout\t0"), "boot/grub/menu.lst", None),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let disks = disk(&[(1, "ext4", "/")]);
        build(directory.path(), &format!("{DEBIAN}{script}"), &disks);
        let report = run(directory.path(), &disks, Hypervisor::Nitro, true);
        let waits = severity(&report, "boot_menu_waits");
        assert_eq!(waits, mended.map(|_| FindingSeverity::Informs), "{script}");
        let text = std::fs::read_to_string(directory.path().join(path)).unwrap();
        assert!(text.contains(mended.unwrap_or_default()), "{text}");
        let again = run(directory.path(), &disks, Hypervisor::Nitro, true);
        assert_eq!((again.recipe.edits.len(), severity(&again, "boot_menu_waits")), (0, None), "{script}");
    }
}

/// Kernels before 3.11 do not load a module whose arguments name a parameter that it lacks.
#[test]
fn the_drivers_own_word_decides_the_time_out() {
    let with = |release: &str, nvme: &str| {
        report(&format!(
            r##"R={release}; D=usr/lib/modules/$R; modules $R .ko cat; vmlinuz boot/vmlinuz-$R $R; initramfs_tools $R .ko boot/initrd.img-$R "gzip -n"
{nvme}
menu "root=/dev/sda1 ro""##
        ))
    };
    let alone = |info: &str| {
        format!(
            "sed -i '/nvme-core.ko:/d; s, kernel/drivers/nvme/host/nvme-core.ko,,' $D/modules.dep; printf 'module\\0{info}' > $D/kernel/drivers/nvme/host/nvme.ko"
        )
    };
    let built_in = |info: &str| {
        format!(
            "built_in $R drivers/nvme/host/nvme drivers/nvme/host/nvme-core; printf '{info}' > $D/modules.builtin.modinfo"
        )
    };
    let (old, new) = ("3.10.0-123.el7.x86_64", "6.1.0-18-amd64");
    for (release, nvme, expected) in [
        (old, alone("license=GPL\\0vermagic=3.10\\0"), None),
        (old, alone("parmtype=io_timeout:byte\\0vermagic=3.10\\0"), Some("nvme.io_timeout=255")),
        (old, alone("nothing that modinfo knows\\0"), Some("nvme.io_timeout=255")),
        (new, built_in("nvme_core.license=GPL\\0"), None),
        (
            new,
            built_in("nvme_core.license=GPL\\0nvme_core.parmtype=io_timeout:uint\\0"),
            Some("nvme_core.io_timeout=4294967295"),
        ),
        (new, built_in(""), Some("nvme_core.io_timeout=4294967295")),
    ] {
        let report = with(release, &nvme);
        let menu = report.diffs.iter().find(|diff| diff.path == "/boot/grub/grub.cfg").unwrap();
        let shown = super::kit::shown(menu);
        match expected {
            Some(argument) => assert!(shown.contains(&format!(" {argument}\n")), "{nvme}: {shown}"),
            None => assert!(!shown.contains("io_timeout"), "{nvme}: {shown}"),
        }
    }
}

/// An old kernel's driver of Xen's platform device, which no index names as needed: without it there
/// are no Xen disks, with the driver of disks in the initramfs or without.
#[test]
fn xens_platform_device_has_a_driver_too() {
    for inside in ["$ORDINARY", "$ORDINARY drivers/block/xen-blkfront"] {
        let script = format!(
            r##"menu "root=UUID=$U1 ro console=ttyS0"; D=usr/lib/modules/$R; mkdir $D/kernel/drivers/xen; echo module > $D/kernel/drivers/xen/xen-platform-pci.ko
echo kernel/drivers/xen/xen-platform-pci.ko: >> $D/modules.dep; initramfs_tools $R .ko boot/initrd.img-$R "gzip -n" "{inside}""##
        );
        let directory = tempfile::tempdir().unwrap();
        let disks = disk(&[(1, "ext4", "/")]);
        build(directory.path(), &format!("{DEBIAN}{script}"), &disks);
        let report = run(directory.path(), &disks, Hypervisor::Xen, true);
        let added: String = report.diffs.iter().map(super::kit::shown).collect();
        assert!(added.contains("xen-platform-pci.ko"), "{added}");
        assert_eq!(added.contains("xen-blkfront.ko"), inside == "$ORDINARY", "{added}");
        assert_eq!(run(directory.path(), &disks, Hypervisor::Xen, true).recipe.edits, []);
    }
}

/// Windows puts its boot manager at the removable path, where Debian leaves it: Linux takes its
/// place. A vendor's directory that a former distribution left is not the guest's own.
#[test]
fn linux_takes_the_removable_path() {
    let script = r##"rm -r boot/grub/i386-pc; menu "root=UUID=$U1 ro console=ttyS0"; E=boot/efi/EFI
efi $E/Microsoft/Boot/bootmgfw.efi; mkdir -p $E/Boot; cp $E/Microsoft/Boot/bootmgfw.efi $E/Boot/bootx64.efi
for V in centos debian; do shim $E/$V/shimx64.efi grubx64.efi; echo $V >> $E/$V/shimx64.efi; efi $E/$V/grubx64.efi; done
"##;
    let directory = tempfile::tempdir().unwrap();
    let disks = disk(&[(1, "ext4", "/"), (2, "vfat", "/boot/efi")]);
    build(directory.path(), &format!("{DEBIAN}{script}"), &disks);
    let read = |path: &str| std::fs::read(directory.path().join("boot/efi/EFI").join(path)).unwrap();
    let manager = read("Microsoft/Boot/bootmgfw.efi");
    let first = run(directory.path(), &disks, Hypervisor::Nitro, true);
    assert_eq!(severity(&first, "efi_fallback_windows"), Some(FindingSeverity::Informs));
    assert_eq!(read("Boot/bootx64.efi"), read("debian/shimx64.efi"));
    assert_eq!(read("Boot/grubx64.efi"), read("debian/grubx64.efi"));
    assert_eq!(read("Microsoft/Boot/bootmgfw.efi"), manager);
    let again = run(directory.path(), &disks, Hypervisor::Nitro, true);
    assert_eq!((again.recipe.edits.len(), severity(&again, "efi_fallback_windows")), (0, None));
}

/// The block is 1024 bytes, whatever has to stand in it.
#[test]
fn a_full_environment_block_blocks() {
    let script = r##"
put boot/grub/grub.cfg <<E
set default="\${saved_entry}"
blscfg
E
put boot/loader/entries/a.conf <<E
title Debian
version $R
linux /boot/vmlinuz-$R
initrd /boot/initrd.img-$R
options \$kernelopts
E
printf 'kernelopts=root=/dev/sda1 ro %s\n' "$(head -c LENGTH /dev/zero | tr '\0' x)" | env_block boot/grub/grubenv
"##;
    let with = |length: &str| report(&script.replace("LENGTH", length));
    assert_eq!(severity(&with("940"), "grubenv_full"), Some(FindingSeverity::Blocks));
    let some = with("900");
    assert_eq!(severity(&some, "grubenv_full"), None);
    let entry =
        some.diffs.iter().find(|diff| diff.path.ends_with("a.conf")).expect("the rest is in the entry");
    assert!(super::kit::shown(entry).contains("console=ttyS0,115200n8"), "{entry:?}");
}

#[test]
fn a_guest_without_dhcp_client_blocks() {
    let script = r##"
menu "root=UUID=$U1 ro console=ttyS0"; rm -r etc/systemd/network
put etc/network/interfaces <<<$'auto eth0\niface eth0 inet static\n address 10.0.0.5/24'
"##;
    assert_eq!(severity(&report(script), "dhcp_client_missing"), Some(FindingSeverity::Blocks));
}

/// Settings that are garbage, without end or of the wrong kind are passed over; nothing panics.
#[test]
fn hostile_settings() {
    const FILES: [&str; 24] = [
        "etc/fstab",
        "etc/crypttab",
        "etc/default/grub",
        "etc/default/grub.d/x.cfg",
        "etc/kernel/cmdline",
        "etc/sysconfig/bootloader",
        "boot/grub/menu.lst",
        "boot/grub/default",
        "boot/grub/grubenv",
        "boot/grub/device.map",
        "boot/extlinux/extlinux.conf",
        "boot/loader/entries/x.conf",
        "boot/efi/loader/loader.conf",
        "boot/efi/EFI/BOOT/BOOTX64.EFI",
        "etc/lvm/lvm.conf",
        "etc/mdadm.conf",
        "etc/initramfs-tools/conf.d/resume",
        "etc/network/interfaces",
        "etc/netplan/x.yaml",
        "etc/cloud/cloud.cfg.d/x.cfg",
        "etc/systemd/network/x.network",
        "etc/NetworkManager/system-connections/x.nmconnection",
        "etc/udev/rules.d/x.rules",
        "var/cache/debconf/config.dat",
    ];
    let deep = "{a: ".repeat(3000);
    let payloads: [(&str, Vec<u8>); 7] = [
        ("nothing", Vec::new()),
        ("no text", (0..=255).cycle().take(5000).collect()),
        ("one line", vec![b'A'; 3 << 20]),
        (
            "quotes",
            b"GRUB_CMDLINE_LINUX=\"\nfilter = [ \"\niface\n[Match\nName=\n\tAPPEND\nDEVICE\noptions\n"
                .to_vec(),
        ),
        ("deep", deep.into_bytes()),
        (
            "patterns",
            b"source /etc/network/[\nname: \"[\"\nfilter = [ \"r|(((((|\", \"a|[|\" ]\ndefault [\n".to_vec(),
        ),
        (
            "numbers",
            b"default 99999999999999999999\nnvme99999999999999999999n1 /x ext4\n/dev/sdzzzzzzz9 / ext4\n"
                .to_vec(),
        ),
    ];
    let directory = tempfile::tempdir().unwrap();
    let disks = disk(&[(1, "ext4", "/")]);
    let script = "menu root=UUID=$U1; on NetworkManager.service; put usr/bin/cloud-init <<<''; put etc/cloud/cloud.cfg <<<''";
    build(directory.path(), &format!("{DEBIAN}{script}"), &disks);
    for file in FILES {
        let path = directory.path().join(file);
        let old = std::fs::read(&path).ok();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        for (what, payload) in &payloads {
            std::fs::write(&path, payload).unwrap();
            let report = run(directory.path(), &disks, Hypervisor::Nitro, false);
            assert!(report.facts.is_some(), "{file} {what}");
        }
        match old {
            Some(old) => std::fs::write(&path, old).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
    }
}
