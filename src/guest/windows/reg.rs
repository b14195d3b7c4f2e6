//! Registry values as people read them: the lines of a `.reg` file, with texts in plain sight where
//! that format has only bytes (`expand:`, `multi:`, `qword:`).

use std::fmt::Write;

use super::hive::{Change, Data, Difference, Value};

/// Most bytes of a binary value that are shown.
const MOST_BYTES: usize = 64;

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            _ if character.is_control() => quoted.extend(character.escape_default()),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

fn hex(bytes: &[u8]) -> String {
    let shown: Vec<String> = bytes.iter().take(MOST_BYTES).map(|byte| format!("{byte:02x}")).collect();
    let rest = bytes.len().saturating_sub(MOST_BYTES);
    let rest = if rest > 0 { format!(" and {rest} bytes more") } else { String::new() };
    format!("{}{rest}", shown.join(","))
}

/// A value's line: `"Start"=dword:00000000`.
#[must_use]
pub fn line(value: &Value) -> String {
    let name = if value.name.is_empty() { "@".to_owned() } else { quoted(&value.name) };
    let data = match value.data() {
        Data::Text(text) => quoted(&text),
        Data::Expand(text) => format!("expand:{}", quoted(&text)),
        Data::List(items) => {
            format!("multi:{}", items.iter().map(|item| quoted(item)).collect::<Vec<_>>().join(","))
        }
        Data::Number(number) => format!("dword:{number:08x}"),
        Data::Long(number) => format!("qword:{number:016x}"),
        Data::Binary(bytes) => format!("hex:{}", hex(&bytes)),
        Data::Other { kind, bytes } => format!("hex({kind:x}):{}", hex(&bytes)),
    };
    format!("{name}={data}")
}

/// What differs, as two texts: what is before and what is after, key by key.
#[must_use]
pub fn texts(root: &str, differences: &[Difference]) -> (String, String) {
    let (mut before, mut after) = (String::new(), String::new());
    for group in differences.chunk_by(|one, other| one.key == other.key) {
        let Some(first) = group.first() else { continue };
        let is = |change: fn(&Change) -> bool| group.iter().any(|difference| change(&difference.change));
        let is_new = is(|change| *change == Change::Added);
        let is_gone = is(|change| matches!(change, Change::Removed { .. }));
        let header = format!("[{root}\\{}]\n", first.key);
        for (text, is_there, side) in [(&mut before, !is_new, 0), (&mut after, !is_gone, 1)] {
            if !is_there {
                continue;
            }
            text.push_str(&header);
            for difference in group {
                let values: &[Value] = match (&difference.change, side) {
                    (Change::Value { before, .. }, 0) => before.as_slice(),
                    (Change::Value { after, .. }, _) => after.as_slice(),
                    (Change::Removed { values }, _) => values,
                    _ => &[],
                };
                for value in values {
                    // Writing to a String does not fail.
                    let _written = writeln!(text, "{}", line(value));
                }
            }
            text.push('\n');
        }
    }
    (before, after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(name: &str, data: &Data) -> Value {
        Value { name: name.to_owned(), kind: data.kind(), bytes: data.bytes() }
    }

    #[test]
    fn values_are_lines_of_a_reg_file() {
        let line = |name: &str, data: Data| line(&value(name, &data));
        assert_eq!(line("Start", Data::Number(3)), "\"Start\"=dword:00000003");
        assert_eq!(line("", Data::Text("a \"b\" c:\\d".into())), r#"@="a \"b\" c:\\d""#);
        assert_eq!(line("p", Data::Expand("%x%".into())), "\"p\"=expand:\"%x%\"");
        assert_eq!(line("m", Data::List(vec!["a".into(), "b".into()])), "\"m\"=multi:\"a\",\"b\"");
        assert_eq!(line("b", Data::Binary(vec![1, 255])), "\"b\"=hex:01,ff");
        assert_eq!(line("q", Data::Long(1)), "\"q\"=qword:0000000000000001");
        assert_eq!(line("n", Data::Other { kind: 0, bytes: vec![] }), "\"n\"=hex(0):");
        assert!(line("l", Data::Binary(vec![0; 100])).ends_with("00 and 36 bytes more"));
    }

    #[test]
    fn a_new_key_a_changed_value_and_a_lost_key() {
        let changed = |key: &str, change| Difference { key: key.to_owned(), change };
        let differences = [
            changed("A", Change::Added),
            changed("A", Change::Value { before: None, after: Some(value("x", &Data::Number(1))) }),
            changed(
                "B",
                Change::Value {
                    before: Some(value("y", &Data::Number(3))),
                    after: Some(value("y", &Data::Number(0))),
                },
            ),
            changed("C", Change::Removed { values: vec![value("0", &Data::Number(3))] }),
        ];
        let (before, after) = texts("HKEY_LOCAL_MACHINE\\SYSTEM", &differences);
        assert_eq!(
            before,
            "[HKEY_LOCAL_MACHINE\\SYSTEM\\B]\n\"y\"=dword:00000003\n\n[HKEY_LOCAL_MACHINE\\SYSTEM\\C]\n\"0\"=dword:00000003\n\n"
        );
        assert_eq!(
            after,
            "[HKEY_LOCAL_MACHINE\\SYSTEM\\A]\n\"x\"=dword:00000001\n\n[HKEY_LOCAL_MACHINE\\SYSTEM\\B]\n\"y\"=dword:00000000\n\n"
        );
    }
}
