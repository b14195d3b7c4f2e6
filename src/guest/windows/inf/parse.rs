//! Sections, lines, values and strings, after "General syntax rules for INF files".

use std::collections::HashMap;

use super::error::InfError;
use super::text;

/// Most bytes of a file. Display drivers have 2 MB; storage and network drivers some kilobytes.
const MOST_BYTES: usize = 4 << 20;
/// Most sections of a file.
const MOST_SECTIONS: usize = 16 << 10;
/// Most values of a file, over all lines.
const MOST_VALUES: usize = 256 << 10;
/// Longest section name, in characters (Windows 2000 and later).
const LONGEST_NAME: usize = 255;
/// Longest value, in characters, before and after strings are put in.
const LONGEST_VALUE: usize = 4095;
/// The sections of strings that are looked into first: US English, then English of any country.
const ENGLISH: [&str; 2] = ["strings.0409", "strings.0009"];

/// One entry of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Where it begins, from 1.
    pub number: u32,
    /// What stands before `=`, as written.
    pub key: Option<String>,
    /// The values, without their quotes, as written: `%tokens%` are still there.
    pub values: Vec<String>,
}

impl Line {
    /// A value as written; what is left out is empty.
    #[must_use]
    pub fn value(&self, index: usize) -> &str {
        self.values.get(index).map_or("", String::as_str)
    }

    /// Whether its key is this one, in any case.
    #[must_use]
    pub fn has_key(&self, key: &str) -> bool {
        self.key.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(key))
    }
}

/// All that stands under a name; sections of the same name are one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The name as it was first written.
    pub name: String,
    /// The entries in the file's order.
    pub lines: Vec<Line>,
}

impl Section {
    /// The first entry of a key.
    #[must_use]
    pub fn line(&self, key: &str) -> Option<&Line> {
        self.lines.iter().find(|line| line.has_key(key))
    }
}

/// A setup information file that was read.
#[derive(Debug, Clone)]
pub struct Inf {
    sections: Vec<Section>,
    index: HashMap<String, usize>,
    strings: HashMap<String, String>,
}

impl Inf {
    /// Reads a file.
    ///
    /// # Errors
    /// What Windows would not take for a setup information file, or what is larger than any.
    pub fn parse(bytes: &[u8]) -> Result<Self, InfError> {
        if bytes.len() > MOST_BYTES {
            return Err(InfError::TooLarge { size: bytes.len(), most: MOST_BYTES });
        }
        let mut reader = Reader::default();
        let text = text::decode(bytes);
        // Control-Z ends a text file since CP/M.
        let text = text.split(['\u{1a}', '\0']).next().unwrap_or_default();
        let mut number = 0u32;
        let mut lines = text.split('\n').flat_map(|line| {
            // A return alone ends a line too.
            line.strip_suffix('\r').unwrap_or(line).split('\r')
        });
        while let Some(line) = lines.next() {
            number = number.saturating_add(1);
            let line = line.trim_start();
            if line.is_empty() || line.starts_with(';') {
                continue;
            }
            if let Some(rest) = line.strip_prefix('[') {
                let (name, _) = rest.split_once(']').ok_or(InfError::Header { line: number })?;
                reader.section(name, number)?;
                continue;
            }
            let begin = number;
            let mut entry = Entry::default();
            let mut more = entry.read(line, begin)?;
            while more {
                let Some(next) = lines.next() else { break };
                number = number.saturating_add(1);
                more = entry.read(next, begin)?;
            }
            reader.entry(entry.finish(begin)?)?;
        }
        Ok(reader.finish())
    }

    /// The section of a name, in any case.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.index.get(&name.to_ascii_lowercase()).and_then(|index| self.sections.get(*index))
    }

    /// All sections, in the file's order.
    #[must_use]
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// A value with its strings put in: `%name%` where the file has such a string, `%%` for a
    /// percent sign; other tokens (`%12%`, a directory) stay. At most 4,095 characters, as in
    /// Windows.
    #[must_use]
    pub fn expand(&self, value: &str) -> String {
        let mut expanded = String::new();
        let mut rest = value;
        while let Some((before, after)) = rest.split_once('%') {
            expanded.push_str(before);
            rest = match after.split_once('%') {
                Some(("", after)) => {
                    expanded.push('%');
                    after
                }
                Some((name, after)) => {
                    match self.strings.get(&name.to_ascii_lowercase()) {
                        Some(string) => expanded.push_str(string),
                        None => expanded.extend(["%", name, "%"]),
                    }
                    after
                }
                None => {
                    expanded.push('%');
                    after
                }
            };
            if expanded.len() > LONGEST_VALUE * 4 {
                break;
            }
        }
        expanded.push_str(rest);
        let long = expanded.len() > LONGEST_VALUE;
        if let Some((end, _)) = long.then(|| expanded.char_indices().nth(LONGEST_VALUE)).flatten() {
            expanded.truncate(end);
        }
        expanded
    }

    /// A value of a line, with its strings put in.
    pub(super) fn value(&self, line: &Line, index: usize) -> String {
        self.expand(line.value(index))
    }
}

/// What is known of a file while it is read.
#[derive(Default)]
struct Reader {
    sections: Vec<Section>,
    index: HashMap<String, usize>,
    current: Option<usize>,
    values: usize,
}

impl Reader {
    fn section(&mut self, name: &str, line: u32) -> Result<(), InfError> {
        let name = name.trim().trim_matches('"');
        if name.is_empty() || name.chars().count() > LONGEST_NAME {
            return Err(InfError::Header { line });
        }
        let key = name.to_ascii_lowercase();
        let next = self.sections.len();
        let known = *self.index.entry(key).or_insert(next);
        if known == next {
            if next == MOST_SECTIONS {
                return Err(InfError::TooMany { what: "sections", most: MOST_SECTIONS });
            }
            self.sections.push(Section { name: name.to_owned(), lines: Vec::new() });
        }
        self.current = Some(known);
        Ok(())
    }

    fn entry(&mut self, line: Line) -> Result<(), InfError> {
        let empty = line.key.is_none() && line.values.iter().all(String::is_empty);
        let section = self.current.and_then(|current| self.sections.get_mut(current));
        let section = match section {
            Some(section) => section,
            None if empty => return Ok(()),
            None => return Err(InfError::NoSection { line: line.number }),
        };
        self.values += line.values.len() + 1;
        if self.values > MOST_VALUES {
            return Err(InfError::TooMany { what: "values", most: MOST_VALUES });
        }
        if !empty {
            section.lines.push(line);
        }
        Ok(())
    }

    fn finish(self) -> Inf {
        let mut inf = Inf { sections: self.sections, index: self.index, strings: HashMap::new() };
        let mut strings = HashMap::new();
        let others = inf.sections.iter().map(|section| section.name.to_ascii_lowercase());
        // What is only there in another language is better than nothing.
        let others: Vec<String> = others.filter(|name| name.starts_with("strings.")).collect();
        let preferred = ENGLISH.into_iter().chain(["strings"]);
        for name in preferred.chain(others.iter().map(String::as_str)) {
            for line in inf.section(name).into_iter().flat_map(|section| &section.lines) {
                if let Some(key) = &line.key {
                    let known = strings.entry(key.to_ascii_lowercase());
                    known.or_insert_with(|| line.value(0).to_owned());
                }
            }
        }
        inf.strings = strings;
        inf
    }
}

/// An entry while its lines are read.
#[derive(Default)]
struct Entry {
    key: Option<String>,
    values: Vec<String>,
    field: String,
    /// White space that counts only when something follows it.
    spaces: String,
    /// Whether a quote was seen: an empty quoted value is one.
    begun: bool,
}

impl Entry {
    /// Takes a line; says whether the next one continues it.
    fn read(&mut self, line: &str, number: u32) -> Result<bool, InfError> {
        let mut rest = line;
        while let Some(character) = rest.chars().next() {
            let after = &rest[character.len_utf8()..];
            match character {
                '"' => {
                    self.keep("");
                    rest = self.quoted(after);
                    self.begun = true;
                }
                ';' => return Ok(false),
                ',' => {
                    self.end(number)?;
                    rest = after;
                }
                '=' if self.key.is_none() && self.values.is_empty() => {
                    self.key = Some(std::mem::take(&mut self.field));
                    self.spaces.clear();
                    self.begun = false;
                    rest = after;
                }
                '\\' => {
                    let ahead = rest.trim_start_matches('\\').trim_start();
                    if ahead.is_empty() || ahead.starts_with(';') {
                        return Ok(true);
                    }
                    self.keep("\\");
                    rest = after;
                }
                '%' => {
                    let token = after.split_once('%').map(|(token, _)| token);
                    let token = token.filter(|token| !token.contains([',', '"', '=', '\\']));
                    let length = token.map_or(1, |token| token.len() + 2);
                    self.keep(&rest[..length]);
                    rest = &rest[length..];
                }
                _ if character.is_whitespace() => {
                    if self.begun || !self.field.is_empty() {
                        self.spaces.push(character);
                    }
                    rest = after;
                }
                _ => {
                    self.keep(&rest[..character.len_utf8()]);
                    rest = after;
                }
            }
            // The exact length is counted once, at the value's end.
            if self.field.len() + self.spaces.len() > LONGEST_VALUE * 4 {
                return Err(InfError::Long { line: number });
            }
            if self.values.len() > MOST_VALUES {
                return Err(InfError::TooMany { what: "values", most: MOST_VALUES });
            }
        }
        Ok(false)
    }

    fn keep(&mut self, text: &str) {
        self.field.push_str(&self.spaces);
        self.spaces.clear();
        self.field.push_str(text);
    }

    /// Takes what is quoted, up to the closing quote or the line's end; gives what follows.
    fn quoted<'a>(&mut self, mut rest: &'a str) -> &'a str {
        while let Some((text, after)) = rest.split_once('"') {
            self.field.push_str(text);
            let Some(doubled) = after.strip_prefix('"') else { return after };
            self.field.push('"');
            rest = doubled;
        }
        self.field.push_str(rest);
        ""
    }

    fn end(&mut self, number: u32) -> Result<(), InfError> {
        if self.field.chars().count() > LONGEST_VALUE {
            return Err(InfError::Long { line: number });
        }
        self.values.push(std::mem::take(&mut self.field));
        self.spaces.clear();
        self.begun = false;
        Ok(())
    }

    fn finish(mut self, number: u32) -> Result<Line, InfError> {
        if self.begun || !self.field.is_empty() {
            self.end(number)?;
        }
        Ok(Line { number, key: self.key, values: self.values })
    }
}
