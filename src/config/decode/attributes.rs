//! Reading one attribute: its value, its type, and whether it may be unknown.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::ast::{Block, Expr};
use crate::config::expression::{Evaluator, Failure, Scope};
use crate::config::source::Place;
use crate::config::suggest;
use crate::config::types::{self, Type};
use crate::config::value::{Kind, Value};
use crate::diagnostic::Diagnostic;

/// What decoding gathers beside the values.
#[derive(Debug, Default)]
pub(in crate::config) struct Sink {
    pub(in crate::config) diagnostics: Vec<Diagnostic>,
    /// Something has no value for a reason that was reported before.
    pub(in crate::config) failed: bool,
    /// Paths whose value is known after apply.
    pub(in crate::config) unknown: BTreeSet<String>,
    /// Paths whose value is sensitive.
    pub(in crate::config) sensitive: BTreeSet<String>,
}

/// Reads the attributes of one block.
pub(in crate::config) struct Decoder<'d, 'e> {
    pub(in crate::config) evaluator: &'d Evaluator<'e>,
    pub(in crate::config) scope: &'d Scope<'d>,
    pub(in crate::config) block: &'d Block,
    /// What stands before the attributes' names in paths: `disk.root.`.
    pub(in crate::config) prefix: String,
    pub(in crate::config) sink: &'d mut Sink,
}

impl Decoder<'_, '_> {
    /// An error at the value of an attribute.
    pub(super) fn error(&mut self, place: Place, code: &str, summary: &str, detail: &str, help: &str) {
        let error = self.evaluator.error(place, code, summary).detail(detail).help(help);
        self.sink.diagnostics.push(error);
    }

    /// Evaluates; a failure is reported.
    pub(in crate::config) fn eval(&mut self, expr: &Expr) -> Option<Value> {
        match self.evaluator.attribute_value(expr, self.scope) {
            Ok(value) => Some(value),
            Err(Failure::Diagnostic(error)) => {
                self.sink.diagnostics.push(*error);
                None
            }
            Err(Failure::Reported) => {
                self.sink.failed = true;
                None
            }
        }
    }

    /// An attribute's converted value; `None` when it is absent, null, or wrong (and reported).
    pub(in crate::config) fn value(
        &mut self,
        name: &str,
        wanted: &Type,
        unknown_allowed: bool,
    ) -> Option<(Value, Place)> {
        let attribute = self.block.attribute(name)?;
        let place = attribute.expr.place;
        let value = self.eval(&attribute.expr)?;
        let path = format!("{}{name}", self.prefix);
        if value.any_sensitive() {
            self.sink.sensitive.insert(path.clone());
        }
        if value.is_unknown() {
            if unknown_allowed {
                self.sink.unknown.insert(path);
            } else {
                self.not_yet_known(place, name);
            }
            return None;
        }
        if value.is_null() {
            return None;
        }
        match types::convert(&value, wanted) {
            Ok(value) => Some((value, place)),
            Err(error) => {
                let detail = format!("`{name}`: {error}.");
                let help = match wanted {
                    Type::Number => "give a number, without quotes and units".to_owned(),
                    Type::Bool => "write true or false".to_owned(),
                    Type::List(_) => "put the values in brackets: [\"…\"]".to_owned(),
                    Type::Map(_) => "put the values in braces: { Name = \"…\" }".to_owned(),
                    other => format!("give a value of type {other}"),
                };
                self.error(place, "config::wrong_type", "a value has the wrong type", &detail, &help);
                None
            }
        }
    }

    pub(super) fn not_yet_known(&mut self, place: Place, name: &str) {
        if self.evaluator.unread.get() {
            // It may be known once the data sources are read.
            self.sink.unknown.insert(format!("{}{name}", self.prefix));
            return;
        }
        let does = if &*self.block.kind == "data" { "looked up" } else { "made" };
        self.error(
            place,
            "config::unknown_at_plan",
            "a value must be known while planning",
            &format!("`{name}` decides what is {does}, and this value is known only after apply."),
            "use a variable or a configured value; ids and unset addresses exist only after apply",
        );
    }

    /// A text that may be empty.
    pub(super) fn text(&mut self, name: &str, unknown_allowed: bool) -> Option<(String, Place)> {
        match self.value(name, &Type::String, unknown_allowed)? {
            (Value { kind: Kind::String(text), .. }, place) => Some((text.to_string(), place)),
            _ => None,
        }
    }

    /// A text that must be known while planning and not empty.
    pub(super) fn string(&mut self, name: &str) -> Option<(String, Place)> {
        let (text, place) = self.text(name, false)?;
        if text.is_empty() {
            self.empty(name, place);
            return None;
        }
        Some((text, place))
    }

    /// A regular expression that can be used.
    pub(super) fn check_pattern(&mut self, name: &str, pattern: &str, place: Place) {
        if let Err(error) = regex::RegexBuilder::new(pattern).size_limit(4 << 20).build() {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            self.error(
                place,
                "config::invalid_pattern",
                "a regular expression is not valid",
                &format!("`{name}`: {last}."),
                "mend the pattern; in quotes a backslash is written twice",
            );
        }
    }

    fn empty(&mut self, name: &str, place: Place) {
        let detail = format!("`{name}` is an empty string.");
        self.error(
            place,
            "config::empty",
            "a value is empty",
            &detail,
            "give it a value, or leave it out (or null)",
        );
    }

    /// A text that may be known only after apply.
    pub(super) fn late_string(&mut self, name: &str) -> Option<(String, Place)> {
        let (text, place) = self.text(name, true)?;
        if text.is_empty() && name != "user_data" {
            self.empty(name, place);
            return None;
        }
        Some((text, place))
    }

    pub(in crate::config) fn bool(&mut self, name: &str) -> Option<bool> {
        match self.value(name, &Type::Bool, false)?.0.kind {
            Kind::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// A whole number within limits.
    pub(super) fn whole(&mut self, name: &str, least: u32, most: u32, unit: &str) -> Option<u32> {
        let (value, place) = self.value(name, &Type::Number, false)?;
        let Kind::Number(number) = value.kind else { return None };
        let whole = number.as_int().and_then(|value| u32::try_from(value).ok());
        let within = whole.filter(|value| (least..=most).contains(value));
        if within.is_none() {
            let got = if value.sensitive { "something else".to_owned() } else { number.to_string() };
            self.error(
                place,
                "config::out_of_range",
                "a number is out of range",
                &format!("`{name}` is a whole number of {least} to {most}{unit}, and this is {got}."),
                "give a number in that range",
            );
        }
        within
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&mut self, name: &str, words: &[(&'static str, T)]) -> Option<T> {
        let (text, place) = self.string(name)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let all: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let got = if self.sink.sensitive.contains(&format!("{}{name}", self.prefix)) {
            "something else".to_owned()
        } else {
            format!("{text:?}")
        };
        let detail = format!("`{name}` is one of {}, and this is {got}.", all.join(", "));
        let help = suggest::nearest(&text, words.iter().map(|(word, _)| *word)).map_or_else(
            || format!("write one of {}", all.join(", ")),
            |near| format!("did you mean \"{near}\"?"),
        );
        self.error(place, "config::unknown_word", "a word is not one of those known", &detail, &help);
        None
    }

    /// A list of texts that may be known only after apply.
    pub(super) fn late_strings(&mut self, name: &str) -> Vec<String> {
        let Some((value, _)) = self.value(name, &Type::List(Box::new(Type::String)), true) else {
            return Vec::new();
        };
        if value.any_unknown() {
            self.sink.unknown.insert(format!("{}{name}", self.prefix));
            return Vec::new();
        }
        let texts = value.elements().unwrap_or_default().iter();
        texts
            .filter_map(|element| match &element.kind {
                Kind::String(text) => Some(text.to_string()),
                _ => None,
            })
            .collect()
    }

    /// A list of texts that are known while planning.
    pub(super) fn strings(&mut self, name: &str) -> Option<(Vec<String>, Place)> {
        let (value, place) = self.value(name, &Type::List(Box::new(Type::String)), false)?;
        if value.any_unknown() {
            self.not_yet_known(place, name);
            return None;
        }
        let texts = value.elements().unwrap_or_default().iter().filter_map(|element| match &element.kind {
            Kind::String(text) => Some(text.to_string()),
            _ => None,
        });
        Some((texts.collect(), place))
    }

    /// A map of texts that are known while planning.
    pub(super) fn texts(&mut self, name: &str) -> BTreeMap<String, String> {
        let Some((value, place)) = self.value(name, &Type::Map(Box::new(Type::String)), false) else {
            return BTreeMap::new();
        };
        if value.any_unknown() {
            self.not_yet_known(place, name);
            return BTreeMap::new();
        }
        let entries = value.entries().into_iter().flatten();
        entries
            .filter_map(|(key, value)| match &value.kind {
                Kind::String(text) => Some((key.to_string(), text.to_string())),
                _ => None,
            })
            .collect()
    }

    /// A map of texts, each of which may be known only after apply.
    pub(super) fn tags(&mut self) -> BTreeMap<String, String> {
        let Some((value, _)) = self.value("tags", &Type::Map(Box::new(Type::String)), true) else {
            return BTreeMap::new();
        };
        let mut tags = BTreeMap::new();
        let path = format!("{}tags", self.prefix);
        let inside = !value.sensitive && value.any_sensitive();
        if inside {
            // Only some of the tags are: each has its own path.
            self.sink.sensitive.remove(&path);
        }
        for (key, value) in value.entries().into_iter().flatten() {
            if value.sensitive {
                self.sink.sensitive.insert(format!("{path}.{key}"));
            }
            match &value.kind {
                Kind::String(text) => {
                    tags.insert(key.to_string(), text.to_string());
                }
                Kind::Unknown => {
                    self.sink.unknown.insert(format!("{path}.{key}"));
                    tags.insert(key.to_string(), String::new());
                }
                // A null tag is no tag.
                _ => {}
            }
        }
        tags
    }
}

/// Whether a text is an id of EC2's: a prefix and hexadecimal digits.
pub(super) fn is_id(prefix: &str, id: &str) -> bool {
    let digits = id.strip_prefix(prefix);
    digits.is_some_and(|digits| !digits.is_empty() && digits.chars().all(|c| c.is_ascii_hexdigit()))
}
