//! Several trees that look like a root: the one that boots is prepared, or none.

use std::fs;
use std::path::{Path, PathBuf};

use replant::guest::report::{Finding, FindingSeverity};
use replant::sandbox::Outcome;
use tempfile::TempDir;

use super::guests::{MIB, bootable, check, cut, disk, filesystem, tool, tree};
use super::lvm::{blocks, codes, prepared, restored};
use super::machine::in_machine;
use super::{request, run};

/// A root of this name, whose boot loader starts `root`.
fn system(directory: &Path, name: &str, fstab: &str, root: &str) -> PathBuf {
    let home = directory.join(name);
    let tree = bootable(&home, fstab);
    let menu = tree.join("boot/grub/grub.cfg");
    let text = fs::read_to_string(&menu).unwrap().replace("root=/dev/mapper/x", &format!("root={root}"));
    fs::write(menu, text).unwrap();
    fs::write(tree.join("etc/hostname"), format!("{name}\n")).unwrap();
    tree
}

#[track_caller]
fn found<'o>(outcome: &'o Outcome, code: &str, severity: FindingSeverity) -> &'o Finding {
    let found = outcome.report.findings.iter().find(|found| found.code == code);
    let found = found.unwrap_or_else(|| panic!("no {code} among {:#?}", outcome.report.findings));
    assert_eq!(found.severity, severity, "{found:#?}");
    found
}

/// What was prepared is the system of this name, and the choice is told as something to know.
#[track_caller]
fn is(outcome: &Outcome, name: &str, why: &str) {
    let hostname = outcome.report.facts.as_ref().and_then(|facts| facts.hostname.as_deref());
    assert_eq!(hostname, Some(name), "{:#?}", outcome.report.findings);
    let told = found(outcome, "disk::several_systems", FindingSeverity::Informs);
    assert!(told.evidence[0].contains(why) && told.evidence.len() > 1, "{told:#?}");
}

/// Nothing is prepared, and each system and what it says is told.
#[track_caller]
fn is_undecided(outcome: &Outcome, code: &str, evidence: &[&str]) {
    let told = found(outcome, code, FindingSeverity::Blocks);
    for (line, expected) in told.evidence.iter().zip(evidence) {
        assert!(line.contains(expected), "{told:#?}");
    }
    assert!(told.evidence.len() >= evidence.len() && told.advice.is_some(), "{told:#?}");
    assert!(outcome.report.facts.is_none() && outcome.report.recipe.edits.is_empty());
    assert!(outcome.overlays.iter().all(|overlay| overlay.blocks.is_empty()));
}

/// The last system's disk, as a data disk: its own fstab and loader mean it itself.
fn old_disk(directory: &TempDir, with_kernel: bool) -> PathBuf {
    let at = |name: &str| directory.path().join(name);
    let old = system(directory.path(), "old", "/dev/sda1 / ext4 defaults 0 1\n", "/dev/sda1");
    if !with_kernel {
        fs::remove_dir_all(old.join("boot")).unwrap();
        fs::create_dir(old.join("boot")).unwrap();
    }
    filesystem("ext4", &at("old.fs"), 40, &old);
    disk(&at("data"), 42, "label: dos\nstart=2048, size=81920\n", &[(MIB, &at("old.fs"))]);
    at("data")
}

#[test]
fn a_logical_volume_that_boots_is_before_an_old_root_on_a_plain_partition() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let fstab = "/dev/mapper/vg-root / ext4 defaults 0 1\n/dev/sda1 /boot ext4 defaults 0 2\n";
    let new = system(directory.path(), "new", fstab, "/dev/mapper/vg-root");
    disk(&at("system"), 130, "label: gpt\nstart=2048, size=65536\nstart=67584, size=194560\n", &[]);
    in_machine(
        &[&at("system")],
        &format!(
            "module dm-mod; lvm_ pvcreate -q /dev/ubda2; lvm_ vgcreate -q vg /dev/ubda2; lvm_ lvcreate -qq -y -L 60M -n root vg
            mkfs.ext4 -q /dev/vg/root; mkfs.ext4 -q /dev/ubda1; mount /dev/vg/root $m; mkdir $m/boot; mount /dev/ubda1 $m/boot
            cp -a {}/. $m/; umount $m/boot $m; lvm_ vgchange -qq -an vg; perl -e 'print \"GRUB\"' | dd of=/dev/ubda conv=notrunc 2>/dev/null",
            new.display()
        ),
    );
    for with_kernel in [true, false] {
        let data = old_disk(&directory, with_kernel);
        let images = [at("system"), data];
        let images: Vec<&Path> = images.iter().map(PathBuf::as_path).collect();
        let outcome = run(&request(&images));
        is(&outcome, "new", "disk disk0 partition 1: /boot/grub/grub.cfg:2: root=/dev/mapper/vg-root");
        assert_eq!(outcome.report.stacked[0].mount_point.as_deref(), Some("/"));
        assert!(outcome.overlays[1].blocks.is_empty(), "the old disk is not touched");
        prepared(&outcome, &images);
    }

    // The same, with a copy of the whole disk beside it: LVM would activate nothing.
    fs::copy(at("system"), at("copy")).unwrap();
    let outcome = run(&request(&[&at("system"), &at("copy")]));
    let copy = found(&outcome, "disk::lvm_copy", FindingSeverity::Blocks);
    assert_eq!(copy.evidence, ["disk disk1 partition 2"]);
}

#[test]
fn of_two_roots_on_a_disk_the_boot_loader_names_one() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    // /boot, an old root, the root.
    let made = |old_fstab: &str, new_fstab: &str, root: &str| {
        let old = system(directory.path(), "old", old_fstab, "/dev/sda2");
        let new = system(directory.path(), "new", new_fstab, root);
        filesystem("ext4", &at("boot.fs"), 30, &new.join("boot"));
        for tree in [&old, &new] {
            fs::remove_dir_all(tree.join("boot")).unwrap();
            fs::create_dir(tree.join("boot")).unwrap();
        }
        filesystem("ext4", &at("old.fs"), 30, &old);
        filesystem("ext4", &at("new.fs"), 30, &new);
        let script =
            "label: dos\nstart=2048, size=61440\nstart=63488, size=61440\nstart=124928, size=61440\n";
        let parts = [(MIB, at("boot.fs")), (31 * MIB, at("old.fs")), (61 * MIB, at("new.fs"))];
        let parts: Vec<(u64, &Path)> = parts.iter().map(|(place, file)| (*place, file.as_path())).collect();
        disk(&at("image"), 92, script, &parts);
        run(&request(&[&at("image")]))
    };
    let boot = "/dev/sda1 /boot ext4 defaults 0 2\n";
    let of = |number: u32| format!("/dev/sda{number} / ext4 defaults 0 1\n{boot}");
    let outcome = made(&of(2), &of(3), "/dev/sda3");
    is(
        &outcome,
        "new",
        "disk disk0 partition 3 is prepared: disk disk0 partition 1: /boot/grub/grub.cfg:2: root=/dev/sda3",
    );
    let volumes = prepared(&outcome, &[&at("image")]);
    let part = at("part");
    cut(&volumes[0], 31 * MIB, 30 * MIB, &part);
    assert!(fs::read(&part).unwrap() == fs::read(at("old.fs")).unwrap(), "the old root is as it was");
    cut(&volumes[0], 61 * MIB, 30 * MIB, &part);
    check("ext4", &part);
    // The old root is a copy of the new one but for its UUID: its fstab names the new one.
    is(&made(&of(3), &of(3), "/dev/sda3"), "new", "partition 3 is prepared");
    // The root that is started says that another is it.
    let outcome = made(&of(2), &of(2), "/dev/sda3");
    let names = ["partition 2", "partition 3", "root=/dev/sda3", "/etc/fstab:1: /dev/sda2 /"];
    is_undecided(&outcome, "disk::several_systems", &names);
    // A loader that says nothing of the root, and fstabs that each name their own; then only one.
    let outcome = made(&of(2), &of(3), "/dev/root");
    is_undecided(&outcome, "disk::several_systems", &["partition 2", "partition 3", "root=/dev/root"]);
    is(&made("", &of(3), "/dev/root"), "new", "/etc/fstab:1: /dev/sda3 /");
}

#[test]
fn a_copy_of_the_root_has_its_names() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let uuid = "3f6f7e0a-0000-4000-8000-0000000000aa";
    let script = "label: dos\nstart=2048, size=81920\n";
    for (fstab, root) in
        [(format!("UUID={uuid}"), format!("UUID={uuid}")), ("/dev/sda1".to_owned(), "/dev/sda1".to_owned())]
    {
        let tree = system(directory.path(), "one", &format!("{fstab} / ext4 defaults 0 1\n"), &root);
        filesystem("ext4", &at("fs"), 40, &tree);
        tool("tune2fs", &["-U", uuid, at("fs").to_str().unwrap()]);
        disk(&at("a"), 42, script, &[(MIB, &at("fs"))]);
        disk(&at("b"), 42, script, &[(MIB, &at("fs"))]);
        let outcome = run(&request(&[&at("a"), &at("b")]));
        is_undecided(&outcome, "disk::root_twice", &["disk disk0 partition 1", "disk disk1 partition 1"]);
        // The advice is followed.
        tool("tune2fs", &["-U", "random", at("fs").to_str().unwrap()]);
        disk(&at("b"), 42, script, &[(MIB, &at("fs"))]);
        let outcome = run(&request(&[&at("a"), &at("b")]));
        is(&outcome, "one", "disk disk0 partition 1 is prepared");
        assert!(outcome.overlays[1].blocks.is_empty());
    }
}

/// A root that cannot be looked into is not replaced by another that can.
#[test]
fn an_old_root_beside_an_encrypted_one_is_not_it() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let old = old_disk(&directory, true);
    fs::File::create(at("luks")).unwrap().set_len(20 * MIB).unwrap();
    fs::write(at("key"), "secret").unwrap();
    let [luks, key] = ["luks", "key"].map(at);
    let options = ["--batch-mode", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
    let names = [luks.to_str().unwrap(), key.to_str().unwrap()];
    tool("cryptsetup", &[&["luksFormat"][..], &options, &names].concat());
    let script = "label: dos\nstart=2048, size=40960\n";
    disk(&at("system"), 22, script, &[(MIB, &luks)]);
    tool("sh", &["-c", &format!("printf GRUB | dd of={} conv=notrunc 2>/dev/null", at("system").display())]);
    let outcome = run(&request(&[&at("system"), &old]));
    let encrypted = found(&outcome, "disk::encrypted", FindingSeverity::Blocks);
    assert_eq!(encrypted.evidence, ["disk disk0 partition 1"]);
    // As the second disk, it is data.
    let outcome = run(&request(&[&old, &at("system")]));
    assert!(
        !codes(&outcome).contains(&"disk::encrypted") && !blocks(&outcome),
        "{:#?}",
        outcome.report.findings
    );
}

/// Makes a btrfs with the trees at these paths, each made as a subvolume with those above it.
fn btrfs(directory: &Path, trees: &[(&str, &Path)], more: &str) -> PathBuf {
    let image = directory.join("image");
    disk(&image, 202, "label: gpt\nstart=2048, size=409600\n", &[]);
    let mut script =
        "d=/dev/ubda1; mkfs.btrfs -q -U 3f6f7e0a-0000-4000-8000-0000000000bb $d; mount $d $m\n".to_owned();
    for (path, tree) in trees {
        script.push_str(&format!(
            "mkdir -p $m/$(dirname {path}); subvolumes $m/{path}; cp -a {}/. $m/{path}/\n",
            tree.display()
        ));
    }
    in_machine(&[&image], &format!("{script}{more}\numount $m"));
    image
}

const UUID: &str = "UUID=3f6f7e0a-0000-4000-8000-0000000000bb";

/// Ubuntu's and Debian's way: the loader says which subvolume; copies of it stand beside it.
#[test]
fn of_subvolumes_the_boot_loader_names_one() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path();
    let line = |options: &str| format!("{UUID} / btrfs {options} 0 0\n");
    let trees = |flags: &str, fstab: &str| {
        let root = format!("{UUID} rootflags={flags}");
        let before = system(home, "before", &line("subvol=@"), &format!("{UUID} rootflags=subvol=@"));
        let now = system(home, "now", &line(fstab), &root);
        // The snapshot has the loader's files as they were; GRUB reads those of the root.
        fs::remove_dir_all(before.join("boot")).unwrap();
        fs::create_dir(before.join("boot")).unwrap();
        btrfs(home, &[("@", &before), ("@now", &now)], "")
    };
    let image = trees("subvol=@now", "subvol=/@now");
    let outcome = run(&request(&[&image]));
    is(&outcome, "now", "subvolume /@now is prepared: disk disk0 partition 1: /boot/grub/grub.cfg:2:");
    let volumes = restored(&outcome, &[&image]);
    let text = in_machine(
        &[&volumes[0]],
        "btrfs check /dev/ubda1 >/dev/null 2>&1; mount -o subvol=@ /dev/ubda1 $m; ls $m/boot | wc -l; umount $m",
    );
    assert_eq!(text.trim(), "0", "the other subvolume is not touched");
    // By number, and the fstab says nothing of it.
    is(&run(&request(&[&trees("subvolid=257", "defaults")])), "now", "rootflags=subvolid=257");
    // The fstab of the one that is started names the other.
    is_undecided(
        &run(&request(&[&trees("subvol=@now", "subvol=@")])),
        "disk::several_systems",
        &["/@", "/@now"],
    );
}

/// SUSE's way: the root is a snapshot among others, by default the default subvolume.
#[test]
fn of_snapshots_the_default_boots_unless_the_boot_loader_names_another() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path();
    let fstab = format!("{UUID} / btrfs defaults 0 0\n");
    for (flags, name) in [("", "second"), (" rootflags=subvol=@/.snapshots/3/snapshot", "third")] {
        let trees: Vec<(String, PathBuf)> = [(1, "first"), (2, "second"), (3, "third")]
            .map(|(number, name)| {
                (
                    format!("@/.snapshots/{number}/snapshot"),
                    system(home, name, &fstab, &format!("{UUID}{flags}")),
                )
            })
            .into();
        let mut all: Vec<(&str, &Path)> =
            trees.iter().map(|(path, tree)| (path.as_str(), tree.as_path())).collect();
        let nothing = home.join("nothing");
        fs::create_dir_all(&nothing).unwrap();
        all.insert(0, ("@", &nothing));
        let image = btrfs(home, &all, "btrfs -q subvolume set-default $m/@/.snapshots/2/snapshot");
        let outcome = run(&request(&[&image]));
        let hostname = outcome.report.facts.as_ref().and_then(|facts| facts.hostname.as_deref());
        assert_eq!(hostname, Some(name), "{:#?}", outcome.report.findings);
        let told = codes(&outcome).contains(&"disk::several_systems");
        assert_eq!(told, !flags.is_empty(), "the others are snapshots, not systems");
        assert!(!outcome.report.facts.unwrap().kernels.is_empty());
        assert!(!outcome.report.recipe.edits.is_empty());
    }
}

/// fstab may name a subvolume by its number.
#[test]
fn a_subvolume_by_its_number_is_mounted_and_edited() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path();
    let fstab = format!("{UUID} / btrfs subvolid=256 0 0\n{UUID} /boot btrfs subvolid=257 0 0\n");
    let tree = system(home, "one", &fstab, &format!("{UUID} rootflags=subvolid=256"));
    // What stands in the default subvolume is not what is meant.
    let decoy = super::guests::tree(&home.join("decoy"), "");
    let menu = tree.join("boot/grub/grub.cfg");
    let text = fs::read_to_string(&menu).unwrap();
    fs::write(menu, text.replace(" /vmlinuz", " /kernels/vmlinuz").replace(" /initrd", " /kernels/initrd"))
        .unwrap();
    let boot = home.join("boot");
    fs::rename(tree.join("boot"), &boot).unwrap();
    fs::create_dir(tree.join("boot")).unwrap();
    fs::remove_dir_all(decoy.join("boot")).unwrap();
    fs::create_dir_all(decoy.join("grub")).unwrap();
    fs::write(decoy.join("grub/grub.cfg"), "decoy").unwrap();
    fs::remove_file(decoy.join("etc/os-release")).unwrap();
    fs::remove_file(decoy.join("etc/fstab")).unwrap();
    let more = format!("cp -a {}/. $m/", decoy.display());
    let image = btrfs(home, &[("system", &tree), ("kernels", &boot)], &more);
    let outcome = run(&request(&[&image]));
    let facts = outcome.report.facts.as_ref().unwrap();
    assert_eq!(facts.kernels.len(), 1, "{:#?}", outcome.report.findings);
    assert!(facts.kernels[0].initramfs.is_some());
    assert!(!blocks(&outcome), "{:#?}", outcome.report.findings);
    let volumes = restored(&outcome, &[&image]);
    let text = in_machine(
        &[&volumes[0]],
        "btrfs check /dev/ubda1 >/dev/null 2>&1; mount /dev/ubda1 $m; cat $m/grub/grub.cfg; echo; grep -c console=ttyS0 $m/kernels/grub/grub.cfg; umount $m",
    );
    assert_eq!(
        text.split_whitespace().collect::<Vec<_>>(),
        ["decoy", "1"],
        "the menu that GRUB reads is edited"
    );
}

/// Snapshots of thin volumes are not there after a start of the guest.
#[test]
fn a_thin_snapshot_of_the_root_is_no_second_system() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let root = tree(directory.path(), "/dev/vg/root / ext4 defaults 0 1\n");
    disk(&at("image"), 200, "", &[]);
    in_machine(
        &[&at("image")],
        &format!(
            "module dm-mod; module dm-snapshot; module dm-thin-pool; lvm_ pvcreate -q /dev/ubda; lvm_ vgcreate -q vg /dev/ubda
            lvm_ lvcreate -qq -y -L 100M -T vg/pool; lvm_ lvcreate -qq -y -V 60M -T vg/pool -n root; mkfs.ext4 -q /dev/vg/root
            mount /dev/vg/root $m; cp -a {}/. $m/; umount $m; lvm_ lvcreate -qq -y -s -n before vg/root; lvm_ vgchange -qq -an vg",
            root.display()
        ),
    );
    let outcome = run(&request(&[&at("image")]));
    assert!(codes(&outcome).iter().all(|code| !code.starts_with("disk::")), "{:#?}", outcome.report.findings);
    let names: Vec<&str> = outcome.report.stacked.iter().map(|device| device.name.as_str()).collect();
    assert_eq!(names, ["logical volume vg/root"]);
}
