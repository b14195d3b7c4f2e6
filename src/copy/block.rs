//! Blocks: the unit of work, of hashing and of the manifest.

use crate::model::Digest;

/// Bytes of one block. EBS splits a request into pieces of 256 KiB; 1 MiB keeps several of them
/// in flight for each thread, and costs a manifest of 32 MiB for each TiB.
pub const BLOCK: u64 = 1 << 20;

/// Alignment of buffers and of direct I/O: no sector in use is larger than 4 KiB.
pub const ALIGN: usize = 4096;

const ZEROS: [u8; ALIGN] = [0; ALIGN];

/// The start of the text under the content digest; changes when its definition does.
const CONTENT_DOMAIN: &[u8] = b"replant content 1\n";

/// What one block of a disk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Only zeros.
    Zero,
    /// Something else: its digest (of the bytes that exist; a disk's last block may be short).
    Data(Digest),
}

impl Content {
    /// What these bytes are.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        if is_zero(bytes) { Self::Zero } else { Self::Data(Digest::of(bytes)) }
    }

    /// The 32 bytes that stand for it in a manifest and in the content digest: the digest, or
    /// zeros for zeros (no data is known to have that digest).
    #[must_use]
    pub fn slot(self) -> [u8; 32] {
        match self {
            Self::Zero => [0; 32],
            Self::Data(digest) => digest.0,
        }
    }

    /// The inverse of [`slot`](Self::slot).
    #[must_use]
    pub fn from_slot(slot: [u8; 32]) -> Self {
        if slot == [0; 32] { Self::Zero } else { Self::Data(Digest(slot)) }
    }
}

/// How many blocks a disk of `size` bytes has.
#[must_use]
pub fn count(size: u64) -> u64 {
    size.div_ceil(BLOCK)
}

/// How many bytes block `index` of a disk of `size` bytes has; 0 beyond its end.
#[must_use]
pub fn length(index: u64, size: u64) -> u64 {
    size.saturating_sub(index.saturating_mul(BLOCK)).min(BLOCK)
}

/// Whether all bytes are zero. Runs at the speed of memory and stops at the first that is not.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(ALIGN).all(|chunk| chunk == &ZEROS[..chunk.len()])
}

/// The digest of a disk's content: BLAKE3 over the text `replant content 1\n`, the disk's size in
/// bytes as 8 bytes little-endian, and the 32-byte [`slot`](Content::slot) of each block in order.
///
/// It depends on nothing but the bytes: a hole, an explicit zero and a compressed zero give the
/// same digest.
#[derive(Debug)]
pub struct ContentHasher(blake3::Hasher);

impl ContentHasher {
    /// Begins with the disk's size.
    #[must_use]
    pub fn new(size: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(CONTENT_DOMAIN).update(&size.to_le_bytes());
        Self(hasher)
    }

    /// Adds the slots of the next blocks.
    pub fn update(&mut self, slots: &[u8]) {
        self.0.update(slots);
    }

    /// The digest.
    #[must_use]
    pub fn finish(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}

/// A buffer of one block whose first byte lies on a boundary of [`ALIGN`] bytes, as direct I/O
/// demands.
#[derive(Debug)]
pub struct Buffer {
    memory: Vec<u8>,
    start: usize,
}

impl Default for Buffer {
    fn default() -> Self {
        Self::new()
    }
}

impl Buffer {
    /// A buffer of zeros.
    #[must_use]
    pub fn new() -> Self {
        let memory = vec![0; BLOCK as usize + ALIGN];
        let start = (ALIGN - memory.as_ptr().addr() % ALIGN) % ALIGN;
        Self { memory, start }
    }

    /// Its first `length` bytes (at most a block).
    pub fn bytes_mut(&mut self, length: usize) -> &mut [u8] {
        let end = self.start + length.min(BLOCK as usize);
        &mut self.memory[self.start..end]
    }
}

/// Splits a block into runs of data and of zeros, as (start, end, zero). A run of zeros shorter
/// than `gap` bytes counts as data: a request more would cost more than the bytes. Runs begin and
/// end at multiples of `gap`.
#[must_use]
pub fn runs(bytes: &[u8], gap: usize) -> Vec<(usize, usize, bool)> {
    let mut runs: Vec<(usize, usize, bool)> = Vec::new();
    let mut start = 0;
    for chunk in bytes.chunks(gap.max(ALIGN)) {
        let (end, zero) = (start + chunk.len(), is_zero(chunk));
        match runs.last_mut() {
            Some(last) if last.2 == zero => last.1 = end,
            _ => runs.push((start, end, zero)),
        }
        start = end;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_odd_sizes() {
        assert_eq!((count(0), count(1), count(BLOCK), count(BLOCK + 1)), (0, 1, 1, 2));
        assert_eq!((length(0, 5), length(1, BLOCK + 5), length(2, BLOCK + 5)), (5, 5, 0));
        assert_eq!(length(u64::MAX, u64::MAX), 0);
    }

    #[test]
    fn zeros_are_found_whatever_the_length() {
        for length in [0, 1, 4095, 4096, 4097, 70_000] {
            let mut bytes = vec![0; length];
            assert!(is_zero(&bytes));
            if let Some(last) = bytes.last_mut() {
                *last = 1;
                assert!(!is_zero(&bytes), "{length}");
            }
        }
    }

    #[test]
    fn buffers_are_aligned() {
        for _ in 0..8 {
            let mut buffer = Buffer::new();
            assert_eq!(buffer.bytes_mut(usize::MAX).as_ptr().addr() % ALIGN, 0);
            assert_eq!(buffer.bytes_mut(usize::MAX).len() as u64, BLOCK);
        }
    }

    #[test]
    fn runs_join_neighbours_and_cover_all() {
        let mut bytes = vec![0; 5 * 4096 + 7];
        bytes[4096] = 1;
        bytes[5 * 4096 + 6] = 1;
        assert_eq!(
            runs(&bytes, 4096),
            [(0, 4096, true), (4096, 8192, false), (8192, 20480, true), (20480, 20487, false)]
        );
    }
}
