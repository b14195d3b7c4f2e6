//! Numbers.

use super::arguments::{Arguments, FunctionError, Result};
use crate::config::number::Number;
use crate::config::types::{self, Type};
use crate::config::value::{Kind, Value};

fn float(value: f64) -> Result {
    Number::from_f64(value)
        .map(Value::number)
        .ok_or_else(|| FunctionError::new("the result is no finite number"))
}

fn all(arguments: &Arguments<'_>) -> Result<Vec<Number>> {
    (0..arguments.len()).map(|index| arguments.number(index)).collect()
}

pub(super) fn min(arguments: &Arguments<'_>) -> Result {
    let least = all(arguments)?.into_iter().min();
    least.map(Value::number).ok_or_else(|| FunctionError::new("there is no argument"))
}

pub(super) fn max(arguments: &Arguments<'_>) -> Result {
    let most = all(arguments)?.into_iter().max();
    most.map(Value::number).ok_or_else(|| FunctionError::new("there is no argument"))
}

pub(super) fn sum(arguments: &Arguments<'_>) -> Result {
    let mut total = Number::Int(0);
    let elements = arguments.elements(0)?;
    if elements.is_empty() {
        return Err(FunctionError::at(0, "the list is empty"));
    }
    for element in elements {
        let Ok(Value { kind: Kind::Number(number), .. }) = types::convert(element, &Type::Number) else {
            return Err(FunctionError::at(0, "an element is not a number"));
        };
        total = total.add(number).ok_or_else(|| FunctionError::new("the result is no finite number"))?;
    }
    Ok(Value::number(total))
}

pub(super) fn abs(arguments: &Arguments<'_>) -> Result {
    let number = arguments.number(0)?;
    Ok(Value::number(if number < Number::Int(0) { number.negate() } else { number }))
}

fn rounded(arguments: &Arguments<'_>, round: fn(f64) -> f64) -> Result {
    match arguments.number(0)? {
        whole @ Number::Int(_) => Ok(Value::number(whole)),
        Number::Float(value) => float(round(value)),
    }
}

pub(super) fn ceil(arguments: &Arguments<'_>) -> Result {
    rounded(arguments, f64::ceil)
}

pub(super) fn floor(arguments: &Arguments<'_>) -> Result {
    rounded(arguments, f64::floor)
}

pub(super) fn pow(arguments: &Arguments<'_>) -> Result {
    let (base, exponent) = (arguments.number(0)?, arguments.number(1)?);
    if let (Number::Int(base), Number::Int(exponent)) = (base, exponent)
        && let Some(exact) = u32::try_from(exponent).ok().and_then(|exponent| base.checked_pow(exponent))
    {
        return Ok(Value::int(exact));
    }
    float(base.as_f64().powf(exponent.as_f64()))
}

pub(super) fn log(arguments: &Arguments<'_>) -> Result {
    let (number, base) = (arguments.number(0)?.as_f64(), arguments.number(1)?.as_f64());
    // As Terraform computes it; `f64::log` rounds differently.
    float(number.ln() / base.ln())
}

pub(super) fn signum(arguments: &Arguments<'_>) -> Result {
    let order = arguments.number(0)?.cmp(&Number::Int(0));
    Ok(Value::int(order as i8))
}

pub(super) fn parseint(arguments: &Arguments<'_>) -> Result {
    let text = arguments.string(0)?;
    let base = u32::try_from(arguments.int(1)?)
        .ok()
        .filter(|base| (2..=36).contains(base))
        .ok_or_else(|| FunctionError::at(1, "the base is 2 to 36"))?;
    i128::from_str_radix(&text, base)
        .map(Value::int)
        .map_err(|_| FunctionError::at(0, format!("`{text}` is no whole number in base {base}")))
}
