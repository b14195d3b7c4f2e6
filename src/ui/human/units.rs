//! Durations, speeds and counts as people say them.

use crate::model::Bytes;

/// Milliseconds: `850 ms`, `12.3 s`, `1 min 12 s`, `2 h 3 min`.
#[must_use]
pub fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0 => format!("{milliseconds} ms"),
        1..60 => format!("{}.{} s", seconds, milliseconds % 1000 / 100),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Seconds as [`duration`] says them, rounded to what a prediction is good for.
#[must_use]
pub fn about(seconds: f64) -> String {
    // NaN and negative numbers become 0, what is too large becomes the largest number.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let seconds = seconds.ceil() as u64;
    match seconds {
        0 | 1 => "1 s".to_owned(),
        2..60 => format!("{seconds} s"),
        _ => duration(seconds.saturating_mul(1000)),
    }
}

/// Bytes each second: `412.5 MiB/s`.
#[must_use]
pub fn speed(bytes_per_second: f64) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let bytes = bytes_per_second as u64;
    format!("{}/s", Bytes(bytes))
}

/// `1 volume`, `3 volumes`.
#[must_use]
pub fn count(number: usize, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_people_say_them() {
        for (milliseconds, text) in [
            (0, "0 ms"),
            (850, "850 ms"),
            (12_345, "12.3 s"),
            (72_000, "1 min 12 s"),
            (7_380_000, "2 h 3 min"),
        ] {
            assert_eq!(duration(milliseconds), text);
        }
        for (seconds, text) in
            [(0.2, "1 s"), (9.1, "10 s"), (61.0, "1 min 1 s"), (f64::NAN, "1 s"), (-5.0, "1 s")]
        {
            assert_eq!(about(seconds), text);
        }
        assert_eq!(speed(419_430_400.0), "400 MiB/s");
        assert_eq!((count(1, "volume"), count(0, "volume")), ("1 volume".to_owned(), "0 volumes".to_owned()));
    }
}
