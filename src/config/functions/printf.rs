//! The verbs of `format`, which are those of Go's `fmt` as Terraform takes them.

use super::arguments::{FunctionError, MAX_TEXT, Result};
use super::strings::scalar_text;
use crate::config::number::Number;
use crate::config::types::{self, Type};
use crate::config::value::{Kind, Value};

/// The widest field.
const MAX_WIDTH: usize = 4096;

/// One `%…` of a template.
#[derive(Default)]
struct Verb {
    plus: bool,
    minus: bool,
    zero: bool,
    space: bool,
    sharp: bool,
    width: Option<usize>,
    precision: Option<usize>,
    argument: Option<usize>,
}

/// Fills in a template.
pub(super) fn format(template: &str, values: &[Value]) -> Result<String> {
    let mut text = String::new();
    let mut letters = template.chars().peekable();
    let mut next = 0usize;
    let mut named = false;
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        let mut verb = Verb::default();
        while let Some(flag) = letters.next_if(|letter| "+-0 #".contains(*letter)) {
            match flag {
                '+' => verb.plus = true,
                '-' => verb.minus = true,
                '0' => verb.zero = true,
                ' ' => verb.space = true,
                _ => verb.sharp = true,
            }
        }
        let digits = |letters: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            let mut number: Option<usize> = None;
            while let Some(digit) = letters.next_if(char::is_ascii_digit) {
                let digit = digit.to_digit(10).unwrap_or(0) as usize;
                number = Some(number.unwrap_or(0).saturating_mul(10).saturating_add(digit));
            }
            number
        };
        verb.width = digits(&mut letters);
        if letters.next_if_eq(&'.').is_some() {
            verb.precision = Some(digits(&mut letters).unwrap_or(0));
        }
        if letters.next_if_eq(&'[').is_some() {
            verb.argument = digits(&mut letters);
            named = true;
            if letters.next_if_eq(&']').is_none() || verb.argument.is_none() {
                return Err(FunctionError::at(0, "`%[` is followed by a position and `]`, as in `%[1]s`"));
            }
        }
        if verb.width.max(verb.precision).is_some_and(|size| size > MAX_WIDTH) {
            return Err(FunctionError::at(0, format!("a field is at most {MAX_WIDTH} wide")));
        }
        let Some(mode) = letters.next() else {
            return Err(FunctionError::at(0, "the text ends within a `%` verb")
                .help("`%%` stands for a percent sign"));
        };
        if mode == '%' {
            text.push('%');
            continue;
        }
        let position = match verb.argument {
            Some(position) => position.checked_sub(1),
            None => Some(next),
        };
        next = position.map_or(next, |position| position + 1);
        let Some(value) = position.and_then(|position| values.get(position)) else {
            return Err(FunctionError::at(
                0,
                format!("there is no argument for the `%{mode}` at this place"),
            ));
        };
        text.push_str(&verb.apply(mode, value)?);
        if text.len() > MAX_TEXT {
            return Err(FunctionError::new("the result is longer than 16 MiB"));
        }
    }
    if !named && next < values.len() {
        return Err(FunctionError::at(
            next + 1,
            format!("there are {} arguments, and {next} are used", values.len()),
        ));
    }
    Ok(text)
}

impl Verb {
    fn apply(&self, mode: char, value: &Value) -> Result<String> {
        let wrong = |wanted: &str| {
            FunctionError::new(format!("`%{mode}` takes {wanted}, and the argument is {}", value.describe()))
        };
        let number = || match types::convert(value, &Type::Number).map(|value| value.kind) {
            Ok(Kind::Number(number)) => Ok(number),
            _ => Err(wrong("a number")),
        };
        let text = match mode {
            'v' if self.sharp => super::encoding::json_text(value)?,
            'v' => match &value.kind {
                Kind::Number(number) => return Ok(self.pad(&self.signed(*number, number.to_string()), true)),
                Kind::String(text) => text.to_string(),
                Kind::Bool(value) => value.to_string(),
                Kind::Null => "null".to_owned(),
                _ => super::encoding::json_text(value)?,
            },
            's' => {
                let text = scalar_text(value).ok_or_else(|| wrong("a string"))?;
                self.cut(&text)
            }
            'q' => {
                let text = scalar_text(value).ok_or_else(|| wrong("a string"))?;
                serde_json::to_string(&*self.cut(&text))
                    .map_err(|error| FunctionError::new(error.to_string()))?
            }
            't' => match types::convert(value, &Type::Bool).map(|value| value.kind) {
                Ok(Kind::Bool(value)) => value.to_string(),
                _ => return Err(wrong("a bool")),
            },
            'd' | 'b' | 'o' | 'x' | 'X' => {
                if let (Kind::String(text), 'x' | 'X') = (&value.kind, mode) {
                    let hex = text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
                    return Ok(self.pad(&if mode == 'X' { hex.to_uppercase() } else { hex }, false));
                }
                let number = number()?;
                // Fractions are cut off, as Terraform does.
                let whole = number
                    .as_int()
                    .or_else(|| Number::from_f64(number.as_f64().trunc()).and_then(Number::as_int))
                    .ok_or_else(|| wrong("a whole number"))?;
                let digits = match (mode, self.sharp) {
                    ('b', _) => format!("{:b}", whole.unsigned_abs()),
                    ('o', false) => format!("{:o}", whole.unsigned_abs()),
                    ('o', true) => format!("0{:o}", whole.unsigned_abs()),
                    ('x', false) => format!("{:x}", whole.unsigned_abs()),
                    ('x', true) => format!("0x{:x}", whole.unsigned_abs()),
                    ('X', false) => format!("{:X}", whole.unsigned_abs()),
                    ('X', true) => format!("0X{:X}", whole.unsigned_abs()),
                    _ => whole.unsigned_abs().to_string(),
                };
                let digits = if whole < 0 { format!("-{digits}") } else { digits };
                return Ok(self.pad(&self.signed(number, digits), true));
            }
            'f' | 'F' => {
                let number = number()?;
                let digits = format!("{:.*}", self.precision.unwrap_or(6), number.as_f64());
                return Ok(self.pad(&self.signed(number, digits), true));
            }
            'e' | 'E' => {
                let number = number()?;
                let digits = exponent(&format!("{:.*e}", self.precision.unwrap_or(6), number.as_f64()));
                let digits = if mode == 'E' { digits.to_uppercase() } else { digits };
                return Ok(self.pad(&self.signed(number, digits), true));
            }
            'g' | 'G' => {
                let number = number()?;
                return Ok(self.pad(&self.signed(number, general(number.as_f64(), self.precision)), true));
            }
            other => {
                return Err(FunctionError::at(0, format!("there is no verb `%{other}`"))
                    .help("verbs are %s %q %d %f %g %e %x %o %b %t %v, and `%%` for a percent sign"));
            }
        };
        Ok(self.pad(&text, false))
    }

    fn cut(&self, text: &str) -> String {
        self.precision.map_or_else(|| text.to_owned(), |most| text.chars().take(most).collect())
    }

    fn signed(&self, number: Number, text: String) -> String {
        match (number < Number::Int(0), self.plus, self.space) {
            (false, true, _) => format!("+{text}"),
            (false, false, true) => format!(" {text}"),
            _ => text,
        }
    }

    fn pad(&self, text: &str, numeric: bool) -> String {
        let missing = self.width.unwrap_or(0).saturating_sub(text.chars().count());
        if missing == 0 {
            text.to_owned()
        } else if self.minus {
            format!("{text}{}", " ".repeat(missing))
        } else if self.zero {
            let sign = if numeric && text.starts_with(['+', '-', ' ']) { 1 } else { 0 };
            format!("{}{}{}", &text[..sign], "0".repeat(missing), &text[sign..])
        } else {
            format!("{}{text}", " ".repeat(missing))
        }
    }
}

/// Rust's `1e5` as C's `1e+05`.
fn exponent(text: &str) -> String {
    let (mantissa, power) = text.split_once('e').unwrap_or((text, "0"));
    let (sign, digits) = power.strip_prefix('-').map_or(('+', power), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// C's `%g`: the shorter of fixed and exponent form.
fn general(value: f64, precision: Option<usize>) -> String {
    let digits = precision.map_or_else(|| format!("{value:e}"), |p| format!("{value:.*e}", p.max(1) - 1));
    let power: i32 = digits.split_once('e').and_then(|(_, power)| power.parse().ok()).unwrap_or(0);
    let limit = precision.map_or(21, |precision| i32::try_from(precision.max(1)).unwrap_or(21));
    if power < -4 || power >= limit {
        return exponent(&digits);
    }
    let rounded: f64 = digits.parse().unwrap_or(value);
    rounded.to_string()
}
