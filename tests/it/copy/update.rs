//! A target that was written before is brought up to another image: only what differs is written,
//! and what may not differ is not even read.

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use replant::copy::{
    self, Cancel, Changes, CopyError, Existing, ExistingManifest, Manifest, ManifestError, Reading, Silent,
    Target, TargetOptions, VerifyOptions, WriteOptions, WriteOutcome,
};
use replant::image::{BlockSource, Image, Overlay, Run, SourceError};
use replant::model::Digest;

use super::support::{
    Loop, MIB, Numbers, convert, disk, flip, full_disk, opened, options, run, same, target, text, write,
};
use crate::support::command::{command, replant};

/// Bytes that were written to a block device and read from it, as the kernel counts them.
fn traffic(device: &Loop) -> (u64, u64) {
    let name = device.path.file_name().unwrap().to_str().unwrap();
    let stat = fs::read_to_string(format!("/sys/block/{name}/stat")).unwrap();
    let fields: Vec<u64> = stat.split_whitespace().map(|field| field.parse().unwrap()).collect();
    (fields[6] * 512, fields[2] * 512)
}

/// Puts noise somewhere on a raw disk.
fn scribble(path: &Path, places: &[(u64, usize)], seed: u64) {
    let file = File::options().write(true).open(path).unwrap();
    let mut numbers = Numbers(seed);
    for (offset, length) in places {
        file.write_all_at(&numbers.noise(*length), *offset).unwrap();
    }
}

fn updating(manifest: &Path) -> WriteOptions {
    WriteOptions {
        manifest: Some(manifest.to_owned()),
        existing_manifest: ExistingManifest::Update,
        ..options()
    }
}

/// Writes an image on a file or device, with or without a manifest that is there.
fn bring(image: &Image, out: &Path, manifest: &Path, changes: Changes) -> Result<WriteOutcome, CopyError> {
    let existing = if manifest.exists() { Existing::Keep } else { Existing::Refuse };
    let target = target(out, image, existing).unwrap();
    let options = WriteOptions { image: image.identity().digest(), changes, ..updating(manifest) };
    write(image, &target, &options)
}

#[test]
fn one_block_of_a_hundred_changed_writes_that_one() {
    let directory = tempfile::tempdir().unwrap();
    let raw = directory.path().join("disk.raw");
    full_disk(&raw, 200 * MIB + 700, 1);
    let device = Loop::sized(directory.path(), 201 * MIB);
    let out = text(&device.path);
    replant(directory.path(), ["write", "disk.raw", out, "--manifest", "m"]).success();

    // The tail, one byte, and a piece that lies in two blocks.
    scribble(&raw, &[(200 * MIB + 699, 1), (50 * MIB + 77, 1), (101 * MIB - 2000, 4000)], 2);
    let before = traffic(&device);
    let update = replant(directory.path(), ["write", "disk.raw", out, "--manifest", "m"]).success();
    let after = traffic(&device);
    let (written, read) = (after.0 - before.0, after.1 - before.1);
    assert!((3 * MIB..=3 * MIB + 8192).contains(&written), "{written} bytes were written");
    // A sample of what is there, and what opening looks for.
    assert!(read < 20 * MIB, "{read} bytes were read");
    for part in ["unchanged 197 MiB", "all of the image, for the image does not stand on", "written   3 MiB"]
    {
        assert!(update.stdout.contains(part), "{}", update.both());
    }
    run("blockdev", &["--flushbufs", out]);
    same(&raw, &device.path, 200 * MIB + 700);

    // The same image again: nothing to read, nothing to write.
    let again = replant(directory.path(), ["write", "disk.raw", out, "--manifest", "m", "--json"]).success();
    let last: serde_json::Value = serde_json::from_str(again.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(last["said"]["value"]["written_bytes"], 0);
    assert_eq!(last["said"]["value"]["read_bytes"], 0);
    assert!(last["said"]["value"]["update"].is_null());
    // Unless that is wanted.
    let arguments = ["write", "disk.raw", out, "--manifest", "m", "--json", "--rehash", "--verify"];
    let again = replant(directory.path(), arguments).success();
    let last: serde_json::Value = serde_json::from_str(again.stdout.lines().last().unwrap()).unwrap();
    let value = &last["said"]["value"];
    assert_eq!((&value["written_bytes"], &value["read_bytes"]), (&0.into(), &(200 * MIB + 700).into()));
    assert_eq!(value["update"]["reading"]["kind"], "whole");
    assert_eq!(value["unchanged_bytes"], 200 * MIB + 700);
}

#[test]
fn data_becomes_zeros_and_zeros_data_on_files_and_devices() {
    for (on_device, seed) in [(false, 30), (true, 40)] {
        let directory = tempfile::tempdir().unwrap();
        let device = on_device.then(|| Loop::sized(directory.path(), 30 * MIB));
        let out = device.as_ref().map_or(directory.path().join("out"), |device| device.path.clone());
        let manifest = directory.path().join("m");
        for version in 0..4 {
            // Nothing of the disks is alike but what is zero in both.
            let raw = directory.path().join(format!("{version}.raw"));
            disk(&raw, 30 * MIB - 1000, seed + version);
            let image = opened(&raw);
            let outcome = bring(&image, &out, &manifest, Changes::default()).unwrap();
            assert_eq!(outcome.update.is_some(), version > 0);
            assert_eq!(outcome.data_bytes + outcome.zero_bytes, 30 * MIB - 1000);
            let again = target(&out, &image, Existing::Keep).unwrap();
            super::support::verify(&again, &outcome).unwrap();
            drop((again, outcome));
            same(&raw, &out, 30 * MIB - 1000);
        }
    }
}

/// A qcow2 chain: the base from a raw disk, then overlays on it.
struct Chain {
    directory: tempfile::TempDir,
    images: Vec<PathBuf>,
}

impl Chain {
    fn new(raw: &dyn Fn(&Path)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (disk, base) = (directory.path().join("disk.raw"), directory.path().join("0.qcow2"));
        raw(&disk);
        convert(&disk, &base, "qcow2", "");
        fs::remove_file(disk).unwrap();
        Self { directory, images: vec![base] }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Another overlay, on which these commands of qemu-io were run.
    fn overlay(&mut self, size: Option<u64>, commands: &[String]) -> PathBuf {
        let name = format!("{}.qcow2", self.images.len());
        let (below, image) = (self.images.last().unwrap(), self.path(&name));
        let below = below.file_name().unwrap().to_str().unwrap();
        let size = size.map(|size| size.to_string());
        let mut arguments = vec!["create", "-q", "-f", "qcow2", "-b", below, "-F", "qcow2", text(&image)];
        arguments.extend(size.as_deref());
        run("qemu-img", &arguments);
        for command in commands {
            run("qemu-io", &["-f", "qcow2", "-c", command, text(&image)]);
        }
        self.images.push(image.clone());
        image
    }

    /// What qemu-img makes of the newest.
    fn expected(&self) -> PathBuf {
        let raw = self.path("expected.raw");
        run("qemu-img", &["convert", "-O", "raw", text(self.images.last().unwrap()), text(&raw)]);
        raw
    }
}

#[test]
fn an_overlay_on_what_was_written_says_what_to_read() {
    let mut chain = Chain::new(&|raw| full_disk(raw, 64 * MIB, 3));
    let (out, manifest) = (chain.path("out"), chain.path("m"));
    bring(&opened(&chain.images[0]), &out, &manifest, Changes::default()).unwrap();

    let image = chain.overlay(None, &["write -P 9 5M 64k".into(), "write -z 20M 3M".into()]);
    let outcome = bring(&opened(&image), &out, &manifest, Changes::default()).unwrap();
    assert_eq!((outcome.read_bytes, outcome.written_bytes), (MIB, MIB));
    assert_eq!(outcome.unchanged_bytes, 60 * MIB);
    let update = outcome.update.as_ref().unwrap();
    assert_eq!(update.looked_at, 4 * MIB);
    assert!(matches!(&update.reading, Reading::Changes { by } if by.contains("layers")), "{update:?}");
    drop(outcome);
    run("cmp", &[text(&chain.expected()), text(&out)]);

    // Two at once, and one of another size: its tail may be anything.
    chain.overlay(None, &["write -P 7 40M 100k".into()]);
    let image = chain.overlay(Some(70 * MIB + 512), &["write -P 8 66M 1000".into()]);
    let source = opened(&image);
    let longer =
        Target::open(&out, &TargetOptions { existing: Existing::Keep, ..TargetOptions::default() }).unwrap();
    longer.grow(source.size()).unwrap();
    drop(longer);
    let outcome = bring(&source, &out, &manifest, Changes::default()).unwrap();
    assert!(outcome.read_bytes <= 3 * MIB, "{}", outcome.read_bytes);
    drop(outcome);
    run("cmp", &[text(&chain.expected()), text(&out)]);

    // All of it where that is wanted.
    let outcome = bring(&source, &out, &manifest, Changes::Unknown).unwrap();
    assert_eq!((outcome.written_bytes, outcome.unchanged_bytes), (0, source.size()));
    assert!(outcome.read_bytes >= 60 * MIB, "{}", outcome.read_bytes);
}

#[test]
fn an_overlay_on_something_else_is_read_in_full_and_that_is_said() {
    let mut chain = Chain::new(&|raw| full_disk(raw, 16 * MIB, 4));
    let (out, manifest) = (chain.path("out"), chain.path("m"));
    bring(&opened(&chain.images[0]), &out, &manifest, Changes::default()).unwrap();
    // The base itself is written to, below an overlay that says nothing of that.
    run("qemu-io", &["-f", "qcow2", "-c", "write -P 5 8M 4k", text(&chain.images[0])]);
    chain.overlay(None, &["write -P 9 5M 64k".into()]);
    let update = replant(chain.directory.path(), ["write", "1.qcow2", "out", "--manifest", "m"]).success();
    let why = "all of the image, for the image does not stand on the one that was written";
    assert!(update.stdout.contains(why) && update.stdout.contains("read      16 MiB"), "{}", update.both());
    run("cmp", &[text(&chain.expected()), text(&out)]);
}

#[test]
fn a_tebibyte_of_which_little_changed_takes_moments() {
    let mut chain = Chain::new(&|raw| {
        File::create(raw).unwrap().set_len(1 << 40).unwrap();
        scribble(raw, &[(0, 9000), (700 << 30, 3 << 20)], 5);
    });
    let directory = chain.directory.path().to_owned();
    let place = |n: u64| (n * 10 + 3) << 30;
    replant(&directory, ["write", "0.qcow2", "out", "--manifest", "m"]).success();
    let before = fs::metadata(directory.join("m")).unwrap().len();
    let changes: Vec<String> = (0..100).map(|n| format!("write -P {} {} 1M", n + 1, place(n))).collect();
    let image = chain.path("1.qcow2");
    run("qemu-img", &["create", "-q", "-f", "qcow2", "-b", "0.qcow2", "-F", "qcow2", text(&image)]);
    let commands: Vec<&str> = changes.iter().flat_map(|change| ["-c", change.as_str()]).collect();
    run("qemu-io", &[&["-f", "qcow2"], &commands[..], &[text(&image)]].concat());
    chain.images.push(image);

    let begun = std::time::Instant::now();
    let mut child = command(&directory, ["write", "1.qcow2", "out", "--manifest", "m", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut stdout).unwrap();
    // What the kernel says it wrote, manifest included, while it can still be asked.
    let io = fs::read_to_string(format!("/proc/{}/io", child.id())).unwrap_or_default();
    assert!(child.wait().unwrap().success());
    let took = begun.elapsed();
    let wrote = io.lines().find_map(|line| line.strip_prefix("wchar: ")).map(|n| n.parse::<u64>().unwrap());
    assert!(wrote.is_none_or(|bytes| bytes < 102 * MIB), "{io}");
    let last: serde_json::Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    assert_eq!(last["said"]["value"]["read_bytes"], 100 * MIB);
    assert_eq!(last["said"]["value"]["written_bytes"], 100 * MIB);
    let after = fs::metadata(directory.join("m")).unwrap().len();
    assert!(after - before < 64 << 10, "the manifest grew by {}", after - before);
    // Generous: this build is not optimised, and other tests run beside it.
    assert!(took.as_secs() < 30, "{took:?}");
    let file = File::open(directory.join("out")).unwrap();
    let mut bytes = vec![0; MIB as usize];
    for n in [0, 37, 99] {
        file.read_exact_at(&mut bytes, place(n)).unwrap();
        assert!(bytes.iter().all(|byte| u64::from(*byte) == n + 1));
    }
}

/// A disk of noise in memory that is no file, with a report of what changed.
struct Memory(Vec<u8>);

impl BlockSource for Memory {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), SourceError> {
        buffer.copy_from_slice(&self.0[offset as usize..offset as usize + buffer.len()]);
        Ok(())
    }

    fn runs(&self, range: Range<u64>) -> Result<Vec<Run>, SourceError> {
        Ok(vec![Run { range, zero: false }])
    }

    fn is_identified(&self) -> bool {
        false
    }
}

fn reported(ranges: impl IntoIterator<Item = Range<u64>>) -> Changes {
    Changes::Reported { by: "the dirty bitmap b0".to_owned(), ranges: ranges.into_iter().collect() }
}

#[test]
fn a_report_of_what_changed_is_checked_as_far_as_it_can_be() {
    let directory = tempfile::tempdir().unwrap();
    let (out, manifest) = (directory.path().join("out"), directory.path().join("m"));
    let mut source = Memory(Numbers(6).noise(40 * MIB as usize));
    let target = target(&out, &source, Existing::Refuse).unwrap();
    write(&source, &target, &updating(&manifest)).unwrap();
    let with = |changes| WriteOptions { changes, ..updating(&manifest) };

    // A superset, as bitmaps are: one block of five has really changed.
    source.0[7 * MIB as usize + 9] ^= 1;
    let outcome =
        write(&source, &target, &with(reported([7 * MIB..8 * MIB, 20 * MIB + 5..24 * MIB]))).unwrap();
    assert_eq!((outcome.read_bytes, outcome.written_bytes), (5 * MIB, MIB));
    assert!(
        matches!(&outcome.update.as_ref().unwrap().reading, Reading::Changes { by } if by.contains("b0"))
    );
    drop(outcome);
    assert!(fs::read(&out).unwrap() == source.0);

    // One that lies: found, and all is read. (40 blocks, all of them in the sample.)
    source.0[3 * MIB as usize] ^= 1;
    let outcome = write(&source, &target, &with(reported(Some(8 * MIB..9 * MIB)))).unwrap();
    let Reading::Whole { why } = &outcome.update.as_ref().unwrap().reading else { panic!("{outcome:?}") };
    assert!(why.contains("it does not name byte 3145728, and that has changed"), "{why}");
    assert_eq!((outcome.read_bytes, outcome.written_bytes), (40 * MIB, MIB));
    drop(outcome);
    assert!(fs::read(&out).unwrap() == source.0);

    // Without a report there is only reading: this source's identity stays whatever it holds.
    source.0[11 * MIB as usize] ^= 1;
    let outcome = write(&source, &target, &with(Changes::OfLayers)).unwrap();
    assert_eq!((outcome.read_bytes, outcome.written_bytes), (40 * MIB, MIB));
    drop(outcome);
    assert!(fs::read(&out).unwrap() == source.0);
}

#[test]
fn a_disk_that_shrinks_leaves_nothing_of_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let device = Loop::sized(directory.path(), 32 * MIB);
    super::support::garbage(&device.path, 32 * MIB);
    let manifest = directory.path().join("m");
    let (large, small) = (directory.path().join("large.raw"), directory.path().join("small.raw"));
    full_disk(&large, 20 * MIB + 512, 7);
    fs::write(&small, &fs::read(&large).unwrap()[..9 * MIB as usize + 100]).unwrap();
    bring(&opened(&large), &device.path, &manifest, Changes::default()).unwrap();
    let outcome = bring(&opened(&small), &device.path, &manifest, Changes::default()).unwrap();
    assert_eq!(outcome.unchanged_bytes, 9 * MIB);
    drop(outcome);
    let after = fs::read(&device.path).unwrap();
    assert!(after[..9 * MIB as usize + 100] == fs::read(&small).unwrap());
    assert!(after[9 * MIB as usize + 100..20 * MIB as usize + 512].iter().all(|byte| *byte == 0));
    // What was never the disk's is still not.
    assert!(after[21 * MIB as usize..].iter().all(|byte| *byte == 0xa5));
}

#[test]
fn an_overlay_that_lies_on_the_target_goes() {
    let directory = tempfile::tempdir().unwrap();
    let (raw, out, manifest) =
        (directory.path().join("disk.raw"), directory.path().join("out"), directory.path().join("m"));
    full_disk(&raw, 12 * MIB, 8);
    let image = opened(&raw);
    File::create(&out).unwrap().set_len(16 * MIB).unwrap();
    let mut outcome = bring(&image, &out, &manifest, Changes::default()).unwrap();
    // Within the disk, at its end, and where it has grown.
    let blocks = [3, 12 * 256 - 1, 12 * 256, 16 * 256 - 1].map(|index| (index, vec![0x77; 4096]));
    let overlay = Overlay { size: 16 * MIB, blocks: blocks.into(), ..Overlay::default() };
    let on = target(&out, &image, Existing::Keep).unwrap();
    let put = copy::OverlayOptions::default();
    copy::write_overlay(&on, &overlay, &image, &mut outcome.manifest, &put, &Cancel::new()).unwrap();
    drop((on, outcome));
    assert_eq!(fs::read(&out).unwrap()[16 * MIB as usize - 1], 0x77);

    // The very same image: what lies under the overlay is written again, and no more.
    let outcome = bring(&image, &out, &manifest, Changes::default()).unwrap();
    assert_eq!((outcome.read_bytes, outcome.written_bytes), (2 * MIB, 2 * MIB));
    assert_eq!(outcome.manifest.overlay(), None);
    drop(outcome);
    let mut expected = fs::read(&raw).unwrap();
    expected.resize(16 * MIB as usize, 0);
    assert!(fs::read(&out).unwrap() == expected);
}

#[test]
fn a_manifest_of_version_1_is_gone_on_with() {
    let directory = tempfile::tempdir().unwrap();
    let manifest = directory.path().join("m");
    let mut bytes = Numbers(77).noise(6 * MIB as usize + 700);
    for block in [2, 4] {
        bytes[block * MIB as usize..(block + 1) * MIB as usize].fill(0);
    }
    for (name, written) in [("finished", MIB), ("unfinished", 2 * MIB), ("overlay", 2 * MIB)] {
        let held = format!("{}/tests/it/copy/data/manifest-v1-{name}.bin", env!("CARGO_MANIFEST_DIR"));
        fs::copy(held, &manifest).unwrap();
        let out = directory.path().join(name);
        let mut there = bytes.clone();
        match name {
            "unfinished" => there[5 * MIB as usize..].fill(0),
            // Version 1 did not say where: nothing on the target is certain.
            "overlay" => {
                there[3 * 4096..4 * 4096].fill(7);
                there.resize(8 * MIB as usize, 9);
            }
            _ => {}
        }
        fs::write(&out, &there).unwrap();
        let identity = Some("vol-0123456789abcdef0".to_owned());
        let existing = Existing::Keep;
        let options = TargetOptions { existing, identity, ..TargetOptions::default() };
        let target = Target::open(&out, &options).unwrap();
        let mut source = Memory(bytes.clone());
        let mut options = WriteOptions { existing_manifest: ExistingManifest::Resume, ..updating(&manifest) };
        if name != "unfinished" {
            source.0[MIB as usize] ^= 1;
            options.image = Digest::of(b"newer");
        }
        let outcome = write(&source, &target, &options).unwrap();
        assert!(outcome.written_bytes.abs_diff(written) < MIB, "{name}: {outcome:?}");
        let verify = VerifyOptions::default();
        copy::verify(&target, &outcome.manifest, None, &verify, &Silent, &Cancel::new()).unwrap();
        drop(outcome);
        let after = fs::read(&out).unwrap();
        assert!(after[..source.0.len()] == source.0, "{name}");
        assert!(after[source.0.len()..].iter().all(|byte| *byte == 0), "{name}");
    }
}

#[test]
fn what_something_else_wrote_to_is_not_brought_up_to_anything() {
    let directory = tempfile::tempdir().unwrap();
    let (raw, out, manifest) =
        (directory.path().join("disk.raw"), directory.path().join("out"), directory.path().join("m"));
    full_disk(&raw, 5 * MIB, 9);
    bring(&opened(&raw), &out, &manifest, Changes::default()).unwrap();
    scribble(&raw, &[(MIB, 1)], 10);
    flip(&out, 4 * MIB + 3);
    let before = fs::read(&out).unwrap();
    let error = bring(&opened(&raw), &out, &manifest, Changes::default()).unwrap_err();
    assert!(matches!(error, CopyError::TargetMoved { offset, .. } if offset == 4 * MIB), "{error:?}");
    assert!(fs::read(&out).unwrap() == before);
    // It still says what it said.
    assert!(Manifest::open(&manifest).unwrap().finished().is_some());

    let elsewhere = directory.path().join("elsewhere");
    fs::copy(&out, &elsewhere).unwrap();
    let error = bring(&opened(&raw), &elsewhere, &manifest, Changes::default()).unwrap_err();
    let CopyError::Manifest(ManifestError::OtherTarget { .. }) = error else { panic!("{error:?}") };
    assert!(fs::read(&elsewhere).unwrap() == before);
}

#[test]
fn an_image_that_changes_while_it_is_read_is_no_whole_disk() {
    let directory = tempfile::tempdir().unwrap();
    let (raw, out, manifest) =
        (directory.path().join("disk.raw"), directory.path().join("out"), directory.path().join("m"));
    full_disk(&raw, 5 * MIB, 11);
    let image = opened(&raw);
    scribble(&raw, &[(4 * MIB, 100)], 12);
    let error = bring(&image, &out, &manifest, Changes::default()).unwrap_err();
    let CopyError::Source { source: SourceError::Changed { file, .. }, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(file, &raw);
    assert_eq!(error.diagnostic().code.as_str(), "copy::image_changed");
    assert!(Manifest::open(&manifest).unwrap().finished().is_none());
}
