//! Units of quantities: `byte * 2^20`, `MegaBytes`, `GB`.

/// How many bytes a unit has. The specification's programmatic units, and the words that older
/// software writes; both kinds of "mega" are 2^20 there.
pub(super) fn bytes(unit: &str) -> Option<u64> {
    let unit = unit.trim().to_ascii_lowercase();
    if let Some(rest) = unit.strip_prefix("byte") {
        let rest = rest.trim_start_matches('s').trim();
        return match rest.strip_prefix('*') {
            None => rest.is_empty().then_some(1),
            Some(factor) => power(factor.trim()),
        };
    }
    let shift = match unit.as_str() {
        "" | "b" => 0,
        "kilobytes" | "kilobyte" | "kb" | "kib" => 10,
        "megabytes" | "megabyte" | "mb" | "mib" => 20,
        "gigabytes" | "gigabyte" | "gb" | "gib" => 30,
        "terabytes" | "terabyte" | "tb" | "tib" => 40,
        _ => return None,
    };
    Some(1 << shift)
}

fn power(text: &str) -> Option<u64> {
    match text.split_once('^') {
        Some((base, exponent)) => base.trim().parse::<u64>().ok()?.checked_pow(exponent.trim().parse().ok()?),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_as_they_are_written() {
        for (unit, expected) in [
            ("byte * 2^20", Some(1 << 20)),
            ("byte*2^30", Some(1 << 30)),
            ("byte * 10^9", Some(1_000_000_000)),
            ("byte", Some(1)),
            ("bytes", Some(1)),
            ("", Some(1)),
            ("MegaBytes", Some(1 << 20)),
            ("GB", Some(1 << 30)),
            ("hertz * 10^6", None),
            ("byte * 2^99", None),
            ("byte * x", None),
        ] {
            assert_eq!(bytes(unit), expected, "{unit}");
        }
    }
}
