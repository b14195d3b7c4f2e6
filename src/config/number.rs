//! Numbers: whole ones exactly, others as 64-bit floats.

use std::cmp::Ordering;
use std::fmt;

/// A number of the language. Terraform computes with 512-bit floats; whole numbers of up to 127
/// bits are as exact here, fractions have the precision of a double.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    /// A whole number.
    Int(i128),
    /// A finite number that is not whole, or too large.
    Float(f64),
}

impl Number {
    /// From a finite float; whole values become exact. `None` for infinities and NaN.
    pub(super) fn from_f64(value: f64) -> Option<Self> {
        if !value.is_finite() {
            return None;
        }
        // Beyond 2^96 a double's digits mean nothing, and the cast stays far from its limits.
        if value.fract() == 0.0 && value.abs() < 2f64.powi(96) {
            #[allow(clippy::cast_possible_truncation)]
            return Some(Self::Int(value as i128));
        }
        Some(Self::Float(value))
    }

    #[allow(clippy::cast_precision_loss)]
    pub(super) fn as_f64(self) -> f64 {
        match self {
            Self::Int(value) => value as f64,
            Self::Float(value) => value,
        }
    }

    /// The whole number it is, if it is one.
    pub(super) fn as_int(self) -> Option<i128> {
        match self {
            Self::Int(value) => Some(value),
            Self::Float(_) => None,
        }
    }

    /// Reads a decimal number as HCL writes it: digits, an optional fraction and exponent.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        if !digits.starts_with(|c: char| c.is_ascii_digit())
            || !digits.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'))
        {
            return None;
        }
        if let Ok(value) = text.parse::<i128>() {
            return Some(Self::Int(value));
        }
        text.parse::<f64>().ok().and_then(Self::from_f64)
    }

    fn either(
        self,
        other: Self,
        ints: impl Fn(i128, i128) -> Option<i128>,
        floats: impl Fn(f64, f64) -> f64,
    ) -> Option<Self> {
        if let (Self::Int(a), Self::Int(b)) = (self, other)
            && let Some(result) = ints(a, b)
        {
            return Some(Self::Int(result));
        }
        Self::from_f64(floats(self.as_f64(), other.as_f64()))
    }

    pub(super) fn add(self, other: Self) -> Option<Self> {
        self.either(other, i128::checked_add, |a, b| a + b)
    }

    pub(super) fn subtract(self, other: Self) -> Option<Self> {
        self.either(other, i128::checked_sub, |a, b| a - b)
    }

    pub(super) fn multiply(self, other: Self) -> Option<Self> {
        self.either(other, i128::checked_mul, |a, b| a * b)
    }

    /// `None` when dividing by zero.
    pub(super) fn divide(self, other: Self) -> Option<Self> {
        let whole = |a: i128, b: i128| (a.checked_rem(b)? == 0).then(|| a.checked_div(b)).flatten();
        self.either(other, whole, |a, b| a / b)
    }

    /// The remainder with the dividend's sign; `None` when dividing by zero.
    pub(super) fn remainder(self, other: Self) -> Option<Self> {
        self.either(other, i128::checked_rem, |a, b| a % b)
    }

    pub(super) fn negate(self) -> Self {
        match self {
            Self::Int(value) => value.checked_neg().map_or_else(|| Self::Float(-self.as_f64()), Self::Int),
            Self::Float(value) => Self::Float(-value),
        }
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Number {}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            _ => self.as_f64().total_cmp(&other.as_f64()),
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(value) => value.fmt(f),
            Self::Float(value) => {
                // 15 digits are what a double surely holds: 0.1 + 0.2 reads 0.3, as in Terraform.
                let rounded = format!("{value:.14e}").parse::<f64>().unwrap_or(*value);
                rounded.fmt(f)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_is_exact_while_it_can_be() {
        let big = Number::Int(i128::MAX);
        assert_eq!(Number::Int(7).divide(Number::Int(2)).unwrap().to_string(), "3.5");
        assert_eq!(Number::Int(6).divide(Number::Int(2)).unwrap().as_int(), Some(3));
        assert!(Number::Int(1).divide(Number::Int(0)).is_none());
        assert!(big.add(big).is_some_and(|sum| sum.as_int().is_none()));
        assert_eq!(Number::Float(0.1).add(Number::Float(0.2)).unwrap().to_string(), "0.3");
        assert_eq!(Number::Int(i128::MIN).negate().as_f64(), 2f64.powi(127));
    }

    #[test]
    fn only_decimal_numbers_are_read() {
        assert_eq!(Number::parse("1e3").unwrap().as_int(), Some(1000));
        for text in ["", "inf", "nan", "0x10", "1_000", "-", "."] {
            assert!(Number::parse(text).is_none(), "{text}");
        }
    }
}
