//! Settings that keep a guest from its disks: in the root, and in the initramfs, whose copy counts
//! first. What Replant makes of them is read by other people's programs.

use std::path::Path;

use replant::guest::report::{EditKind, FileChange, Finding, FindingSeverity, Report};
use replant::model::Hypervisor;

use super::kit::{build, disk, run};
use crate::guest::fixtures::shell;

/// A guest whose initramfs, by dracut, has the same settings as its root; its main archive is made
/// by `$PACK` of the modules `$INSIDE`.
const GUEST: &str = r##"
merged; systemd; on ssh.service systemd-networkd.service; shadow; os_release debian 12 "Debian GNU/Linux 12 (bookworm)" ""
modules $R .ko cat; i386_pc boot/grub; vmlinuz boot/vmlinuz-$R $R
put etc/systemd/network/10-any.network <<<$'[Match]\nName=e*\n[Network]\nDHCP=yes'
put etc/fstab <<<"UUID=$U1 / ext4 defaults 0 1"
put etc/modprobe.d/10-harden.conf <<<$'# our rules\nblacklist floppy\nblacklist nvme\ninstall nvme-core /bin/true'
put usr/lib/modprobe.d/vendor.conf <<<'install ena /bin/false'
put etc/lvm/lvm.conf <<<$'devices {\n\tfilter = [ "a|^/dev/sd|", "r|.*|" ]\n}'
mkdir -p .initramfs; cp -r --parents etc/modprobe.d usr/lib/modprobe.d etc/lvm .initramfs/
dracut $R .ko boot/initrd.img-$R "$PACK" "$INSIDE"; rm -r .initramfs
put boot/grub/grub.cfg <<E
menuentry 'Debian' {
	linux	/boot/vmlinuz-$R root=/dev/mapper/vg-root ro console=ttyS0 modprobe.blacklist=nvme rd.driver.blacklist=ena,floppy
	initrd	/boot/initrd.img-$R
}
E
"##;

fn with(release: &str, pack: &str, inside: &str) -> String {
    format!("R={release}; PACK='{pack}'; INSIDE=\"{inside}\"\n{GUEST}")
}

fn find<'r>(report: &'r Report, code: &str) -> Option<&'r Finding> {
    report.findings.iter().find(|found| found.code == format!("guest::{code}"))
}

/// What our addition puts over what stood before, by cpio and modprobe.
fn unpacked(image: &Path, old_length: u64, directory: &Path) -> String {
    let start = old_length.next_multiple_of(4) + 4 + 1;
    shell(&format!(
        "mkdir {d} && cd {d} && tail -c +{start} {image} | cpio -idu --quiet -H newc && \
         modprobe --showconfig -C $PWD/etc/modprobe.d; modprobe --showconfig -C $PWD/usr/lib/modprobe.d; cat etc/lvm/lvm.conf",
        d = directory.display(),
        image = image.display(),
    ))
}

/// With and without the driver in it.
#[test]
fn an_initramfs_that_forbids_its_drivers_is_mended() {
    let disks = disk(&[(1, "ext4", "/boot"), (2, "lvm2", "")]);
    for (inside, brings) in [("$ORDINARY", true), ("$OF_EC2", false)] {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("guest");
        std::fs::create_dir(&root).unwrap();
        let release = "6.1.0-18-amd64";
        build(&root, &with(release, "gzip -n", inside), &disks);
        let image = root.join(format!("boot/initrd.img-{release}"));
        let old_length = image.metadata().unwrap().len();
        let looked = run(&root, &disks, Hypervisor::Nitro, false);
        let report = run(&root, &disks, Hypervisor::Nitro, true);
        assert_eq!(looked, report);

        let forbidden = find(&report, "driver_forbidden").unwrap();
        assert_eq!(forbidden.severity, FindingSeverity::Warns);
        let copy = format!("/boot/initrd.img-{release}: /etc/modprobe.d/10-harden.conf:3: blacklist nvme");
        for line in [
            "/etc/modprobe.d/10-harden.conf:3: blacklist nvme",
            "/etc/modprobe.d/10-harden.conf:4: install nvme-core /bin/true",
            "/usr/lib/modprobe.d/vendor.conf:1: install ena /bin/false",
            &copy,
        ] {
            assert!(forbidden.evidence.iter().any(|evidence| evidence == line), "{line}: {forbidden:#?}");
        }
        assert_eq!(find(&report, "lvm_filter_in_initramfs").unwrap().severity, FindingSeverity::Informs);
        assert!(find(&report, "kernel_arguments_blacklist").is_some());
        let arguments = shell(&format!("grep linux {}/boot/grub/grub.cfg", root.display()));
        assert!(arguments.contains("rd.driver.blacklist=floppy"), "{arguments}");
        assert!(!arguments.contains("=nvme"), "{arguments}");

        let edit = report.recipe.edits.iter().find(|edit| edit.path.starts_with("/boot/initrd")).unwrap();
        assert!(matches!(edit.kind, EditKind::AppendFile { .. }), "{edit:?}");
        assert_eq!(edit.purpose.contains("append nvme, xen-blkfront"), brings, "{}", edit.purpose);
        let changes =
            "change etc/lvm/lvm.conf, etc/modprobe.d/10-harden.conf, usr/lib/modprobe.d/vendor.conf";
        assert!(edit.purpose.contains(changes), "{}", edit.purpose);
        let diff = report.diffs.iter().find(|diff| diff.path == edit.path).unwrap();
        let FileChange::Binary { lines, .. } = &diff.change else { panic!("{diff:?}") };
        for line in ["~ etc/modprobe.d/10-harden.conf", "  - blacklist nvme", "  + # Replant: blacklist nvme"]
        {
            assert!(lines.iter().any(|shown| shown == line), "{line}: {lines:#?}");
        }

        let config = unpacked(&image, old_length, &directory.path().join("unpacked"));
        assert!(config.contains("blacklist floppy") && config.contains("a|^/dev/nvme|"), "{config}");
        for gone in ["\nblacklist nvme", "\ninstall nvme", "\ninstall ena"] {
            assert!(!config.contains(gone), "{config}");
        }
        let again = run(&root, &disks, Hypervisor::Nitro, true);
        assert_eq!(again.recipe.edits, []);
        assert!(find(&again, "driver_forbidden").is_none());
    }
}

/// Before 5.11 an lz4 archive stays the last one, and its settings win. The drivers are loaded by
/// their files where those are ours; else it blocks.
#[test]
fn settings_in_an_old_lz4_archive_cannot_be_changed() {
    let disks = disk(&[(1, "ext4", "/boot"), (2, "lvm2", "")]);
    for (inside, stuck) in [("$ORDINARY", false), ("$OF_EC2", true)] {
        let directory = tempfile::tempdir().unwrap();
        build(directory.path(), &with("5.4.0-26-generic", "lz4 -l -9", inside), &disks);
        let report = run(directory.path(), &disks, Hypervisor::Nitro, true);
        let found = find(&report, "driver_forbidden_in_initramfs");
        assert_eq!(found.is_some(), stuck, "{:#?}", report.findings);
        let code = "guest::driver_forbidden_in_initramfs";
        assert!(found.is_none_or(|found| found.code == code && found.severity == FindingSeverity::Blocks));
        let filter = find(&report, "lvm_filter_in_initramfs").unwrap();
        assert_eq!((filter.severity, filter.advice.is_some()), (FindingSeverity::Blocks, true));
    }
}

/// An enforcing guest without a label to copy (never labelled, or on a filesystem that has no
/// attributes) labels itself, whatever the one edit is.
#[test]
fn without_labels_the_guest_makes_them_itself() {
    let disks = disk(&[(1, "ext4", "/")]);
    let base = with("6.1.0-18-amd64", "gzip -n", "$OF_EC2");
    let plain = "rm etc/modprobe.d/* usr/lib/modprobe.d/* etc/lvm/lvm.conf; dracut $R .ko boot/initrd.img-$R cat \"$OF_EC2\"
        sed -i \"s, root=.*, root=UUID=$U1 ro nvme_core.io_timeout=4294967295,\" boot/grub/grub.cfg
        put etc/selinux/config <<<SELINUX=";
    for (mode, relabels) in [("enforcing", true), ("permissive", false)] {
        let directory = tempfile::tempdir().unwrap();
        build(directory.path(), &format!("{base}{plain}{mode}"), &disks);
        // The kit labels /etc; the guest here has none.
        rustix::fs::removexattr(directory.path().join("etc"), "security.selinux").unwrap();
        let report = run(directory.path(), &disks, Hypervisor::Nitro, true);
        let paths: Vec<&str> = report.recipe.edits.iter().map(|edit| edit.path.as_str()).collect();
        assert!(paths.contains(&"/boot/grub/grub.cfg"), "{paths:?}");
        assert_eq!(paths.contains(&"/.autorelabel"), relabels, "{paths:?}");
        assert_eq!(directory.path().join(".autorelabel").exists(), relabels);
        if relabels {
            let remedy = find(&report, "selinux").unwrap().remedy.clone().unwrap();
            assert!(remedy.contains("the guest makes them"), "{remedy}");
        }
    }
}
