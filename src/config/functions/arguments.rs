//! A function's arguments, and how it fails.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::files::FileCache;
use crate::config::number::Number;
use crate::config::types::{self, Type};
use crate::config::value::{Kind, Value};

/// The most elements that a function makes: 100,000.
pub(super) const MAX_ELEMENTS: usize = 100_000;
/// The longest text that a function makes: 16 MiB.
pub(super) const MAX_TEXT: usize = 16 << 20;

/// Why a function has no result.
#[derive(Debug)]
pub(super) struct FunctionError {
    /// The argument that is to blame.
    pub(super) argument: Option<usize>,
    /// What is wrong, a sentence without its full stop.
    pub(super) message: String,
    /// How to mend it.
    pub(super) help: Option<String>,
}

impl FunctionError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { argument: None, message: message.into(), help: None }
    }

    pub(super) fn at(argument: usize, message: impl Into<String>) -> Self {
        Self { argument: Some(argument), message: message.into(), help: None }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

pub(super) type Result<T = Value> = std::result::Result<T, FunctionError>;

/// The arguments of a call.
pub(super) struct Arguments<'a> {
    pub(super) values: Vec<Value>,
    pub(super) directory: &'a Path,
    pub(super) files: &'a FileCache,
}

impl Arguments<'_> {
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// The argument, which the arity check has promised.
    pub(super) fn value(&self, index: usize) -> &Value {
        self.values.get(index).unwrap_or(&Value::NULL)
    }

    fn converted(&self, index: usize, wanted: &Type) -> Result {
        types::convert(self.value(index), wanted).map_err(|error| FunctionError::at(index, error.to_string()))
    }

    pub(super) fn string(&self, index: usize) -> Result<Arc<str>> {
        match self.converted(index, &Type::String)?.kind {
            Kind::String(text) => Ok(text),
            _ => Err(FunctionError::at(index, "expected a string, got null")),
        }
    }

    pub(super) fn number(&self, index: usize) -> Result<Number> {
        match self.converted(index, &Type::Number)?.kind {
            Kind::Number(number) => Ok(number),
            _ => Err(FunctionError::at(index, "expected a number, got null")),
        }
    }

    /// A whole number that fits 64 bits.
    pub(super) fn int(&self, index: usize) -> Result<i64> {
        let number = self.number(index)?;
        number
            .as_int()
            .and_then(|value| i64::try_from(value).ok())
            .ok_or_else(|| FunctionError::at(index, format!("expected a whole number, got {number}")))
    }

    /// The elements of a list, set or tuple.
    pub(super) fn elements(&self, index: usize) -> Result<&[Value]> {
        let value = self.value(index);
        value
            .elements()
            .ok_or_else(|| FunctionError::at(index, format!("expected a list, got {}", value.describe())))
    }

    /// The elements of a list, set or tuple, all as strings.
    pub(super) fn strings(&self, index: usize) -> Result<Vec<Arc<str>>> {
        let elements = self.elements(index)?;
        let each = elements.iter().enumerate().map(|(at, element)| {
            match types::convert(element, &Type::String).map(|value| value.kind) {
                Ok(Kind::String(text)) => Ok(text),
                Ok(_) => Err(FunctionError::at(index, format!("element {at} is null"))),
                Err(error) => Err(FunctionError::at(index, format!("element {at}: {error}"))),
            }
        });
        each.collect()
    }

    /// The entries of a map or object.
    pub(super) fn entries(&self, index: usize) -> Result<&BTreeMap<Arc<str>, Value>> {
        let value = self.value(index);
        value
            .entries()
            .ok_or_else(|| FunctionError::at(index, format!("expected a map, got {}", value.describe())))
    }
}

/// A list of strings.
pub(super) fn string_list<S: Into<Arc<str>>>(texts: impl IntoIterator<Item = S>) -> Value {
    Value::list(texts.into_iter().map(Value::string).collect())
}

/// A text of bounded length.
pub(super) fn bounded(text: String) -> Result {
    if text.len() > MAX_TEXT {
        return Err(FunctionError::new("the result is longer than 16 MiB"));
    }
    Ok(Value::string(text))
}

/// Refuses to make more than [`MAX_ELEMENTS`].
pub(super) fn check_count(count: usize) -> Result<()> {
    if count > MAX_ELEMENTS {
        return Err(FunctionError::new(format!("the result has more than {MAX_ELEMENTS} elements")));
    }
    Ok(())
}
