//! Marvin32, the checksum of log entries ("Log entries", notes 1 to 3).

const SEED: (u32, u32) = (0x7a4e_55c5, 0x82ef_4d88);

fn mix((mut low, mut high): (u32, u32)) -> (u32, u32) {
    high ^= low;
    low = low.rotate_left(20).wrapping_add(high);
    high = high.rotate_left(9) ^ low;
    low = low.rotate_left(27).wrapping_add(high);
    (low, high.rotate_left(19))
}

/// The hash of some bytes under the seed of registry logs.
pub(super) fn marvin32(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut state = SEED;
    for word in words {
        state.0 = state.0.wrapping_add(u32::from_le_bytes(*word));
        state = mix(state);
    }
    let mut last = [0_u8; 4];
    last[..rest.len()].copy_from_slice(rest);
    last[rest.len()] = 0x80;
    state.0 = state.0.wrapping_add(u32::from_le_bytes(last));
    let (low, high) = mix(mix(state));
    u64::from(high) << 32 | u64::from(low)
}
