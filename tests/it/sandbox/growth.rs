//! Guests on stacked storage whose disk is larger than its image: what grows, by the judgement of
//! each filesystem's own tool, and what does not, in words that say what to do.

use std::path::{Path, PathBuf};

use super::guests::{MIB, bootable, disk};
use super::lvm::{blocks, codes, restored};
use super::machine::in_machine;
use super::{request, run};
use replant::guest::report::EditKind;
use replant::sandbox::Outcome;

/// A guest whose disk has /boot, a `$small` partition and, behind it, `$part`. `make` makes the
/// root, which is on `root`. All of it is on a larger disk afterwards.
fn grown(fstab: &str, modules: &str, make: &str, root: &str, mib: u64, larger: u64) -> (Outcome, Made) {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    let tree = bootable(directory.path(), fstab);
    let last = (mib - 134) * 2048;
    let script =
        format!("label: gpt\nstart=2048, size=65536\nstart=67584, size=204800\nstart=272384, size={last}\n");
    disk(&image, mib, &script, &[]);
    in_machine(
        &[&image],
        &format!(
            "{modules}; small=/dev/ubda2 part=/dev/ubda3; {make}; mkfs.ext4 -q /dev/ubda1; mount {root} $m; mkdir $m/boot
             mount /dev/ubda1 $m/boot; cp -a {tree}/. $m/; umount $m/boot $m
             if [ -e /dev/vg ]; then lvm_ vgchange -qq -an vg; fi; if [ -e /dev/md0 ]; then mdadm --stop -q /dev/md0; fi",
            tree = tree.display()
        ),
    );
    let mut request = request(&[&image]);
    request.disks[0].size = larger * MIB;
    request.disks[0].grow = true;
    let outcome = run(&request);
    assert!(!blocks(&outcome), "{:#?}", outcome.report.findings);
    let volumes = restored(&outcome, &[&image]);
    (outcome, Made { volumes, _directory: directory })
}

/// What was restored.
struct Made {
    volumes: Vec<PathBuf>,
    _directory: tempfile::TempDir,
}

impl Made {
    fn judged(&self, script: &str) -> String {
        let volumes: Vec<&Path> = self.volumes.iter().map(PathBuf::as_path).collect();
        in_machine(&volumes, script)
    }
}

const ON_LVM: &str = "lvm_ pvcreate -qq $part; lvm_ vgcreate -qq vg $part";

/// What grew, by name and in MiB.
fn sizes(outcome: &Outcome) -> Vec<(&str, u64, u64)> {
    let edits = outcome.report.recipe.edits.iter();
    let grown = edits.filter_map(|edit| match edit.kind {
        EditKind::Grow { old_size, new_size } => Some((edit.path.as_str(), old_size / MIB, new_size / MIB)),
        _ => None,
    });
    grown.collect()
}

#[track_caller]
fn root_grew(outcome: &Outcome, from: u64, to: u64) {
    let name = "logical volume vg/root";
    let grown = sizes(outcome);
    assert_eq!(grown[1..], [(name, from, to); 2], "{grown:?} {:#?}", outcome.report.findings);
    assert_eq!(grown[0].0, "disk disk0 partition 3");
}

#[test]
fn xfs_on_a_logical_volume_grows() {
    let fstab = "/dev/mapper/vg-root / xfs defaults 0 0\n/dev/sda1 /boot ext4 defaults 0 2\n";
    let make = format!("{ON_LVM}; lvm_ lvcreate -qq -y -L 304M -n root vg; mkfs.xfs -q /dev/vg/root");
    let (outcome, made) = grown(fstab, "module dm-mod", &make, "/dev/vg/root", 460, 900);
    root_grew(&outcome, 304, 744);
    let text = made.judged(
        "module dm-mod; lvm_ pvck /dev/ubda3; lvm_ vgck vg; lvm_ vgchange -qq -ay vg; xfs_repair -n /dev/vg/root
         xfs_db -r -c 'sb 0' -c 'p dblocks' /dev/vg/root
         mount /dev/vg/root $m; cat $m/etc/fstab; dd if=/dev/zero of=$m/full bs=1M count=600 2>&1; umount $m
         xfs_repair -n /dev/vg/root; lvm_ vgchange -qq -an vg",
    );
    assert!(text.contains(&format!("dblocks = {}", 744 * MIB / 4096)), "{text}");
    assert!(text.contains("600+0 records out"), "{text}");
}

/// Two subvolumes of it are mounted when it grows.
#[test]
fn btrfs_on_a_logical_volume_grows() {
    let fstab = "/dev/vg/root / btrfs defaults,subvol=@ 0 0\n/dev/vg/root /home btrfs subvol=@home 0 0\n\
                 /dev/sda1 /boot ext4 defaults 0 2\n";
    let make = format!(
        "{ON_LVM}; lvm_ lvcreate -qq -y -l 100%FREE -n root vg; mkfs.btrfs -q /dev/vg/root
         mount /dev/vg/root $m; subvolumes $m/@ $m/@home; btrfs -q subvolume set-default $m/@; mkdir $m/@/home; umount $m"
    );
    let (outcome, made) = grown(fstab, "module dm-mod", &make, "/dev/vg/root", 400, 800);
    root_grew(&outcome, 264, 664);
    let text = made.judged(
        "module dm-mod; lvm_ pvck /dev/ubda3; lvm_ vgck vg; lvm_ vgchange -qq -ay vg; btrfs check /dev/vg/root
         btrfs inspect-internal dump-super /dev/vg/root | grep ^total_bytes
         mount -o subvol=@ /dev/vg/root $m; cat $m/etc/fstab; dd if=/dev/zero of=$m/full bs=1M count=450 2>&1; umount $m
         btrfs check /dev/vg/root; lvm_ vgchange -qq -an vg",
    );
    assert!(text.contains(&(664 * MIB).to_string()), "{text}");
    assert!(text.contains("450+0 records out"), "{text}");
}

/// Why a root did not grow; the guest is prepared all the same, and sound.
#[track_caller]
fn does_not_grow(modules: &str, make: &str, root: &str, kind: &str, check: &str, why: &[&str]) {
    let fstab = format!("{root} / {kind} defaults 0 1\n/dev/sda1 /boot ext4 defaults 0 2\n");
    let fstab = fstab.replace("/dev/ubda", "/dev/sda");
    let (outcome, made) = grown(&fstab, modules, make, root, 300, 400);
    let roots = sizes(&outcome);
    assert!(roots.is_empty(), "{roots:?}");
    let findings = &outcome.report.findings;
    let said = findings.iter().find(|finding| finding.code == "disk::cannot_grow");
    let said = said.unwrap_or_else(|| panic!("{:?} {findings:#?}", codes(&outcome)));
    let text = format!("{said:?}");
    why.iter().for_each(|words| assert!(text.contains(words), "{words}: {text}"));
    made.judged(&format!("{modules}; {check}"));
}

#[test]
fn striped_and_thin_volumes_say_what_to_do() {
    let striped = "lvm_ pvcreate -qq $small $part; lvm_ vgcreate -qq vg $small $part
        lvm_ lvcreate -qq -y -i2 -L 160M -n root vg; mkfs.ext4 -q /dev/vg/root";
    let check = "lvm_ vgck vg; lvm_ vgchange -qq -ay vg; e2fsck -fn /dev/vg/root";
    let modules = "module dm-mod; module dm-thin-pool";
    does_not_grow(modules, striped, "/dev/vg/root", "ext4", check, &["root is striped", "lvextend"]);
    let thin = format!(
        "{ON_LVM}; lvm_ lvcreate -qq -y -L 120M --thinpool pool vg; lvm_ lvcreate -qq -y -V 200M --thin -n root vg/pool
         mkfs.ext4 -q /dev/vg/root"
    );
    does_not_grow(modules, &thin, "/dev/vg/root", "ext4", check, &["root is thin", "lvextend"]);
}

#[test]
fn ext2_jfs_and_arrays_say_what_to_do() {
    does_not_grow(
        "true",
        "mkfs.ext2 -q $part",
        "/dev/ubda3",
        "ext2",
        "e2fsck -fn /dev/ubda3",
        &["ext2", "tune2fs -j"],
    );
    let jfs = "mkfs.jfs -q $part >/dev/null";
    does_not_grow("true", jfs, "/dev/ubda3", "jfs", "fsck.jfs -n /dev/ubda3", &["jfs", "remount,resize"]);
    let array = "mdadm --create /dev/md0 -q --run -l1 -n2 -b none $part missing; mkfs.ext4 -q /dev/md0";
    let check = "mdadm --assemble -q --run /dev/md0 /dev/ubda3; e2fsck -fn /dev/md0";
    does_not_grow("module raid1", array, "/dev/md0", "ext4", check, &["RAID", "mdadm --grow", "resize2fs"]);
}
