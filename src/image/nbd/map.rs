//! Which parts of an export are of one kind (zero, or unchanged), kept for a part of it at a time.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::super::cache::Cache;
use super::connection::Connection;
use super::error::NbdError;
use super::pool::{Failed, Pool};

/// How much is asked for, and kept, at a time.
const SEGMENT: u64 = 1 << 30;
/// Where a segment is in more pieces than this, the shorter of those that could be skipped count
/// as the rest: so a segment has at most 32,768 bounds, 128 KiB of memory.
const MOST_BOUNDS: usize = 16_384;
const SHORTEST: u64 = 64 << 10;
/// Memory for segments.
const KEPT: u64 = 32 << 20;
/// The most questions for one segment; what they leave open counts as not to be skipped.
const MOST_QUESTIONS: u32 = 16_384;
/// The most time for them, once the first is answered.
const MOST_TIME: Duration = Duration::from_secs(20);

/// A segment as bounds, in bytes from its start: up to the first it must be read, up to the next
/// it can be skipped, and so on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Segment {
    bounds: Vec<u32>,
    /// There were too many pieces.
    coarse: bool,
}

impl Segment {
    fn new() -> Self {
        Self { bounds: vec![0], coarse: false }
    }

    fn push(&mut self, length: u64, skip: bool) {
        let skip = skip && !(self.coarse && length < SHORTEST);
        let end = u64::from(self.bounds.last().copied().unwrap_or(0)) + length;
        // A segment has far fewer bytes than that.
        let end = u32::try_from(end).unwrap_or(u32::MAX);
        // The bounds at odd places end what can be skipped.
        let joins = skip != self.ends_unskipped();
        match self.bounds.last_mut() {
            Some(last) if joins => *last = end,
            _ => self.bounds.push(end),
        }
        if self.bounds.len() > MOST_BOUNDS && !self.coarse {
            let fine = std::mem::replace(self, Self { coarse: true, ..Self::new() });
            let mut start = 0;
            for (number, bound) in fine.bounds.into_iter().enumerate() {
                if bound > start {
                    self.push(u64::from(bound - start), number % 2 == 1);
                }
                start = bound;
            }
        }
    }

    /// Whether its last piece is one that must be read.
    fn ends_unskipped(&self) -> bool {
        self.bounds.len() % 2 == 1
    }

    /// The first place at or after `place` that can be skipped, or cannot; `None` when there is
    /// none in this segment.
    fn next(&self, skip: bool, place: u64) -> Option<u64> {
        let piece = self.bounds.partition_point(|bound| u64::from(*bound) <= place);
        let end = *self.bounds.get(piece)?;
        if (piece % 2 == 1) == skip {
            Some(place)
        } else {
            (piece + 1 < self.bounds.len()).then_some(end.into())
        }
    }
}

/// What a server says of an export in one metadata context.
#[derive(Debug)]
pub(super) struct Map {
    segments: Cache<Segment>,
    spent: Mutex<Spent>,
    /// Whether these flags say that a piece can be skipped.
    skip: fn(u32) -> bool,
}

/// Time spent on asking, and for how many segments.
#[derive(Debug, Default, Clone, Copy)]
struct Spent {
    time: Duration,
    segments: u32,
}

impl Spent {
    /// Asking costs more than it can save: about a second for what is read in a few.
    fn is_too_much(self) -> bool {
        self.time > 3 * MOST_TIME && self.time > Duration::from_secs(1) * self.segments
    }
}

impl Map {
    pub(super) fn new(skip: fn(u32) -> bool) -> Self {
        let segments = Cache::new(KEPT, 2 * MOST_BOUNDS as u64 * 4);
        Self { segments, spent: Mutex::default(), skip }
    }

    /// The next place at or after `offset` that can be skipped (`skip`) or cannot, at most
    /// `limit`.
    pub(super) fn next(&self, pool: &Pool, skip: bool, offset: u64, limit: u64) -> Result<u64, Failed> {
        let mut place = offset;
        while place < limit {
            let start = place - place % SEGMENT;
            let segment = self.segment(pool, start)?;
            if let Some(found) = segment.next(skip, place - start) {
                return Ok(limit.min(start + found));
            }
            place = start + SEGMENT;
        }
        Ok(limit)
    }

    fn segment(&self, pool: &Pool, start: u64) -> Result<Arc<Segment>, Failed> {
        let range = start..pool.export.size.min(start + SEGMENT);
        let spent = || self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        self.segments.get((0, start), || {
            let begun = Instant::now();
            if spent().is_too_much() {
                let mut segment = Segment::new();
                segment.push(range.end - range.start, false);
                return Ok(segment);
            }
            let segment = pool.run(|connection| self.ask(connection, &range))?;
            let mut spent = spent();
            spent.time += begun.elapsed();
            spent.segments += 1;
            Ok(segment)
        })
    }

    /// Asks for a segment.
    fn ask(&self, connection: &Connection, range: &Range<u64>) -> Result<Segment, NbdError> {
        let mut segment = Segment::new();
        let mut place = range.start;
        let begun = Instant::now();
        if let Some(context) = connection.export.context {
            for _ in 0..MOST_QUESTIONS {
                if place == range.end || begun.elapsed() > MOST_TIME {
                    break;
                }
                let found = &mut |length, flags| segment.push(length, (self.skip)(flags));
                match connection.status(&(place..range.end), context, found) {
                    Ok(end) => place = end,
                    // It cannot say; so all of it is to be read.
                    Err(NbdError::Answer { .. } | NbdError::Denied { .. }) => break,
                    Err(error) => return Err(error),
                }
            }
        }
        if place < range.end {
            segment.push(range.end - place, false);
        }
        Ok(segment)
    }

    /// The ranges within `range` that cannot be skipped, in order.
    pub(super) fn rest(&self, pool: &Pool, range: Range<u64>) -> Result<Vec<Range<u64>>, Failed> {
        let mut found = Vec::new();
        let mut place = range.start;
        while place < range.end {
            let start = self.next(pool, false, place, range.end)?;
            place = self.next(pool, true, start, range.end)?;
            if start < place {
                found.push(start..place);
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::scripted::{Asked, Peer, Says, Scripted};
    use super::*;

    fn zeros() -> Map {
        Map::new(|flags| flags & 2 != 0)
    }

    fn segment(pieces: &[(u64, bool)]) -> Segment {
        let mut segment = Segment::new();
        pieces.iter().for_each(|(length, skip)| segment.push(*length, *skip));
        segment
    }

    #[test]
    fn places_are_found() {
        let found = segment(&[(10, true), (5, true), (5, false), (10, true), (3, false)]);
        assert_eq!(found.bounds, [0, 15, 20, 30, 33]);
        for (skip, place, expected) in [
            (true, 0, Some(0)),
            (false, 0, Some(15)),
            (true, 14, Some(14)),
            (false, 15, Some(15)),
            (true, 15, Some(20)),
            (false, 29, Some(30)),
            (true, 30, None),
            (true, 32, None),
            (false, 32, Some(32)),
            (false, 33, None),
        ] {
            assert_eq!(found.next(skip, place), expected, "{skip} {place}");
        }
        let data = segment(&[(7, false)]);
        assert_eq!((data.next(true, 0), data.next(false, 6)), (None, Some(6)));
        let zero = segment(&[(7, true)]);
        assert_eq!((zero.next(false, 0), zero.next(true, 6)), (None, Some(6)));
    }

    #[test]
    fn many_pieces_take_little_memory_and_lose_only_short_ones() {
        let mut found = Segment::new();
        for _ in 0..SEGMENT / 512 / 2 {
            found.push(512, true);
            found.push(512, false);
        }
        assert_eq!(found.next(false, 0), Some(0));
        assert!(found.bounds.len() <= 2 * MOST_BOUNDS);
        let mut found = Segment::new();
        for _ in 0..SEGMENT / (2 * SHORTEST) {
            found.push(SHORTEST - 512, false);
            found.push(SHORTEST + 512, true);
        }
        assert!(found.bounds.len() <= 2 * MOST_BOUNDS + 1, "{}", found.bounds.len());
        assert_eq!(found.next(true, SEGMENT - SHORTEST), Some(SEGMENT - SHORTEST));
    }

    #[test]
    fn zeros_are_asked_for_once() {
        let questions = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&questions);
        let server = Scripted::new(move |_, mut peer| {
            peer.greet(&Says { size: 3 << 30, ..Says::default() });
            while let Some(asked) = peer.asked() {
                count.fetch_add(1, Ordering::SeqCst);
                // A hole that is not zero, zeros, data; the last goes on behind what was asked.
                match asked.offset {
                    0 => peer.extents(asked, &[(4096, 1), (8192, 3), (4096, 0)]),
                    _ => peer.extents(asked, &[(u32::MAX, 2)]),
                };
            }
        });
        let (pool, zeros) = (server.pool(), zeros());
        let end = 3 << 30;
        let rest = zeros.rest(&pool, 0..end).unwrap();
        assert_eq!(rest, [0..4096, 12288..16384]);
        assert_eq!(zeros.next(&pool, true, 0, end).unwrap(), 4096);
        assert_eq!(zeros.next(&pool, true, 0, 100).unwrap(), 100);
        assert_eq!(zeros.next(&pool, false, 16384, end).unwrap(), end);
        assert_eq!(questions.load(Ordering::SeqCst), 4, "two for the first segment, one for each other");
    }

    #[test]
    fn a_server_that_cannot_say_what_is_zero_is_read() {
        let server = Scripted::new(|_, mut peer| {
            peer.greet(&Says::default());
            while let Some(asked) = peer.asked() {
                peer.chunk(asked.cookie, true, 0x8001, b"\0\0\0\x5f\0\0");
            }
        });
        let pool = server.pool();
        let rest = zeros().rest(&pool, 0..1 << 20).unwrap();
        assert!(rest.len() == 1 && rest[0] == (0..1 << 20), "{rest:?}");
    }

    #[test]
    fn hostile_extents_are_refused() {
        let parts: [fn(&mut Peer, Asked) -> bool; 7] = [
            |peer, asked| peer.extents(asked, &[(4096, 0), (0, 0)]),
            |peer, asked| peer.extents(asked, &[(u32::MAX, 0), (1, 0)]),
            |peer, asked| peer.extents(asked, &[]),
            |peer, asked| peer.chunk(asked.cookie, true, 5, &[0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0]),
            |peer, asked| peer.chunk(asked.cookie, true, 5, &[0; 13]),
            |peer, asked| peer.chunk(asked.cookie, true, 0, &[]),
            |peer, asked| {
                let cookie = asked.cookie.to_be_bytes();
                peer.send(
                    &[&[0x66, 0x8e, 0x33, 0xef, 0, 1, 0, 5][..], &cookie, &[0xff, 0xff, 0xff, 0xfc]].concat(),
                )
            },
        ];
        for (number, part) in parts.into_iter().enumerate() {
            let server = Scripted::new(move |_, mut peer| {
                peer.greet(&Says::default());
                if let Some(asked) = peer.asked() {
                    part(&mut peer, asked);
                    while peer.asked().is_some() {}
                }
            });
            let failed = zeros().rest(&server.pool(), 0..1 << 20).unwrap_err();
            assert!(matches!(failed.error, NbdError::Protocol { .. }), "{number}: {failed:?}");
        }
    }
}
