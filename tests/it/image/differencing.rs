//! What differencing VHDs and VHDXs have in common. QEMU makes neither and reads neither's parents,
//! so that they are made here on disks that QEMU made, after Microsoft's specifications; what they
//! must read as is computed sector by sector beside it, and other people's readers read them, too.

use std::fs;
use std::path::Path;

use super::fixture::{Numbers, raw_disk, run, text};

pub const SECTOR: usize = 512;

/// What a Python module reads of a chain, its top first. The program finds the files in `names`,
/// and defines `disk`, of which `disk.read(count)` is called to the end.
#[track_caller]
pub fn by_python(program: &str, files: &[&Path], directory: &Path) -> Vec<u8> {
    let python = run(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python"), &[]);
    let script = directory.join("read_chain.py");
    let rest =
        "with open(sys.argv[1], 'wb') as out:\n    while part := disk.read(1 << 20): out.write(part)\n";
    fs::write(&script, format!("import sys\nnames = sys.argv[2:]\n{program}\n{rest}")).unwrap();
    let out = directory.join("by-python.raw");
    let mut arguments = vec![text(&script), text(&out)];
    arguments.extend(files.iter().map(|file| text(file)));
    run(python.trim(), &arguments);
    fs::read(out).unwrap()
}

/// Which sectors a disk has of its own: runs of any length, whole blocks, none of many.
pub fn own_sectors(count: usize, block: usize, seed: u64) -> Vec<bool> {
    let mut numbers = Numbers::new(seed);
    let mut own = vec![false; count];
    for block in own.chunks_mut(block) {
        match numbers.below(4) {
            0 => {}
            1 => block.fill(true),
            _ => {
                let mut at = 0;
                while at < block.len() {
                    let set = numbers.below(2) == 0;
                    let run = if numbers.below(3) == 0 { numbers.below(600) } else { numbers.below(12) };
                    let end = block.len().min(at + run as usize + 1);
                    block[at..end].fill(set);
                    at = end;
                }
            }
        }
    }
    own
}

pub fn merged(top: &[u8], below: &[u8], own: &[bool], sector: usize) -> Vec<u8> {
    let mut bytes = below.to_vec();
    bytes.resize(top.len(), 0);
    for (index, _) in own.iter().enumerate().filter(|(_, own)| **own) {
        let range = index * sector..top.len().min((index + 1) * sector);
        bytes[range.clone()].copy_from_slice(&top[range]);
    }
    bytes
}

pub fn disk(size: u64, seed: u64) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    fs::read(raw_disk(directory.path(), size, seed)).unwrap()
}

pub fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}
