//! How long a write will still take, by what its data and its zeros have cost so far.

use std::collections::VecDeque;
use std::time::Duration;

/// The time over which costs are averaged: long enough to be read, short enough to follow a
/// change of speed.
const WINDOW: Duration = Duration::from_secs(6);

/// What was dealt with, and the workers' time that it took, since the write began.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    /// Bytes of data.
    pub data: u64,
    /// Nanoseconds that workers spent on blocks with data, waiting for a limit included.
    pub data_time: u64,
    /// Bytes of zeros in blocks without data.
    pub zero: u64,
    /// Nanoseconds that workers spent on those: next to none where a file has a hole, much where
    /// a device has to be read back.
    pub zero_time: u64,
}

/// Predicts a write's end.
#[derive(Debug, Default)]
pub(super) struct Estimate {
    samples: VecDeque<(Duration, Spent)>,
}

impl Estimate {
    /// `spent` is what was spent until `now`, counted from the write's beginning.
    pub(super) fn sample(&mut self, now: Duration, spent: Spent) {
        while self.samples.len() > 1
            && self.samples.get(1).is_some_and(|(then, _)| now.saturating_sub(*then) >= WINDOW)
        {
            self.samples.pop_front();
        }
        self.samples.push_back((now, spent));
    }

    /// How long so many bytes of data and of zeros will take; `None` while nothing says it.
    pub(super) fn left(&self, data: u64, zero: u64) -> Option<Duration> {
        let (&(begun, first), &(now, last)) = (self.samples.front()?, self.samples.back()?);
        let passed = now.saturating_sub(begun).as_nanos() as f64;
        let data_time = (last.data_time - first.data_time) as f64;
        let zero_time = (last.zero_time - first.zero_time) as f64;
        // Several workers spend several seconds in one.
        let workers = (data_time + zero_time) / passed;
        if !workers.is_finite() || workers <= 0.0 {
            return None;
        }
        // What the window saw nothing of costs what it cost before.
        let cost = |bytes: u64, time: f64, all: u64, all_time: u64| match (bytes, all) {
            (1.., _) => Some(time / bytes as f64),
            (0, 1..) => Some(all_time as f64 / all as f64),
            (0, 0) => None,
        };
        let of_data = cost(last.data - first.data, data_time, last.data, last.data_time);
        let of_zero = cost(last.zero - first.zero, zero_time, last.zero, last.zero_time);
        let mut time = 0.0;
        if data > 0 {
            time += data as f64 * of_data?;
        }
        // Zeros that none have been seen of are taken for holes.
        time += zero as f64 * of_zero.unwrap_or(0.0);
        Duration::try_from_secs_f64(time / workers / 1e9).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn holes_cost_nothing_and_the_data_that_is_left_decides() {
        let mut estimate = Estimate::default();
        assert_eq!(estimate.left(MIB, MIB), None);
        // 4 workers, 40 MiB a second, and ten times as much in holes that take no time.
        for second in 0..=20 {
            let spent = Spent {
                data: second * 40 * MIB,
                data_time: second * 4 * SECOND,
                zero: second * 400 * MIB,
                zero_time: second * 1000,
            };
            estimate.sample(Duration::from_secs(second), spent);
        }
        let left = estimate.left(600 * MIB, (2 << 40) - 8000 * MIB).unwrap();
        assert!((14.9..15.2).contains(&left.as_secs_f64()), "{left:?}");
    }

    #[test]
    fn zeros_that_are_read_back_take_their_time_and_a_new_speed_is_followed() {
        let mut estimate = Estimate::default();
        let at = |second: u64| Spent {
            data: 100 * MIB,
            data_time: SECOND,
            zero: second * 200 * MIB,
            zero_time: second * SECOND,
        };
        for second in 0..=10 {
            estimate.sample(Duration::from_secs(second), at(second));
        }
        let left = estimate.left(0, 2000 * MIB).unwrap();
        assert!((9.9..10.1).contains(&left.as_secs_f64()), "{left:?}");
        // What data cost before is remembered.
        let left = estimate.left(100 * MIB, 2000 * MIB).unwrap();
        assert!((10.9..11.1).contains(&left.as_secs_f64()), "{left:?}");
        for second in 11..=30 {
            let slower = Spent { zero: at(10).zero + (second - 10) * 20 * MIB, ..at(second) };
            estimate.sample(Duration::from_secs(second), slower);
        }
        let left = estimate.left(0, 200 * MIB).unwrap();
        assert!((9.9..10.1).contains(&left.as_secs_f64()), "{left:?}");
    }

    #[test]
    fn nothing_that_moves_predicts_nothing() {
        let mut estimate = Estimate::default();
        for second in 0..3 {
            estimate.sample(Duration::from_secs(second), Spent::default());
        }
        assert_eq!(estimate.left(1, 1), None);
    }
}
