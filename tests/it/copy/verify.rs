//! Reading back finds a single wrong byte, wherever it is.

use std::fs;

use replant::copy::{CopyError, Existing, Target, WriteOutcome};

use super::support::{Loop, MIB, flip, opened, options, target, verify, write};

/// Block 0 data, block 1 a hole, block 2 data, block 3 the end of 5,000 bytes of zeros.
fn small_disk(path: &std::path::Path) {
    let mut bytes = vec![7; 3 * MIB as usize];
    bytes[MIB as usize..2 * MIB as usize].fill(0);
    bytes.resize(3 * MIB as usize + 5000, 0);
    fs::write(path, bytes).unwrap();
}

#[track_caller]
fn differs(target: &Target, outcome: &WriteOutcome, block: u64, should_be_zero: bool) {
    match verify(target, outcome) {
        Err(CopyError::Differs { blocks, offset, zero, .. }) => {
            assert_eq!((blocks, offset, zero), (1, block * MIB, should_be_zero));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn in_a_file_and_on_a_device() {
    let directory = tempfile::tempdir().unwrap();
    let raw = directory.path().join("disk.raw");
    small_disk(&raw);
    let image = opened(&raw);
    let device = Loop::sized(directory.path(), 4 * MIB);
    for path in [directory.path().join("out"), device.path.clone()] {
        let target = target(&path, &image, Existing::Refuse).unwrap();
        let outcome = write(&image, &target, &options()).unwrap();
        verify(&target, &outcome).unwrap();
        for (offset, block, zero) in [
            (17, 0, false),
            (MIB - 1, 0, false),
            (MIB, 1, true),
            (2 * MIB - 1, 1, true),
            (3 * MIB - 1, 2, false),
            (3 * MIB + 4999, 3, true),
        ] {
            flip(&path, offset);
            differs(&target, &outcome, block, zero);
            flip(&path, offset);
        }
        verify(&target, &outcome).unwrap();
    }
}

#[test]
fn all_differences_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let (raw, out) = (directory.path().join("disk.raw"), directory.path().join("out"));
    small_disk(&raw);
    let image = opened(&raw);
    let target = target(&out, &image, Existing::Refuse).unwrap();
    let outcome = write(&image, &target, &options()).unwrap();
    flip(&out, 2 * MIB);
    flip(&out, MIB + 9);
    let error = verify(&target, &outcome).unwrap_err();
    assert!(matches!(error, CopyError::Differs { blocks: 2, offset: MIB, zero: true, .. }), "{error:?}");
    assert!(error.diagnostic().is_error());
}
