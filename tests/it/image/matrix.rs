//! Every format and every option that `qemu-img` can make, converted and written to: what Replant
//! reads, and what `replant write` writes, is what `qemu-img convert -O raw` makes of it.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::fixture::{by_qemu, opened, raw_disk, run, same_as, text};
use crate::support::command::replant;

/// How an image of a kind can be filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// By any write.
    Anything,
    /// By any write, and by compressed ones of clusters that have no place yet.
    Compressed,
    /// Only once, by `qemu-img convert`.
    Once,
}

use Fill::{Anything, Compressed, Once};

/// Formats and options of `qemu-img create`. Each option has a row with each of its values (of
/// numbers: the ends and some between).
pub const KINDS: &[(&str, &str, Fill)] = &[
    ("raw", "", Anything),
    ("raw", "preallocation=off", Anything),
    ("raw", "preallocation=falloc", Anything),
    ("raw", "preallocation=full", Anything),
    ("qcow2", "", Compressed),
    ("qcow2", "compat=0.10", Compressed),
    ("qcow2", "compat=v3", Compressed),
    ("qcow2", "cluster_size=512", Compressed),
    ("qcow2", "cluster_size=1k,compat=0.10", Compressed),
    ("qcow2", "cluster_size=2k", Compressed),
    ("qcow2", "cluster_size=4k", Compressed),
    ("qcow2", "cluster_size=8k", Compressed),
    ("qcow2", "cluster_size=16k", Compressed),
    ("qcow2", "cluster_size=32k,compat=0.10", Compressed),
    ("qcow2", "cluster_size=128k", Compressed),
    ("qcow2", "cluster_size=256k", Compressed),
    ("qcow2", "cluster_size=512k", Compressed),
    ("qcow2", "cluster_size=1M", Compressed),
    ("qcow2", "cluster_size=2M", Compressed),
    ("qcow2", "compression_type=zlib", Compressed),
    ("qcow2", "compression_type=zstd", Compressed),
    ("qcow2", "compression_type=zstd,cluster_size=512", Compressed),
    ("qcow2", "compression_type=zstd,cluster_size=4k", Compressed),
    ("qcow2", "compression_type=zstd,cluster_size=2M", Compressed),
    ("qcow2", "preallocation=metadata", Anything),
    ("qcow2", "preallocation=metadata,cluster_size=512", Anything),
    ("qcow2", "preallocation=metadata,compat=0.10", Anything),
    ("qcow2", "preallocation=falloc", Anything),
    ("qcow2", "preallocation=full,cluster_size=2M", Anything),
    ("qcow2", "lazy_refcounts=on", Compressed),
    ("qcow2", "refcount_bits=1", Compressed),
    ("qcow2", "refcount_bits=4", Compressed),
    ("qcow2", "refcount_bits=64", Compressed),
    ("vmdk", "subformat=monolithicSparse", Anything),
    ("vmdk", "subformat=monolithicSparse,zeroed_grain=on", Anything),
    ("vmdk", "subformat=monolithicSparse,compat6=on", Anything),
    ("vmdk", "subformat=monolithicSparse,adapter_type=lsilogic,hwversion=14,toolsversion=10309", Anything),
    ("vmdk", "subformat=monolithicFlat", Anything),
    ("vmdk", "subformat=monolithicFlat,adapter_type=buslogic", Anything),
    ("vmdk", "subformat=twoGbMaxExtentSparse", Anything),
    ("vmdk", "subformat=twoGbMaxExtentSparse,zeroed_grain=on,adapter_type=legacyESX", Anything),
    ("vmdk", "subformat=twoGbMaxExtentFlat", Anything),
    ("vmdk", "subformat=streamOptimized", Once),
    ("vmdk", "subformat=streamOptimized,adapter_type=lsilogic,hwversion=19", Once),
    ("vmdk", "subformat=streamOptimized,zeroed_grain=on", Once),
    ("vpc", "subformat=dynamic", Anything),
    ("vpc", "subformat=dynamic,force_size=on", Anything),
    ("vpc", "subformat=fixed", Anything),
    ("vpc", "subformat=fixed,force_size=on", Anything),
    ("vhdx", "subformat=dynamic", Anything),
    ("vhdx", "subformat=fixed", Anything),
    ("vhdx", "block_size=1M", Anything),
    ("vhdx", "block_size=4M,log_size=1M", Anything),
    ("vhdx", "block_size=256M,log_size=8M", Anything),
    ("vhdx", "block_state_zero=on", Anything),
    ("vhdx", "block_state_zero=off", Anything),
];

/// Options that no row of [`KINDS`] has: the disk's size, chains (`chains.rs`), and what is
/// refused (`hostile.rs`).
const ELSEWHERE: [&str; 17] = [
    "size",
    "backing_file",
    "backing_fmt",
    "data_file",
    "data_file_raw",
    "extended_l2",
    "encryption",
    "encrypt.format",
    "encrypt.cipher-alg",
    "encrypt.cipher-mode",
    "encrypt.hash-alg",
    "encrypt.iter-time",
    "encrypt.ivgen-alg",
    "encrypt.ivgen-hash-alg",
    "encrypt.key-secret",
    // Of the protocol: how the file is made, not what is in it.
    "nocow",
    "extent_size_hint",
];

/// Multiples of a sector; of 4 KiB; of 64 KiB; of 1 MiB; one sector.
const SIZES: [u64; 5] = [6_000_128, 4096 * 777, 65_536 * 33, 8 << 20, 512];

#[test]
fn no_option_is_forgotten() {
    let known: BTreeSet<&str> = KINDS
        .iter()
        .flat_map(|(_, options, _)| options.split(','))
        .filter_map(|option| option.split('=').next())
        .chain(ELSEWHERE)
        .collect();
    for format in ["raw", "qcow2", "vmdk", "vpc", "vhdx"] {
        let help = run("qemu-img", &["create", "-f", format, "-o", "help"]);
        let options: Vec<&str> =
            help.lines().filter_map(|line| line.trim().split_once("=<")?.0.into()).collect();
        assert!(options.contains(&"size"), "{help}");
        for option in options {
            assert!(known.contains(option), "no row has the option {option} of {format}");
        }
    }
}

/// Creates an image of a kind, with all that can be written to it.
fn written(path: &Path, (format, options, fill): (&str, &str, Fill), size: u64) {
    let mut create = vec!["create", "-q", "-f", format];
    if !options.is_empty() {
        create.extend(["-o", options]);
    }
    run("qemu-img", &[&create[..], &[text(path), &size.to_string()]].concat());
    let mut commands = Vec::new();
    // Compressed ones first: they go to clusters that nothing was written to.
    if fill == Compressed {
        let cluster = 2 << 20;
        for start in (0..size).step_by(cluster as usize).skip(1).step_by(2) {
            commands.push(format!("write -c -P {} {start} {}", start >> 20, cluster.min(size - start)));
        }
    }
    for (command, offset, length) in [
        ("write -P 1", 0, 70_000),
        ("write -P 2", size.saturating_sub(700) / 512 * 512, 700),
        ("write -P 3", 1 << 20, 300_000),
        ("write -z", 100 << 10, 128 << 10),
        ("write -z -u", 1 << 20, 64 << 10),
        ("discard", 1200 << 10, 64 << 10),
        ("write -P 4", 1100 << 10, 512),
        ("write -P 0", 1500 << 10, 90 << 10),
        ("write -P 5", (2 << 20) + 1000, 3000),
        ("write -z", (3 << 20) - 10_000, 20_000),
        ("write -P 6", (5 << 20) + 512, 512),
        ("discard -q", 0, 4096),
    ] {
        if offset < size {
            commands.push(format!("{command} {offset} {}", length.min(size - offset)));
        }
    }
    let commands: Vec<&str> = commands.iter().flat_map(|command| ["-c", command]).collect();
    run("qemu-io", &[&["-f", format], &commands[..], &[text(path)]].concat());
}

/// Makes an image of a kind from a raw disk.
fn converted(path: &Path, (format, options, fill): (&str, &str, Fill), size: u64) {
    let raw = raw_disk(path.parent().unwrap(), size, size ^ 7);
    let mut arguments = vec!["convert", "-f", "raw", "-O", format];
    if !options.is_empty() {
        arguments.extend(["-o", options]);
    }
    if fill == Compressed {
        arguments.push("-c");
    }
    run("qemu-img", &[&arguments[..], &[text(&raw), text(path)]].concat());
    run("qemu-img", &["compare", "-q", "-f", "raw", "-F", format, text(&raw), text(path)]);
    fs::remove_file(raw).unwrap();
}

/// Checks one image: its blocks, and what is written of it.
fn check(path: &Path, format: &str) {
    let directory = path.parent().unwrap();
    let reference = fs::read(by_qemu(path, format, directory)).unwrap();
    same_as(&opened(path), &reference);
    replant(directory, ["write", text(path), "out"]).success();
    assert!(fs::read(directory.join("out")).unwrap() == reference, "what is written of it");
}

/// Whether QEMU can make it at all.
fn is_possible((format, options, _): (&str, &str, Fill), size: u64) -> bool {
    // One of a size that its geometry cannot say is larger, which `qemu-img compare` minds.
    format != "vpc" || options.contains("force_size") || size == 8 << 20 || size == SIZES[1]
}

#[test]
fn every_format_and_option_is_read_as_qemu_reads_it() {
    let mut cases = Vec::new();
    for (index, kind) in KINDS.iter().enumerate() {
        // Each kind has the size that is a multiple of nothing, and one of the others.
        for size in [SIZES[0], SIZES[1 + index % 4]] {
            if kind.2 != Once {
                cases.push((*kind, size, false));
            }
            if is_possible(*kind, size) {
                cases.push((*kind, size, true));
            }
        }
    }
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (kind, size, convert) = *case;
                    let one = AssertUnwindSafe(|| {
                        let directory = tempfile::tempdir().unwrap();
                        let name = if kind.0 == "raw" { "disk.img" } else { "disk" };
                        let path = directory.path().join(name);
                        if convert {
                            converted(&path, kind, size)
                        } else {
                            written(&path, kind, size)
                        }
                        check(&path, kind.0);
                    });
                    if catch_unwind(one).is_err() {
                        failed.lock().unwrap().push(format!("{case:?}"));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {} cases:\n{}", failed.len(), cases.len(), failed.join("\n"));
}
