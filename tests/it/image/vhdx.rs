//! VHDX logs: what a writer that died left there is replayed in memory, as QEMU replays it into a
//! copy of the file.

use std::fs;
use std::path::Path;
use std::process::Command;

use replant::image::{ImageError, OpenOptions, open};

use super::fixture::{opened, run, same_as, text};

const SECTOR: usize = 4096;

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| sum >> 1 ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 })
    })
}

/// Makes the checksum of a structure right again.
pub fn seal(bytes: &mut [u8]) {
    bytes[4..8].fill(0);
    let sum = crc32c(bytes);
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
}

/// A VHDX of which QEMU wrote twelve blocks, as if it had died before the log of all of them was
/// applied: its header names the log, and the table of blocks holds nothing of them.
fn with_log(path: &Path) -> Vec<u8> {
    run("qemu-img", &["create", "-q", "-f", "vhdx", "-o", "block_size=1M", text(path), "64M"]);
    let writes: Vec<String> =
        (0..12).map(|index| format!("write -P {} {}k 100k", index + 1, index * 5000)).collect();
    let mut arguments = vec!["-f", "vhdx"];
    writes.iter().for_each(|write| arguments.extend(["-c", write]));
    arguments.extend(["-c", "abort", text(path)]);
    let died = Command::new("qemu-io").args(&arguments).output().unwrap();
    assert!(!died.status.success(), "it died");

    let mut bytes = fs::read(path).unwrap();
    let entries: Vec<usize> =
        (0..bytes.len()).step_by(SECTOR).filter(|at| bytes[*at..].starts_with(b"loge")).collect();
    assert!(entries.len() >= 12, "{entries:?}");
    // QEMU gives each entry a log of its own; here they become one.
    let id: Vec<u8> = bytes[entries[0] + 32..entries[0] + 48].to_vec();
    for at in &entries {
        let length = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
        bytes[at + 12..at + 16].fill(0);
        bytes[at + 32..at + 48].copy_from_slice(&id);
        seal(&mut bytes[*at..at + length]);
    }
    let header = 128 << 10;
    let sequence = u64::from_le_bytes(bytes[header + 8..header + 16].try_into().unwrap());
    for (at, sequence) in [(64 << 10, sequence + 1), (header, sequence + 2)] {
        bytes.copy_within(header..header + SECTOR, at);
        bytes[at + 8..at + 16].copy_from_slice(&sequence.to_le_bytes());
        bytes[at + 48..at + 64].copy_from_slice(&id);
        seal(&mut bytes[at..at + SECTOR]);
    }
    let table = table(&bytes, entries[0]);
    bytes[table..table + SECTOR].fill(0);
    bytes
}

/// The place that the first change of an entry is meant for.
fn table(bytes: &[u8], entry: usize) -> usize {
    assert!(bytes[entry + 64..].starts_with(b"desc"));
    u64::from_le_bytes(bytes[entry + 80..entry + 88].try_into().unwrap()) as usize
}

#[test]
fn a_log_is_replayed_in_memory() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.vhdx");
    let bytes = with_log(&path);
    fs::write(&path, &bytes).unwrap();
    let replayed = directory.path().join("replayed.vhdx");
    fs::write(&replayed, &bytes).unwrap();
    run("qemu-img", &["check", "-q", "-r", "all", text(&replayed)]);
    let raw = directory.path().join("replayed.raw");
    run("qemu-img", &["convert", "-f", "vhdx", "-O", "raw", text(&replayed), text(&raw)]);
    let reference = fs::read(&raw).unwrap();
    for index in 0..12 {
        let at = index * 5_120_000;
        assert!(reference[at..at + 102_400].iter().all(|byte| *byte == index as u8 + 1), "QEMU replayed");
    }
    same_as(&opened(&path), &reference);
    assert!(fs::read(&path).unwrap() == bytes, "the image is only read");
}

#[test]
fn a_damaged_log_is_not_ignored() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.vhdx");
    let sound = with_log(&path);
    let first = (0..sound.len()).step_by(SECTOR).find(|at| sound[*at..].starts_with(b"loge")).unwrap();
    let changed = |patches: &[(usize, &[u8])], reseal: bool| -> Result<(), ImageError> {
        let mut bytes = sound.clone();
        for (at, patch) in patches {
            bytes[first + at..first + at + patch.len()].copy_from_slice(patch);
        }
        if reseal {
            seal(&mut bytes[first..first + 2 * SECTOR]);
        }
        fs::write(&path, &bytes).unwrap();
        open(&path, &OpenOptions::default()).map(|_| ())
    };
    changed(&[], true).unwrap();
    let far = u64::MAX.to_le_bytes();
    for (what, patches, reseal) in [
        ("a wrong checksum", vec![(SECTOR + 100, &[9][..])], false),
        ("a missing number", vec![(16, &[77])], true),
        ("a kind of change that is none", vec![(64, b"what")], true),
        ("more changes than fit", vec![(24, &[0xff, 0xff, 0xff])], true),
        ("a change of another entry", vec![(64 + 24, &[9])], true),
        ("data of another entry", vec![(SECTOR + 4, &[9])], true),
        ("a change of what is no metadata", vec![(80, &(10u64 << 20).to_le_bytes())], true),
        ("a change behind everything", vec![(80, &0xffff_ffff_ffff_f000_u64.to_le_bytes())], true),
        ("zeros without end", vec![(64, b"zero"), (72, &far)], true),
        ("a file that was longer", vec![(48, &far)], true),
    ] {
        let error = changed(&patches, reseal).expect_err(what);
        assert_eq!(error.code(), "image::damaged", "{what}: {error}");
    }
}
