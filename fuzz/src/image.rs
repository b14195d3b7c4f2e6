//! Disk images: opened from files in memory, then read as a write and as a preparation read them.

use std::path::Path;
use std::sync::LazyLock;

use replant::image::{BlockSource, Image, OpenOptions, open, ova};

use super::base::{Base, unpack};
use super::case::Case;
use super::directory::directory;
use super::memory::bounded;
use super::numbers::Numbers;
use super::seal;
use super::sparse::Sparse;

macro_rules! bases {
    ($($name:ident = $file:literal;)*) => {$(
        /// The bases of this format.
        pub static $name: LazyLock<Vec<Base>> =
            LazyLock::new(|| unpack(include_bytes!(concat!("../bases/", $file, ".zst"))));
    )*};
}

bases! {
    VMDK = "vmdk";
    QCOW2 = "qcow2";
    VHD = "vhd";
    VHDX = "vhdx";
    OVA = "ova";
}

/// Most bytes that one read asks for.
const MOST_READ: u64 = 48 << 10;
/// Most bytes of a disk whose runs are asked for at once.
const MOST_RUNS: u64 = 64 << 20;
/// The largest file that is compared with its digest.
const MOST_DIGESTED: u64 = 16 << 20;
/// The largest disk of which all metadata is read.
const MOST_SIZE: u64 = 4 << 40;

/// VMDK of every kind, with extents and parents.
pub fn vmdk(input: &[u8]) {
    image(&VMDK, input, |_, _| {});
}

/// QCOW2 with backing files and snapshots.
pub fn qcow2(input: &[u8]) {
    image(&QCOW2, input, |_, _| {});
}

/// VHD: fixed, dynamic, differencing.
pub fn vhd(input: &[u8]) {
    image(&VHD, input, |file, _| seal::vhd(file));
}

/// VHDX with logs and parents.
pub fn vhdx(input: &[u8]) {
    image(&VHDX, input, seal::vhdx);
}

/// Appliances: tar archives and directories.
pub fn ova(input: &[u8]) {
    image(&OVA, input, |file, _| seal::tar(file));
}

/// Any file: what it is, and that as an image.
pub fn detect(input: &[u8]) {
    let Some((options, content)) = input.split_first() else { return };
    let case = Case {
        base: 0,
        options: *options,
        seed: input.len() as u64,
        files: vec![("any".to_owned(), Sparse::of(content))],
    };
    use_case(&case, "detect");
}

fn image(bases: &[Base], input: &[u8], seal: fn(&mut Sparse, Option<&Sparse>)) {
    let Some(mut case) = Case::decode(bases, input) else { return };
    if case.sealed() {
        let originals = bases.get(case.base).map_or(&[][..], |base| &base.files);
        for (index, (_, file)) in case.files.iter_mut().enumerate() {
            seal(file, originals.get(index).map(|file| &file.content));
        }
    }
    let name = bases.get(case.base).map_or("raw", |base| base.name.as_str());
    use_case(&case, name);
}

fn use_case(case: &Case, name: &str) {
    let directory = directory(name);
    let path = case.store(&directory).expect("files in memory can be written");
    let mut options = OpenOptions::default();
    if case.options & 2 != 0 {
        options = options.member("disk2");
    }
    bounded(case.stored(), || {
        match open(&path, &options) {
            Ok(image) => check(&image, &mut Numbers::new(case.seed)),
            Err(error) => {
                let _ = (error.diagnostic(), error.is_retryable(), error.code());
            }
        }
        if path.extension().is_some_and(|extension| extension == "ova" || extension == "ovf") {
            appliance(&path, case.files.iter().all(|(_, file)| file.size() <= MOST_DIGESTED));
        }
    });
}

/// The bases that cannot be opened, and why: inputs that change them reach little.
#[must_use]
pub fn unsound() -> Vec<String> {
    let mut found = Vec::new();
    for bases in [&*VMDK, &*QCOW2, &*VHD, &*VHDX, &*OVA] {
        for (index, base) in bases.iter().enumerate() {
            let head = [u8::try_from(index).unwrap_or(0), 0, 0, 0, 0, 0, 0, 0];
            let case = Case::decode(bases, &head).expect("a head is a whole input");
            let path = case.store(&directory(&base.name)).expect("files in memory can be written");
            let options = OpenOptions::default();
            let options = if std::ptr::eq(bases, &*OVA) { options.member("disk1") } else { options };
            let content = open(&path, &options)
                .map_err(|error| error.diagnostic().detail)
                .and_then(|image| image.data_bytes().map_err(|error| error.to_string()));
            match content {
                Ok(0) => found.push(format!("{} of {}: no data", base.name, base.files[0].name)),
                Ok(_) => {}
                Err(error) => found.push(format!("{} of {}: {error}", base.name, base.files[0].name)),
            }
        }
    }
    found
}

/// What else is done with appliances; with a full read of all files where that is quick.
fn appliance(path: &Path, is_small: bool) {
    if let Ok(appliance) = ova::read(path) {
        for disk in &appliance.disks {
            let _ = appliance.disk(Some(&disk.id)).is_ok();
        }
        let _ = appliance.disk(None).is_ok();
    }
    let _ = ova::check_manifest(path, &|| !is_small).map_err(|error| error.to_string());
}

/// Reads an open image as the copy, the survey and the guest's filesystems do; what must be true
/// of every image is checked on the way.
fn check(image: &Image, numbers: &mut Numbers) {
    let size = image.size();
    assert_eq!(image.identity().size, size, "the identity's size");
    assert_eq!(image.layers().first(), Some(&image.identity().digest()), "the top layer is the image");
    assert!(image.reopen_check().is_ok(), "nothing changed meanwhile");
    assert!(image.read_at(size, &mut [0]).is_err(), "there is nothing behind the end");
    assert!(image.files().count() > 0 && !image.description().is_empty(), "it consists of something");
    if size <= MOST_SIZE {
        let _ = image.data_bytes();
    }
    let some = numbers.below(size);
    let windows = [
        (0, size.min(MOST_RUNS)),
        (size.saturating_sub(1 << 20), size),
        (some, some.saturating_add(1 + numbers.below(4 << 20)).min(size)),
    ];
    for (start, end) in windows {
        let Ok(runs) = image.runs(start..end) else { continue };
        let mut at = start;
        let mut before = None;
        for run in &runs {
            assert!(run.range.start == at && run.range.end > at, "runs have no gaps");
            assert_ne!(before, Some(run.zero), "neighbours of a kind are joined");
            (at, before) = (run.range.end, Some(run.zero));
        }
        assert_eq!(at, end, "runs reach the end");
        for run in runs.iter().filter(|run| run.zero).take(2) {
            let mut bytes = vec![1; length(run.range.end - run.range.start)];
            if image.read_at(run.range.start, &mut bytes).is_ok() {
                assert!(bytes.iter().all(|byte| *byte == 0), "a run of zeros reads as zeros");
            }
        }
        for run in runs.iter().filter(|run| !run.zero).take(4) {
            pieces(image, run.range.start, length(run.range.end - run.range.start), numbers);
        }
        for layer in image.layers().iter().take(3) {
            let Ok(changed) = image.changed_since(layer, start..end) else { continue };
            let changed = changed.expect("a layer of its own");
            let mut at = start;
            for (index, range) in changed.iter().enumerate() {
                assert!(range.start >= at && range.end > range.start && range.end <= end, "changes in order");
                assert!(index == 0 || range.start > at, "changes that touch are joined");
                at = range.end;
            }
        }
    }
    for _ in 0..3 {
        let at = numbers.below(size);
        pieces(image, at, length((size - at).min(1 + numbers.below(MOST_READ))), numbers);
    }
}

fn length(bytes: u64) -> usize {
    usize::try_from(bytes.min(MOST_READ)).unwrap_or(0)
}

/// Reads a range at once and in two pieces: the same bytes must come.
fn pieces(image: &Image, at: u64, length: usize, numbers: &mut Numbers) {
    let mut whole = vec![0xa5; length];
    if image.read_at(at, &mut whole).is_err() {
        return;
    }
    let mut pieces = vec![0x5a; length];
    let (first, second) = pieces.split_at_mut(numbers.index(length + 1));
    let middle = at + first.len() as u64;
    assert!(image.read_at(at, first).is_ok(), "what could be read once can be read again");
    assert!(image.read_at(middle, second).is_ok(), "what could be read once can be read again");
    assert!(whole == pieces, "the same bytes, however they are read");
}
