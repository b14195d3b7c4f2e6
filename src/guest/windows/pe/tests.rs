//! Files that are none. Real ones are made by a compiler and a signer in
//! `tests/it/guest/windows/drivers`.

use super::{Machine, Pe, PeError};

/// A program of headers alone, with room for directories.
fn headers(magic: u16) -> Vec<u8> {
    let mut file = vec![0; 0x200];
    file[..2].copy_from_slice(b"MZ");
    file[0x3c] = 0x40;
    file[0x40..0x44].copy_from_slice(b"PE\0\0");
    file[0x44..0x46].copy_from_slice(&0x8664u16.to_le_bytes());
    file[0x54..0x56].copy_from_slice(&240u16.to_le_bytes());
    file[0x58..0x5a].copy_from_slice(&magic.to_le_bytes());
    file[0x58 + 108] = 16;
    file
}

#[test]
fn headers_are_enough() {
    let file = headers(0x20b);
    let pe = Pe::read(&file).unwrap();
    assert_eq!((pe.machine(), pe.file_version()), (Machine::Amd64, None));
    assert_eq!(pe.signatures().unwrap(), []);
}

#[test]
fn what_is_no_program_is_refused() {
    let file = headers(0x20b);
    for length in 0..0x58 + 112 {
        assert!(Pe::read(&file[..length]).is_err(), "{length}");
    }
    assert!(Pe::read(b"#!/bin/sh\n").is_err());
    assert!(Pe::read(&headers(0x107)).is_err());
    let mut far = headers(0x20b);
    far[0x3c..0x40].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(Pe::read(&far).is_err());
    let mut many = headers(0x20b);
    many[0x46] = 97;
    assert!(Pe::read(&many).is_err());
}

#[test]
fn certificates_elsewhere_are_refused() {
    let entry = 0x58 + 112 + 32;
    for (offset, size) in
        [(0x200u32, 8u32), (u32::MAX, u32::MAX), (0, 8), (0x1f8, 16), (0x100, 0x80), (0x1f8, 8)]
    {
        let mut file = headers(0x20b);
        file[entry..entry + 4].copy_from_slice(&offset.to_le_bytes());
        file[entry + 4..entry + 8].copy_from_slice(&size.to_le_bytes());
        let error = Pe::read(&file).unwrap().signatures().unwrap_err();
        assert!(matches!(error, PeError::Signature { .. }), "{offset:x} {size:x}: {error}");
    }
}
