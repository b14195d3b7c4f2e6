//! Every format and option that `qemu-img` can make.

use replant::image::{BlockSource, Format};

use super::fixture::{opened, raw_disk, run, same_as_qemu, text};

/// Sizes that are multiples of nothing, of a sector, of 4 KiB, of 64 KiB, of 1 MiB.
const SIZES: [u64; 5] = [3_000_000 / 512 * 512, 512, 4096 * 777, 65_536 * 33, 8 << 20];

#[track_caller]
fn converted(format: &str, options: &str, size: u64, compress: bool) {
    let directory = tempfile::tempdir().unwrap();
    let raw = raw_disk(directory.path(), size, size ^ 7);
    let image = directory.path().join("disk.image");
    let mut arguments = vec!["convert", "-f", "raw", "-O", format];
    if !options.is_empty() {
        arguments.extend(["-o", options]);
    }
    if compress {
        arguments.push("-c");
    }
    run("qemu-img", &[&arguments[..], &[text(&raw), text(&image)]].concat());
    same_as_qemu(&image, format);
    // QEMU itself agrees that nothing was lost on the way.
    run("qemu-img", &["compare", "-f", "raw", "-F", format, text(&raw), text(&image)]);
}

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

#[test]
fn vmdk_monolithic_sparse() {
    for size in SIZES {
        converted("vmdk", "subformat=monolithicSparse", size, false);
    }
    converted("vmdk", "subformat=monolithicSparse,zeroed_grain=on", SIZES[0], false);
    converted("vmdk", "subformat=monolithicSparse,compat6=on", SIZES[0], false);
}

#[test]
fn vmdk_stream_optimized() {
    for size in SIZES {
        converted("vmdk", "subformat=streamOptimized", size, false);
    }
}
