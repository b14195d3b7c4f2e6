//! Texts.

use std::collections::BTreeMap;
use std::sync::Arc;

use regex::{Captures, Regex, RegexBuilder};

use super::arguments::{Arguments, FunctionError, MAX_TEXT, Result, bounded, check_count, string_list};
use crate::config::types::{self, Type};
use crate::config::value::{Kind, Value};

pub(super) fn join(arguments: &Arguments<'_>) -> Result {
    let separator = arguments.string(0)?;
    let mut parts = Vec::new();
    for index in 1..arguments.len() {
        parts.extend(arguments.strings(index)?);
    }
    let size: usize = parts.iter().map(|part| part.len() + separator.len()).sum();
    if size > MAX_TEXT * 2 {
        return Err(FunctionError::new("the result is longer than 16 MiB"));
    }
    bounded(parts.join(&separator))
}

pub(super) fn split(arguments: &Arguments<'_>) -> Result {
    let (separator, text) = (arguments.string(0)?, arguments.string(1)?);
    if separator.is_empty() {
        return Ok(string_list(text.chars().map(String::from)));
    }
    Ok(string_list(text.split(&*separator)))
}

/// One letter for one letter, as Go maps them: `ß` has no capital.
fn single(letter: char, mut mapped: impl Iterator<Item = char>) -> char {
    match (mapped.next(), mapped.next()) {
        (Some(only), None) => only,
        _ => letter,
    }
}

pub(super) fn lower(arguments: &Arguments<'_>) -> Result {
    let one = |letter: char| single(letter, letter.to_lowercase());
    Ok(Value::string(arguments.string(0)?.chars().map(one).collect::<String>()))
}

pub(super) fn upper(arguments: &Arguments<'_>) -> Result {
    let one = |letter: char| single(letter, letter.to_uppercase());
    Ok(Value::string(arguments.string(0)?.chars().map(one).collect::<String>()))
}

pub(super) fn title(arguments: &Arguments<'_>) -> Result {
    let text = arguments.string(0)?;
    let mut titled = String::with_capacity(text.len());
    let mut inside = false;
    for letter in text.chars() {
        if inside {
            titled.push(letter);
        } else {
            titled.push(single(letter, letter.to_uppercase()));
        }
        inside = letter.is_alphanumeric() || letter == '_';
    }
    Ok(Value::string(titled))
}

pub(super) fn trim(arguments: &Arguments<'_>) -> Result {
    let set = arguments.string(1)?;
    Ok(Value::string(arguments.string(0)?.trim_matches(|letter| set.contains(letter))))
}

pub(super) fn trimspace(arguments: &Arguments<'_>) -> Result {
    Ok(Value::string(arguments.string(0)?.trim()))
}

pub(super) fn trimprefix(arguments: &Arguments<'_>) -> Result {
    let text = arguments.string(0)?;
    Ok(Value::string(text.strip_prefix(&*arguments.string(1)?).unwrap_or(&text)))
}

pub(super) fn trimsuffix(arguments: &Arguments<'_>) -> Result {
    let text = arguments.string(0)?;
    Ok(Value::string(text.strip_suffix(&*arguments.string(1)?).unwrap_or(&text)))
}

pub(super) fn chomp(arguments: &Arguments<'_>) -> Result {
    Ok(Value::string(arguments.string(0)?.trim_end_matches(['\r', '\n'])))
}

pub(super) fn startswith(arguments: &Arguments<'_>) -> Result {
    Ok(Value::bool(arguments.string(0)?.starts_with(&*arguments.string(1)?)))
}

pub(super) fn endswith(arguments: &Arguments<'_>) -> Result {
    Ok(Value::bool(arguments.string(0)?.ends_with(&*arguments.string(1)?)))
}

pub(super) fn strcontains(arguments: &Arguments<'_>) -> Result {
    Ok(Value::bool(arguments.string(0)?.contains(&*arguments.string(1)?)))
}

pub(super) fn strrev(arguments: &Arguments<'_>) -> Result {
    Ok(Value::string(arguments.string(0)?.chars().rev().collect::<String>()))
}

pub(super) fn substr(arguments: &Arguments<'_>) -> Result {
    let text = arguments.string(0)?;
    let (offset, length) = (arguments.int(1)?, arguments.int(2)?);
    let count = text.chars().count();
    let start = match usize::try_from(offset) {
        Ok(offset) => offset,
        Err(_) => count.saturating_sub(usize::try_from(offset.unsigned_abs()).unwrap_or(usize::MAX)),
    };
    // -1 is the rest.
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    Ok(Value::string(text.chars().skip(start).take(length).collect::<String>()))
}

pub(super) fn indent(arguments: &Arguments<'_>) -> Result {
    let spaces = usize::try_from(arguments.int(0)?)
        .ok()
        .filter(|spaces| *spaces <= 1000)
        .ok_or_else(|| FunctionError::at(0, "the number of spaces is 0 to 1000"))?;
    let text = arguments.string(1)?;
    let lines = text.matches('\n').count();
    if text.len().saturating_add(lines.saturating_mul(spaces)) > MAX_TEXT {
        return Err(FunctionError::new("the result is longer than 16 MiB"));
    }
    bounded(text.replace('\n', &format!("\n{}", " ".repeat(spaces))))
}

/// A regular expression of the first or second argument, of bounded size.
fn pattern(arguments: &Arguments<'_>, index: usize, text: &str) -> Result<Regex> {
    let _ = arguments;
    RegexBuilder::new(text).size_limit(4 << 20).build().map_err(|error| {
        let message = error.to_string();
        let last = message.lines().last().unwrap_or("it cannot be understood").trim().to_owned();
        FunctionError::at(
            index,
            format!("the regular expression is wrong: {}", last.trim_start_matches("error: ")),
        )
        .help("in quotes a backslash is written twice: \"\\\\d+\"")
    })
}

/// A match: its text without groups, a tuple of groups, an object of named groups.
fn captured(regex: &Regex, captures: &Captures<'_>) -> Value {
    let group = |index: usize| captures.get(index).map_or(Value::NULL, |found| Value::string(found.as_str()));
    if regex.captures_len() == 1 {
        return group(0);
    }
    let names: BTreeMap<Arc<str>, Value> = regex
        .capture_names()
        .enumerate()
        .filter_map(|(index, name)| Some((Arc::from(name?), group(index))))
        .collect();
    if names.is_empty() {
        Value::tuple((1..regex.captures_len()).map(group).collect())
    } else {
        Value::object(names)
    }
}

pub(super) fn regex(arguments: &Arguments<'_>) -> Result {
    let regex = pattern(arguments, 0, &arguments.string(0)?)?;
    let text = arguments.string(1)?;
    regex.captures(&text).map(|captures| captured(&regex, &captures)).ok_or_else(|| {
        FunctionError::at(1, "the text does not match the pattern").help("test it first: can(regex(…))")
    })
}

pub(super) fn regexall(arguments: &Arguments<'_>) -> Result {
    let regex = pattern(arguments, 0, &arguments.string(0)?)?;
    let text = arguments.string(1)?;
    let mut all = Vec::new();
    for captures in regex.captures_iter(&text) {
        check_count(all.len() + 1)?;
        all.push(captured(&regex, &captures));
    }
    Ok(Value::list(all))
}

pub(super) fn replace(arguments: &Arguments<'_>) -> Result {
    let (text, search, with) = (arguments.string(0)?, arguments.string(1)?, arguments.string(2)?);
    // Each byte of the text may become one replacement.
    if text.len().saturating_add(1).saturating_mul(with.len()) > MAX_TEXT * 16 {
        return Err(FunctionError::new("the result might be longer than 16 MiB"));
    }
    let inner = search.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
    match inner.filter(|_| search.len() > 1) {
        Some(inner) => bounded(pattern(arguments, 1, inner)?.replace_all(&text, &*with).into_owned()),
        None => bounded(text.replace(&*search, &with)),
    }
}

pub(super) fn format(arguments: &Arguments<'_>) -> Result {
    let template = arguments.string(0)?;
    if arguments.values.iter().skip(1).any(Value::any_unknown) {
        return Ok(Value::UNKNOWN);
    }
    bounded(super::printf::format(&template, arguments.values.get(1..).unwrap_or_default())?)
}

pub(super) fn formatlist(arguments: &Arguments<'_>) -> Result {
    let template = arguments.string(0)?;
    let rest = arguments.values.get(1..).unwrap_or_default();
    let lists: Vec<Option<&[Value]>> = rest.iter().map(Value::elements).collect();
    let mut count = None;
    for (index, list) in lists.iter().enumerate() {
        if let Some(list) = list
            && *count.get_or_insert(list.len()) != list.len()
        {
            return Err(FunctionError::at(index + 1, "the lists have different lengths"));
        }
    }
    let mut texts = Vec::new();
    for row in 0..count.unwrap_or(1) {
        let values: Vec<Value> = rest
            .iter()
            .zip(&lists)
            .map(|(value, list)| list.and_then(|list| list.get(row)).unwrap_or(value).clone())
            .collect();
        texts.push(super::printf::format(&template, &values)?);
    }
    Ok(string_list(texts))
}

/// The text of a scalar, as a template would write it.
pub(super) fn scalar_text(value: &Value) -> Option<Arc<str>> {
    match types::convert(value, &Type::String).ok()?.kind {
        Kind::String(text) => Some(text),
        _ => None,
    }
}
