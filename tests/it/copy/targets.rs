//! What may not be written is refused, and nothing of it is changed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use replant::copy::{Existing, Target, TargetError, TargetOptions};

use super::support::{Loop, MIB, full_disk, garbage, opened, run, target, text, wanted};

/// An image of 2 MiB to write somewhere.
fn image(directory: &Path) -> PathBuf {
    let path = directory.join("disk.raw");
    full_disk(&path, 2 * MIB, 1);
    path
}

/// Opens `path` as a target, with data on it allowed to be lost: the refusal must come all the
/// same, and change nothing.
#[track_caller]
fn refused(path: &Path, image: &Path) -> TargetError {
    let source = opened(image);
    let before = fs::read(path).unwrap();
    let mut refusals = Vec::new();
    for existing in [Existing::Replace, Existing::Keep, Existing::Refuse] {
        let options = TargetOptions { existing, image_files: vec![image.to_owned()], ..wanted(&source) };
        refusals.push(Target::open(path, &options).expect_err("it is refused"));
    }
    assert!(fs::read(path).unwrap() == before, "{} was changed", path.display());
    let error = refusals.swap_remove(0);
    let told = error.diagnostic();
    assert!(told.is_error() && !told.help.is_empty() && !told.summary.contains('/'), "{told:?}");
    error
}

/// A mount that is taken away when dropped.
struct Mount(PathBuf);

impl Mount {
    fn new(device: &Path, point: &Path) -> Self {
        fs::create_dir_all(point).unwrap();
        run("mount", &[text(device), text(point)]);
        Self(point.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_mounted_device() {
    let directory = tempfile::tempdir().unwrap();
    let image = image(directory.path());
    let device = Loop::sized(directory.path(), 8 * MIB);
    run("mkfs.ext4", &["-q", text(&device.path)]);
    let point = directory.path().join("with a space");
    let mount = Mount::new(&device.path, &point);
    let error = refused(&device.path, &image);
    assert!(matches!(&error, TargetError::Mounted { mount_point, .. } if *mount_point == point), "{error:?}");
    drop(mount);
    assert!(target(&device.path, &opened(&image), Existing::Keep).is_ok());
}

#[test]
fn a_disk_with_a_mounted_partition_and_the_partition_itself() {
    let directory = tempfile::tempdir().unwrap();
    let image = image(directory.path());
    let backing = directory.path().join("backing");
    File::create(&backing).unwrap().set_len(24 * MIB).unwrap();
    let script = directory.path().join("table");
    fs::write(&script, "label: gpt\nsize=10MiB\nsize=10MiB\n").unwrap();
    let table = Command::new("sfdisk").arg("-q").arg(&backing).stdin(File::open(&script).unwrap()).status();
    assert!(table.unwrap().success());
    let device = Loop::new(&backing, &["--partscan"]);
    let (first, second) = (device.partition(1), device.partition(2));
    if !first.exists() {
        // A kernel that reads no partition tables takes them from `partx`.
        run("partx", &["--add", text(&device.path)]);
    }
    run("mkfs.ext4", &["-q", text(&first)]);
    let _mount = Mount::new(&first, &directory.path().join("mnt"));
    for path in [&device.path, &first] {
        let error = refused(path, &image);
        assert!(matches!(&error, TargetError::Mounted { device, .. } if device.ends_with("p1")), "{error:?}");
    }
    // Its neighbour is nobody's business.
    assert!(target(&second, &opened(&image), Existing::Refuse).is_ok());
}

#[test]
fn swap_space() {
    let directory = tempfile::tempdir().unwrap();
    let image = image(directory.path());
    let device = Loop::sized(directory.path(), 8 * MIB);
    run("mkswap", &["-q", text(&device.path)]);
    if !Command::new("swapon").arg(&device.path).stderr(Stdio::null()).status().unwrap().success() {
        eprintln!("this machine lets nobody swap; skipped");
        return;
    }
    let error = refused(&device.path, &image);
    run("swapoff", &[text(&device.path)]);
    assert!(matches!(error, TargetError::Swap { .. }), "{error:?}");
    assert!(matches!(
        target(&device.path, &opened(&image), Existing::Refuse),
        Err(TargetError::HoldsData { .. })
    ));
}

#[test]
fn the_disk_of_the_root_filesystem() {
    let directory = tempfile::tempdir().unwrap();
    let image = image(directory.path());
    let source = run("findmnt", &["--noheadings", "--output", "SOURCE", "/"]);
    let Some(device) = Some(PathBuf::from(source)).filter(|path| path.starts_with("/dev") && path.exists())
    else {
        eprintln!("the root filesystem has no device here; skipped");
        return;
    };
    for existing in [Existing::Replace, Existing::Keep, Existing::Refuse] {
        let error = target(&device, &opened(&image), existing).unwrap_err();
        assert!(matches!(error, TargetError::BacksRoot { .. }), "{error:?}");
    }
}

#[test]
fn too_small_or_not_the_expected_size() {
    let directory = tempfile::tempdir().unwrap();
    let image = image(directory.path());
    let device = Loop::sized(directory.path(), MIB);
    assert!(matches!(refused(&device.path, &image), TargetError::TooSmall { size: MIB, .. }));

    let source = opened(&image);
    let right = Loop::new(
        &{
            let backing = directory.path().join("right");
            File::create(&backing).unwrap().set_len(3 * MIB).unwrap();
            backing
        },
        &[],
    );
    let of_size = |expected| TargetOptions { expected_size: Some(expected), ..wanted(&source) };
    let error = Target::open(&right.path, &of_size(4 * MIB)).unwrap_err();
    assert!(
        matches!(error, TargetError::WrongSize { size, expected, .. } if size == 3 * MIB && expected == 4 * MIB)
    );
    assert_eq!(Target::open(&right.path, &of_size(3 * MIB)).unwrap().size(), 3 * MIB);

    let file = directory.path().join("volume");
    File::create(&file).unwrap().set_len(5 * MIB).unwrap();
    assert!(matches!(Target::open(&file, &of_size(4 * MIB)), Err(TargetError::WrongSize { .. })));
    assert_eq!(Target::open(&file, &of_size(5 * MIB)).unwrap().size(), 5 * MIB);
}

#[test]
fn the_image_itself_by_any_name() {
    let directory = tempfile::tempdir().unwrap();
    let image = image(directory.path());
    let (hard, soft) = (directory.path().join("hard"), directory.path().join("soft"));
    fs::hard_link(&image, &hard).unwrap();
    std::os::unix::fs::symlink(&image, &soft).unwrap();
    let device = Loop::new(&image, &[]);
    for path in [&image, &hard, &soft, &device.path] {
        let error = refused(path, &image);
        assert!(matches!(error, TargetError::IsImage { .. }), "{error:?}");
    }
}

#[test]
fn a_file_that_a_loop_device_shows() {
    let directory = tempfile::tempdir().unwrap();
    let image = image(directory.path());
    let device = Loop::sized(directory.path(), 4 * MIB);
    let error = refused(&device.backing, &image);
    assert!(matches!(error, TargetError::UsedByLoop { .. }), "{error:?}");
}

#[test]
fn a_file_that_another_program_has_locked() {
    let directory = tempfile::tempdir().unwrap();
    let image = image(directory.path());
    let out = directory.path().join("out");
    garbage(&out, 4 * MIB);

    let file = File::open(&out).unwrap();
    file.lock().unwrap();
    assert!(matches!(refused(&out, &image), TargetError::Locked { .. }));
    drop(file);

    // QEMU's own locks.
    let mut qemu = Command::new("qemu-io")
        .args(["-f", "raw", text(&out)])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(700));
    let error = refused(&out, &image);
    drop(qemu.stdin.take());
    qemu.wait().unwrap();
    assert!(matches!(error, TargetError::Locked { .. }), "{error:?}");
    assert!(target(&out, &opened(&image), Existing::Keep).is_ok());
}

#[test]
fn a_target_that_we_are_writing_already() {
    let directory = tempfile::tempdir().unwrap();
    let image = image(directory.path());
    let device = Loop::sized(directory.path(), 4 * MIB);
    for path in [device.path.clone(), directory.path().join("out")] {
        let first = target(&path, &opened(&image), Existing::Refuse).unwrap();
        let error = target(&path, &opened(&image), Existing::Keep).unwrap_err();
        assert!(matches!(error, TargetError::Busy { .. } | TargetError::Locked { .. }), "{error:?}");
        assert!(error.is_retryable());
        drop(first);
        assert!(target(&path, &opened(&image), Existing::Keep).is_ok());
    }
}

#[test]
fn what_is_read_only() {
    let directory = tempfile::tempdir().unwrap();
    let image = image(directory.path());
    let backing = directory.path().join("backing");
    garbage(&backing, 4 * MIB);
    let device = Loop::new(&backing, &["--read-only"]);
    assert!(matches!(refused(&device.path, &image), TargetError::ReadOnly { .. }));

    let file = directory.path().join("file");
    garbage(&file, 4 * MIB);
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o444)).unwrap();
    assert!(matches!(refused(&file, &image), TargetError::ReadOnly { .. }));
}

#[test]
fn what_is_no_disk() {
    let directory = tempfile::tempdir().unwrap();
    let source = opened(&image(directory.path()));
    for path in [directory.path(), Path::new("/dev/null")] {
        let error = target(path, &source, Existing::Replace).unwrap_err();
        assert!(matches!(error, TargetError::WrongKind { .. }), "{error:?}");
    }
    let missing = directory.path().join("no/such/place");
    assert!(matches!(target(&missing, &source, Existing::Replace), Err(TargetError::Create { .. })));
    let options = TargetOptions { create: false, ..wanted(&source) };
    assert!(matches!(Target::open(&missing, &options), Err(TargetError::Missing { .. })));
}

#[test]
fn what_holds_data_unless_it_may_be_lost() {
    let directory = tempfile::tempdir().unwrap();
    let image = image(directory.path());
    let source = opened(&image);
    let holds = |path: &Path| match target(path, &source, Existing::Refuse) {
        Err(TargetError::HoldsData { what, .. }) => what,
        other => panic!("{other:?}"),
    };

    let device = Loop::sized(directory.path(), 400 * MIB);
    for (program, arguments, what) in [
        ("mkfs.ext4", &["-q", "-F"][..], "ext4"),
        ("mkfs.xfs", &["-q", "-f"], "XFS"),
        ("mkfs.btrfs", &["-q", "-f"], "btrfs"),
        ("mkfs.vfat", &["-I"], "FAT"),
        ("mkswap", &["-q", "-f"], "swap"),
        ("sgdisk", &["--clear"], "GPT"),
    ] {
        run("wipefs", &["-q", "--all", text(&device.path)]);
        assert!(target(&device.path, &source, Existing::Refuse).is_ok());
        run(program, &[arguments, &[text(&device.path)]].concat());
        let found = holds(&device.path);
        assert!(found.contains(what), "{program}: {found}");
        assert!(target(&device.path, &source, Existing::Keep).is_ok());
    }

    let file = directory.path().join("file");
    garbage(&file, 5000);
    assert!(holds(&file).contains("data"));
    // Replaced by a new file of the disk's size, with another identity.
    let kept = target(&file, &source, Existing::Refuse).unwrap_err();
    assert!(matches!(kept, TargetError::HoldsData { .. }));
    let replaced = target(&file, &source, Existing::Replace).unwrap();
    assert!(replaced.is_created());
    assert_eq!(fs::metadata(&file).unwrap().len(), 2 * MIB);

    // Nothing to lose: empty, or one hole.
    let empty = directory.path().join("empty");
    File::create(&empty).unwrap();
    assert_eq!(target(&empty, &source, Existing::Refuse).unwrap().size(), 2 * MIB);
}

#[test]
fn a_filesystem_without_room() {
    let directory = tempfile::tempdir().unwrap();
    let image = image(directory.path());
    let point = directory.path().join("small");
    fs::create_dir(&point).unwrap();
    run("mount", &["-t", "tmpfs", "-o", "size=1M", "tmpfs", text(&point)]);
    let _mount = Mount(point.clone());
    let source = opened(&image);
    let options = TargetOptions { data: 2 * MIB, ..wanted(&source) };
    let error = Target::open(&point.join("out"), &options).unwrap_err();
    assert!(matches!(error, TargetError::NoSpace { .. }), "{error:?}");
    assert_eq!(fs::read_dir(&point).unwrap().count(), 0);
}
