//! Conversions, and the marks of sensitive values.

use super::arguments::{Arguments, FunctionError, Result};
use crate::config::types::{self, Type};
use crate::config::value::Value;

fn to(arguments: &Arguments<'_>, wanted: &Type) -> Result {
    types::convert(arguments.value(0), wanted).map_err(|error| FunctionError::at(0, error.to_string()))
}

pub(super) fn tostring(arguments: &Arguments<'_>) -> Result {
    to(arguments, &Type::String)
}

pub(super) fn tonumber(arguments: &Arguments<'_>) -> Result {
    to(arguments, &Type::Number)
}

pub(super) fn tobool(arguments: &Arguments<'_>) -> Result {
    to(arguments, &Type::Bool)
}

pub(super) fn tolist(arguments: &Arguments<'_>) -> Result {
    to(arguments, &Type::List(Box::new(Type::Any)))
}

pub(super) fn toset(arguments: &Arguments<'_>) -> Result {
    to(arguments, &Type::Set(Box::new(Type::Any)))
}

pub(super) fn tomap(arguments: &Arguments<'_>) -> Result {
    to(arguments, &Type::Map(Box::new(Type::Any)))
}

pub(super) fn sensitive(arguments: &Arguments<'_>) -> Result {
    Ok(arguments.value(0).clone().marked(true))
}

pub(super) fn nonsensitive(arguments: &Arguments<'_>) -> Result {
    let mut value: Value = arguments.value(0).clone();
    value.sensitive = false;
    Ok(value)
}

pub(super) fn issensitive(arguments: &Arguments<'_>) -> Result {
    Ok(Value::bool(arguments.value(0).sensitive))
}
