//! A preparation over a disk's content: put on, verified, put on again, taken off.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use replant::copy::{
    self, Cancel, CopyError, Existing, OverlayOptions, Prepared, Silent, Target, VerifyOptions, WriteOutcome,
};
use replant::image::{BlockSource, Image, Overlay, ReadSet};
use replant::model::Digest;

use super::support::{Loop, MIB, Numbers, disk, flip, garbage, opened, options, target, verify, write};

const SIZE: u64 = 9 * MIB + 1000;

struct Case {
    directory: tempfile::TempDir,
    image: Image,
    overlay: Overlay,
    /// What the disk must hold with the overlay on.
    expected: Vec<u8>,
}

/// An overlay of some blocks here and there, on a disk that may have grown.
fn case(grown: u64, seed: u64) -> Case {
    let directory = tempfile::tempdir().unwrap();
    let raw = directory.path().join("disk.raw");
    disk(&raw, SIZE, seed);
    let below = fs::read(&raw).unwrap();
    let size = SIZE + grown;
    let mut expected = below.clone();
    expected.resize(size as usize, 0);
    let mut numbers = Numbers(seed + 1);
    let mut blocks = BTreeMap::new();
    let last = (size - 1) / 4096;
    let mut put = |index: u64| {
        let start = (index * 4096) as usize;
        let length = (size as usize - start).min(4096);
        let bytes = numbers.noise(length);
        expected[start..start + length].copy_from_slice(&bytes);
        blocks.insert(index, bytes);
    };
    for index in [0, 1, 2, 255, 256, 700, last, (SIZE - 1) / 4096] {
        put(index);
    }
    let mut chunks = BTreeMap::new();
    for chunk in [0, 1, 30, SIZE / 65536] {
        let start = (chunk * 65536) as usize;
        chunks.insert(chunk, Digest::of(&below[start..below.len().min(start + 65536)]));
    }
    let overlay = Overlay { size, blocks, read_set: ReadSet { chunks } };
    let image = opened(&raw);
    Case { directory, image, overlay, expected }
}

impl Case {
    fn written(&self, path: &Path) -> (Target, WriteOutcome) {
        let target = target(path, &self.image, Existing::Keep).unwrap();
        let outcome = write(&self.image, &target, &options()).unwrap();
        (target, outcome)
    }

    fn put_on(&self, target: &Target, outcome: &mut WriteOutcome) -> Result<(), CopyError> {
        let options = OverlayOptions::default();
        copy::write_overlay(
            target,
            &self.overlay,
            &self.image,
            &mut outcome.manifest,
            &options,
            &Cancel::new(),
        )
        .map(drop)
    }

    fn take_off(&self, target: &Target, outcome: &mut WriteOutcome) {
        copy::undo_overlay(target, &self.overlay, &self.image, &mut outcome.manifest, &Cancel::new())
            .unwrap();
    }

    fn verify(&self, target: &Target, outcome: &WriteOutcome) -> Result<(), CopyError> {
        let prepared = Prepared { overlay: &self.overlay, source: &self.image };
        let options = VerifyOptions::default();
        copy::verify(target, &outcome.manifest, Some(prepared), &options, &Silent, &Cancel::new()).map(drop)
    }

    /// A volume's file of exactly that size, full of garbage.
    fn volume(&self) -> PathBuf {
        let path = self.directory.path().join("volume");
        garbage(&path, self.overlay.size);
        path
    }
}

#[track_caller]
fn holds(path: &Path, expected: &[u8]) {
    let mut found = vec![0; expected.len()];
    fs::File::open(path).unwrap().read_exact_at(&mut found, 0).unwrap();
    let different = found.iter().zip(expected).position(|(left, right)| left != right);
    assert_eq!(different, None);
}

#[test]
fn on_twice_and_off_twice() {
    for (grown, seed) in [(0, 1), (3 * MIB + 77, 2)] {
        let case = case(grown, seed);
        let path = case.volume();
        let (target, mut outcome) = case.written(&path);
        for _ in 0..2 {
            case.put_on(&target, &mut outcome).unwrap();
            holds(&path, &case.expected);
            case.verify(&target, &outcome).unwrap();
        }
        // Without the overlay in hand, that is not what the manifest says.
        assert!(matches!(verify(&target, &outcome), Err(CopyError::Manifest(_))));
        for _ in 0..2 {
            case.take_off(&target, &mut outcome);
            verify(&target, &outcome).unwrap();
        }
        let mut before = case.expected.clone();
        before[..SIZE as usize].copy_from_slice(&fs::read(case.image.path()).unwrap());
        before[SIZE as usize..].fill(0);
        holds(&path, &before);
    }
}

#[test]
fn on_a_device_that_held_something_else() {
    let case = case(2 * MIB - 1000, 3);
    let device = Loop::sized(case.directory.path(), 12 * MIB);
    garbage(&device.path, 12 * MIB);
    let (target, mut outcome) = case.written(&device.path);
    case.put_on(&target, &mut outcome).unwrap();
    case.verify(&target, &outcome).unwrap();
    drop(target);
    holds(&device.path, &case.expected);
    let after = fs::read(&device.path).unwrap();
    assert!(after[case.expected.len()..].iter().all(|byte| *byte == 0xa5));
}

#[test]
fn an_interrupted_one_is_finished_or_undone() {
    for finish in [true, false] {
        let case = case(0, 4);
        let path = case.volume();
        let (target, mut outcome) = case.written(&path);
        case.put_on(&target, &mut outcome).unwrap();
        // As a crash would leave it: some places hold the overlay's bytes, some the image's.
        let file = fs::File::options().write(true).open(&path).unwrap();
        let below = fs::read(case.image.path()).unwrap();
        for index in [1u64, 256, 700] {
            let start = (index * 4096) as usize;
            file.write_all_at(&below[start..start + 4096], start as u64).unwrap();
        }
        assert!(case.verify(&target, &outcome).is_err());
        if finish {
            case.put_on(&target, &mut outcome).unwrap();
            holds(&path, &case.expected);
        } else {
            case.take_off(&target, &mut outcome);
            holds(&path, &below);
        }
    }
}

#[test]
fn a_target_that_moved_is_left_alone() {
    let case = case(0, 5);
    let path = case.volume();
    let (target, mut outcome) = case.written(&path);
    let before = fs::read(&path).unwrap();
    // In a block that the overlay touches, beside its places; and in one it was computed from.
    for offset in [700 * 4096 + 5000, 30 * 65536 + 9] {
        flip(&path, offset);
        let error = case.put_on(&target, &mut outcome).unwrap_err();
        assert!(matches!(error, CopyError::TargetMoved { .. }), "{error:?}");
        flip(&path, offset);
        assert!(fs::read(&path).unwrap() == before);
    }
    assert_eq!(outcome.manifest.overlay(), None);
}

#[test]
fn an_overlay_that_was_computed_from_something_else() {
    let mut case = case(0, 6);
    let path = case.volume();
    let (target, mut outcome) = case.written(&path);
    let before = fs::read(&path).unwrap();
    case.overlay.read_set.chunks.insert(30, Digest::of(b"as it was"));
    let error = case.put_on(&target, &mut outcome).unwrap_err();
    assert!(matches!(error, CopyError::ImageMoved { offset, .. } if offset == 30 * 65536), "{error:?}");
    case.overlay.read_set.chunks.remove(&30);
    case.overlay.read_set.chunks.insert(u64::MAX, Digest::of(b""));
    assert!(matches!(case.put_on(&target, &mut outcome), Err(CopyError::OverlayMisfit { .. })));
    case.overlay.read_set.chunks.remove(&u64::MAX);
    case.overlay.blocks.insert(u64::MAX, vec![1; 4096]);
    assert!(matches!(case.put_on(&target, &mut outcome), Err(CopyError::OverlayMisfit { .. })));
    case.overlay.blocks.remove(&u64::MAX);
    case.overlay.size = 1 << 40;
    assert!(matches!(case.put_on(&target, &mut outcome), Err(CopyError::OverlayMisfit { .. })));
    assert!(fs::read(&path).unwrap() == before);
}

#[test]
fn a_flipped_byte_under_or_in_an_overlay_is_found() {
    let case = case(MIB, 7);
    let path = case.volume();
    let (target, mut outcome) = case.written(&path);
    case.put_on(&target, &mut outcome).unwrap();
    for offset in [0, 3 * 4096, 700 * 4096 + 1, 701 * 4096, SIZE - 1, case.overlay.size - 1] {
        flip(&path, offset);
        let error = case.verify(&target, &outcome).unwrap_err();
        assert!(matches!(error, CopyError::Differs { blocks: 1, .. }), "{offset}: {error:?}");
        flip(&path, offset);
    }
    case.verify(&target, &outcome).unwrap();
    assert_eq!(case.image.size(), SIZE);
}
