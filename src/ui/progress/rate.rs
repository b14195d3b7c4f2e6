//! How fast something grows, smoothed.

use std::time::Duration;

/// The time over which a speed is averaged: long enough to be read, short enough to follow a
/// change of the data.
const WINDOW: f64 = 5.0;
/// Samples closer than this are gathered: their quotient would be noise.
const CLOSEST: Duration = Duration::from_millis(100);

/// The speed of a growing number.
#[derive(Debug, Clone, Default)]
pub struct Rate {
    last: Option<(Duration, u64)>,
    /// Sum of speeds, each weighted by its time and faded by its age.
    speeds: f64,
    /// Sum of the weights, so that the first samples count no more than their time.
    weights: f64,
}

impl Rate {
    /// The number is `value` at `now`.
    pub fn sample(&mut self, now: Duration, value: u64) {
        let Some((then, before)) = self.last else {
            self.last = Some((now, value));
            return;
        };
        if value < before {
            // It began anew: reading back, say.
            *self = Self { last: Some((now, value)), ..Self::default() };
            return;
        }
        let passed = now.saturating_sub(then);
        if passed < CLOSEST {
            return;
        }
        // Numbers of bytes are far below 2^53.
        #[allow(clippy::cast_precision_loss)]
        let speed = (value - before) as f64 / passed.as_secs_f64();
        let fading = (-passed.as_secs_f64() / WINDOW).exp();
        self.speeds = self.speeds * fading + speed * (1.0 - fading);
        self.weights = self.weights * fading + (1.0 - fading);
        self.last = Some((now, value));
    }

    /// Units each second, once there are two samples.
    #[must_use]
    pub fn per_second(&self) -> Option<f64> {
        (self.weights > 0.0).then(|| self.speeds / self.weights)
    }

    /// Seconds until so many more; `None` while the speed is unknown or nothing moves.
    #[must_use]
    pub fn seconds_for(&self, more: u64) -> Option<f64> {
        #[allow(clippy::cast_precision_loss)]
        let more = more as f64;
        self.per_second().filter(|speed| *speed > 0.5).map(|speed| more / speed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_speed_is_found_and_a_new_one_followed() {
        let mut rate = Rate::default();
        for second in 0..10 {
            rate.sample(Duration::from_secs(second), second * 1000);
        }
        assert!((rate.per_second().unwrap() - 1000.0).abs() < 1e-6);
        assert!((rate.seconds_for(5000).unwrap() - 5.0).abs() < 1e-6);
        for second in 10..40 {
            rate.sample(Duration::from_secs(second), 9000 + (second - 9) * 100);
        }
        assert!((rate.per_second().unwrap() - 100.0).abs() < 10.0);
    }

    #[test]
    fn beginning_anew_and_standing_still() {
        let mut rate = Rate::default();
        rate.sample(Duration::from_secs(1), 500);
        assert_eq!(rate.per_second(), None);
        rate.sample(Duration::from_secs(2), 1500);
        rate.sample(Duration::from_secs(3), 0);
        assert_eq!(rate.per_second(), None);
        rate.sample(Duration::from_secs(4), 0);
        assert_eq!(rate.seconds_for(10), None);
    }
}
