//! Images that stand on others: each layer is known by itself, and what lies above it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use replant::image::BlockSource;
use replant::model::Digest;

use super::fixture::{by_qemu, opened, raw_disk, run, same_as_qemu, text};

fn digest(path: &Path) -> Digest {
    opened(path).identity().digest()
}

/// An image's file, and QEMU's name of its format.
pub type File = (PathBuf, &'static str);

/// The bytes of two disks that differ, as ranges of 512 bytes, the shorter one's rest included.
fn differing(one: &File, other: &File) -> Vec<Range<u64>> {
    let directory = tempfile::tempdir().unwrap();
    let raw = |(path, format): &File| std::fs::read(by_qemu(path, format, directory.path())).unwrap();
    let (one, other) = (raw(one), raw(other));
    (0..one.len())
        .step_by(512)
        .filter(|at| other.get(*at..at + 512) != one.get(*at..at + 512))
        .map(|at| at as u64..at as u64 + 512)
        .collect()
}

/// Checks that every layer is known as the file that it is alone, and that the hints cover what
/// differs from each of them. `files`: the top one first.
#[track_caller]
pub fn layers_are(files: &[File]) {
    let image = opened(&files[0].0);
    let alone: Vec<Digest> = files.iter().map(|(file, _)| digest(file)).collect();
    assert_eq!(image.layers(), alone);
    assert_eq!(image.layers()[0], image.identity().digest());
    let size = image.size();
    for (file, digest) in files.iter().zip(&alone) {
        let changed = image.changed_since(digest, 0..size).unwrap().unwrap();
        assert!(changed.windows(2).all(|two| two[0].end < two[1].start), "joined, in order");
        for range in differing(&files[0], file) {
            assert!(
                changed.iter().any(|changed| changed.start <= range.start && changed.end >= range.end),
                "{range:?} of {} since {} is not in the hint",
                files[0].0.display(),
                file.0.display()
            );
        }
        // In pieces it says the same.
        let mut pieces = 0;
        for start in (0..size).step_by(100_000) {
            let range = start..size.min(start + 100_000);
            pieces += image
                .changed_since(digest, range)
                .unwrap()
                .unwrap()
                .iter()
                .map(|range| range.end - range.start)
                .sum::<u64>();
        }
        assert_eq!(pieces, changed.iter().map(|range| range.end - range.start).sum::<u64>());
    }
    assert_eq!(image.changed_since(&alone[0], 0..size).unwrap().unwrap(), []);
    assert!(image.changed_since(&Digest::of(b"another"), 0..size).unwrap().is_none());
    assert!(image.changed_since(&alone[0], 0..size + 1).is_err());
}

#[test]
fn layers_of_a_qcow2_chain() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::fs::create_dir(at("sub")).unwrap();
    std::fs::create_dir(at("sub/deeper")).unwrap();
    let raw = raw_disk(&at("sub/deeper"), 3_000_320, 1);
    let create = |name: &str, on: &str, format: &str, size: &str, write: &str| {
        let path = at(name);
        run("qemu-img", &["create", "-q", "-f", "qcow2", "-b", on, "-F", format, text(&path), size]);
        run("qemu-io", &["-f", "qcow2", "-c", write, "-c", "write -z 300k 128k", text(&path)]);
        path
    };
    let one = create("sub/one", "deeper/disk.raw", "raw", "3000320", "write -P 9 100k 70k");
    let two = create("sub/two", "one", "qcow2", "5M", "write -P 7 1M 1k");
    let three = create("three", "sub/two", "qcow2", "2000384", "write -c -P 9 1M 64k");
    let four = create("four", "three", "qcow2", "4M", "write -P 9 3M 70k");
    let chain = [(four, "qcow2"), (three, "qcow2"), (two, "qcow2"), (one, "qcow2"), (raw, "raw")];
    same_as_qemu(&chain[0].0, "qcow2");
    for top in 0..chain.len() {
        layers_are(&chain[top..]);
    }
    // A guest wrote 64 KiB: the hint says no more than that cluster and those of zeros.
    let image = opened(&chain[2].0);
    let parent = image.layers()[1];
    let changed = image.changed_since(&parent, 0..3_000_320).unwrap().unwrap();
    assert_eq!(changed, [256 << 10..448 << 10, 1 << 20..(1 << 20) + 65_536]);
    // What is below it was written to: it is another image, and so is what stands on it.
    let before = opened(&chain[0].0).layers().to_vec();
    run("qemu-io", &["-f", "qcow2", "-c", "write -P 1 0 512", text(&chain[2].0)]);
    let after = opened(&chain[0].0).layers().to_vec();
    let same: Vec<bool> = before.iter().zip(&after).map(|(before, after)| before == after).collect();
    assert_eq!(same, [false, false, false, true, true]);
    assert!(opened(&chain[0].0).changed_since(&before[2], 0..1).unwrap().is_none());
}
