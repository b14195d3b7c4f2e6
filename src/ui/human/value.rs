//! Values as HCL writes them.

use std::fmt::Write as _;

use serde_json::Value;

/// Spaces of one level.
const LEVEL: usize = 4;

/// A string as an HCL literal on one line.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('"');
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' => literal.push_str("\\\""),
            '\\' => literal.push_str("\\\\"),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\t' => literal.push_str("\\t"),
            '$' | '%' if characters.peek() == Some(&'{') => {
                literal.push(character);
                literal.push(character);
            }
            other if is_unprintable(other) => {
                let _infallible = write!(literal, "\\u{:04x}", u32::from(other));
            }
            other => literal.push(other),
        }
    }
    literal.push('"');
    literal
}

/// Control characters, and those that turn the direction of a line around.
fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A key of an object: bare where HCL allows it.
#[must_use]
pub fn key(text: &str) -> String {
    let bare = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.chars().all(|next| next.is_ascii_alphanumeric() || matches!(next, '_' | '-'));
    if bare { text.to_owned() } else { quoted(text) }
}

/// A value as an HCL expression; lists and objects take a line for each element, indented from
/// `indent` spaces.
#[must_use]
pub fn hcl(value: &Value, indent: usize) -> String {
    let inner = " ".repeat(indent + LEVEL);
    let outer = " ".repeat(indent);
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(elements) if elements.is_empty() => "[]".to_owned(),
        Value::Array(elements) => {
            let lines: String = elements
                .iter()
                .map(|element| format!("{inner}{},\n", hcl(element, indent + LEVEL)))
                .collect();
            format!("[\n{lines}{outer}]")
        }
        Value::Object(members) if members.is_empty() => "{}".to_owned(),
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| (key(name), hcl(value, indent + LEVEL)));
            format!("{{\n{}{outer}}}", aligned(members, indent + LEVEL))
        }
    }
}

/// `name = value` lines with their equals signs under each other.
#[must_use]
pub fn aligned(members: impl IntoIterator<Item = (String, String)>, indent: usize) -> String {
    let members: Vec<_> = members.into_iter().collect();
    let width = members.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let indent = " ".repeat(indent);
    members.iter().map(|(name, value)| format!("{indent}{name:<width$} = {value}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_as_hcl() {
        let value = serde_json::json!({
            "name": "a \"quoted\" ${x} \u{1b}[2J\n",
            "list": [1, true, null, []],
            "odd key": { "a": "b" },
        });
        insta::assert_snapshot!(hcl(&value, 0));
    }

    #[test]
    fn literals_are_hcl() {
        for text in ["plain", "a \"b\" \\ c", "${x} %{y} $$ %", "line\nfeed\ttab", "esc\u{1b}[0m\u{202e}"] {
            let parsed: hcl::Value =
                hcl::from_str::<hcl::Map<String, hcl::Value>>(&format!("x = {}", quoted(text)))
                    .unwrap()
                    .swap_remove("x")
                    .unwrap();
            assert_eq!(parsed, hcl::Value::from(text), "{}", quoted(text));
        }
    }
}
