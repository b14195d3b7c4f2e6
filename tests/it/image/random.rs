//! Random images: made by random writes of `qemu-io` in random formats, read back by QEMU.

use std::process::Command;

use proptest::prelude::*;

use super::fixture::{run, same_as_qemu, text};

/// Formats, with what is possible of `qemu-io`'s writes.
const KINDS: [(&str, &str, bool, bool); 11] = [
    ("vmdk", "subformat=monolithicSparse", false, false),
    ("vmdk", "subformat=monolithicSparse,zeroed_grain=on", true, false),
    ("vmdk", "subformat=twoGbMaxExtentSparse", false, false),
    ("vmdk", "subformat=monolithicFlat", true, false),
    ("qcow2", "compat=0.10", true, true),
    ("qcow2", "compat=1.1", true, true),
    ("qcow2", "compat=1.1,cluster_size=512", true, true),
    ("qcow2", "compat=1.1,cluster_size=2M,compression_type=zstd", true, true),
    ("raw", "", true, false),
    ("vhdx", "block_size=1M", false, false),
    ("vpc", "subformat=dynamic,force_size=on", false, false),
];

#[derive(Debug, Clone)]
enum Write {
    Data(u8),
    Zeros { unmap: bool },
    Compressed(u8),
    Discard,
}

fn writes() -> impl Strategy<Value = Vec<(Write, u64, u64)>> {
    let kind = prop_oneof![
        4 => any::<u8>().prop_map(Write::Data),
        1 => any::<bool>().prop_map(|unmap| Write::Zeros { unmap }),
        2 => any::<u8>().prop_map(Write::Compressed),
        1 => Just(Write::Discard),
    ];
    // Lengths of bytes, of sectors, of clusters.
    let length = prop_oneof![1..200_000u64, (1..100u64).prop_map(|count| count * 512)];
    prop::collection::vec((kind, 0..6_000_000u64, length), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn images_of_random_writes(kind in 0..KINDS.len(), sectors in 1..12_000u64, writes in writes()) {
        let (format, options, zeros, compressed) = KINDS[kind];
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk.raw");
        let path = if format == "raw" { path } else { path.with_extension("image") };
        let size = sectors * 512;
        let mut create = vec!["create", "-q", "-f", format];
        if !options.is_empty() {
            create.extend(["-o", options]);
        }
        run("qemu-img", &[&create[..], &[text(&path), &size.to_string()]].concat());
        let mut commands = Vec::new();
        for (write, offset, length) in writes {
            let offset = offset % size;
            let length = length.min(size - offset);
            let cluster = 2 << 20;
            commands.push(match write {
                Write::Data(byte) => format!("write -P {byte} {offset} {length}"),
                Write::Zeros { unmap: true } if zeros => format!("write -z -u {offset} {length}"),
                Write::Zeros { .. } if zeros => format!("write -z {offset} {length}"),
                // Only whole clusters can be compressed.
                Write::Compressed(byte) if compressed => {
                    let start = offset / cluster * cluster;
                    format!("write -c -P {byte} {start} {}", cluster.min(size - start))
                }
                Write::Discard if zeros => format!("discard {offset} {length}"),
                _ => continue,
            });
        }
        if !commands.is_empty() {
            let mut arguments = vec!["-f", format];
            commands.iter().for_each(|command| arguments.extend(["-c", command]));
            arguments.push(text(&path));
            // QEMU may refuse one (compressing a cluster twice); the image is what it is then.
            Command::new("qemu-io").args(&arguments).output().unwrap();
        }
        same_as_qemu(&path, format);
    }
}
