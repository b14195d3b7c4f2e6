//! The text that LVM keeps its metadata in: `name = value` and `name { … }`. Every value is kept
//! with its place, so that an edit changes that and nothing else.

use std::ops::Range;

/// Sections in sections; LVM's own go four deep.
const MAX_DEPTH: u32 = 8;
/// Values in one text: LVM's greatest metadata holds some ten thousand.
const MAX_VALUES: usize = 1 << 18;

/// Why a text is none of LVM's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Something else is expected at this byte.
    #[error("the metadata is not what LVM writes, at byte {at}")]
    Syntax {
        /// From the text's start.
        at: usize,
    },
    /// It is too deep or too long.
    #[error("the metadata holds more than LVM would write")]
    TooMuch,
}

/// What stands behind a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A whole number.
    Number(i64),
    /// A text; also a number that is not whole.
    Text(String),
    /// `[ … ]`, without lists in it.
    List(Vec<Value>),
    /// `{ … }`.
    Section(Section),
}

/// A name with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Value,
    /// Where the value stands; of a section, what is between its braces.
    pub place: Range<usize>,
}

/// A list of entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Section {
    /// In their order.
    pub entries: Vec<Entry>,
}

impl Section {
    /// The entry of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// A number that is not negative.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        match self.get(name)?.value {
            Value::Number(number) => u64::try_from(number).ok(),
            _ => None,
        }
    }

    /// A text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match &self.get(name)?.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A list; a single value counts as one of one.
    #[must_use]
    pub fn list(&self, name: &str) -> Option<&[Value]> {
        match &self.get(name)?.value {
            Value::List(list) => Some(list),
            Value::Section(_) => None,
            single => Some(std::slice::from_ref(single)),
        }
    }

    /// The sections in a section, with their names.
    pub fn sections(&self, name: &str) -> impl Iterator<Item = (&str, &Section)> {
        let inner = self.get(name).and_then(|entry| entry.section());
        inner
            .into_iter()
            .flat_map(|section| &section.entries)
            .filter_map(|entry| entry.section().map(|section| (entry.name.as_str(), section)))
    }
}

impl Entry {
    /// The section, when it is one.
    #[must_use]
    pub fn section(&self) -> Option<&Section> {
        match &self.value {
            Value::Section(section) => Some(section),
            _ => None,
        }
    }
}

/// Parses a whole text.
///
/// # Errors
/// [`TextError`].
pub fn parse(text: &str) -> Result<Section, TextError> {
    let mut parser = Parser { text: text.as_bytes(), at: 0, values: 0 };
    let section = parser.section(0)?;
    if parser.at == text.len() { Ok(section) } else { Err(parser.syntax()) }
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    values: usize,
}

impl Parser<'_> {
    fn syntax(&self) -> TextError {
        TextError::Syntax { at: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => self.at += 1,
                b'#' => {
                    while self.peek().is_some_and(|byte| byte != b'\n') {
                        self.at += 1;
                    }
                }
                _ => return,
            }
        }
    }

    fn word(&mut self, fits: impl Fn(u8) -> bool) -> String {
        let start = self.at;
        while self.peek().is_some_and(&fits) {
            self.at += 1;
        }
        String::from_utf8_lossy(&self.text[start..self.at]).into_owned()
    }

    /// Entries up to a closing brace, which stays, or the end.
    fn section(&mut self, depth: u32) -> Result<Section, TextError> {
        if depth > MAX_DEPTH {
            return Err(TextError::TooMuch);
        }
        let mut section = Section::default();
        loop {
            self.skip();
            if matches!(self.peek(), None | Some(b'}')) {
                return Ok(section);
            }
            let name = self.word(|byte| byte.is_ascii_alphanumeric() || b"_-+./".contains(&byte));
            if name.is_empty() {
                return Err(self.syntax());
            }
            self.skip();
            let entry = match self.peek() {
                Some(b'{') => {
                    self.at += 1;
                    let start = self.at;
                    let inner = self.section(depth + 1)?;
                    let place = start..self.at;
                    if self.peek() != Some(b'}') {
                        return Err(self.syntax());
                    }
                    self.at += 1;
                    Entry { name, value: Value::Section(inner), place }
                }
                Some(b'=') => {
                    self.at += 1;
                    self.skip();
                    let start = self.at;
                    let value = self.value()?;
                    Entry { name, value, place: start..self.at }
                }
                _ => return Err(self.syntax()),
            };
            section.entries.push(entry);
        }
    }

    fn value(&mut self) -> Result<Value, TextError> {
        if self.peek() != Some(b'[') {
            return self.single();
        }
        self.at += 1;
        let mut list = Vec::new();
        loop {
            self.skip();
            match self.peek() {
                Some(b']') => {
                    self.at += 1;
                    return Ok(Value::List(list));
                }
                Some(b',') if !list.is_empty() => self.at += 1,
                Some(_) => list.push(self.single()?),
                None => return Err(self.syntax()),
            }
        }
    }

    fn single(&mut self) -> Result<Value, TextError> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(TextError::TooMuch);
        }
        if self.peek() == Some(b'"') {
            return self.quoted();
        }
        let word = self.word(|byte| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte));
        if word.is_empty() {
            return Err(self.syntax());
        }
        Ok(word.parse().map_or(Value::Text(word), Value::Number))
    }

    fn quoted(&mut self) -> Result<Value, TextError> {
        self.at += 1;
        let mut bytes = Vec::new();
        loop {
            match self.peek().ok_or_else(|| self.syntax())? {
                b'"' => break,
                b'\\' => {
                    self.at += 1;
                    bytes.push(self.peek().ok_or_else(|| self.syntax())?);
                }
                byte => bytes.push(byte),
            }
            self.at += 1;
        }
        self.at += 1;
        Ok(Value::Text(String::from_utf8_lossy(&bytes).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lvm_writes_is_understood() {
        let text = "vg0 {\nid = \"a-b\"\nseqno = 3 # third\nflags = []\nstripes = [\n\"pv0\", 0,\n\"pv\\\"1\", -5\n]\n\
                    inner { x = 1.5 } }\n# end\ncontents = \"Text\"\n";
        let found = parse(text).unwrap();
        let group = found.entries[0].section().unwrap();
        assert_eq!((group.text("id"), group.number("seqno")), (Some("a-b"), Some(3)));
        assert_eq!(&text[group.get("seqno").unwrap().place.clone()], "3");
        assert_eq!(group.list("flags"), Some(&[][..]));
        let stripes = group.list("stripes").unwrap();
        assert_eq!(stripes[2..], [Value::Text("pv\"1".to_owned()), Value::Number(-5)]);
        assert_eq!(found.text("contents"), Some("Text"));
        assert_eq!(found.sections("vg0").next().unwrap().1.text("x"), Some("1.5"));
    }

    #[test]
    fn what_is_not_lvms_is_refused() {
        for text in ["a", "a = ", "a {", "}", "a = [1", "a = \"x", "= 1", "a = [,1]", "a = \"\\"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse(&"a{".repeat(100_000)), Err(TextError::TooMuch));
        let long = format!("a = [{}]", "1,".repeat(MAX_VALUES + 1));
        assert_eq!(parse(&long), Err(TextError::TooMuch));
    }
}
