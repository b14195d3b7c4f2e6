//! `kill -9` anywhere, and the next run goes on.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use replant::copy::{
    self, Cancel, CopyError, Existing, ExistingManifest, Manifest, ManifestError, Silent, VerifyOptions,
    WriteOptions,
};
use replant::model::Digest;

use super::support::{
    Loop, MIB, Numbers, convert, disk, flip, full_disk, opened, options, run, same, target, text, write,
};
use crate::support::command::command;

fn started(directory: &Path, image: &str, target: &str, limit: &str) -> Child {
    let arguments = [
        "write",
        image,
        target,
        "--manifest",
        "m",
        "--resume",
        "--checkpoint",
        "0.03",
        "--bandwidth-limit",
        limit,
    ];
    command(directory, arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Runs and kills until a run gets to its end; each must find what the one before had flushed.
fn until_done(directory: &Path, image: &str, target: &str, limit: &str, seed: u64) -> u32 {
    let (mut numbers, mut safe) = (Numbers(seed), 0);
    for killed in 0..200 {
        let mut child = started(directory, image, target, limit);
        // The later, the longer it is left alone, so that it ends.
        std::thread::sleep(Duration::from_millis(20 + numbers.below(300 + 60 * killed)));
        let ended = child.try_wait().unwrap();
        child.kill().unwrap();
        let status = child.wait().unwrap();
        if let Some(status) = ended {
            assert!(status.success(), "{status}");
            return killed as u32;
        }
        assert!(!status.success() || status.code() == Some(0));
        if directory.join("m").exists() {
            let done = Manifest::open(&directory.join("m")).unwrap().done_bytes();
            assert!(done >= safe, "{done} after {safe}");
            safe = done;
        }
    }
    panic!("it never ended");
}

#[test]
fn a_file_written_from_a_compressed_image_and_killed_many_times() {
    let directory = tempfile::tempdir().unwrap();
    let raw = directory.path().join("disk.raw");
    disk(&raw, 80 * MIB + 1536, 21);
    convert(&raw, &directory.path().join("disk.vmdk"), "vmdk", "subformat=streamOptimized");
    let killed = until_done(directory.path(), "disk.vmdk", "out", "30M", 1);
    assert!(killed >= 2, "killed only {killed} times");
    run(
        "qemu-img",
        &[
            "compare",
            "-f",
            "vmdk",
            "-F",
            "raw",
            text(&directory.path().join("disk.vmdk")),
            text(&directory.path().join("out")),
        ],
    );
}

#[test]
fn a_device_with_stale_bytes_killed_many_times() {
    let directory = tempfile::tempdir().unwrap();
    let raw = directory.path().join("disk.raw");
    disk(&raw, 60 * MIB + 700, 22);
    let device = Loop::sized(directory.path(), 64 * MIB);
    super::support::garbage(&device.path, 64 * MIB);
    let killed = until_done(directory.path(), "disk.raw", text(&device.path), "30M", 2);
    assert!(killed >= 2, "killed only {killed} times");
    same(&raw, &device.path, 60 * MIB + 700);
}

#[test]
fn what_was_flushed_is_not_written_again() {
    let directory = tempfile::tempdir().unwrap();
    let (raw, out) = (directory.path().join("disk.raw"), directory.path().join("out"));
    full_disk(&raw, 96 * MIB, 23);
    let mut child = started(directory.path(), "disk.raw", "out", "60M");
    let manifest = directory.path().join("m");
    // Enough blocks that not all of them are looked at again.
    let marked = loop {
        std::thread::sleep(Duration::from_millis(50));
        assert!(child.try_wait().unwrap().is_none(), "too quick");
        // The child holds the manifest; a copy is as a crash would leave it.
        let seen = directory.path().join("seen");
        if fs::copy(&manifest, &seen).is_err() {
            continue;
        }
        let Ok(seen) = Manifest::open(&seen) else { continue };
        if seen.done_bytes() > 40 * MIB {
            child.kill().unwrap();
            child.wait().unwrap();
            break true;
        }
    };
    assert!(marked);
    let opened_again = Manifest::open(&manifest).unwrap();
    let safe = opened_again.done_bytes();
    let sampled = opened_again.sample(16).unwrap();
    let block = (0..96).find(|index| opened_again.is_done(*index) && !sampled.contains(index)).unwrap();
    drop(opened_again);
    // A mark in a block that counts as done: it stays only if nobody writes that block again.
    flip(&out, block * MIB + 77);

    let image = opened(&raw);
    let identity = image.identity().digest();
    let again = target(&out, &image, Existing::Keep).unwrap();
    let options = WriteOptions {
        manifest: Some(manifest),
        existing_manifest: ExistingManifest::Resume,
        ..WriteOptions::new(identity)
    };
    let outcome = write(&image, &again, &options).unwrap();
    assert_eq!(outcome.resumed_bytes, safe);
    assert_eq!(outcome.written_bytes, 96 * MIB - safe);
    let (left, right) = (fs::read(&raw).unwrap(), fs::read(&out).unwrap());
    let different: Vec<usize> = (0..left.len()).filter(|at| left[*at] != right[*at]).collect();
    assert_eq!(different, [(block * MIB + 77) as usize]);
    // And reading back sees it.
    let error =
        copy::verify(&again, &outcome.manifest, None, &VerifyOptions::default(), &Silent, &Cancel::new())
            .unwrap_err();
    assert!(matches!(error, CopyError::Differs { blocks: 1, .. }), "{error:?}");
}

#[test]
fn only_the_same_image_on_the_same_target() {
    let directory = tempfile::tempdir().unwrap();
    let (raw, out) = (directory.path().join("disk.raw"), directory.path().join("out"));
    full_disk(&raw, 3 * MIB, 24);
    let image = opened(&raw);
    let manifest = directory.path().join("m");
    let with =
        |existing_manifest| WriteOptions { manifest: Some(manifest.clone()), existing_manifest, ..options() };
    let first = target(&out, &image, Existing::Refuse).unwrap();
    let content = write(&image, &first, &with(ExistingManifest::Refuse)).unwrap().content;
    // All done: nothing to do, the same answer.
    let again = write(&image, &first, &with(ExistingManifest::Resume)).unwrap();
    assert_eq!((again.content, again.written_bytes, again.resumed_bytes), (content, 0, 3 * MIB));
    drop(again);

    let refused = |error: CopyError| match error {
        CopyError::Manifest(error) => error,
        other => panic!("{other:?}"),
    };
    let error = refused(write(&image, &first, &with(ExistingManifest::Refuse)).unwrap_err());
    assert!(matches!(error, ManifestError::Exists { .. }), "{error:?}");
    let elsewhere = target(&directory.path().join("other"), &image, Existing::Refuse).unwrap();
    let error = refused(write(&image, &elsewhere, &with(ExistingManifest::Resume)).unwrap_err());
    assert!(matches!(error, ManifestError::OtherTarget { .. }), "{error:?}");
    assert_eq!(super::support::allocated(elsewhere.path()), 0);

    // A file that took the first one's name is another target too.
    drop(first);
    fs::remove_file(&out).unwrap();
    let replaced = target(&out, &image, Existing::Refuse).unwrap();
    let error = refused(write(&image, &replaced, &with(ExistingManifest::Resume)).unwrap_err());
    assert!(matches!(error, ManifestError::OtherTarget { .. }), "{error:?}");

    fs::write(&manifest, b"no manifest").unwrap();
    let error = refused(write(&image, &replaced, &with(ExistingManifest::Resume)).unwrap_err());
    assert!(matches!(error, ManifestError::Damaged { .. }), "{error:?}");
}

#[test]
fn a_first_write_that_was_interrupted_goes_on_only_with_its_own_image() {
    let directory = tempfile::tempdir().unwrap();
    let (raw, out) = (directory.path().join("disk.raw"), directory.path().join("out"));
    full_disk(&raw, 3 * MIB, 26);
    let image = opened(&raw);
    let manifest = directory.path().join("m");
    let with =
        |existing_manifest| WriteOptions { manifest: Some(manifest.clone()), existing_manifest, ..options() };
    let target = target(&out, &image, Existing::Refuse).unwrap();
    let cancel = Cancel::new();
    cancel.cancel();
    let error = copy::write(&image, &target, &with(ExistingManifest::Refuse), &Silent, &cancel).unwrap_err();
    assert!(matches!(error, CopyError::Cancelled { done: 0, .. }), "{error:?}");

    let refused = |error: CopyError| match error {
        CopyError::Manifest(error) => error,
        other => panic!("{other:?}"),
    };
    let other = WriteOptions { image: Digest::of(b"another image"), ..with(ExistingManifest::Resume) };
    let error = refused(write(&image, &target, &other).unwrap_err());
    assert!(matches!(error, ManifestError::OtherImage { .. }), "{error:?}");
    let error = refused(write(&image, &target, &with(ExistingManifest::Update)).unwrap_err());
    assert!(matches!(error, ManifestError::Unfinished { .. }), "{error:?}");
    let outcome = write(&image, &target, &with(ExistingManifest::Resume)).unwrap();
    assert_eq!((outcome.written_bytes, outcome.update), (3 * MIB, None));
    run("cmp", &[text(&raw), text(&out)]);
}

#[test]
fn a_target_that_something_else_wrote_to() {
    let directory = tempfile::tempdir().unwrap();
    let (raw, out) = (directory.path().join("disk.raw"), directory.path().join("out"));
    full_disk(&raw, 5 * MIB, 25);
    let image = opened(&raw);
    let options = WriteOptions {
        manifest: Some(directory.path().join("m")),
        existing_manifest: ExistingManifest::Resume,
        ..options()
    };
    let target = target(&out, &image, Existing::Refuse).unwrap();
    write(&image, &target, &options).unwrap();
    flip(&out, 4 * MIB + 3);
    let error = write(&image, &target, &options).unwrap_err();
    assert!(matches!(error, CopyError::TargetMoved { offset, .. } if offset == 4 * MIB), "{error:?}");
}
