//! Images that stand on others: each layer is known by itself, and what lies above it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use replant::image::{BlockSource, ImageError, OpenOptions, open};
use replant::model::Digest;

use super::fixture::{by_qemu, opened, raw_disk, run, same_as_qemu, text};

fn digest(path: &Path) -> Digest {
    opened(path).identity().digest()
}

/// An image's file, and QEMU's name of its format.
pub type File = (PathBuf, &'static str);

/// The parts of 512 bytes in which two disks differ, the shorter one's rest included.
fn differing(one: &[u8], other: &[u8]) -> Vec<Range<u64>> {
    (0..one.len())
        .step_by(512)
        .map(|at| at..one.len().min(at + 512))
        .filter(|range| other.get(range.clone()) != Some(&one[range.clone()]))
        .map(|range| range.start as u64..range.end as u64)
        .collect()
}

/// As [`by_layers`], of what QEMU reads of each of the files.
#[track_caller]
pub fn layers_are(files: &[File]) {
    let directory = tempfile::tempdir().unwrap();
    let contents: Vec<Vec<u8>> = files
        .iter()
        .map(|(path, format)| std::fs::read(by_qemu(path, format, directory.path())).unwrap())
        .collect();
    let files: Vec<&Path> = files.iter().map(|(path, _)| path.as_path()).collect();
    by_layers(&files, &contents.iter().map(Vec::as_slice).collect::<Vec<_>>());
}

/// Checks that every layer is known as the file that it is alone, and that the hints cover what
/// differs from each of them. `files`: the top one first, and what each of them holds.
#[track_caller]
pub fn by_layers(files: &[&Path], contents: &[&[u8]]) {
    let image = opened(files[0]);
    let alone: Vec<Digest> = files.iter().map(|file| digest(file)).collect();
    assert_eq!(image.layers(), alone);
    assert_eq!(image.layers()[0], image.identity().digest());
    let size = image.size();
    let bytes = |ranges: &[Range<u64>]| ranges.iter().map(|range| range.end - range.start).sum::<u64>();
    for ((file, content), digest) in files.iter().zip(contents).zip(&alone) {
        let changed = image.changed_since(digest, 0..size).unwrap().unwrap();
        assert!(changed.windows(2).all(|two| two[0].end < two[1].start), "joined, in order");
        for range in differing(contents[0], content) {
            assert!(
                changed.iter().any(|changed| changed.start <= range.start && changed.end >= range.end),
                "{range:?} of {} since {} is not in the hint",
                files[0].display(),
                file.display()
            );
        }
        // In pieces it says the same.
        let pieces = (0..size).step_by(100_000).map(|start| {
            let range = start..size.min(start + 100_000);
            bytes(&image.changed_since(digest, range).unwrap().unwrap())
        });
        assert_eq!(pieces.sum::<u64>(), bytes(&changed));
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

/// VMDK chains as QEMU makes them: deltas of grains, on parents of every sub-format.
#[test]
fn layers_of_a_vmdk_chain() {
    for (subformat, pieces) in [
        ("monolithicSparse", 1),
        ("streamOptimized", 1),
        ("monolithicFlat", 2),
        ("twoGbMaxExtentSparse", 2),
        ("twoGbMaxExtentFlat", 2),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir(at("sub")).unwrap();
        let raw = raw_disk(directory.path(), 3_000_320, 1);
        let base = at("sub/base.vmdk");
        let option = format!("subformat={subformat}");
        run("qemu-img", &["convert", "-O", "vmdk", "-o", &option, text(&raw), text(&base)]);
        let create = |name: &str, on: &str, options: &[&str], size: &str, writes: &[&str]| {
            let path = at(name);
            let create = ["create", "-q", "-f", "vmdk", "-b", on, "-F", "vmdk"];
            run("qemu-img", &[&create[..], options, &[text(&path), size]].concat());
            let writes: Vec<&str> = writes.iter().flat_map(|write| ["-c", *write]).collect();
            run("qemu-io", &[&["-f", "vmdk"], &writes[..], &[text(&path)]].concat());
            path
        };
        let zeroed = &["-o", "zeroed_grain=on"];
        let one = create(
            "sub/one.vmdk",
            "base.vmdk",
            zeroed,
            "3000320",
            &["write -P 9 100k 70k", "write -z 1M 128k"],
        );
        // Larger than its parent; the hint is an absolute path.
        let two = create("sub/two.vmdk", text(&one), &[], "5M", &["write -P 7 1M 1k", "write -P 8 4M 9k"]);
        let three =
            create("three.vmdk", "sub/two.vmdk", zeroed, "7M", &["write -P 9 3M 70k", "write -z 0 64k"]);
        let chain = [three, two, one, base].map(|path| (path, "vmdk"));
        for (path, _) in &chain {
            same_as_qemu(path, "vmdk");
        }
        layers_are(&chain[1..]);
        layers_are(&chain);
        assert_eq!(opened(&chain[0].0).files().count(), 3 + pieces);
    }
}

#[test]
fn a_parent_that_is_missing_or_another() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let create = |name: &str, on: &[&str]| {
        let path = at(name);
        run("qemu-img", &[&["create", "-q", "-f", "vmdk"], on, &[text(&path), "3M"]].concat());
        path
    };
    let base = create("base.vmdk", &[]);
    let delta = create("delta.vmdk", &["-b", "base.vmdk", "-F", "vmdk"]);
    opened(&delta);
    let refused = || open(&delta, &OpenOptions::default()).unwrap_err();
    // Written to behind the snapshot's back.
    let sound = std::fs::read(&base).unwrap();
    run("qemu-io", &["-f", "vmdk", "-c", "write -P 1 0 512", text(&base)]);
    let error = refused();
    assert!(matches!(&error, ImageError::OtherParent { .. }), "{error:?}");
    let diagnostic = error.diagnostic();
    assert_eq!(diagnostic.code.as_str(), "image::other_parent");
    assert!(diagnostic.detail.contains("the parent's is"), "{}", diagnostic.detail);
    // What the help says does it.
    let id = diagnostic.help[2].strip_prefix("parentCID=").unwrap().to_owned();
    let text_of = std::fs::read(&delta).unwrap();
    let place = text_of.windows(10).position(|bytes| bytes == b"parentCID=").unwrap() + 10;
    let mut mended = text_of.clone();
    mended[place..place + 8].copy_from_slice(format!("{id:0>8}").as_bytes());
    std::fs::write(&delta, mended).unwrap();
    same_as_qemu(&delta, "vmdk");
    std::fs::write(&delta, &text_of).unwrap();
    // Of another format, of no format.
    std::fs::write(&base, vec![0; 1 << 20]).unwrap();
    assert!(matches!(refused(), ImageError::OtherFormat { .. }));
    // Gone.
    std::fs::remove_file(&base).unwrap();
    let error = refused();
    assert!(
        matches!(&error, ImageError::NeedsParent { parent: Some(parent), .. } if parent == "base.vmdk"),
        "{error:?}"
    );
    let help = error.diagnostic().help;
    assert!(help[0].contains("`base.vmdk`") && help[0].contains(text(directory.path())), "{help:?}");
    // A link out of the directory is not followed.
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("base.vmdk"), &sound).unwrap();
    std::os::unix::fs::symlink(outside.path().join("base.vmdk"), &base).unwrap();
    assert!(matches!(refused(), ImageError::Escape { .. }));
    std::fs::remove_file(&base).unwrap();
    // Itself, by another name and by its own.
    std::fs::hard_link(&delta, &base).unwrap();
    assert!(matches!(refused(), ImageError::Cycle { .. }));
    // A name without an id.
    std::fs::remove_file(&base).unwrap();
    std::fs::write(&base, &sound).unwrap();
    let mut orphan = text_of.clone();
    orphan[place..place + 8].copy_from_slice(b"ffffffff");
    std::fs::write(&delta, &orphan).unwrap();
    let error = refused();
    assert!(matches!(&error, ImageError::OtherParent { .. }), "{error:?}");
}

/// Hints of other places are looked up by their last part, in the image's directory only.
#[test]
fn hints_of_other_places() {
    let outside = tempfile::tempdir().unwrap();
    let inside = tempfile::tempdir_in(outside.path()).unwrap();
    let at = |name: &str| inside.path().join(name);
    let descriptor = |hint: &str| {
        let text = format!(
            "# Disk DescriptorFile\nversion=1\nCID=00000002\nparentCID=1\nparentFileNameHint=\"{hint}\"\n\
            createType=\"custom\"\nRW 8 ZERO\n"
        );
        std::fs::write(at("delta.vmdk"), text).unwrap();
        open(at("delta.vmdk"), &OpenOptions::default())
    };
    let base = "# Disk DescriptorFile\nCID=00000001\nparentCID=ffffffff\ncreateType=\"custom\"\nRW 8 ZERO\n";
    std::fs::write(outside.path().join("base.vmdk"), base).unwrap();
    let hints = [
        "base.vmdk",
        "./base.vmdk",
        "../base.vmdk",
        "../../somewhere/base.vmdk",
        "/vmfs/volumes/datastore1/vm/base.vmdk",
        "C:\\vm\\base.vmdk",
        "..\\vm\\base.vmdk",
        "gone/base.vmdk",
    ];
    for hint in hints {
        let error = descriptor(hint).unwrap_err();
        assert!(matches!(error, ImageError::NeedsParent { .. }), "{hint}: {error:?}");
    }
    std::fs::write(at("base.vmdk"), base).unwrap();
    for hint in hints {
        assert_eq!(descriptor(hint).unwrap().layers().len(), 2, "{hint}");
    }
    for hint in ["", "..", "/", "sub/.."] {
        let error = descriptor(hint).unwrap_err();
        assert!(matches!(error, ImageError::NeedsParent { .. }), "{hint}: {error:?}");
    }
}

/// A snapshot of a disk of 2 TiB: what it holds is found by its tables alone, and by few of them.
#[test]
fn hints_of_a_huge_chain_are_quick() {
    let directory = tempfile::tempdir().unwrap();
    for (format, options) in [("vmdk", "zeroed_grain=on"), ("qcow2", "compat=1.1")] {
        let at = |name: &str| directory.path().join(format!("{name}.{format}"));
        run("qemu-img", &["create", "-q", "-f", format, "-o", options, text(&at("base")), "2T"]);
        run("qemu-io", &["-f", format, "-c", "write -P 1 0 100M", text(&at("base"))]);
        let on = format!("base.{format}");
        let create = ["create", "-q", "-f", format, "-o", options, "-b", &on, "-F", format];
        run("qemu-img", &[&create[..], &[text(&at("delta"))]].concat());
        let mut writes = vec!["-f".to_owned(), format.to_owned()];
        for number in 0..200u64 {
            writes.extend(["-c".to_owned(), format!("write -P 2 {}M 64k", number * 10_000)]);
        }
        writes.push(text(&at("delta")).to_owned());
        run("qemu-io", &writes.iter().map(String::as_str).collect::<Vec<_>>());
        let started = std::time::Instant::now();
        let image = opened(&at("delta"));
        let opening = started.elapsed();
        let changed = image.changed_since(&image.layers()[1], 0..image.size()).unwrap().unwrap();
        let took = started.elapsed();
        let expected: Vec<_> = (0..200u64).map(|number| (number * 10_000) << 20).collect();
        assert_eq!(changed.iter().map(|range| range.start).collect::<Vec<_>>(), expected);
        assert!(changed.iter().all(|range| range.end - range.start == 65_536));
        // Debug builds on a busy machine get room; the figure is far below a second.
        assert!(took < std::time::Duration::from_secs(20), "{format}: {took:?}");
        println!("{format}: open {opening:?}, hint {:?}", took - opening);
    }
}
