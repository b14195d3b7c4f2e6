//! What goes wrong on the way is reported with its place, and never skipped.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use replant::copy::{
    self, Cancel, CopyError, Event, Existing, ExistingManifest, Manifest, Observer, Target, TargetOptions,
    WriteOptions,
};
use replant::image::{BlockSource, ReadSet, Run, SourceError};
use replant::model::Digest;

use super::support::{MIB, convert, full_disk, opened, options, run, target, text, verify, wanted, write};

/// A disk of noise that has one bad place.
struct Faulty {
    bytes: Vec<u8>,
    bad: Range<u64>,
    error: io::ErrorKind,
    /// How many reads of the bad place fail before it gets better.
    failures: AtomicU32,
}

impl Faulty {
    fn new(bad: Range<u64>, error: io::ErrorKind, failures: u32) -> Self {
        let bytes = super::support::Numbers(3).noise(9 * MIB as usize + 100);
        Self { bytes, bad, error, failures: AtomicU32::new(failures) }
    }
}

impl BlockSource for Faulty {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), SourceError> {
        let end = offset + buffer.len() as u64;
        let hit = offset < self.bad.end && self.bad.start < end;
        let fail = |left: u32| left.checked_sub(1);
        if hit && self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fail).is_ok() {
            let source = io::Error::from(self.error);
            return Err(SourceError::Read { file: "disk".into(), offset: self.bad.start, source });
        }
        buffer.copy_from_slice(&self.bytes[offset as usize..end as usize]);
        Ok(())
    }

    fn runs(&self, range: Range<u64>) -> Result<Vec<Run>, SourceError> {
        Ok(vec![Run { range, zero: false }])
    }
}

fn with_manifest(path: &Path) -> WriteOptions {
    WriteOptions {
        manifest: Some(path.to_owned()),
        existing_manifest: ExistingManifest::Resume,
        threads: Some(2),
        ..options()
    }
}

#[test]
fn an_unreadable_place_stops_the_write_and_a_resume_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let (out, manifest) = (directory.path().join("out"), directory.path().join("m"));
    let source = Faulty::new(6 * MIB + 5..6 * MIB + 6, io::ErrorKind::InvalidData, 1);
    let first = target(&out, &source, Existing::Refuse).unwrap();
    let error = write(&source, &first, &with_manifest(&manifest)).unwrap_err();
    let CopyError::Source { offset, source: SourceError::Read { offset: within, .. } } = &error else {
        panic!("{error:?}")
    };
    assert_eq!((*offset, *within), (6 * MIB, 6 * MIB + 5));
    let told = error.diagnostic();
    assert!(told.detail.contains("6291461"), "{told:?}");
    drop(first);
    let safe = Manifest::open(&manifest).unwrap().done_bytes();
    assert!((4 * MIB..9 * MIB).contains(&safe), "{safe}");
    assert!(!Manifest::open(&manifest).unwrap().is_done(6));

    let second = target(&out, &source, Existing::Keep).unwrap();
    let outcome = write(&source, &second, &with_manifest(&manifest)).unwrap();
    assert_eq!(outcome.resumed_bytes, safe);
    assert_eq!(outcome.written_bytes, source.size() - safe);
    assert!(fs::read(&out).unwrap() == source.bytes);
    verify(&second, &outcome).unwrap();
}

#[test]
fn a_passing_trouble_is_waited_out() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let source = Faulty::new(MIB..MIB + 1, io::ErrorKind::TimedOut, 2);
    let target = target(&out, &source, Existing::Refuse).unwrap();
    write(&source, &target, &options()).unwrap();
    assert!(fs::read(&out).unwrap() == source.bytes);
}

#[test]
fn a_lasting_trouble_is_not_waited_out_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let source = Faulty::new(MIB..MIB + 1, io::ErrorKind::TimedOut, u32::MAX);
    let target = target(&directory.path().join("out"), &source, Existing::Refuse).unwrap();
    let begun = std::time::Instant::now();
    let error = write(&source, &target, &options()).unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    assert!(begun.elapsed().as_secs() < 20);
}

#[test]
fn an_image_cut_off_while_it_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let (raw, image) = (directory.path().join("disk.raw"), directory.path().join("disk.vmdk"));
    full_disk(&raw, 5 * MIB, 4);
    convert(&raw, &image, "vmdk", "subformat=monolithicSparse");
    let source = opened(&image);
    let length = fs::metadata(&image).unwrap().len();
    fs::File::options().write(true).open(&image).unwrap().set_len(length - 2 * MIB).unwrap();
    let target = target(&directory.path().join("out"), &source, Existing::Refuse).unwrap();
    let error = write(&source, &target, &options()).unwrap_err();
    assert!(matches!(error, CopyError::Source { offset, .. } if offset >= 2 * MIB), "{error:?}");
}

#[test]
fn a_target_that_runs_full() {
    let directory = tempfile::tempdir().unwrap();
    let point = directory.path().join("small");
    fs::create_dir(&point).unwrap();
    run("mount", &["-t", "tmpfs", "-o", "size=3M", "tmpfs", text(&point)]);
    let source = Faulty::new(0..0, io::ErrorKind::Other, 0);
    // Nobody said how much data there is, so the check for room lets it pass.
    let target = Target::open(&point.join("out"), &TargetOptions { data: 0, ..wanted(&source) }).unwrap();
    let error = write(&source, &target, &options()).unwrap_err();
    drop(target);
    run("umount", &[text(&point)]);
    let CopyError::Write { path, source, .. } = error else { panic!("{error:?}") };
    assert_eq!((path, source.kind()), (point.join("out"), io::ErrorKind::StorageFull));
}

fn read_set(bytes: &[u8], chunks: &[u64]) -> ReadSet {
    let digest = |chunk: u64| {
        let start = (chunk * 65536) as usize;
        Digest::of(&bytes[start..bytes.len().min(start + 65536)])
    };
    ReadSet { chunks: chunks.iter().map(|chunk| (*chunk, digest(*chunk))).collect() }
}

#[test]
fn an_image_that_moved_under_the_plan() {
    let directory = tempfile::tempdir().unwrap();
    let source = Faulty::new(0..0, io::ErrorKind::Other, 0);
    let last = source.size() / 65536;
    let expect = read_set(&source.bytes, &[0, 37, 64, last]);
    let good = target(&directory.path().join("good"), &source, Existing::Refuse).unwrap();
    write(&source, &good, &WriteOptions { expect: expect.clone(), ..options() }).unwrap();

    let mut moved = expect.clone();
    moved.chunks.insert(70, Digest::of(b"as it was"));
    let out = directory.path().join("out");
    let bad = target(&out, &source, Existing::Refuse).unwrap();
    let one = WriteOptions { expect: moved, threads: Some(1), ..options() };
    let error = write(&source, &bad, &one).unwrap_err();
    let CopyError::ImageMoved { offset, found, .. } = error else { panic!("{error:?}") };
    assert_eq!(offset, 70 * 65536);
    assert_eq!(found, read_set(&source.bytes, &[70]).chunks[&70]);
    // Chunk 70 is in block 4: neither it nor anything beyond was written.
    assert!(bad.path().exists() && fs::read(&out).unwrap()[4 * MIB as usize..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_resume_checks_what_is_expected_of_blocks_that_are_done() {
    let directory = tempfile::tempdir().unwrap();
    let (out, manifest) = (directory.path().join("out"), directory.path().join("m"));
    let source = Faulty::new(0..0, io::ErrorKind::Other, 0);
    let first = target(&out, &source, Existing::Refuse).unwrap();
    write(&source, &first, &with_manifest(&manifest)).unwrap();
    drop(first);
    let again = target(&out, &source, Existing::Keep).unwrap();
    let expect = read_set(&source.bytes, &[3, 99]);
    let outcome = write(&source, &again, &WriteOptions { expect, ..with_manifest(&manifest) }).unwrap();
    assert_eq!(outcome.written_bytes, 0);
    drop(outcome);
    let expect = ReadSet { chunks: [(99, Digest::of(b"other"))].into() };
    let error = write(&source, &again, &WriteOptions { expect, ..with_manifest(&manifest) }).unwrap_err();
    assert!(matches!(error, CopyError::ImageMoved { offset, .. } if offset == 99 * 65536), "{error:?}");
}

/// Asks to stop as soon as something is written.
struct StopAtOnce(Cancel);

impl Observer for StopAtOnce {
    fn event(&self, event: &Event) {
        if matches!(event, Event::Progress { done: 1.., .. }) {
            self.0.cancel();
        }
    }
}

#[test]
fn a_request_to_stop_leaves_a_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    let (raw, out) = (directory.path().join("disk.raw"), directory.path().join("out"));
    let manifest = directory.path().join("m");
    full_disk(&raw, 64 * MIB, 5);
    let image = opened(&raw);
    let first = target(&out, &image, Existing::Refuse).unwrap();
    let cancel = Cancel::new();
    let slow = copy::Budget::new(MIB, std::num::NonZeroU64::new(60 * MIB));
    let options = WriteOptions { budget: std::sync::Arc::new(slow), ..with_manifest(&manifest) };
    let error = copy::write(&image, &first, &options, &StopAtOnce(cancel.clone()), &cancel).unwrap_err();
    let CopyError::Cancelled { done, total } = error else { panic!("{error:?}") };
    assert!(done > 0 && done < total, "{done}");
    drop(first);
    assert_eq!(Manifest::open(&manifest).unwrap().done_bytes(), done);
}

#[test]
fn the_bandwidth_limit_holds_for_several_writes_together() {
    let directory = tempfile::tempdir().unwrap();
    let raw = directory.path().join("disk.raw");
    full_disk(&raw, 10 * MIB, 6);
    let image = opened(&raw);
    let budget = std::sync::Arc::new(copy::Budget::new(4 * MIB, std::num::NonZeroU64::new(20 * MIB)));
    let begun = std::time::Instant::now();
    std::thread::scope(|scope| {
        for number in 0..2 {
            let (image, budget) = (&image, budget.clone());
            let out = directory.path().join(format!("out{number}"));
            scope.spawn(move || {
                let target = target(&out, image, Existing::Refuse).unwrap();
                write(image, &target, &WriteOptions { budget, ..options() }).unwrap();
            });
        }
    });
    // 20 MiB at 20 MiB/s, less the burst that a bucket allows.
    assert!(begun.elapsed().as_secs_f64() > 0.6, "{:?}", begun.elapsed());
}
