//! Guests on software RAID: every write reaches all members; mdadm judges the result.

use std::path::{Path, PathBuf};

use super::guests::{bootable, disk};
use super::lvm::{blocks, codes, prepared, restored};
use super::machine::in_machine;
use super::{request, run};

/// Two disks with partitions of these sizes in MiB each.
fn pair(directory: &Path, parts: &[u64]) -> Vec<PathBuf> {
    let mut script = "label: gpt\n".to_owned();
    parts.iter().for_each(|mib| script.push_str(&format!("size={mib}MiB, type=raid\n")));
    let mib = parts.iter().sum::<u64>() + 4;
    let disks = vec![directory.join("a"), directory.join("b")];
    disks.iter().for_each(|file| disk(file, mib, &script, &[]));
    disks
}

fn paths(disks: &[PathBuf]) -> Vec<&Path> {
    disks.iter().map(PathBuf::as_path).collect()
}

const MODULES: &str = "module raid1; create() { mdadm --create $1 -q --run -l1 -n2 -e$2 -b none --homehost=web01 --name=${1#/dev/md} ${4:---assume-clean} /dev/ubda$3 /dev/ubdb$3; }; ";
/// The array's data is the same on both members, in sectors of 512 bytes from the data's start.
const SAME: &str = "same() { a=$(mdadm --examine /dev/ubda$1); b=$(mdadm --examine /dev/ubdb$1); echo \"$a\"
    [ \"$(grep Events <<<\"$a\")\" = \"$(grep Events <<<\"$b\")\" ]; grep -q 'State : clean' <<<\"$a\"
    o=$(sed -n 's/.*Data Offset : \\([0-9]*\\) .*/\\1/p' <<<\"$a\"); o=${o:-0}
cmp -i $((o * 512)) -n $(($2 * 1024)) /dev/ubda$1 /dev/ubdb$1; }; ";

/// Root, /boot, /usr and /var each on an array whose superblock is of another version.
#[test]
fn arrays_of_every_version_are_prepared_on_all_members() {
    let directory = tempfile::tempdir().unwrap();
    let fstab = "/dev/md0 / ext4 defaults 0 1\n/dev/md/1 /boot ext4 defaults 0 2\n/dev/md2 /usr ext4 defaults 0 2\n\
                 /dev/md3 /var xfs defaults 0 2\n/dev/sda5 none swap sw 0 0\n";
    let tree = bootable(directory.path(), fstab);
    let disks = pair(directory.path(), &[80, 40, 40, 310]);
    let images = paths(&disks);
    in_machine(
        &images,
        &format!(
            "{MODULES} create /dev/md0 1.2 1; create /dev/md1 1.0 2; create /dev/md2 0.90 3; create /dev/md3 1.1 4
            mkfs.ext4 -q /dev/md0; mkfs.ext4 -q /dev/md1; mkfs.ext4 -q /dev/md2; mkfs.xfs -q /dev/md3
            mount /dev/md0 $m; mkdir $m/boot $m/usr $m/var; mount /dev/md1 $m/boot; mount /dev/md2 $m/usr; mount /dev/md3 $m/var
            cp -a {}/. $m/; umount $m/boot $m/usr $m/var $m; mdadm --stop -q /dev/md0 /dev/md1 /dev/md2 /dev/md3",
            tree.display()
        ),
    );
    let mut outcome = run(&request(&images));
    // The swap that the fstab names is on no disk.
    outcome.report.findings.retain(|finding| finding.code != "guest::mount_unmatched");
    let mounted: Vec<_> =
        outcome.report.stacked.iter().filter_map(|found| found.mount_point.as_deref()).collect();
    assert_eq!(mounted.len(), 4, "{:#?}", outcome.report);
    let root = outcome.report.stacked.iter().find(|found| found.mount_point.as_deref() == Some("/")).unwrap();
    assert_eq!(root.name, "RAID 1 array md0");
    let edits = &outcome.report.recipe.edits;
    assert!(edits.iter().any(|edit| edit.purpose.contains("nvme")), "{:#?}", outcome.report);
    let volumes = restored(&outcome, &images);
    let volumes = paths(&volumes);
    in_machine(
        &volumes,
        &format!(
            "{MODULES}{SAME} same 1 70000; same 2 38000; same 3 38000; same 4 300000
             for p in 1 2 3 4; do mdadm --assemble -q /dev/md$p /dev/ubda$p /dev/ubdb$p; done
             grep -c '\\[UU\\]' /proc/mdstat | grep -qx 4
             e2fsck -fn /dev/md1; e2fsck -fn /dev/md2; e2fsck -fn /dev/md3; xfs_repair -n /dev/md4
             mdadm --stop -q /dev/md1 /dev/md2 /dev/md3 /dev/md4"
        ),
    );
}

/// LVM on RAID 1, as installers offer it. One member behind the other, then one alone.
#[test]
fn a_member_that_is_behind_or_missing_is_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let fstab = "/dev/vg/root / ext4 defaults 0 1\n/dev/sdc1 /srv ext4 defaults 0 2\n";
    let tree = bootable(directory.path(), fstab);
    let disks = pair(directory.path(), &[120]);
    let images = paths(&disks);
    in_machine(
        &images,
        &format!(
            "{MODULES} module dm-mod; create /dev/md0 1.2 1
            lvm_ pvcreate -qq /dev/md0; lvm_ vgcreate -qq vg /dev/md0; lvm_ lvcreate -qq -y -l 100%FREE -n root vg; mkfs.ext4 -q /dev/vg/root
            mount /dev/vg/root $m; cp -a {}/. $m/; umount $m; lvm_ vgchange -qq -an vg; mdadm --stop -q /dev/md0
            mdadm --assemble -q --run /dev/md0 /dev/ubda1; lvm_ vgchange -qq -ay vg; mount /dev/vg/root $m
            echo fresh >$m/etc/hostname; umount $m; lvm_ vgchange -qq -an vg; mdadm --stop -q /dev/md0",
            tree.display()
        ),
    );
    for images in [vec![images[1], images[0]], vec![images[0]]] {
        let outcome = run(&request(&images));
        assert_eq!(outcome.report.facts.as_ref().unwrap().hostname.as_deref(), Some("fresh"));
        assert!(codes(&outcome).contains(&"disk::raid_degraded"), "{:#?}", outcome.report.findings);
        assert!(!blocks(&outcome), "{:#?}", outcome.report.findings);
        assert_eq!(outcome.report.stacked[1].on, ["RAID 1 array md0"]);
        let volumes = restored(&outcome, &images);
        let fresh = volumes[images.iter().position(|image| *image == disks[0]).unwrap()].clone();
        in_machine(
            &[&fresh],
            &format!(
                "{MODULES} module dm-mod; mdadm --assemble -q --run /dev/md0 /dev/ubda1; lvm_ vgchange -qq -ay vg
                 e2fsck -fn /dev/vg/root; lvm_ vgchange -qq -an vg; mdadm --stop -q /dev/md0"
            ),
        );
    }
}

/// An array that was being compared when the machine stopped: the guest goes on with that; the
/// overlay is not the whole disk.
#[test]
fn an_array_that_is_not_in_step_is_not_rebuilt_here() {
    let directory = tempfile::tempdir().unwrap();
    let tree = bootable(directory.path(), "/dev/md127 / ext4 defaults 0 1\n/dev/sda2 none swap sw 0 0\n");
    let disks = pair(directory.path(), &[200]);
    let images = paths(&disks);
    in_machine(
        &images,
        &format!(
            "{MODULES} echo 100 >/proc/sys/dev/raid/speed_limit_max; create /dev/md0 1.2 1 --quiet; mkfs.ext4 -q /dev/md0; mount /dev/md0 $m
            cp -a {}/. $m/; umount $m; mdadm --stop -q /dev/md0; mdadm --examine /dev/ubda1 | grep 'State : active'",
            tree.display()
        ),
    );
    let outcome = run(&request(&images));
    assert!(!outcome.report.recipe.edits.is_empty());
    for overlay in &outcome.overlays {
        let bytes: usize = overlay.blocks.values().map(|block| block.len()).sum();
        assert!(bytes > 0 && bytes < 30 << 20, "{bytes}");
    }
}

#[test]
fn raid_1_on_whole_disks_is_prepared() {
    let directory = tempfile::tempdir().unwrap();
    let fstab = "/dev/md/root / ext3 defaults 0 1\n/dev/sr0 /cd iso9660 ro 0 0\n";
    let tree = bootable(directory.path(), fstab);
    let disks = vec![directory.path().join("a"), directory.path().join("b")];
    disks.iter().for_each(|file| disk(file, 80, "", &[]));
    let images = paths(&disks);
    in_machine(
        &images,
        &format!(
            "{MODULES} create /dev/md0 1.2 ''; mkfs.ext3 -q /dev/md0; mount /dev/md0 $m; cp -a {}/. $m/; umount $m; mdadm --stop -q /dev/md0",
            tree.display()
        ),
    );
    let outcome = run(&request(&images));
    let volumes = prepared(&outcome, &images);
    in_machine(&paths(&volumes), &format!("{MODULES}{SAME} same '' 70000"));
}

#[test]
fn arrays_of_other_levels_are_prepared_and_raid_6_is_a_finding() {
    let directory = tempfile::tempdir().unwrap();
    let tree = bootable(directory.path(), "/dev/md0 / ext4 defaults 0 1\n/dev/sr0 /cd iso9660 ro 0 0\n");
    let levels = [("linear", 2), ("0", 2), ("4", 3), ("5", 3), ("10", 2), ("6", 4)];
    let modules = "module linear; module raid0; module raid10; module raid456";
    for (level, count) in levels {
        let disks: Vec<PathBuf> =
            (0..count).map(|index| directory.path().join(format!("{level}-{index}"))).collect();
        disks.iter().for_each(|file| disk(file, 60, "", &[]));
        let images = paths(&disks);
        let whole = if ["linear", "0"].contains(&level) { "" } else { "-b none --assume-clean" };
        in_machine(
            &images,
            &format!(
                "{modules}; mdadm --create /dev/md0 -q --run -l{level} -n{count} {whole} /dev/ubd?
                 mkfs.ext4 -q /dev/md0; mount /dev/md0 $m; cp -a {}/. $m/; umount $m; mdadm --stop -q /dev/md0",
                tree.display()
            ),
        );
        let outcome = run(&request(&images));
        if level == "6" {
            assert_eq!(codes(&outcome), ["disk::raid"], "{:#?}", outcome.report);
            continue;
        }
        let volumes = prepared(&outcome, &images);
        in_machine(
            &paths(&volumes),
            &format!(
                "{modules}; mdadm --assemble -q /dev/md0 /dev/ubd?; e2fsck -fn /dev/md0; mdadm --stop -q /dev/md0"
            ),
        );
    }
}
