//! Guests on logical volumes: found, mounted, edited, grown; LVM's own tools judge the result.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::guests::{MIB, bootable, disk, restore};
use super::machine::in_machine;
use super::{request, run};
use replant::guest::disk::lvm::extend::extend;
use replant::guest::disk::lvm::group::Group;
use replant::guest::disk::lvm::label;
use replant::guest::report::{EditKind, FindingSeverity};
use replant::image::overlay::OVERLAY_BLOCK;
use replant::sandbox::Outcome;

pub fn codes(outcome: &Outcome) -> Vec<&str> {
    outcome.report.findings.iter().map(|finding| finding.code.as_str()).collect()
}

pub fn blocks(outcome: &Outcome) -> bool {
    outcome.report.findings.iter().any(|finding| finding.severity == FindingSeverity::Blocks)
}

/// The volumes that the outcome gives, one a disk.
pub fn restored(outcome: &Outcome, images: &[&Path]) -> Vec<PathBuf> {
    let volumes: Vec<PathBuf> = images.iter().map(|image| image.with_extension("restored")).collect();
    for ((image, overlay), volume) in images.iter().zip(&outcome.overlays).zip(&volumes) {
        restore(image, overlay, volume);
    }
    volumes
}

/// Both edits that every prepared guest here needs are in it, a second preparation finds nothing
/// to do, and taking the blocks back gives the image.
#[track_caller]
pub fn prepared(outcome: &Outcome, images: &[&Path]) -> Vec<PathBuf> {
    let purposes: Vec<&str> = outcome.report.recipe.edits.iter().map(|edit| edit.purpose.as_str()).collect();
    assert!(!blocks(outcome), "{:#?}", outcome.report.findings);
    assert!(purposes.iter().any(|purpose| purpose.contains("by UUID")), "{purposes:?} {:#?}", outcome.report);
    assert!(purposes.iter().any(|purpose| purpose.contains("nvme")), "{purposes:?} {:#?}", outcome.report);
    let volumes = restored(outcome, images);
    let paths: Vec<&Path> = volumes.iter().map(PathBuf::as_path).collect();
    let again = run(&request(&paths));
    assert!(again.report.facts.is_some());
    assert!(again.report.recipe.edits.is_empty(), "{:#?}", again.report.recipe);
    assert!(again.overlays.iter().all(|overlay| overlay.blocks.is_empty()));
    undone(outcome, images);
    volumes
}

fn undone(outcome: &Outcome, images: &[&Path]) {
    for (image, overlay) in images.iter().zip(&outcome.overlays) {
        let undone = image.with_extension("undone");
        restore(image, overlay, &undone);
        let (from, to) = (File::open(image).unwrap(), File::options().write(true).open(&undone).unwrap());
        for index in overlay.blocks.keys() {
            let mut block = vec![0; OVERLAY_BLOCK as usize];
            let length = from.read_at(&mut block, index * OVERLAY_BLOCK).unwrap();
            to.write_all_at(&block[..length], index * OVERLAY_BLOCK).unwrap();
        }
        to.set_len(from.metadata().unwrap().len()).unwrap();
        super::guests::tool("cmp", &[image.to_str().unwrap(), undone.to_str().unwrap()]);
        std::fs::remove_file(undone).unwrap();
    }
}

/// A disk with /boot on its first partition and a physical volume on its second.
fn boot_and_volume(file: &Path, mib: u64) {
    let script = format!("label: gpt\nstart=2048, size=65536\nstart=67584, size={}\n", (mib - 34) * 2048);
    disk(file, mib, &script, &[]);
}

const FSTAB: &str = "/dev/mapper/vg--0-root / ext4 defaults 0 1\n/dev/sda1 /boot ext4 defaults 0 2\n\
                     /dev/vg-0/var /var xfs defaults 0 2\n/dev/mapper/vg--0-swap none swap sw 0 0\n";

#[test]
fn a_guest_on_logical_volumes_is_prepared_and_grows() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    let tree = bootable(directory.path(), FSTAB);
    boot_and_volume(&image, 700);
    in_machine(
        &[&image],
        &format!(
            "module dm-mod; lvm_ pvcreate -q /dev/ubda2; lvm_ vgcreate -q vg-0 /dev/ubda2
            lvm_ lvcreate -qq -y -L 160M -n root vg-0; lvm_ lvcreate -qq -y -L 304M -n var vg-0; lvm_ lvcreate -qq -y -L 16M -n swap vg-0
            mkfs.ext4 -q /dev/mapper/vg--0-root; mkfs.xfs -q /dev/mapper/vg--0-var; mkswap -q /dev/mapper/vg--0-swap; mkfs.ext4 -q /dev/ubda1
            mount /dev/mapper/vg--0-root $m; mkdir $m/boot $m/var; mount /dev/ubda1 $m/boot; mount /dev/mapper/vg--0-var $m/var
            cp -a {tree}/. $m/; umount $m/boot $m/var $m; lvm_ vgchange -qq -an vg-0",
            tree = tree.display()
        ),
    );
    let outcome = run(&request(&[&image]));
    let volumes = prepared(&outcome, &[&image]);
    let root = &outcome.report.stacked[0];
    assert_eq!((root.name.as_str(), root.content.as_str()), ("logical volume vg-0/root", "ext4"));
    assert_eq!((root.mount_point.as_deref(), root.on[0].as_str()), (Some("/"), "disk disk0 partition 2"));
    assert_eq!(outcome.report.stacked[1].mount_point.as_deref(), Some("/var"));
    assert_eq!(outcome.report.facts.as_ref().unwrap().root_filesystem, "ext4");
    let text = in_machine(
        &[&volumes[0]],
        "module dm-mod; lvm_ vgck vg-0; lvm_ vgchange -qq -ay vg-0; e2fsck -fn /dev/vg-0/root; e2fsck -fn /dev/ubda1
         xfs_repair -n /dev/vg-0/var; mount -o ro /dev/vg-0/root $m; cat $m/etc/fstab; umount $m",
    );
    assert!(text.contains("/dev/mapper/vg--0-root / ext4") && text.contains("UUID="), "{text}");

    // The root takes all that a larger disk gives.
    let mut request = request(&[&image]);
    request.disks[0].size = 1000 * MIB;
    request.disks[0].grow = true;
    let outcome = run(&request);
    let grown: Vec<_> = outcome
        .report
        .recipe
        .edits
        .iter()
        .filter(|edit| matches!(edit.kind, EditKind::Grow { .. }))
        .map(|edit| edit.path.as_str())
        .collect();
    let name = "logical volume vg-0/root";
    assert_eq!(grown, ["disk disk0 partition 2", name, name], "{:#?}", outcome.report.findings);
    let volumes = restored(&outcome, &[&image]);
    let text = in_machine(
        &[&volumes[0]],
        "module dm-mod; lvm_ pvck /dev/ubda2; lvm_ vgck vg-0; lvm_ vgchange -qq -ay vg-0; e2fsck -fn /dev/vg-0/root
         lvm_ lvs --noheadings -o lv_name,lv_size,seg_count --units m; lvm_ pvs --noheadings --units m -o pv_size,pv_free,dev_size
         dumpe2fs -h /dev/vg-0/root | grep 'Block count'; lvm_ lvextend -qq -L +4M vg-0/var; lvm_ vgck vg-0",
    );
    let words: Vec<&str> = text.split_whitespace().collect();
    assert!(words.windows(3).any(|row| row == ["root", "460.00m", "2"]), "{text}");
}

#[test]
fn volumes_over_two_disks_striped_mirrored_and_whole() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let fstab = "/dev/vg/root / ext4 defaults 0 1\n/dev/sda1 /boot ext4 defaults 0 2\n/dev/vg/usr /usr ext4 defaults 0 2\n\
                 /dev/mapper/vg-var /var ext4 defaults 0 2\n/dev/sdb none swap sw 0 0\n";
    let tree = bootable(directory.path(), fstab);
    boot_and_volume(&at("a"), 300);
    disk(&at("b"), 300, "", &[]);
    let images = [at("a"), at("b")];
    let images: Vec<&Path> = images.iter().map(PathBuf::as_path).collect();
    in_machine(
        &images,
        &format!(
            "module dm-mod; module dm-raid; module raid1; module dm-snapshot; lvm_ pvcreate -q /dev/ubda2 /dev/ubdb; lvm_ vgcreate -q vg /dev/ubda2 /dev/ubdb
            lvm_ lvcreate -qq -y --type raid1 -m1 --nosync -L 80M -n root vg; lvm_ lvcreate -qq -y -i2 -L 80M -n usr vg; lvm_ lvcreate -qq -y -L 48M -n var vg
            for v in root usr var; do mkfs.ext4 -q /dev/vg/$v; done; mkfs.ext4 -q /dev/ubda1
            mount /dev/vg/root $m; mkdir $m/boot $m/var $m/usr; mount /dev/ubda1 $m/boot; mount /dev/vg/var $m/var; mount /dev/vg/usr $m/usr
            cp -a {tree}/. $m/; umount $m/boot $m/var $m/usr $m
            lvm_ lvcreate -qq -y -s -L 16M -n before vg/root 2>&1 || lvm_ lvcreate -qq -y -s -L 16M -n before vg/var
            lvm_ vgchange -qq -an vg",
            tree = tree.display()
        ),
    );
    let outcome = run(&request(&images));
    let volumes = prepared(&outcome, &images);
    let stacked = &outcome.report.stacked;
    assert_eq!(stacked.iter().filter(|volume| volume.mount_point.is_some()).count(), 3, "{stacked:#?}");
    let volumes: Vec<&Path> = volumes.iter().map(PathBuf::as_path).collect();
    in_machine(
        &volumes,
        "module dm-mod; module dm-raid; module raid1; module dm-snapshot; lvm_ vgck vg; lvm_ vgchange -qq -ay vg
         for v in root usr var; do e2fsck -fn /dev/vg/$v; done
         cmp /dev/mapper/vg-root_rimage_0 /dev/mapper/vg-root_rimage_1
         lvm_ lvs -a; e2fsck -fn /dev/vg/before",
    );

    // One of the two disks alone: why nothing can be done is said.
    let alone = run(&request(&images[..1]));
    assert!(blocks(&alone) || codes(&alone).contains(&"disk::lvm"), "{:#?}", alone.report.findings);
}

#[test]
fn volumes_with_parity_and_old_mirrors() {
    let directory = tempfile::tempdir().unwrap();
    let fstab = "/dev/vg/root / ext4 defaults 0 1\n/dev/vg/usr /usr ext4 defaults 0 2\n/dev/vg/var /var ext4 defaults 0 2\n\
                 /dev/sr0 /cd iso9660 ro 0 0\n";
    let tree = bootable(directory.path(), fstab);
    let disks: Vec<PathBuf> = ["a", "b", "c", "d"].iter().map(|name| directory.path().join(name)).collect();
    disks.iter().for_each(|file| disk(file, 120, "", &[]));
    let images: Vec<&Path> = disks.iter().map(PathBuf::as_path).collect();
    let modules = "module dm-mod; module dm-raid; module raid456; module raid10; module dm-mirror";
    in_machine(
        &images,
        &format!(
            "{modules}; lvm_ pvcreate -q /dev/ubd?; lvm_ vgcreate -q vg /dev/ubd?
            lvm_ lvcreate -qq -y --type raid5 -i2 --nosync -L 64M -n root vg; lvm_ lvcreate -qq -y --type raid10 -i2 -m1 --nosync -L 40M -n usr vg
            lvm_ lvcreate -qq -y --type mirror -m1 --mirrorlog core --nosync -L 24M -n var vg
            for v in root usr var; do mkfs.ext4 -q /dev/vg/$v; done
            mount /dev/vg/root $m; mkdir $m/var $m/usr; mount /dev/vg/var $m/var; mount /dev/vg/usr $m/usr
            cp -a {tree}/. $m/; umount $m/var $m/usr $m; lvm_ vgchange -qq -an vg",
            tree = tree.display()
        ),
    );
    let outcome = run(&request(&images));
    let volumes = prepared(&outcome, &images);
    let volumes: Vec<&Path> = volumes.iter().map(PathBuf::as_path).collect();
    in_machine(
        &volumes,
        &format!(
            "{modules}; lvm_ vgck vg; lvm_ vgchange -qq -ay vg; for v in root usr var; do e2fsck -fn /dev/vg/$v; done"
        ),
    );
}

#[test]
fn a_root_in_a_thin_pool_is_prepared() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    let fstab = "/dev/vg/root / ext4 defaults 0 1\n/dev/sda1 /boot ext4 defaults 0 2\n";
    let tree = bootable(directory.path(), fstab);
    boot_and_volume(&image, 300);
    in_machine(
        &[&image],
        &format!(
            "module dm-mod; module dm-thin-pool; lvm_ pvcreate -q /dev/ubda2; lvm_ vgcreate -q vg /dev/ubda2
            lvm_ lvcreate -qq -y -L 160M --thinpool pool vg; lvm_ lvcreate -qq -y -V 200M --thin -n root vg/pool
            mkfs.ext4 -q /dev/vg/root; mkfs.ext4 -q /dev/ubda1; mount /dev/vg/root $m; mkdir $m/boot; mount /dev/ubda1 $m/boot
            cp -a {tree}/. $m/; umount $m/boot $m; lvm_ vgchange -qq -an vg",
            tree = tree.display()
        ),
    );
    let outcome = run(&request(&[&image]));
    let volumes = prepared(&outcome, &[&image]);
    in_machine(
        &[&volumes[0]],
        "module dm-mod; module dm-thin-pool; lvm_ vgck vg; lvm_ vgchange -qq -ay vg; e2fsck -fn /dev/vg/root",
    );
}

/// Damage to a label, an area or a text ends in an error or a group, without a panic or a loop.
#[test]
fn hostile_descriptions_end() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    disk(&image, 40, "", &[]);
    in_machine(
        &[&image],
        "module dm-mod; lvm_ pvcreate -qq /dev/ubda; lvm_ vgcreate -qq vg /dev/ubda
         for v in a b c; do lvm_ lvcreate -qq -y -L 4M -n $v vg; done; lvm_ lvextend -qq -L +8M vg/a; lvm_ vgchange -qq -an vg",
    );
    let bytes = std::fs::read(&image).unwrap();
    let size = bytes.len() as u64;
    let whole = File::open(&image).unwrap();
    let found = label::read(&whole, size).unwrap();
    let text = label::read_text(&whole, found.areas[0]).unwrap().unwrap();
    let group = Group::parse(text.clone()).unwrap();
    assert_eq!((group.name.as_str(), group.logical.len(), group.logical[0].segments.len()), ("vg", 3, 2));

    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let damaged = directory.path().join("damaged");
    std::fs::write(&damaged, &bytes[..1 << 20]).unwrap();
    let file = File::options().read(true).write(true).open(&damaged).unwrap();
    for _ in 0..400 {
        let place = [512 + random(120), 4096 + random(64)][random(2)] as u64;
        file.write_all_at(&[random(256) as u8], place).unwrap();
        if let Ok(found) = label::read(&file, size) {
            for area in &found.areas {
                let _text = label::read_text(&file, *area);
                let _written = label::write_text(&file, *area, "x");
            }
        }
        file.write_all_at(&bytes[512..4096 + 64], 512).unwrap();
    }
    let numbers = ["0", "-1", "9223372036854775807", "18446744073709551615", "\"x\"", "[]", "{"];
    for _ in 0..2000 {
        let mut text = text.clone();
        let digits: Vec<usize> =
            text.char_indices().filter(|(_, c)| c.is_ascii_digit()).map(|(at, _)| at).collect();
        let at = digits[random(digits.len())];
        text.replace_range(at..=at, numbers[random(numbers.len())]);
        let Ok(group) = Group::parse(text) else { continue };
        for physical in &group.physical {
            for logical in &group.logical {
                let _extended = extend(&group, &physical.name, random(1 << 30) as u64, &logical.name);
            }
        }
    }
}

/// Volumes that are made of themselves, of nothing, or of more than there is: said, not followed.
#[test]
fn volumes_that_cannot_be_are_findings() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    disk(&image, 40, "", &[]);
    in_machine(
        &[&image],
        "module dm-mod; lvm_ pvcreate -qq /dev/ubda; lvm_ vgcreate -qq vg /dev/ubda; for v in a b c; do lvm_ lvcreate -qq -y -L 4M -n $v vg; done
         lvm_ vgchange -qq -an vg",
    );
    let file = File::options().read(true).write(true).open(&image).unwrap();
    let found = label::read(&file, 40 * MIB).unwrap();
    let text = label::read_text(&file, found.areas[0]).unwrap().unwrap();
    let mut parts = text.split("\"pv0\", ");
    let mut evil = parts.next().unwrap().to_owned();
    for (part, name) in parts.zip(["\"b\", ", "\"a\", ", "\"pv0\", 9999999"]) {
        evil.push_str(name);
        evil.push_str(part);
    }
    label::write_text(&file, found.areas[0], &evil).unwrap();
    drop(file);
    let outcome = run(&request(&[&image]));
    assert_eq!(codes(&outcome), ["disk::lvm"; 3], "{:#?}", outcome.report.findings);
    assert!(blocks(&outcome) && outcome.report.facts.is_none());
}
