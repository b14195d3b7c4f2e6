//! Lists, maps and objects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::arguments::{Arguments, FunctionError, Result, check_count, string_list};
use crate::config::number::Number;
use crate::config::types::{self, Type};
use crate::config::value::{self, Kind, Value};

/// A list when the model is one, else a tuple.
fn like(model: &Value, values: Vec<Value>) -> Value {
    if matches!(model.kind, Kind::List(_) | Kind::Set(_)) {
        Value::list(values)
    } else {
        Value::tuple(values)
    }
}

pub(super) fn length(arguments: &Arguments<'_>) -> Result {
    let value = arguments.value(0);
    if let Some(elements) = value.elements() {
        return Ok(Value::length(elements.len()));
    }
    if let Some(entries) = value.entries() {
        return Ok(Value::length(entries.len()));
    }
    match &value.kind {
        Kind::String(text) => Ok(Value::length(text.chars().count())),
        _ => Err(FunctionError::at(0, format!("expected a string or collection, got {}", value.describe()))),
    }
}

pub(super) fn concat(arguments: &Arguments<'_>) -> Result {
    let mut all = Vec::new();
    let mut lists = true;
    for index in 0..arguments.len() {
        let value = arguments.value(index);
        if matches!(value.kind, Kind::Set(_)) {
            return Err(
                FunctionError::at(index, "expected a list, got a set").help("make a list of it: tolist(…)")
            );
        }
        lists &= matches!(value.kind, Kind::List(_));
        all.extend(arguments.elements(index)?.iter().cloned());
    }
    if lists && let Some(common) = types::unified(&all) {
        return types::convert(&Value::tuple(all), &Type::List(Box::new(common)))
            .map_err(|error| FunctionError::new(error.to_string()));
    }
    Ok(Value::tuple(all))
}

pub(super) fn merge(arguments: &Arguments<'_>) -> Result {
    let mut merged: BTreeMap<Arc<str>, Value> = BTreeMap::new();
    let mut maps = arguments.len() > 0;
    for index in 0..arguments.len() {
        if arguments.value(index).is_null() {
            continue;
        }
        maps &= matches!(arguments.value(index).kind, Kind::Map(_));
        merged.extend(arguments.entries(index)?.iter().map(|(key, value)| (Arc::clone(key), value.clone())));
    }
    Ok(if maps { Value::map(merged) } else { Value::object(merged) })
}

pub(super) fn flatten(arguments: &Arguments<'_>) -> Result {
    // False when an element's own elements are not known yet.
    fn gather(values: &[Value], mark: &mut bool, all: &mut Vec<Value>) -> bool {
        values.iter().all(|value| match value.elements() {
            Some(inner) => {
                *mark |= value.sensitive;
                gather(inner, mark, all)
            }
            None => {
                all.push(value.clone());
                !value.is_unknown()
            }
        })
    }
    let (mut all, mut mark) = (Vec::new(), false);
    let known = gather(arguments.elements(0)?, &mut mark, &mut all);
    check_count(all.len())?;
    Ok(if known { Value::tuple(all) } else { Value::UNKNOWN }.marked(mark))
}

pub(super) fn keys(arguments: &Arguments<'_>) -> Result {
    Ok(string_list(arguments.entries(0)?.keys().cloned()))
}

pub(super) fn values(arguments: &Arguments<'_>) -> Result {
    let all = arguments.entries(0)?.values().cloned().collect();
    Ok(if matches!(arguments.value(0).kind, Kind::Map(_)) { Value::list(all) } else { Value::tuple(all) })
}

pub(super) fn zipmap(arguments: &Arguments<'_>) -> Result {
    let names = arguments.strings(0)?;
    let values = arguments.elements(1)?;
    if names.len() != values.len() {
        return Err(FunctionError::new(format!(
            "there are {} keys and {} values",
            names.len(),
            values.len()
        )));
    }
    let entries = names.into_iter().zip(values.iter().cloned()).collect();
    Ok(if matches!(arguments.value(1).kind, Kind::List(_)) {
        Value::map(entries)
    } else {
        Value::object(entries)
    })
}

pub(super) fn lookup(arguments: &Arguments<'_>) -> Result {
    let key = arguments.string(1)?;
    if let Some(found) = arguments.entries(0)?.get(&key) {
        return Ok(found.clone());
    }
    if arguments.len() > 2 {
        return Ok(arguments.value(2).clone());
    }
    Err(FunctionError::at(1, format!("there is no key `{key}`")).help("give a default as third argument"))
}

pub(super) fn element(arguments: &Arguments<'_>) -> Result {
    let elements = arguments.elements(0)?;
    if elements.is_empty() {
        return Err(FunctionError::at(0, "the list is empty"));
    }
    let count = i64::try_from(elements.len()).unwrap_or(i64::MAX);
    let position = usize::try_from(arguments.int(1)?.rem_euclid(count)).unwrap_or(0);
    Ok(elements.get(position).cloned().unwrap_or(Value::NULL))
}

pub(super) fn index(arguments: &Arguments<'_>) -> Result {
    let wanted = arguments.value(1);
    let found = arguments.elements(0)?.iter().position(|element| value::equal(element, wanted));
    found.map(Value::length).ok_or_else(|| FunctionError::at(1, "the list does not hold this value"))
}

pub(super) fn contains(arguments: &Arguments<'_>) -> Result {
    let wanted = arguments.value(1);
    let elements = arguments.elements(0)?;
    Ok(Value::bool(elements.iter().any(|element| value::equal(element, wanted))))
}

pub(super) fn slice(arguments: &Arguments<'_>) -> Result {
    if matches!(arguments.value(0).kind, Kind::Set(_)) {
        return Err(FunctionError::at(0, "a set has no order").help("make a list of it: tolist(…)"));
    }
    let elements = arguments.elements(0)?;
    let (start, end) = (arguments.int(1)?, arguments.int(2)?);
    let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
    let slice = range.and_then(|(start, end)| elements.get(start..end));
    slice.map(|slice| like(arguments.value(0), slice.to_vec())).ok_or_else(|| {
        FunctionError::new(format!("there is no range {start} to {end} in {} elements", elements.len()))
    })
}

pub(super) fn distinct(arguments: &Arguments<'_>) -> Result {
    let list = types::convert(arguments.value(0), &Type::List(Box::new(Type::Any)))
        .map_err(|error| FunctionError::at(0, error.to_string()))?;
    let mut seen = BTreeSet::new();
    let elements = list.elements().unwrap_or_default();
    let kept = elements.iter().filter(|element| seen.insert(Ordered((*element).clone()))).cloned();
    Ok(Value::list(kept.collect()))
}

/// A value with the total order of sets.
struct Ordered(Value);

impl PartialEq for Ordered {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        value::order(&self.0, &other.0)
    }
}

pub(super) fn sort(arguments: &Arguments<'_>) -> Result {
    let mut texts = arguments.strings(0)?;
    texts.sort();
    Ok(string_list(texts))
}

pub(super) fn reverse(arguments: &Arguments<'_>) -> Result {
    let reversed = arguments.elements(0)?.iter().rev().cloned().collect();
    Ok(like(arguments.value(0), reversed))
}

pub(super) fn range(arguments: &Arguments<'_>) -> Result {
    let zero = Number::Int(0);
    let (start, end) = match arguments.len() {
        1 => (zero, arguments.number(0)?),
        _ => (arguments.number(0)?, arguments.number(1)?),
    };
    let step = if arguments.len() > 2 {
        arguments.number(2)?
    } else {
        Number::Int(if end < start { -1 } else { 1 })
    };
    if step == zero || (step > zero) != (end > start) && end != start {
        return Err(FunctionError::at(2, "the step leads away from the end")
            .help("the step is positive when counting up, negative when counting down"));
    }
    let mut all = Vec::new();
    let mut next = start;
    while if step > zero { next < end } else { next > end } {
        check_count(all.len() + 1)?;
        all.push(Value::number(next));
        next = next.add(step).ok_or_else(|| FunctionError::new("a number is too large"))?;
    }
    Ok(Value::list(all))
}

pub(super) fn chunklist(arguments: &Arguments<'_>) -> Result {
    let size = usize::try_from(arguments.int(1)?)
        .map_err(|_| FunctionError::at(1, "the size of a chunk cannot be negative"))?;
    let elements = arguments.elements(0)?;
    let size = if size == 0 { elements.len().max(1) } else { size };
    Ok(Value::list(elements.chunks(size).map(|chunk| Value::list(chunk.to_vec())).collect()))
}

pub(super) fn compact(arguments: &Arguments<'_>) -> Result {
    let mut kept = Vec::new();
    for element in arguments.elements(0)? {
        match types::convert(element, &Type::String) {
            Ok(Value { kind: Kind::Null, .. }) => {}
            Ok(Value { kind: Kind::String(text), .. }) if text.is_empty() => {}
            Ok(text) => kept.push(text),
            Err(error) => return Err(FunctionError::at(0, error.to_string())),
        }
    }
    Ok(Value::list(kept))
}

pub(super) fn coalesce(arguments: &Arguments<'_>) -> Result {
    let common = types::unified(&arguments.values).unwrap_or(Type::Any);
    for value in &arguments.values {
        if value.is_unknown() {
            return Ok(value.clone());
        }
        let empty = matches!(&value.kind, Kind::String(text) if text.is_empty());
        if !value.is_null() && !empty {
            return types::convert(value, &common).map_err(|error| FunctionError::new(error.to_string()));
        }
    }
    Err(FunctionError::new("every argument is null or an empty string"))
}

pub(super) fn coalescelist(arguments: &Arguments<'_>) -> Result {
    for (index, value) in arguments.values.iter().enumerate() {
        if value.is_null() {
            continue;
        }
        if !arguments.elements(index)?.is_empty() {
            return Ok(value.clone());
        }
    }
    Err(FunctionError::new("every argument is null or an empty list"))
}

pub(super) fn transpose(arguments: &Arguments<'_>) -> Result {
    let mut transposed: BTreeMap<Arc<str>, Vec<Value>> = BTreeMap::new();
    for (key, list) in arguments.entries(0)? {
        for element in
            list.elements().ok_or_else(|| FunctionError::at(0, "expected a map of lists of strings"))?
        {
            let Kind::String(name) = &element.kind else {
                return Err(FunctionError::at(0, "expected a map of lists of strings"));
            };
            transposed.entry(Arc::clone(name)).or_default().push(Value::string(Arc::clone(key)));
        }
    }
    Ok(Value::map(transposed.into_iter().map(|(key, list)| (key, Value::list(list))).collect()))
}

pub(super) fn one(arguments: &Arguments<'_>) -> Result {
    match arguments.elements(0)? {
        [] => Ok(Value::NULL),
        [only] => Ok(only.clone()),
        more => {
            Err(FunctionError::at(0, format!("there are {} elements instead of one or none", more.len())))
        }
    }
}

pub(super) fn matchkeys(arguments: &Arguments<'_>) -> Result {
    let (values, keys, wanted) = (arguments.elements(0)?, arguments.elements(1)?, arguments.elements(2)?);
    if values.len() != keys.len() {
        return Err(FunctionError::new(format!("there are {} values and {} keys", values.len(), keys.len())));
    }
    let wanted: BTreeSet<_> = wanted.iter().map(|value| Ordered(value.clone())).collect();
    let pairs = values.iter().zip(keys).filter(|(_, key)| wanted.contains(&Ordered((*key).clone())));
    Ok(Value::list(pairs.map(|(value, _)| value.clone()).collect()))
}

fn bools(arguments: &Arguments<'_>) -> Result<Vec<Option<bool>>> {
    let each = arguments.elements(0)?.iter().map(|element| {
        match types::convert(element, &Type::Bool).map(|value| value.kind) {
            Ok(Kind::Bool(value)) => Ok(Some(value)),
            Ok(Kind::Null) => Ok(Some(false)),
            Ok(_) => Ok(None),
            Err(error) => Err(FunctionError::at(0, error.to_string())),
        }
    });
    each.collect()
}

pub(super) fn alltrue(arguments: &Arguments<'_>) -> Result {
    Ok(Value::bool(bools(arguments)?.iter().all(|value| *value == Some(true))))
}

pub(super) fn anytrue(arguments: &Arguments<'_>) -> Result {
    Ok(Value::bool(bools(arguments)?.contains(&Some(true))))
}
