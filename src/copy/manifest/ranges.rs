//! Sets of blocks.

use std::collections::BTreeMap;

/// A set of blocks as ranges that neither touch nor overlap: where each begins, and where it ends.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    pub(crate) fn insert(&mut self, mut first: u64, mut end: u64) {
        if first >= end {
            return;
        }
        if let Some((begin, until)) =
            self.0.range(..=first).next_back().map(|(begin, until)| (*begin, *until))
            && until >= first
        {
            first = begin;
            end = end.max(until);
        }
        while let Some((begin, until)) =
            self.0.range(first..=end).next().map(|(begin, until)| (*begin, *until))
        {
            end = end.max(until);
            self.0.remove(&begin);
        }
        self.0.insert(first, end);
    }

    pub(crate) fn remove(&mut self, first: u64, end: u64) {
        if first >= end {
            return;
        }
        if let Some((begin, until)) = self.0.range(..first).next_back().map(|(begin, until)| (*begin, *until))
            && until > first
        {
            self.0.insert(begin, first);
            if until > end {
                self.0.insert(end, until);
            }
        }
        while let Some((begin, until)) =
            self.0.range(first..end).next().map(|(begin, until)| (*begin, *until))
        {
            self.0.remove(&begin);
            if until > end {
                self.0.insert(end, until);
            }
        }
    }

    pub(crate) fn contains(&self, index: u64) -> bool {
        self.0.range(..=index).next_back().is_some_and(|(_, end)| index < *end)
    }

    /// Whether all of the blocks from `first` to `end` are in it.
    pub(crate) fn covers(&self, first: u64, end: u64) -> bool {
        first >= end || self.0.range(..=first).next_back().is_some_and(|(_, until)| end <= *until)
    }

    /// Whether any of the blocks from `first` to `end` is in it.
    pub(crate) fn touches(&self, first: u64, end: u64) -> bool {
        first < end && self.0.range(..end).next_back().is_some_and(|(_, until)| first < *until)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().map(|(first, end)| (*first, *end))
    }

    /// The parts of its ranges that lie within another's.
    pub(crate) fn common(&self, other: &Self) -> Self {
        let mut common = Self::default();
        for (first, end) in self.iter() {
            let before = other.0.range(..first).next_back().filter(|(_, until)| **until > first);
            for (begin, until) in before.into_iter().chain(other.0.range(first..end)) {
                common.insert(first.max(*begin), end.min(*until));
            }
        }
        common
    }

    /// Whether it is all of the blocks before `blocks`, and no others.
    pub(crate) fn is_all(&self, blocks: u64) -> bool {
        match blocks {
            0 => true,
            _ => self.0.len() == 1 && self.0.get(&0) == Some(&blocks),
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.iter().map(|(first, end)| end - first).sum()
    }

    /// The block that has `place` others before it.
    pub(crate) fn nth(&self, mut place: u64) -> Option<u64> {
        for (first, end) in self.iter() {
            if place < end - first {
                return Some(first + place);
            }
            place -= end - first;
        }
        None
    }
}

impl FromIterator<(u64, u64)> for Ranges {
    fn from_iter<I: IntoIterator<Item = (u64, u64)>>(ranges: I) -> Self {
        let mut set = Self::default();
        for (first, end) in ranges {
            set.insert(first, end);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ranges_are_a_set_of_blocks() {
        // Numbers that look random: the same in every run.
        let mut seed = 7_u64;
        let mut below = |end: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % end
        };
        for _ in 0..200 {
            let (mut ranges, mut model) = (Ranges::default(), BTreeSet::new());
            for _ in 0..12 {
                let first = below(30);
                let end = first + below(9);
                if below(3) == 0 {
                    ranges.remove(first, end);
                    model.retain(|index| !(first..end).contains(index));
                } else {
                    ranges.insert(first, end);
                    model.extend(first..end);
                }
                for index in 0..40 {
                    assert_eq!(ranges.contains(index), model.contains(&index), "{index} in {ranges:?}");
                }
                for end in 0..40 {
                    let of = |index: &u64| model.contains(index);
                    assert_eq!(ranges.covers(11, end), (11..end).all(|index| of(&index)), "{end} {ranges:?}");
                    assert_eq!(
                        ranges.touches(11, end),
                        end > 11 && (11..end).any(|index| of(&index)),
                        "{end} {ranges:?}"
                    );
                }
                let list: Vec<_> = ranges.iter().collect();
                assert!(list.windows(2).all(|pair| pair[0].1 < pair[1].0), "{ranges:?}");
                let all: Vec<u64> = (0..ranges.count()).map(|place| ranges.nth(place).unwrap()).collect();
                assert_eq!(all, model.iter().copied().collect::<Vec<_>>());
                let other: Ranges = [(3, 7), (12, 13), (20, 29)].into_iter().collect();
                let both: Vec<u64> = model.iter().copied().filter(|index| other.contains(*index)).collect();
                let common = ranges.common(&other);
                assert_eq!((0..40).filter(|index| common.contains(*index)).collect::<Vec<_>>(), both);
            }
        }
        assert!(Ranges::default().is_all(0) && !Ranges::default().is_all(1));
        assert!([(0, 4), (4, 9)].into_iter().collect::<Ranges>().is_all(9));
    }
}
