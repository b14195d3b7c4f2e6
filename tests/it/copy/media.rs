//! Media that fail: block devices and files of the kernel's, with errors put in below them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use replant::copy::{
    self, Cancel, CopyError, Event, Existing, ExistingManifest, Manifest, Observer, Silent, TargetError,
    VerifyOptions, WriteOptions,
};
use replant::image::{Format, OpenOptions, SourceError, open};

use super::support::{Loop, MIB, full_disk, opened, options, run, same, target, text, write};

/// A file of a FUSE filesystem; the NBD server behind it gives errors while certain files exist.
struct Ailing {
    mount: PathBuf,
    trouble: PathBuf,
    fuse: Child,
}

impl Ailing {
    /// One that shows `disk`, and fails to do `what` (`pread`, `pwrite`, `flush`).
    fn new(directory: &Path, disk: &Path, what: &str) -> Self {
        let (mount, trouble) = (directory.join("fuse.img"), directory.join("trouble"));
        File::create(&mount).unwrap();
        let (file, when) = (text(disk), text(&trouble));
        let server = match what {
            // The error filter knows nothing of flushing.
            "flush" => vec![
                "eval".to_owned(),
                format!("get_size=stat -c %s {file}"),
                format!("pread=dd status=none iflag=skip_bytes,count_bytes if={file} skip=$4 count=$3"),
                format!("pwrite=dd status=none oflag=seek_bytes conv=notrunc of={file} seek=$4"),
                format!("flush=if [ -e {when} ]; then echo EIO >&2; exit 1; fi"),
            ],
            _ => vec![
                "--filter=error".to_owned(),
                "file".to_owned(),
                file.to_owned(),
                format!("error-{what}=EIO"),
                format!("error-{what}-rate=100%"),
                format!("error-{what}-file={when}"),
            ],
        };
        let fuse = Command::new("nbdfuse")
            .arg(&mount)
            .args(["[", "nbdkit", "--exit-with-parent"])
            .args(server)
            .arg("]")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while fs::metadata(&mount).unwrap().len() == 0 {
            assert!(begun.elapsed() < Duration::from_secs(20), "nbdfuse does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { mount, trouble, fuse }
    }

    fn begins(&self) {
        File::create(&self.trouble).unwrap();
    }

    fn ends(&self) {
        fs::remove_file(&self.trouble).unwrap();
    }
}

impl Drop for Ailing {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.trouble);
        let _ = Command::new("umount").args(["-l", text(&self.mount)]).status();
        let _ = self.fuse.kill();
        let _ = self.fuse.wait();
    }
}

fn resuming(manifest: &Path) -> WriteOptions {
    WriteOptions {
        manifest: Some(manifest.to_owned()),
        existing_manifest: ExistingManifest::Resume,
        checkpoint: Duration::from_millis(10),
        ..options()
    }
}

/// Does something as soon as some of the disk is safe on the target.
struct Then<F>(F);

impl<F: Fn() + Sync> Observer for Then<F> {
    fn event(&self, event: &Event) {
        if matches!(event, Event::Checkpoint { .. }) {
            (self.0)();
        }
    }
}

/// A budget that makes a write last long enough for something to happen in the middle of it.
fn slow() -> std::sync::Arc<copy::Budget> {
    std::sync::Arc::new(copy::Budget::new(4 * MIB, std::num::NonZeroU64::new(60 * MIB)))
}

#[test]
fn an_image_whose_disk_fails_is_named_with_the_place_and_a_resume_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let (raw, out, manifest) =
        (directory.path().join("disk.raw"), directory.path().join("out"), directory.path().join("m"));
    full_disk(&raw, 64 * MIB, 1);
    let ailing = Ailing::new(directory.path(), &raw, "pread");
    let image = open(&ailing.mount, &OpenOptions::default().format(Format::Raw)).unwrap();
    let first = target(&out, &image, Existing::Refuse).unwrap();
    let options = WriteOptions { budget: slow(), ..resuming(&manifest) };
    let trouble = Then(|| ailing.begins());
    let error = copy::write(&image, &first, &options, &trouble, &Cancel::new()).unwrap_err();
    let CopyError::Source { offset, source: SourceError::Read { file, offset: place, source } } = &error
    else {
        panic!("{error:?}")
    };
    assert!(file == &ailing.mount && source.raw_os_error() == Some(5), "{error:?}");
    assert!(*place >= *offset && *place < offset + MIB, "{error:?}");
    let told = error.diagnostic().detail;
    assert!(told.contains(text(&ailing.mount)) && told.contains(&place.to_string()), "{told}");
    drop(first);
    let safe = Manifest::open(&manifest).unwrap().done_bytes();
    assert!(safe > 0 && safe < 64 * MIB, "{safe}");

    ailing.ends();
    let again = target(&out, &image, Existing::Keep).unwrap();
    assert_eq!(write(&image, &again, &resuming(&manifest)).unwrap().resumed_bytes, safe);
    run("cmp", &[text(&raw), text(&out)]);
}

/// A write to a device that fails to do `what` after a while must end, say where, and go on later.
fn on_an_ailing_device(what: &str, is_expected: fn(&CopyError) -> bool) {
    let directory = tempfile::tempdir().unwrap();
    let (raw, disk, manifest) =
        (directory.path().join("disk.raw"), directory.path().join("medium"), directory.path().join("m"));
    full_disk(&raw, 48 * MIB, 2);
    File::create(&disk).unwrap().set_len(48 * MIB).unwrap();
    let ailing = Ailing::new(directory.path(), &disk, what);
    let device = Loop::new(&ailing.mount, &[]);
    let image = opened(&raw);
    let first = target(&device.path, &image, Existing::Refuse).unwrap();
    let options = WriteOptions { budget: slow(), ..resuming(&manifest) };
    let trouble = Then(|| ailing.begins());
    let error = copy::write(&image, &first, &options, &trouble, &Cancel::new()).unwrap_err();
    assert!(is_expected(&error), "{error:?}");
    assert!(error.diagnostic().detail.contains(text(&device.path)), "{error:?}");
    assert!(!error.is_retryable());
    drop(first);
    let claimed = Manifest::open(&manifest).unwrap();
    assert!(claimed.done_bytes() > 0 && claimed.finished().is_none());
    drop(claimed);

    ailing.ends();
    let again = target(&device.path, &image, Existing::Keep).unwrap();
    let outcome = write(&image, &again, &resuming(&manifest)).unwrap();
    copy::verify(&again, &outcome.manifest, None, &VerifyOptions::default(), &Silent, &Cancel::new())
        .unwrap();
    drop((outcome, again));
    same(&raw, &device.path, 48 * MIB);
}

#[test]
fn a_device_that_cannot_be_written_any_more() {
    on_an_ailing_device("pwrite", |error| matches!(error, CopyError::Write { .. } | CopyError::Sync { .. }));
}

#[test]
fn a_device_that_cannot_be_flushed_any_more() {
    on_an_ailing_device("flush", |error| matches!(error, CopyError::Sync { .. }));
}

#[test]
fn a_device_that_loses_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let raw = directory.path().join("disk.raw");
    full_disk(&raw, 40 * MIB, 3);
    let device = Loop::sized(directory.path(), 40 * MIB);
    let shrink = || {
        File::options().write(true).open(&device.backing).unwrap().set_len(20 * MIB).unwrap();
        run("losetup", &["--set-capacity", text(&device.path)]);
    };
    let image = opened(&raw);
    let on = target(&device.path, &image, Existing::Refuse).unwrap();
    let manifest = directory.path().join("m");
    let options = WriteOptions { budget: slow(), ..resuming(&manifest) };
    let error = copy::write(&image, &on, &options, &Then(shrink), &Cancel::new()).unwrap_err();
    assert!(
        matches!(error, CopyError::Write { .. } | CopyError::Target(TargetError::TooSmall { .. })),
        "{error:?}"
    );
    // Before anything is written, from then on.
    let error = write(&image, &on, &resuming(&manifest)).unwrap_err();
    let CopyError::Target(TargetError::TooSmall { size, needed, .. }) = error else { panic!("{error:?}") };
    assert_eq!((size, needed), (20 * MIB, 40 * MIB));
}

#[test]
fn an_image_on_a_device_that_loses_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let (device, out) = (Loop::sized(directory.path(), 8 * MIB), directory.path().join("out"));
    full_disk(&device.path, 8 * MIB, 4);
    run("sync", &[]);
    let image = open(&device.path, &OpenOptions::default().format(Format::Raw)).unwrap();
    File::options().write(true).open(&device.backing).unwrap().set_len(3 * MIB).unwrap();
    run("blockdev", &["--flushbufs", text(&device.path)]);
    let on = target(&out, &image, Existing::Refuse).unwrap();
    let error = write(&image, &on, &options()).unwrap_err();
    let CopyError::Source { offset, source: SourceError::Read { file, .. } } = error else {
        panic!("{error:?}")
    };
    assert!(offset >= 3 * MIB && file == device.path, "{offset}");
}

#[test]
fn a_filesystem_that_fills_up() {
    let directory = tempfile::tempdir().unwrap();
    let raw = directory.path().join("disk.raw");
    full_disk(&raw, 24 * MIB, 5);
    let device = Loop::sized(directory.path(), 16 * MIB);
    run("mkfs.ext4", &["-q", text(&device.path)]);
    let point = directory.path().join("point");
    fs::create_dir(&point).unwrap();
    run("mount", &[text(&device.path), text(&point)]);
    let image = opened(&raw);
    // Nobody said how much data there is, so the check for room lets it pass.
    let made = target(&point.join("out"), &image, Existing::Refuse);
    let error = made.map(|on| write(&image, &on, &options()).unwrap_err());
    run("umount", &[text(&point)]);
    let CopyError::Write { source, offset, .. } = error.unwrap() else { panic!("not a write") };
    assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
    assert!(offset < 24 * MIB);
}

#[test]
fn what_lay_beyond_the_disk_is_cleared_when_it_may_be_lost() {
    let directory = tempfile::tempdir().unwrap();
    let raw = directory.path().join("disk.raw");
    full_disk(&raw, 5 * MIB + 512, 6);
    for sector in ["512", "4096"] {
        let backing = directory.path().join(sector);
        File::create(&backing).unwrap().set_len(64 * MIB).unwrap();
        let device = Loop::new(&backing, &["--sector-size", sector]);
        let path = text(&device.path);
        run("sgdisk", &["--clear", "--new=1:0:0", path]);
        let arguments = ["write", "disk.raw", path, "--force"];
        crate::support::command::replant(directory.path(), arguments).success();
        run("blockdev", &["--flushbufs", path]);
        assert_eq!(run("wipefs", &["--noheadings", path]), "", "sectors of {sector}");
        same(&raw, &device.path, 5 * MIB + 512);
    }
}

#[test]
fn the_bandwidth_limit_is_one_for_writing_and_reading_back() {
    let directory = tempfile::tempdir().unwrap();
    let raw = directory.path().join("disk.raw");
    full_disk(&raw, 10 * MIB, 7);
    let image = opened(&raw);
    let out = target(&directory.path().join("out"), &image, Existing::Refuse).unwrap();
    let outcome = write(&image, &out, &options()).unwrap();
    let other = target(&directory.path().join("other"), &image, Existing::Refuse).unwrap();
    let budget = std::sync::Arc::new(copy::Budget::new(4 * MIB, std::num::NonZeroU64::new(20 * MIB)));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let shared = budget.clone();
        scope.spawn(|| {
            let options = VerifyOptions { budget: shared, ..VerifyOptions::default() };
            copy::verify(&out, &outcome.manifest, None, &options, &Silent, &Cancel::new()).unwrap();
        });
        write(&image, &other, &WriteOptions { budget, ..options() }).unwrap();
    });
    // 20 MiB at 20 MiB/s, less the burst that a bucket allows.
    assert!(begun.elapsed().as_secs_f64() > 0.6, "{:?}", begun.elapsed());
}
