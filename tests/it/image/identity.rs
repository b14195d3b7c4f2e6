//! What an image's identity sees, and that it costs no full read.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use replant::image::{BlockSource, Identity, ImageError};

use super::fixture::{opened, raw_disk, run, text};

fn identity(path: &Path) -> Identity {
    opened(path).identity().clone()
}

fn set_time(path: &Path, time: SystemTime) {
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn an_unchanged_image_keeps_its_identity() {
    let directory = tempfile::tempdir().unwrap();
    let raw = raw_disk(directory.path(), 1 << 20, 1);
    for (format, options) in
        [("vmdk", "subformat=streamOptimized"), ("vmdk", "subformat=monolithicFlat"), ("qcow2", "compat=1.1")]
    {
        let path = directory.path().join(format!("{format}.{}", options.len()));
        run("qemu-img", &["convert", "-O", format, "-o", options, text(&raw), text(&path)]);
        let image = opened(&path);
        let before = image.identity().clone();
        image.read_at(0, &mut [0; 4096]).unwrap();
        assert_eq!(identity(&path), before);
        assert_eq!(identity(&path).digest(), before.digest());
        image.still_is(&before).unwrap();
        image.reopen_check().unwrap();
        // It survives being stored in a plan.
        let stored = serde_json::to_string(&before).unwrap();
        let read: Identity = serde_json::from_str(&stored).unwrap();
        assert_eq!(read, before);
        assert_eq!(read.digest(), before.digest());
    }
}

#[test]
fn every_change_changes_it() {
    let directory = tempfile::tempdir().unwrap();
    let raw = raw_disk(directory.path(), 1 << 20, 1);
    let path = directory.path().join("split.vmdk");
    let flat = directory.path().join("split-flat.vmdk");
    run("qemu-img", &["convert", "-O", "vmdk", "-o", "subformat=monolithicFlat", text(&raw), text(&path)]);
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for file in [&path, &flat] {
        set_time(file, long_ago);
    }
    let image = opened(&path);
    let before = image.identity().clone();
    let changed = |what: &str| {
        let now = opened(&path);
        assert_ne!(now.identity().digest(), before.digest(), "{what}");
        assert!(matches!(now.still_is(&before), Err(ImageError::Changed { .. })), "{what}");
    };

    // Written to: the open image notices, too.
    fs::File::options().write(true).open(&flat).unwrap().write_all_at(b"x", 5000).unwrap();
    changed("an extent was written to");
    let error = image.reopen_check().unwrap_err();
    assert!(
        matches!(&error, ImageError::Changed { file, .. } if file.ends_with("split-flat.vmdk")),
        "{error}"
    );

    // Touched.
    set_time(&flat, long_ago + Duration::from_nanos(1));
    changed("an extent was touched");
    set_time(&flat, long_ago);
    assert_eq!(identity(&path), before, "its content is not read");

    // Replaced by a copy with the same time.
    fs::rename(&flat, directory.path().join("old")).unwrap();
    fs::copy(directory.path().join("old"), &flat).unwrap();
    set_time(&flat, long_ago);
    changed("an extent was replaced");
    fs::rename(directory.path().join("old"), &flat).unwrap();
    assert_eq!(identity(&path), before);

    // The metadata changed, its time and size did not.
    let descriptor = fs::read_to_string(&path).unwrap();
    let cid = descriptor.find("CID=").unwrap() + 4;
    let mut other = descriptor.clone().into_bytes();
    other[cid] = if other[cid] == b'0' { b'1' } else { b'0' };
    fs::write(&path, other).unwrap();
    set_time(&path, long_ago);
    changed("the descriptor was changed");
}

#[test]
fn a_raw_disk_is_known_by_its_ends() {
    let directory = tempfile::tempdir().unwrap();
    let path = raw_disk(directory.path(), 1 << 20, 1);
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    set_time(&path, long_ago);
    let before = identity(&path);
    for offset in [446, (1 << 20) - 100] {
        let file = fs::File::options().write(true).read(true).open(&path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).unwrap();
        file.write_all_at(&[!byte[0]], offset).unwrap();
        set_time(&path, long_ago);
        assert_ne!(identity(&path).digest(), before.digest());
        file.write_all_at(&byte, offset).unwrap();
        set_time(&path, long_ago);
        assert_eq!(identity(&path), before);
    }
}
