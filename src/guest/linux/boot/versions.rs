//! Versions of kernels and entries in the order in which boot loaders list them.

use std::cmp::Ordering;

/// Versions by their runs of digits and letters, numbers as numbers.
#[must_use]
pub fn compare(a: &str, b: &str) -> Ordering {
    let runs = |text: &str| -> Vec<(bool, u64, String)> {
        let mut found: Vec<(bool, u64, String)> = Vec::new();
        for part in text.split(|c: char| !c.is_ascii_alphanumeric()) {
            let mut rest = part;
            while let Some(first) = rest.chars().next() {
                let digits = first.is_ascii_digit();
                let end = rest.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(rest.len());
                let (run, after) = rest.split_at(end);
                found.push((
                    digits,
                    if digits { run.parse().unwrap_or(u64::MAX) } else { 0 },
                    run.to_owned(),
                ));
                rest = after;
            }
        }
        found
    };
    let (a, b) = (runs(a), runs(b));
    for ((a_digits, a_number, a_text), (b_digits, b_number, b_text)) in a.iter().zip(&b) {
        let order = match (a_digits, b_digits) {
            (true, true) => a_number.cmp(b_number),
            (false, false) => a_text.cmp(b_text),
            (digits, _) => {
                if *digits {
                    Ordering::Greater
                } else {
                    Ordering::Less
                }
            }
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_kernels_are_greater() {
        let pairs =
            [("6.1.0-9", "6.1.0-10"), ("5.14.0-70.el9", "5.14.0-362.el9"), ("abc-0-rescue", "abc-5.14.0")];
        for (older, newer) in pairs {
            assert_eq!(compare(older, newer), Ordering::Less, "{older} {newer}");
        }
    }
}
