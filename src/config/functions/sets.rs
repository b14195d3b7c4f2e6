//! Sets.

use super::arguments::{Arguments, FunctionError, Result, check_count};
use crate::config::types::{self, Type};
use crate::config::value::{self, Kind, Value};

/// All arguments as sets of one element type.
fn sets(arguments: &Arguments<'_>) -> Result<Vec<Vec<Value>>> {
    let mut all = Vec::new();
    for index in 0..arguments.len() {
        all.extend_from_slice(arguments.elements(index)?);
    }
    let common =
        types::unified(&all).ok_or_else(|| FunctionError::new("the elements have no common type"))?;
    let wanted = Type::Set(Box::new(common));
    let each = arguments.values.iter().enumerate().map(|(index, value)| {
        let set =
            types::convert(value, &wanted).map_err(|error| FunctionError::at(index, error.to_string()))?;
        Ok(set.elements().unwrap_or_default().to_vec())
    });
    each.collect()
}

fn holds(set: &[Value], wanted: &Value) -> bool {
    set.binary_search_by(|element| value::order(element, wanted)).is_ok()
}

pub(super) fn setunion(arguments: &Arguments<'_>) -> Result {
    Ok(Value::set(sets(arguments)?.concat()))
}

pub(super) fn setintersection(arguments: &Arguments<'_>) -> Result {
    let sets = sets(arguments)?;
    let Some((first, rest)) = sets.split_first() else { return Ok(Value::set(Vec::new())) };
    let common = first.iter().filter(|element| rest.iter().all(|set| holds(set, element)));
    Ok(Value::set(common.cloned().collect()))
}

pub(super) fn setsubtract(arguments: &Arguments<'_>) -> Result {
    let sets = sets(arguments)?;
    let (first, rest) = sets.split_first().map_or((&[][..], &[][..]), |(first, rest)| (&first[..], rest));
    let kept = first.iter().filter(|element| !rest.iter().any(|set| holds(set, element)));
    Ok(Value::set(kept.cloned().collect()))
}

pub(super) fn setproduct(arguments: &Arguments<'_>) -> Result {
    let only_sets = arguments.values.iter().all(|value| matches!(value.kind, Kind::Set(_)));
    let mut product: Vec<Vec<Value>> = vec![Vec::new()];
    for index in 0..arguments.len() {
        let elements = arguments.elements(index)?;
        check_count(product.len().saturating_mul(elements.len()))?;
        product = product
            .iter()
            .flat_map(|prefix| {
                elements.iter().map(|element| {
                    let mut next = prefix.clone();
                    next.push(element.clone());
                    next
                })
            })
            .collect();
    }
    let tuples = product.into_iter().map(Value::tuple).collect();
    Ok(if only_sets { Value::set(tuples) } else { Value::list(tuples) })
}
