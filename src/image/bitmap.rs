//! Bitmaps of sectors: which of a block are its own, which its parent's.

use std::ops::Range;

/// Bytes of a VHD's sector.
pub(super) const SECTOR: u64 = 512;

/// Which bit of a byte is the first sector's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// The highest (VHD).
    HighFirst,
    /// The lowest (VHDX).
    LowFirst,
}

/// Gives the runs of equal bits among those of `sectors`, in order. A bit that is not there is not
/// set.
pub(super) fn runs(bits: &[u8], order: Order, sectors: Range<u64>, mut seen: impl FnMut(Range<u64>, bool)) {
    let byte = |sector: u64| {
        let byte = usize::try_from(sector / 8).ok().and_then(|at| bits.get(at)).copied().unwrap_or(0);
        if order == Order::HighFirst { byte.reverse_bits() } else { byte }
    };
    let mut start = sectors.start;
    while start < sectors.end {
        let set = byte(start) >> (start % 8) & 1 == 1;
        let mut end = start;
        while end < sectors.end {
            // The bits from here to the byte's end: how many of them are as the first is.
            let rest = byte(end) >> (end % 8);
            let same = u64::from(if set { rest.trailing_ones() } else { rest.trailing_zeros() });
            let left = 8 - end % 8;
            end += same.min(left);
            if same < left {
                break;
            }
        }
        let end = end.min(sectors.end);
        seen(start..end, set);
        start = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_those_of_the_bits() {
        let bits = [0b1111_0000, 0xff, 0, 0b0000_0001, 0b1000_0000, 0b0101_1010];
        for order in [Order::HighFirst, Order::LowFirst] {
            let expected: Vec<bool> = (0..48 + 9)
                .map(|bit: usize| {
                    let byte = bits.get(bit / 8).copied().unwrap_or(0u8);
                    let shift = if order == Order::HighFirst { 7 - bit % 8 } else { bit % 8 };
                    byte >> shift & 1 == 1
                })
                .collect();
            for start in 0..expected.len() {
                for end in start..=expected.len() {
                    let mut found = Vec::new();
                    let mut last = None;
                    runs(&bits, order, start as u64..end as u64, |range, set| {
                        assert!(!range.is_empty() && last != Some(set), "runs are joined");
                        last = Some(set);
                        found.extend(range.map(|_| set));
                    });
                    assert_eq!(found, expected[start..end]);
                }
            }
        }
    }
}
