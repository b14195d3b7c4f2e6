//! Encodings and digests.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256, Sha512};

use super::arguments::{Arguments, FunctionError, Result, bounded, check_count};
use crate::config::value::Value;

/// A value as JSON text; `<`, `>` and `&` are escaped, as Terraform does.
pub(super) fn json_text(value: &Value) -> Result<String> {
    let json = value.to_json().ok_or_else(|| FunctionError::at(0, "a part is known only after apply"))?;
    let text = serde_json::to_string(&json).map_err(|error| FunctionError::at(0, error.to_string()))?;
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(escaped, "\\u{:04x}", u32::from(letter));
            }
            other => escaped.push(other),
        }
    }
    Ok(escaped)
}

pub(super) fn jsonencode(arguments: &Arguments<'_>) -> Result {
    bounded(json_text(arguments.value(0))?)
}

pub(super) fn jsondecode(arguments: &Arguments<'_>) -> Result {
    let text = arguments.string(0)?;
    let json: serde_json::Value = serde_json::from_str(&text)
        .map_err(|error| FunctionError::at(0, format!("this is not JSON: {error}")))?;
    Ok(Value::from_json(&json))
}

pub(super) fn csvdecode(arguments: &Arguments<'_>) -> Result {
    let rows = csv_rows(&arguments.string(0)?)?;
    let Some((header, rows)) = rows.split_first() else {
        return Err(FunctionError::at(0, "there is no header line"));
    };
    check_count(rows.len())?;
    let names: Vec<Arc<str>> = header.iter().map(|name| Arc::from(name.as_str())).collect();
    if names.iter().collect::<std::collections::BTreeSet<_>>().len() != names.len() {
        return Err(FunctionError::at(0, "a column's name stands twice in the header line"));
    }
    let mut objects = Vec::with_capacity(rows.len());
    for (number, row) in rows.iter().enumerate() {
        if row.len() != names.len() {
            return Err(FunctionError::at(
                0,
                format!("row {} has {} fields and the header line {}", number + 1, row.len(), names.len()),
            ));
        }
        let fields = names.iter().cloned().zip(row.iter().map(|field| Value::string(field.as_str())));
        objects.push(Value::object(fields.collect::<BTreeMap<_, _>>()));
    }
    Ok(Value::list(objects))
}

/// The rows of a CSV text (RFC 4180); empty lines are skipped.
fn csv_rows(text: &str) -> Result<Vec<Vec<String>>> {
    let mut rows = Vec::new();
    let mut row = Vec::new();
    let mut field = String::new();
    let mut letters = text.chars().peekable();
    let mut quoted = false;
    let mut started = false;
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted => {
                if letters.next_if_eq(&'"').is_some() {
                    field.push('"');
                } else {
                    quoted = false;
                }
            }
            other if quoted => field.push(other),
            '"' if field.is_empty() => {
                quoted = true;
                started = true;
            }
            '"' => return Err(FunctionError::at(0, format!("a stray `\"` in row {}", rows.len()))),
            ',' => {
                row.push(std::mem::take(&mut field));
                started = true;
            }
            '\r' if letters.peek() == Some(&'\n') => {}
            '\n' => {
                if started || !field.is_empty() {
                    row.push(std::mem::take(&mut field));
                    rows.push(std::mem::take(&mut row));
                }
                started = false;
            }
            other => field.push(other),
        }
    }
    if quoted {
        return Err(FunctionError::at(0, "a quoted field is not closed"));
    }
    if started || !field.is_empty() {
        row.push(field);
        rows.push(row);
    }
    Ok(rows)
}

pub(super) fn base64encode(arguments: &Arguments<'_>) -> Result {
    bounded(STANDARD.encode(arguments.string(0)?.as_bytes()))
}

pub(super) fn base64decode(arguments: &Arguments<'_>) -> Result {
    let bytes = STANDARD
        .decode(arguments.string(0)?.as_bytes())
        .map_err(|error| FunctionError::at(0, format!("this is not base64: {error}")))?;
    let text =
        String::from_utf8(bytes).map_err(|_| FunctionError::at(0, "the decoded bytes are not UTF-8 text"))?;
    Ok(Value::string(text))
}

fn hex(bytes: &[u8]) -> Value {
    Value::string(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

pub(super) fn sha256(arguments: &Arguments<'_>) -> Result {
    Ok(hex(&Sha256::digest(arguments.string(0)?.as_bytes())))
}

pub(super) fn sha512(arguments: &Arguments<'_>) -> Result {
    Ok(hex(&Sha512::digest(arguments.string(0)?.as_bytes())))
}

pub(super) fn base64sha256(arguments: &Arguments<'_>) -> Result {
    Ok(Value::string(STANDARD.encode(Sha256::digest(arguments.string(0)?.as_bytes()))))
}

pub(super) fn urlencode(arguments: &Arguments<'_>) -> Result {
    let mut encoded = String::new();
    for byte in arguments.string(0)?.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte))
            }
            b' ' => encoded.push('+'),
            other => {
                let _ = write!(encoded, "%{other:02X}");
            }
        }
    }
    bounded(encoded)
}
