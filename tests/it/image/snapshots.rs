//! Internal snapshots of qcow2 images, against a copy that QEMU put back to them.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use replant::image::{BlockSource, ImageError, OpenOptions, SourceError, open};

use super::fixture::{by_qemu, run, same_as, text};
use crate::support::command::replant;

fn io(path: &Path, commands: &[&str]) {
    let arguments: Vec<&str> = commands.iter().flat_map(|command| ["-c", *command]).collect();
    run("qemu-io", &[&["-f", "qcow2"], &arguments[..], &[text(path)]].concat());
}

fn create(directory: &Path, options: &str, size: &str) -> PathBuf {
    let path = directory.join("disk.qcow2");
    run("qemu-img", &["create", "-q", "-f", "qcow2", "-o", options, text(&path), size]);
    path
}

fn snapshot(path: &Path, name: &str) {
    run("qemu-img", &["snapshot", "-c", name, text(path)]);
}

/// What QEMU holds of an image that was put back to a snapshot.
fn put_back(path: &Path, name: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    // In the image's directory are the files that it stands on.
    let beside = path.with_file_name("copy-to-put-back");
    fs::copy(path, &beside).unwrap();
    run("qemu-img", &["snapshot", "-a", name, text(&beside)]);
    let bytes = fs::read(by_qemu(&beside, "qcow2", directory.path())).unwrap();
    fs::remove_file(&beside).unwrap();
    bytes
}

#[track_caller]
fn same_as_put_back(path: &Path, name: &str) {
    let image = open(path, &OpenOptions::default().snapshot(name)).unwrap();
    same_as(&image, &put_back(path, name));
    image.reopen_check().unwrap();
}

#[test]
fn every_snapshot_is_what_qemu_goes_back_to() {
    for options in ["compat=1.1", "compat=0.10", "cluster_size=512", "cluster_size=2M,compression_type=zstd"]
    {
        let directory = tempfile::tempdir().unwrap();
        let path = create(directory.path(), options, "6000128");
        io(&path, &["write -P 1 1000 3000", "write -P 2 65000 70000", "write -c -P 3 4M 1805824"]);
        snapshot(&path, "before update");
        io(&path, &["write -P 4 0 64k", "discard 128k 64k", "write -P 5 2M 1M"]);
        snapshot(&path, "2");
        io(&path, &["write -z 64k 64k", "write -P 6 5M 12345"]);
        snapshot(&path, "empty middle");
        io(&path, &["write -P 7 0 6000128"]);
        for name in ["before update", "2", "empty middle", "1", "3"] {
            same_as_put_back(&path, name);
        }
        super::fixture::same_as_qemu(&path, "qcow2");
    }
}

#[test]
fn a_snapshot_has_the_size_that_the_disk_had() {
    for options in ["compat=1.1", "cluster_size=512"] {
        let directory = tempfile::tempdir().unwrap();
        let path = create(directory.path(), options, "3M");
        io(&path, &["write -P 1 0 3M"]);
        snapshot(&path, "small");
        run("qemu-img", &["resize", "-f", "qcow2", text(&path), "9M"]);
        io(&path, &["write -P 2 2M 7M"]);
        snapshot(&path, "large");
        let (small, large) = ["small", "large"]
            .map(|name| open(&path, &OpenOptions::default().snapshot(name)).unwrap())
            .into();
        assert_eq!((small.size(), large.size()), (3 << 20, 9 << 20));
        assert_ne!(small.identity().digest(), large.identity().digest(), "it is part of the identity");
        assert_eq!(small.description(), "qcow2 version 3, snapshot small");
        same_as_put_back(&path, "small");
        same_as_put_back(&path, "large");
    }
}

#[test]
fn a_snapshot_of_an_overlay_stands_on_its_backing_file() {
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path().join("base.qcow2");
    run("qemu-img", &["create", "-q", "-f", "qcow2", text(&base), "4M"]);
    io(&base, &["write -P 9 0 4M"]);
    // The backing file has a snapshot of the same name, which is not asked for.
    snapshot(&base, "first");
    io(&base, &["write -P 8 1M 1M"]);
    let path = directory.path().join("disk.qcow2");
    run("qemu-img", &["create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", text(&path), "5M"]);
    io(&path, &["write -P 1 64k 64k"]);
    snapshot(&path, "first");
    io(&path, &["write -P 2 0 5M"]);
    same_as_put_back(&path, "first");
}

#[test]
fn a_wrong_name_lists_those_there_are() {
    let directory = tempfile::tempdir().unwrap();
    let path = create(directory.path(), "compat=1.1", "1M");
    let wanted = |name: &str| open(&path, &OpenOptions::default().snapshot(name)).unwrap_err();
    assert!(matches!(wanted("x"), ImageError::NoSnapshot { known, .. } if known.is_empty()));
    for name in ["nightly", "twice", "twice"] {
        snapshot(&path, name);
    }
    let error = wanted("nightli").to_string();
    assert!(error.contains("`nightly` (id 1), `twice` (id 2), `twice` (id 3)"), "{error}");
    assert!(matches!(wanted("twice"), ImageError::WhichSnapshot { known, .. } if known.len() == 2));
    open(&path, &OpenOptions::default().snapshot("3")).unwrap();

    let raw = directory.path().join("disk.raw");
    fs::write(&raw, [0; 4096]).unwrap();
    let error = open(&raw, &OpenOptions::default().snapshot("nightly")).unwrap_err();
    assert!(error.diagnostic().help.iter().any(|help| help.contains("only qcow2")), "{error:?}");

    let refused = replant(directory.path(), ["write", "disk.qcow2", "out", "--snapshot", "no"]).code(1);
    assert!(refused.stderr.contains("image::no_snapshot"), "{}", refused.both());
    assert!(refused.stderr.contains("`nightly` (id 1)"), "{}", refused.both());
}

#[test]
fn damaged_tables_of_snapshots_give_errors() {
    let directory = tempfile::tempdir().unwrap();
    let path = create(directory.path(), "compat=1.1", "1M");
    snapshot(&path, "one");
    let bytes = fs::read(&path).unwrap();
    let table = u64::from_be_bytes(bytes[64..72].try_into().unwrap());
    let changed = |at: u64, with: &[u8]| {
        let other = directory.path().join("other.qcow2");
        fs::write(&other, &bytes).unwrap();
        fs::File::options().write(true).open(&other).unwrap().write_all_at(with, at).unwrap();
        open(&other, &OpenOptions::default().snapshot("one")).unwrap_err()
    };
    for (at, with) in [
        // How many there are; where their table is.
        (60, u32::MAX.to_be_bytes().to_vec()),
        (60, 65_536u32.to_be_bytes().to_vec()),
        (64, u64::MAX.to_be_bytes().to_vec()),
        (64, (1u64 << 40).to_be_bytes().to_vec()),
        // Its L1 table is beyond the end, its further fields are too many, its disk too large.
        (table, u64::MAX.to_be_bytes().to_vec()),
        (table + 36, 4096u32.to_be_bytes().to_vec()),
        (table + 48, u64::MAX.to_be_bytes().to_vec()),
    ] {
        let error = changed(at, &with);
        assert!(matches!(error, ImageError::Source(SourceError::Damaged { .. })), "{at}: {error:?}");
    }
}

#[test]
fn a_snapshot_is_written_by_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = create(directory.path(), "compat=1.1", "3M");
    io(&path, &["write -P 1 0 1M"]);
    snapshot(&path, "good");
    io(&path, &["write -P 2 0 3M"]);
    let output = replant(directory.path(), ["write", "disk.qcow2", "out", "--snapshot", "good"]).success();
    assert!(output.stdout.contains("snapshot good"), "{}", output.both());
    assert!(fs::read(directory.path().join("out")).unwrap() == put_back(&path, "good"));
    let arguments = ["write", "disk.qcow2", "now", "--format", "auto"];
    replant(directory.path(), arguments).success();
    assert!(fs::read(directory.path().join("now")).unwrap() == vec![2; 3 << 20]);
}
