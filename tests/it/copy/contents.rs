//! What is on the target is what was in the image, holes included.

use std::fs;
use std::path::Path;

use replant::copy::{Existing, block::BLOCK};
use replant::image::BlockSource;

use super::support::{
    Loop, MIB, allocated, convert, disk, garbage, opened, options, run, same, target, text, verify, write,
};

/// Multiples of nothing, of a sector, of 4 KiB, of 1 MiB.
const SIZES: [u64; 6] = [1, 700_001, 3 * MIB + 512, 5 * MIB + 4096, 7 * MIB, 9 * MIB - 1];

#[test]
fn a_new_file_of_any_size() {
    for (seed, size) in SIZES.into_iter().chain([0]).enumerate() {
        let directory = tempfile::tempdir().unwrap();
        let (raw, out) = (directory.path().join("disk.raw"), directory.path().join("out"));
        disk(&raw, size, seed as u64);
        let image = opened(&raw);
        let target = target(&out, &image, Existing::Refuse).unwrap();
        let outcome = write(&image, &target, &options()).unwrap();
        assert_eq!((outcome.size, outcome.data_bytes + outcome.zero_bytes), (size, size));
        run("cmp", &[text(&raw), text(&out)]);
        verify(&target, &outcome).unwrap();
    }
}

#[test]
fn stale_bytes_of_a_file_become_zeros_where_the_disk_is_zero() {
    for (seed, size) in SIZES.into_iter().enumerate() {
        let directory = tempfile::tempdir().unwrap();
        let (raw, out) = (directory.path().join("disk.raw"), directory.path().join("out"));
        disk(&raw, size, 50 + seed as u64);
        garbage(&out, size + 100);
        let image = opened(&raw);
        let target = target(&out, &image, Existing::Keep).unwrap();
        let outcome = write(&image, &target, &options()).unwrap();
        verify(&target, &outcome).unwrap();
        same(&raw, &out, size);
        // What lies beyond the disk is not its business.
        assert_eq!(fs::read(&out).unwrap()[size as usize..], [0xa5; 100]);
    }
}

#[test]
fn stale_bytes_of_a_device_become_zeros_where_the_disk_is_zero() {
    for (seed, size) in SIZES.into_iter().enumerate() {
        let directory = tempfile::tempdir().unwrap();
        let raw = directory.path().join("disk.raw");
        disk(&raw, size, 90 + seed as u64);
        let device = Loop::sized(directory.path(), 10 * MIB);
        garbage(&device.path, 10 * MIB);
        let image = opened(&raw);
        let target = target(&device.path, &image, Existing::Refuse).unwrap();
        let outcome = write(&image, &target, &options()).unwrap();
        verify(&target, &outcome).unwrap();
        drop(target);
        same(&raw, &device.path, size);
        let after = fs::read(&device.path).unwrap();
        assert!(after[size as usize..].iter().all(|byte| *byte == 0xa5), "beyond {size}");
    }
}

#[test]
fn devices_with_4096_byte_sectors() {
    let directory = tempfile::tempdir().unwrap();
    let raw = directory.path().join("disk.raw");
    let size = 3 * MIB + 512;
    disk(&raw, size, 4);
    let backing = directory.path().join("backing");
    garbage(&backing, 4 * MIB);
    let device = Loop::new(&backing, &["--sector-size", "4096"]);
    let image = opened(&raw);
    let target = target(&device.path, &image, Existing::Refuse).unwrap();
    let outcome = write(&image, &target, &options()).unwrap();
    verify(&target, &outcome).unwrap();
    drop(target);
    same(&raw, &device.path, size);
}

#[test]
fn every_format_as_qemu_reads_it() {
    let directory = tempfile::tempdir().unwrap();
    let raw = directory.path().join("disk.raw");
    disk(&raw, 24 * MIB, 7);
    let reference = write_to_file(&raw, &directory.path().join("raw.out"));
    for subformat in [
        "monolithicSparse",
        "streamOptimized",
        "monolithicFlat",
        "twoGbMaxExtentSparse",
        "twoGbMaxExtentFlat",
    ] {
        let image = directory.path().join(format!("{subformat}.vmdk"));
        convert(&raw, &image, "vmdk", &format!("subformat={subformat}"));
        let out = directory.path().join(format!("{subformat}.out"));
        let content = write_to_file(&image, &out);
        run("qemu-img", &["compare", "-f", "vmdk", "-F", "raw", text(&image), text(&out)]);
        // The digest is of the bytes, whatever they were stored in.
        assert_eq!(content, reference, "{subformat}");
    }
}

#[test]
fn a_compressed_image_on_a_device_with_stale_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let (raw, image) = (directory.path().join("disk.raw"), directory.path().join("disk.vmdk"));
    disk(&raw, 40 * MIB, 8);
    convert(&raw, &image, "vmdk", "subformat=streamOptimized");
    let device = Loop::sized(directory.path(), 48 * MIB);
    garbage(&device.path, 48 * MIB);
    let source = opened(&image);
    let target = target(&device.path, &source, Existing::Refuse).unwrap();
    let outcome = write(&source, &target, &options()).unwrap();
    verify(&target, &outcome).unwrap();
    drop(target);
    same(&raw, &device.path, 40 * MIB);
}

#[track_caller]
fn write_to_file(image: &Path, out: &Path) -> replant::model::Digest {
    let source = opened(image);
    let target = target(out, &source, Existing::Refuse).unwrap();
    write(&source, &target, &options()).unwrap().content
}

#[test]
fn a_sparse_disk_stays_sparse_in_a_file_and_behind_a_device() {
    let directory = tempfile::tempdir().unwrap();
    let raw = directory.path().join("disk.raw");
    let file = fs::File::create(&raw).unwrap();
    file.set_len(256 * MIB).unwrap();
    let noise = super::support::Numbers(1).noise(70_000);
    std::os::unix::fs::FileExt::write_all_at(&file, &noise, 100 * MIB + 5000).unwrap();
    let image = opened(&raw);

    let out = directory.path().join("out");
    let on_file = target(&out, &image, Existing::Refuse).unwrap();
    let outcome = write(&image, &on_file, &options()).unwrap();
    assert!(outcome.written_bytes <= 192 << 10, "{}", outcome.written_bytes);
    assert!(allocated(&out) <= 256 << 10, "{}", allocated(&out));
    run("cmp", &[text(&raw), text(&out)]);

    let device = Loop::sized(directory.path(), 256 * MIB);
    let on_device = target(&device.path, &image, Existing::Refuse).unwrap();
    let outcome = write(&image, &on_device, &options()).unwrap();
    assert_eq!(outcome.data_bytes, BLOCK);
    verify(&on_device, &outcome).unwrap();
    drop(on_device);
    assert!(allocated(&device.backing) <= 2 * MIB, "{}", allocated(&device.backing));
    same(&raw, &device.path, image.size());
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let raw = directory.path().join("disk.raw");
    disk(&raw, 20 * MIB + 77, 12);
    let image = opened(&raw);
    let mut contents = Vec::new();
    for threads in [1, 2, 7, 40] {
        let out = directory.path().join(format!("out{threads}"));
        let target = target(&out, &image, Existing::Refuse).unwrap();
        let options = replant::copy::WriteOptions { threads: Some(threads), ..options() };
        contents.push(write(&image, &target, &options).unwrap().content);
        run("cmp", &[text(&raw), text(&out)]);
    }
    contents.dedup();
    assert_eq!(contents.len(), 1);
}
