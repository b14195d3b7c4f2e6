//! An image and the images it stands on, as one disk.

use std::ops::Range;

use super::extent::{Extent, Layout, Place, push};
use super::read::STRIDE;
use super::source::SourceError;

/// The layers of an image, the top one first. Where a layer says [`Place::Parent`], the one below
/// counts; behind a layer's end there are zeros, whatever the layers below it hold there.
pub(super) struct Chain(Vec<Box<dyn Layout>>);

impl Chain {
    /// The image of `top` on the layers `below`, its parent first.
    pub(super) fn new(top: Box<dyn Layout>, below: impl IntoIterator<Item = Box<dyn Layout>>) -> Self {
        Self(std::iter::once(top).chain(below).collect())
    }

    /// The ranges within `range` that the first `count` layers hold, or that lie behind the end of
    /// the layer below those: in order, joined. Whatever is not in them is as in that layer.
    pub(super) fn held(&self, count: usize, range: Range<u64>) -> Result<Vec<Range<u64>>, SourceError> {
        let mut held: Vec<Range<u64>> = Vec::new();
        let mut add = |range: Range<u64>| match held.last_mut() {
            _ if range.is_empty() => {}
            Some(last) if last.end == range.start => last.end = range.end,
            _ => held.push(range),
        };
        let below = self.0.get(count).map_or(0, |layer| layer.size());
        let mut from = range.start;
        while from < range.end {
            let to = range.end.min(from.saturating_add(STRIDE));
            self.walk(0, count, from..to, &mut |range, place| match place {
                Place::Parent => add(range.start.max(below.min(range.end))..range.end),
                _ => add(range),
            })?;
            from = to;
        }
        Ok(held)
    }

    /// Gives the extents of a range from the layer `index` on, [`Place::Parent`] for what none of
    /// the first `count` layers holds. The depth is that of the chain, which is limited.
    fn walk<'a>(
        &'a self,
        index: usize,
        count: usize,
        range: Range<u64>,
        seen: &mut dyn FnMut(Range<u64>, Place<'a>),
    ) -> Result<(), SourceError> {
        let Some(layer) = self.0.get(index).filter(|_| index < count) else {
            seen(range, Place::Parent);
            return Ok(());
        };
        let end = range.end.min(layer.size()).max(range.start);
        let mut own = Vec::new();
        if range.start < end {
            layer.extents(range.start..end, &mut own)?;
        }
        for extent in own {
            match extent.place {
                Place::Parent => self.walk(index + 1, count, extent.range, seen)?,
                place => seen(extent.range, place),
            }
        }
        if end < range.end {
            seen(end..range.end, Place::Zero);
        }
        Ok(())
    }
}

impl Layout for Chain {
    fn size(&self) -> u64 {
        self.0.first().map_or(0, |top| top.size())
    }

    fn extents<'a>(&'a self, range: Range<u64>, found: &mut Vec<Extent<'a>>) -> Result<(), SourceError> {
        match self.0.as_slice() {
            [only] => only.extents(range, found),
            layers => self.walk(0, layers.len(), range, &mut |range, place| match place {
                // A layer without a parent never says so.
                Place::Parent => push(found, range, Place::Zero),
                place => push(found, range, place),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A layer that holds zeros in some ranges.
    struct Holes(u64, Vec<Range<u64>>);

    impl Layout for Holes {
        fn size(&self) -> u64 {
            self.0
        }

        fn extents<'a>(&'a self, range: Range<u64>, found: &mut Vec<Extent<'a>>) -> Result<(), SourceError> {
            for at in range {
                let own = self.1.iter().any(|own| own.contains(&at));
                push(found, at..at + 1, if own { Place::Zero } else { Place::Parent });
            }
            Ok(())
        }
    }

    #[test]
    fn what_layers_hold_above_another() {
        let none = || Box::new(Holes(30, Vec::new())) as Box<dyn Layout>;
        let holes = |size, own: Range<u64>, also: Range<u64>| {
            Box::new(Holes(size, vec![own, also])) as Box<dyn Layout>
        };
        // The second is shorter than the third: what lies behind its end is no longer the third's.
        let chain =
            Chain::new(holes(40, 2..4, 39..40), [holes(20, 3..5, 5..6), none(), holes(10, 0..0, 0..0)]);
        let held = |count, range| chain.held(count, range).unwrap();
        assert_eq!(held(0, 0..40), []);
        assert_eq!(held(1, 0..40), [2..4, 20..40]);
        assert_eq!(held(2, 0..40), [2..6, 20..40]);
        assert_eq!(held(3, 0..40), [2..6, 10..40]);
        assert_eq!(held(2, 5..21), [5..6, 20..21]);
        let mut found = Vec::new();
        chain.extents(0..40, &mut found).unwrap();
        assert!(matches!(found.as_slice(), [Extent { range, place: Place::Zero }] if *range == (0..40)));
    }
}
