//! What is special in a format; `matrix.rs` has every option.

use std::path::{Path, PathBuf};

use replant::image::{BlockSource, Format, Image, ImageError, OpenOptions, SourceError, open};

use super::fixture::{opened, raw_disk, run, same_as_qemu, text};

/// Sizes that are multiples of nothing, of a sector, of 4 KiB, of 64 KiB, of 1 MiB.
const SIZES: [u64; 5] = [3_000_000 / 512 * 512, 512, 4096 * 777, 65_536 * 33, 8 << 20];

#[test]
fn raw_of_any_size() {
    for size in SIZES.into_iter().chain([0, 1, 511, 1_000_001]) {
        let directory = tempfile::tempdir().unwrap();
        let raw = raw_disk(directory.path(), size, size);
        let image = opened(&raw);
        assert_eq!((image.format(), image.description()), (Format::Raw, "raw"));
        let reference = std::fs::read(&raw).unwrap();
        super::fixture::same_as(&image, &reference);
    }
}

#[test]
fn raw_holes_are_zero_runs() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.raw");
    std::fs::File::create(&path).unwrap().set_len(5 << 40).unwrap();
    let image = opened(&path);
    assert_eq!(image.zero_bytes().unwrap(), 5 << 40);
    assert_eq!(image.runs(0..image.size()).unwrap().len(), 1);
}

/// A disk converted to a VMDK of several files, in the directory that is given.
fn split(directory: &Path, subformat: &str, size: u64) -> PathBuf {
    let raw = raw_disk(directory, size, size ^ 9);
    let image = directory.join("split.vmdk");
    let subformat = format!("subformat={subformat}");
    run("qemu-img", &["convert", "-f", "raw", "-O", "vmdk", "-o", &subformat, text(&raw), text(&image)]);
    image
}

#[test]
fn vmdk_in_several_files() {
    for subformat in ["monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"] {
        for size in SIZES {
            let directory = tempfile::tempdir().unwrap();
            let image = split(directory.path(), subformat, size);
            same_as_qemu(&image, "vmdk");
            let image = opened(&image);
            assert_eq!(image.description(), format!("vmdk {subformat}"));
            assert_eq!(image.files().count(), 2);
        }
    }
}

/// Beyond 2 GiB there are several pieces, and offsets do not fit 32 bits.
#[test]
fn vmdk_pieces_of_a_large_disk() {
    for subformat in ["twoGbMaxExtentSparse", "twoGbMaxExtentFlat"] {
        let directory = tempfile::tempdir().unwrap();
        let size = 5 << 30;
        let path = split(directory.path(), subformat, size);
        let image = opened(&path);
        assert_eq!(image.files().count(), 4);
        same_where_there_is_data(&image, &directory.path().join("disk.raw"));
        // A piece alone is no disk.
        let piece = directory.path().join("split-s002.vmdk");
        if subformat == "twoGbMaxExtentSparse" {
            let error = open(&piece, &OpenOptions::default()).unwrap_err();
            assert!(matches!(error, ImageError::Unsupported { .. }), "{error:?}");
        }
    }
}

#[test]
fn disks_of_more_than_4_gib() {
    let directory = tempfile::tempdir().unwrap();
    let raw = raw_disk(directory.path(), (9 << 30) + 512 * 3, 5);
    for (format, options) in [
        ("vmdk", "subformat=monolithicSparse"),
        ("vmdk", "subformat=streamOptimized"),
        ("qcow2", "compat=1.1"),
        ("qcow2", "compat=0.10,cluster_size=512"),
        ("qcow2", "cluster_size=2M"),
    ] {
        let path = directory.path().join("large");
        run("qemu-img", &["convert", "-f", "raw", "-O", format, "-o", options, text(&raw), text(&path)]);
        same_where_there_is_data(&opened(&path), &raw);
    }
}

/// Large enough for entries of bitmaps between those of blocks.
#[test]
fn vhdx_of_more_than_one_chunk() {
    let directory = tempfile::tempdir().unwrap();
    let raw = raw_disk(directory.path(), 9 << 30, 6);
    let path = directory.path().join("large.vhdx");
    run("qemu-img", &["convert", "-O", "vhdx", "-o", "block_size=1M", text(&raw), text(&path)]);
    same_where_there_is_data(&opened(&path), &raw);
}

/// Which of its two sizes a VHD has goes by the software that made it.
#[test]
fn vhd_sizes_go_by_their_creator() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.vhd");
    run("qemu-img", &["create", "-q", "-f", "vpc", text(&path), "8M"]);
    for (creator, by_geometry) in [
        (b"win ", false),
        (b"qem2", false),
        (b"tap\0", false),
        (b"vbox", false),
        (b"vpc ", true),
        (b"vs  ", true),
    ] {
        let mut bytes = std::fs::read(&path).unwrap();
        let footer = bytes.len() - 512;
        let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
        bytes[footer + 28..footer + 32].copy_from_slice(creator);
        bytes[footer + 48..footer + 56].copy_from_slice(&(8u64 << 20).to_be_bytes());
        bytes[footer + 64..footer + 68].fill(0);
        let sum = !sum(&bytes[footer..]);
        bytes[footer + 64..footer + 68].copy_from_slice(&sum.to_be_bytes());
        // A dynamic disk has a copy of it at its beginning.
        bytes.copy_within(footer.., 0);
        let other = directory.path().join("other.vhd");
        std::fs::write(&other, &bytes).unwrap();
        let image = opened(&other);
        assert_eq!(image.description(), "vhd dynamic");
        assert_eq!(image.size() == 8 << 20, !by_geometry, "{creator:?}");
        if !matches!(creator, b"vbox") {
            let info = run("qemu-img", &["info", "--output=json", "-f", "vpc", text(&other)]);
            let info: serde_json::Value = serde_json::from_str(&info).unwrap();
            assert_eq!(info["virtual-size"].as_u64(), Some(image.size()), "{creator:?}");
        }
    }
}

/// What converting never makes: partly written clusters, zeroed and discarded ones, compressed
/// clusters that were overwritten, internal snapshots.
#[test]
fn qcow2_that_was_written_to() {
    for options in ["compat=1.1", "compat=0.10", "cluster_size=4k", "compat=1.1,compression_type=zstd"] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk.qcow2");
        run("qemu-img", &["create", "-f", "qcow2", "-o", options, text(&path), "10000384"]);
        let write = |commands: &[&str]| {
            let arguments: Vec<&str> = commands.iter().flat_map(|command| ["-c", *command]).collect();
            run("qemu-io", &[&["-f", "qcow2"], &arguments[..], &[text(&path)]].concat());
        };
        write(&[
            "write -P 1 1000 3000",
            "write -P 2 65000 70000",
            "write -c -P 3 1M 64k",
            "write -P 4 9999872 512",
        ]);
        run("qemu-img", &["snapshot", "-c", "first", text(&path)]);
        write(&["write -z 64k 8k", "write -z -u 128k 64k", "discard 0 4k", "write -c -P 5 2M 128k"]);
        write(&["write -P 6 1M 512", "write -P 7 2100k 1k", "write -z 5M 1M", "write -P 8 5500k 300"]);
        same_as_qemu(&path, "qcow2");
        run("qemu-img", &["snapshot", "-a", "first", text(&path)]);
        same_as_qemu(&path, "qcow2");
    }
}

#[test]
fn vmdk_that_was_written_to() {
    for options in ["subformat=monolithicSparse", "subformat=monolithicSparse,zeroed_grain=on"] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk.vmdk");
        run("qemu-img", &["create", "-f", "vmdk", "-o", options, text(&path), "10000384"]);
        let commands = ["write -P 1 1000 3000", "write -P 2 65000 70000", "write -P 4 9999872 512"];
        let arguments: Vec<&str> = commands.iter().flat_map(|command| ["-c", *command]).collect();
        run("qemu-io", &[&["-f", "vmdk"], &arguments[..], &[text(&path)]].concat());
        same_as_qemu(&path, "vmdk");
        if options.contains("zeroed") {
            run("qemu-io", &["-f", "vmdk", "-c", "write -z 64k 64k", "-c", "write -z 0 64k", text(&path)]);
            same_as_qemu(&path, "vmdk");
        }
    }
}

#[test]
fn qcow2_on_backing_files() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let raw = raw_disk(directory.path(), 3_000_320, 1);
    let create = |name: &str, on: &str, format: &str, size: &str| {
        let path = at(name);
        run("qemu-img", &["create", "-f", "qcow2", "-b", on, "-F", format, text(&path), size]);
        let commands = ["write -P 9 100k 70k", "write -z 300k 128k", "write -c -P 10 1M 64k"];
        let arguments: Vec<&str> = commands.iter().flat_map(|command| ["-c", *command]).collect();
        run("qemu-io", &[&["-f", "qcow2"], &arguments[..], &[text(&path)]].concat());
    };
    run(
        "qemu-img",
        &["convert", "-c", "-O", "qcow2", "-o", "cluster_size=2M", text(&raw), text(&at("base"))],
    );
    create("on-raw", "disk.raw", "raw", "3000320");
    create("longer", "on-raw", "qcow2", "5M");
    create("shorter", "longer", "qcow2", "2000384");
    create("again", "shorter", "qcow2", "4M");
    create("on-packed", "base", "qcow2", "4M");
    for name in ["on-raw", "longer", "shorter", "again", "on-packed"] {
        same_as_qemu(&at(name), "qcow2");
    }
    assert_eq!(opened(&at("again")).files().count(), 5);
}

#[test]
fn disks_of_zeros_and_of_nothing() {
    for (format, options) in [
        ("vmdk", "subformat=monolithicSparse"),
        ("vmdk", "subformat=streamOptimized"),
        ("vmdk", "subformat=twoGbMaxExtentSparse"),
        ("qcow2", "compat=1.1"),
        ("qcow2", "compat=0.10"),
    ] {
        for size in ["0", "1M", "3T"] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("disk");
            // QEMU makes no split image of nothing.
            if size == "0" && options.contains("twoGb") {
                continue;
            }
            run("qemu-img", &["create", "-q", "-f", format, "-o", options, text(&path), size]);
            let image = opened(&path);
            // QEMU makes a sparse VMDK of nothing, but does not read it.
            if (size, format) == ("0", "vmdk") {
                assert_eq!(image.size(), 0);
                continue;
            }
            let info = run("qemu-img", &["info", "--output=json", "-f", format, text(&path)]);
            let info: serde_json::Value = serde_json::from_str(&info).unwrap();
            assert_eq!(info["virtual-size"].as_u64(), Some(image.size()));
            assert_eq!(image.data_bytes().unwrap(), 0, "{format} {options} of {size}");
            if size == "1M" {
                same_as_qemu(&path, format);
            }
        }
    }
}

/// Where a large sparse disk has data in the raw file it was made of, the image holds the same;
/// elsewhere it says zero.
#[track_caller]
pub fn same_where_there_is_data(image: &Image, raw: &Path) {
    let raw = opened(raw);
    assert_eq!(image.size(), raw.size());
    let mut runs = 0;
    for source in [image, &raw] {
        for run in source.runs(0..source.size()).unwrap().into_iter().filter(|run| !run.zero) {
            runs += 1;
            for start in run.range.clone().step_by(1 << 20) {
                let length = (run.range.end - start).min(1 << 20) as usize;
                let (mut ours, mut theirs) = (vec![1; length], vec![2; length]);
                image.read_at(start, &mut ours).unwrap();
                raw.read_at(start, &mut theirs).unwrap();
                assert!(ours == theirs, "{} at {start}", image.path().display());
            }
        }
    }
    assert!(runs > 10);
}

/// A file that became shorter is an error, in its holes as in its data.
#[test]
fn a_raw_disk_cut_short_while_it_is_open() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.raw");
    let file = std::fs::File::create(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[1; 1 << 20], 0).unwrap();
    file.set_len(64 << 20).unwrap();
    let image = opened(&path);
    let mut bytes = vec![9; 1 << 20];
    image.read_at(40 << 20, &mut bytes).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 0));
    file.set_len(20 << 20).unwrap();
    for offset in [20 << 20, 40 << 20, 63 << 20] {
        let error = image.read_at(offset, &mut bytes).unwrap_err();
        assert!(matches!(error, SourceError::Changed { .. }), "{error:?}");
        assert!(error.to_string().contains("became shorter"), "{error}");
    }
    assert!(image.runs(0..64 << 20).unwrap().iter().any(|run| !run.zero && run.range.end == 64 << 20));
    assert!(image.reopen_check().is_err());
}
