//! Random images: made by random writes of `qemu-io` in random formats, read back by QEMU.

use std::fs;
use std::process::Command;

use proptest::prelude::*;

use replant::image::{OpenOptions, open};

use super::chains::{File, layers_are};
use super::fixture::{by_qemu, run, same_as, same_as_qemu, text};
use super::matrix::{Fill, KINDS};

#[derive(Debug, Clone)]
enum Write {
    Data(u8),
    Zeros {
        unmap: bool,
    },
    Compressed(u8),
    Discard,
    /// Keeps what is there as an internal snapshot.
    Snapshot,
}

fn writes() -> impl Strategy<Value = Vec<(Write, u64, u64)>> {
    let kind = prop_oneof![
        4 => any::<u8>().prop_map(Write::Data),
        1 => any::<bool>().prop_map(|unmap| Write::Zeros { unmap }),
        2 => any::<u8>().prop_map(Write::Compressed),
        1 => Just(Write::Discard),
        1 => Just(Write::Snapshot),
    ];
    // Lengths of bytes, of sectors, of clusters.
    let length = prop_oneof![1..200_000u64, (1..100u64).prop_map(|count| count * 512)];
    prop::collection::vec((kind, 0..6_000_000u64, length), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn images_of_random_writes(kind in 0..KINDS.len(), sectors in 1..12_000u64, writes in writes()) {
        let (format, options, fill) = KINDS[kind];
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(if format == "raw" { "disk.raw" } else { "disk" });
        let size = sectors * 512;
        let mut create = vec!["create", "-q", "-f", format];
        if !options.is_empty() {
            create.extend(["-o", options]);
        }
        run("qemu-img", &[&create[..], &[text(&path), &size.to_string()]].concat());
        let mut snapshots = 0;
        for (write, offset, length) in writes {
            let offset = offset % size;
            let length = length.min(size - offset);
            let cluster = 2 << 20;
            let command = match write {
                // A stream's grains are written once, whole.
                Write::Data(byte) if fill != Fill::Once => format!("write -P {byte} {offset} {length}"),
                Write::Zeros { unmap: true } if fill != Fill::Once => format!("write -z -u {offset} {length}"),
                Write::Zeros { .. } if fill != Fill::Once => format!("write -z {offset} {length}"),
                Write::Compressed(byte) => {
                    let start = offset / cluster * cluster;
                    format!("write -c -P {byte} {start} {}", cluster.min(size - start))
                }
                Write::Discard => format!("discard {offset} {length}"),
                Write::Snapshot if format == "qcow2" => {
                    let name = format!("snapshot {snapshots}");
                    // Of counts of one bit there can be none.
                    let made = Command::new("qemu-img").args(["snapshot", "-c", &name, text(&path)]).output();
                    snapshots += u32::from(made.unwrap().status.success());
                    continue;
                }
                _ => continue,
            };
            // QEMU may refuse one (compressing a cluster twice); the image is what it is then.
            Command::new("qemu-io").args(["-f", format, "-c", &command, text(&path)]).output().unwrap();
        }
        same_as_qemu(&path, format);
        for number in 0..snapshots {
            let name = format!("snapshot {number}");
            let image = open(&path, &OpenOptions::default().snapshot(name.as_str())).unwrap();
            run("qemu-img", &["snapshot", "-a", &name, text(&path)]);
            let reference = fs::read(by_qemu(&path, format, directory.path())).unwrap();
            let again = open(&path, &OpenOptions::default().snapshot(name.as_str())).unwrap();
            // Going back wrote to the file, but nothing of any snapshot.
            same_as(&again, &reference);
            same_as(&image, &reference);
        }
    }
}

/// Formats of deltas, on a base of the same format.
const DELTAS: [(&str, &str); 4] = [
    ("vmdk", "subformat=monolithicSparse"),
    ("vmdk", "subformat=monolithicSparse,zeroed_grain=on"),
    ("qcow2", "compat=1.1"),
    ("qcow2", "compat=1.1,cluster_size=512"),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn chains_of_random_writes(
        kind in 0..DELTAS.len(),
        layers in prop::collection::vec((1..12_000u64, writes()), 2..5),
    ) {
        let (format, options) = DELTAS[kind];
        let directory = tempfile::tempdir().unwrap();
        let mut files: Vec<File> = Vec::new();
        for (number, (sectors, writes)) in layers.into_iter().enumerate() {
            let path = directory.path().join(format!("{number}"));
            let size = sectors * 512;
            let below = format!("{}", number.wrapping_sub(1));
            let on = ["-b", &below, "-F", format];
            let create = [&["create", "-q", "-f", format, "-o", options], &on[..if number == 0 { 0 } else { 4 }]];
            run("qemu-img", &[&create.concat()[..], &[text(&path), &size.to_string()]].concat());
            let mut commands = vec!["-f".to_owned(), format.to_owned()];
            for (write, offset, length) in writes {
                let (offset, length) = (offset % size, length.min(size - offset % size));
                let command = match write {
                    Write::Data(byte) => format!("write -P {byte} {offset} {length}"),
                    Write::Zeros { unmap: true } => format!("write -z -u {offset} {length}"),
                    Write::Zeros { unmap: false } => format!("write -z {offset} {length}"),
                    Write::Discard => format!("discard {offset} {length}"),
                    _ => continue,
                };
                commands.extend(["-c".to_owned(), command]);
            }
            commands.push(text(&path).to_owned());
            Command::new("qemu-io").args(&commands).output().unwrap();
            files.insert(0, (path, format));
        }
        same_as_qemu(&files[0].0, format);
        layers_are(&files);
    }
}
