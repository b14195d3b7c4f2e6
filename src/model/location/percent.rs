//! `%20` and the like in URIs (RFC 3986, section 2.1).

/// The bytes that a part of a URI stands for; `None` when a `%` is not followed by two hexadecimal digits or they are
/// no UTF-8.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let (digits, after) = after.split_at_checked(2)?;
            let value = |digit: u8| char::from(digit).to_digit(16);
            let byte = value(digits[0])? << 4 | value(digits[1])?;
            bytes.push(u8::try_from(byte).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

/// A text as a part of a URI's path or of the value of a parameter: everything but letters, digits, `-._~` and `/` in
/// hexadecimal.
pub(super) fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_survive() {
        for text in ["", "disk", "a b/ü%?&=#", "\u{0}"] {
            assert_eq!(decode(&encode(text)).as_deref(), Some(text));
        }
        assert_eq!(encode("a b"), "a%20b");
        for bad in ["%", "%4", "%zz", "%ff", "%+1"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
