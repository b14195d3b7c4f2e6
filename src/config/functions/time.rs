//! Times: only what needs no clock.

use jiff::civil::Weekday;
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp, Zoned};

use super::arguments::{Arguments, FunctionError, Result};
use crate::config::value::Value;

fn time(arguments: &Arguments<'_>, index: usize) -> Result<Zoned> {
    let text = arguments.string(index)?;
    let wrong = || {
        FunctionError::at(index, format!("`{text}` is no time")).help("write it as in 2026-11-22T08:00:00Z")
    };
    let instant: Timestamp = text.parse().map_err(|_| wrong())?;
    let offset =
        jiff::fmt::temporal::Pieces::parse(&*text).ok().and_then(|pieces| pieces.to_numeric_offset());
    Ok(instant.to_zoned(offset.unwrap_or(Offset::UTC).to_time_zone()))
}

/// A time as RFC 3339 has it.
fn written(time: &Zoned) -> String {
    let offset = time.offset();
    let zone = if offset.seconds() == 0 { "Z".to_owned() } else { offset_text(offset, ":") };
    format!("{}{zone}", time.strftime("%Y-%m-%dT%H:%M:%S"))
}

fn offset_text(offset: Offset, between: &str) -> String {
    let minutes = offset.seconds() / 60;
    let sign = if minutes < 0 { '-' } else { '+' };
    format!("{sign}{:02}{between}{:02}", minutes.abs() / 60, minutes.abs() % 60)
}

/// A duration as Go writes it: `1h30m`, `-10s`, `1.5h`.
fn duration(text: &str) -> Option<SignedDuration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    let mut total = SignedDuration::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let amount: f64 = rest[..end].parse().ok()?;
        let unit_end = rest[end..]
            .find(|letter: char| letter.is_ascii_digit() || letter == '.')
            .map_or(rest.len(), |at| end + at);
        let seconds = match &rest[end..unit_end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total = total.checked_add(SignedDuration::try_from_secs_f64(amount * seconds).ok()?)?;
        rest = &rest[unit_end..];
    }
    (!text.is_empty()).then(|| if negative { -total } else { total })
}

pub(super) fn timeadd(arguments: &Arguments<'_>) -> Result {
    let start = time(arguments, 0)?;
    let text = arguments.string(1)?;
    let by = duration(&text).ok_or_else(|| {
        FunctionError::at(1, format!("`{text}` is no duration")).help("write it as in 1h30m or -10s")
    })?;
    let end =
        start.checked_add(by).map_err(|_| FunctionError::new("the result is no time that can be written"))?;
    Ok(Value::string(written(&end)))
}

pub(super) fn timecmp(arguments: &Arguments<'_>) -> Result {
    let order = time(arguments, 0)?.timestamp().cmp(&time(arguments, 1)?.timestamp());
    Ok(Value::int(order as i8))
}

fn weekday(day: Weekday) -> &'static str {
    match day {
        Weekday::Monday => "Monday",
        Weekday::Tuesday => "Tuesday",
        Weekday::Wednesday => "Wednesday",
        Weekday::Thursday => "Thursday",
        Weekday::Friday => "Friday",
        Weekday::Saturday => "Saturday",
        Weekday::Sunday => "Sunday",
    }
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

pub(super) fn formatdate(arguments: &Arguments<'_>) -> Result {
    let template = arguments.string(0)?;
    let time = time(arguments, 1)?;
    let month = usize::try_from(time.month()).ok().and_then(|month| MONTHS.get(month.saturating_sub(1)));
    let month = month.copied().unwrap_or_default();
    let day = weekday(time.weekday());
    let hour12 = match time.hour() % 12 {
        0 => 12,
        hour => hour,
    };
    let mut text = String::new();
    let mut rest = &*template;
    while let Some(first) = rest.chars().next() {
        if first == '\'' {
            // Quoted text stands for itself, a doubled quote for one.
            let mut letters = rest.char_indices().skip(1).peekable();
            let mut end = None;
            while let Some((at, letter)) = letters.next() {
                if letter != '\'' {
                    text.push(letter);
                } else if letters.next_if(|(_, next)| *next == '\'').is_some() {
                    text.push('\'');
                } else {
                    end = Some(at + 1);
                    break;
                }
            }
            rest = &rest[end.ok_or_else(|| FunctionError::at(0, "a quoted text is not closed"))?..];
            continue;
        }
        let length = rest.find(|letter| letter != first).unwrap_or(rest.len());
        let (run, after) = rest.split_at(length);
        rest = after;
        match run {
            "YYYY" => text.push_str(&format!("{:04}", time.year())),
            "YY" => text.push_str(&format!("{:02}", time.year().rem_euclid(100))),
            "MMMM" => text.push_str(month),
            "MMM" => text.push_str(month.get(..3).unwrap_or(month)),
            "MM" => text.push_str(&format!("{:02}", time.month())),
            "M" => text.push_str(&time.month().to_string()),
            "DD" => text.push_str(&format!("{:02}", time.day())),
            "D" => text.push_str(&time.day().to_string()),
            "EEEE" => text.push_str(day),
            "EEE" => text.push_str(day.get(..3).unwrap_or(day)),
            "hh" => text.push_str(&format!("{:02}", time.hour())),
            "h" => text.push_str(&time.hour().to_string()),
            "HH" => text.push_str(&format!("{hour12:02}")),
            "H" => text.push_str(&hour12.to_string()),
            "AA" => text.push_str(if time.hour() < 12 { "AM" } else { "PM" }),
            "aa" => text.push_str(if time.hour() < 12 { "am" } else { "pm" }),
            "mm" => text.push_str(&format!("{:02}", time.minute())),
            "m" => text.push_str(&time.minute().to_string()),
            "ss" => text.push_str(&format!("{:02}", time.second())),
            "s" => text.push_str(&time.second().to_string()),
            "ZZZZZ" => text.push_str(&offset_text(time.offset(), ":")),
            "ZZZZ" => text.push_str(&offset_text(time.offset(), "")),
            "ZZZ" if time.offset().seconds() == 0 => text.push_str("UTC"),
            "ZZZ" => text.push_str(&offset_text(time.offset(), "")),
            "Z" if time.offset().seconds() == 0 => text.push('Z'),
            "Z" => text.push_str(&offset_text(time.offset(), ":")),
            other if first.is_ascii_alphabetic() => {
                return Err(FunctionError::at(0, format!("`{other}` is no part of a time"))
                    .help("put text that stands for itself in single quotes"));
            }
            other => text.push_str(other),
        }
    }
    Ok(Value::string(text))
}
