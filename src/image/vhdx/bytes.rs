//! Little-endian numbers, GUIDs, and the checksum of the format's structures (CRC-32C).

/// A GUID as it is stored.
pub(super) type Guid = [u8; 16];

/// A GUID from the numbers it is written with.
pub(super) const fn guid(a: u32, b: u16, c: u16, d: [u8; 8]) -> Guid {
    let (a, b, c) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes());
    [a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]]
}

/// The bytes from `at` on; zeros where there are none. Callers know how long a structure is.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk::<N>()).copied().unwrap_or([0; N])
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

pub(super) fn guid_at(bytes: &[u8], at: usize) -> Guid {
    array(bytes, at)
}

/// CRC-32C's polynomial, reflected.
const POLYNOMIAL: u32 = 0x82f6_3b78;

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ POLYNOMIAL } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
};

/// Where the checksum stands in each structure that has one.
const CHECKSUM: std::ops::Range<usize> = 4..8;

/// Whether a structure's checksum is right: over all of it, its own bytes taken as zeros.
pub(super) fn is_sound(bytes: &[u8]) -> bool {
    let sum = bytes.iter().enumerate().fold(u32::MAX, |sum, (at, byte)| {
        let byte = if CHECKSUM.contains(&at) { 0 } else { *byte };
        TABLE[((sum ^ u32::from(byte)) & 0xff) as usize] ^ sum >> 8
    });
    !sum == u32_at(bytes, CHECKSUM.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_of_the_standard() {
        // RFC 3720's example: CRC-32C of 32 zeros is aa 36 91 8a.
        let mut bytes = [0; 32];
        bytes[4..8].copy_from_slice(&[0xaa, 0x36, 0x91, 0x8a]);
        assert!(is_sound(&bytes));
        bytes[9] = 1;
        assert!(!is_sound(&bytes));
    }

    #[test]
    fn a_guid_is_stored_in_mixed_order() {
        let stored = guid(0x2dc2_7766, 0xf623, 0x4200, [0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08]);
        assert_eq!(&stored[..8], &[0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42]);
    }
}
